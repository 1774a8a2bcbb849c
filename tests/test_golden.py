"""Against golden/torch.json, in which golden/make_torch.py recorded torch itself."""

import inspect
import json
from pathlib import Path

import jax
import numpy as np
import pytest
from helpers import as_double

import jinit

GOLDEN = json.loads(
    Path(__file__).with_name("golden").joinpath("torch.json").read_text()
)
IN_TORCH = {"in_axis": 1, "out_axis": 0}
# Kernels are (out, in, *spatial) in torch and (*spatial, in, out) in Flax.
LAYOUTS = ("torch", "flax")


def cases(section):
    """Each case of a section as a parameter, named by its inputs."""
    parameters = []
    for case in GOLDEN[section]:
        *inputs, _ = case.values()
        name = "-".join(map(str, inputs)).replace(" ", "")
        parameters.append(pytest.param(case, id=name))
    return parameters


def to_layout(layout, shape):
    """A shape in torch's layout, and the axes that name it, in another layout."""
    if layout == "torch":
        return tuple(shape), IN_TORCH
    outputs, inputs, *spatial = shape
    return (*spatial, inputs, outputs), {}


def to_torch(layout, kernel):
    """A kernel of some layout in torch's."""
    if layout == "torch":
        return np.asarray(kernel)
    return np.moveaxis(kernel, (-1, -2), (0, 1))


def scale_of(init, unit, shape, dtype):
    """By how much `init` scales the draws of `unit`, an initializer of scale one."""
    key = jax.random.key(0)
    scaled, standard = (as_double(f(key, shape, dtype)).ravel() for f in (init, unit))
    largest = abs(standard).argmax()
    return scaled[largest] / standard[largest]


@pytest.mark.parametrize("case", cases("calculate_gain"))
def test_calculate_gain_is_the_gain_of_torch(case):
    ours = jinit.calculate_gain(case["nonlinearity"], case["param"])
    assert ours == pytest.approx(case["gain"], rel=1e-15)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_fans_are_those_torch_counts(layout):
    for case in GOLDEN["fans"]:
        shape, axes = to_layout(layout, case["shape"])
        assert jinit.fans(shape, **axes) == tuple(case["fans"]), case


UNITS = {"uniform": jinit.uniform(a=-1.0, b=1.0), "normal": jinit.normal()}


def check_scales(layout, dtype, within):
    for case in GOLDEN["scales"]:
        shape, axes = to_layout(layout, case["shape"])
        init = getattr(jinit, case["name"])(**case["options"], **axes)
        ours = scale_of(init, UNITS[case["name"].split("_")[1]], shape, dtype)
        assert ours == pytest.approx(case["scale"], rel=within), case


@pytest.mark.slow
@pytest.mark.parametrize("layout", LAYOUTS)
def test_scales_are_what_torch_asks_of_its_generator(layout):
    check_scales(layout, "float32", 1e-6)


@pytest.mark.slow
@pytest.mark.usefixtures("x64")
def test_scales_in_float64_are_those_of_torch_to_the_last_digits():
    check_scales("torch", "float64", 1e-14)


def test_a_scale_off_by_little_is_refused(monkeypatch):
    off = [case | {"scale": case["scale"] * (1 + 3e-6)} for case in GOLDEN["scales"]]
    monkeypatch.setitem(GOLDEN, "scales", off[:1])
    with pytest.raises(AssertionError):
        check_scales("torch", "float32", 1e-6)


@pytest.mark.parametrize("case", cases("eye"))
def test_eye_is_the_matrix_of_torch(case, key):
    ours = jinit.eye()(key, case["shape"])
    np.testing.assert_array_equal(ours, case["values"])


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("case", cases("dirac"))
def test_dirac_has_its_ones_where_torch_has_them(case, layout, key):
    shape, axes = to_layout(layout, case["shape"])
    ours = jinit.dirac(groups=case["groups"], **axes)(key, shape)
    expected = np.zeros(case["shape"])
    expected[tuple(np.transpose(case["ones"]))] = 1
    np.testing.assert_array_equal(to_torch(layout, ours), expected)


def test_fills_store_the_numbers_that_torch_stores(key):
    for case in GOLDEN["fills"]:
        with jax.enable_x64(case["dtype"] == "float64"):
            init = getattr(jinit, case["name"])(*case["value"])
            ours = init(key, (2,), case["dtype"])
        assert ours.dtype == case["dtype"], case
        assert as_double(ours).tolist() == [case["stored"]] * 2, case


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("case", cases("sparse"))
def test_sparse_has_as_many_zeros_per_input_as_torch(case, layout, key):
    shape, axes = to_layout(layout, (case["rows"], 3))
    ours = jinit.sparse(case["sparsity"], **axes)(key, shape)
    zeros = (to_torch(layout, ours) == 0).sum(axis=0)
    assert zeros.tolist() == [case["zeros"]] * 3


def default_of(name, option):
    if name == "calculate_gain":
        return inspect.signature(jinit.calculate_gain).parameters[option].default
    return getattr(getattr(jinit, name)(*REQUIRED.get(name, ())), option)


REQUIRED = {"constant": (0.5,), "sparse": (0.5,)}


@pytest.mark.parametrize("case", cases("defaults"))
def test_default_arguments_are_those_of_torch(case):
    ours = {option: default_of(case["name"], option) for option in case["defaults"]}
    assert ours == case["defaults"]


@pytest.mark.parametrize("name", REQUIRED)
def test_option_that_torch_requires_is_required(name):
    with pytest.raises(TypeError):
        getattr(jinit, name)()
