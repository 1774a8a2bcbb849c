"""The pictures show what was measured, beside the densities that theory gives."""

import subprocess
import sys

import jax
import jax.numpy as jnp
import matplotlib
import numpy as np
import pytest
from matplotlib import pyplot as plt
from matplotlib.figure import Figure
from scipy import stats
from scipy.integrate import trapezoid

import jinit
from jinit.diagnostics import plots
from jinit.signal._coordinates import CoordinateCheck
from jinit.signal._propagation import Propagation

KEY = jax.random.key(0)


@pytest.fixture
def ax():
    return Figure().subplots()


@pytest.fixture
def pyplot():
    """pyplot without a window, and without what a test opened."""
    before = matplotlib.get_backend()
    plt.switch_backend("agg")
    yield plt
    plt.close("all")
    plt.switch_backend(before)


def signals(members=1, layers=4, predicted=None):
    rng = np.random.default_rng(0)
    arrays = rng.uniform(0.1, 10, (4, members, layers))
    return Propagation(tuple("abcdefghijklmnop"[:layers]), *arrays, predicted)


def checked(layers=2):
    sizes = np.random.default_rng(0).uniform(0.1, 10, (3, 5, 4, layers))
    zeros = np.zeros((4, layers))
    names, verdicts = tuple("abcdefghij"[:layers]), ("level",) * layers
    return CoordinateCheck(names, (64, 128, 256), sizes, zeros, zeros, verdicts)


def lines(ax):
    return {line.get_label(): line for line in ax.lines}


def stairs(ax):
    (patch,) = ax.patches
    return patch.get_data()


# Signals


def test_the_signal_is_what_was_measured(ax):
    found = signals()
    drawn = lines(plots.signal(found, ax))

    assert list(drawn) == ["outputs", "gradients"]
    np.testing.assert_array_equal(drawn["outputs"].get_xdata(), [1, 2, 3, 4])
    np.testing.assert_array_equal(drawn["outputs"].get_ydata(), found.second_moment[0])
    np.testing.assert_array_equal(drawn["gradients"].get_ydata(), found.gradient[0])


def test_several_members_are_a_median_and_a_band_of_quartiles(ax):
    found = signals(members=7)
    plots.signal(found, ax)

    quartiles = np.quantile(found.second_moment, (0.25, 0.5, 0.75), axis=0)
    np.testing.assert_allclose(lines(ax)["outputs"].get_ydata(), quartiles[1])
    corners = ax.collections[0].get_paths()[0].vertices
    for n in range(4):
        band = np.unique(corners[corners[:, 0] == n + 1, 1])
        np.testing.assert_allclose(band, quartiles[[0, 2], n])


def test_the_prediction_is_drawn_where_there_is_one(ax):
    plots.signal(signals(predicted=np.array([np.nan, 1.0, np.nan, 2.0])), ax)

    predicted = lines(ax)["predicted outputs"]
    assert predicted.get_xdata().tolist() == [2, 4]
    assert predicted.get_ydata().tolist() == [1.0, 2.0]


def test_what_a_logarithm_does_not_have_is_a_gap(ax):
    found = signals()
    found.second_moment[0] = [1.0, 0.0, np.inf, np.nan]
    plots.signal(found, ax)

    drawn = lines(ax)["outputs"].get_ydata()
    np.testing.assert_array_equal(drawn, [1.0, np.nan, np.nan, np.nan])


def named(paths):
    found = Propagation(paths, *np.ones((4, 1, len(paths))))
    ax = plots.signal(found, Figure().subplots())
    return [label.get_text() for label in ax.get_xticklabels()], ax.get_xlabel()


def test_a_few_layers_are_all_named_and_of_many_some():
    few, of_few = named(tuple("abcd"))
    many, of_many = named(tuple("abcdefghijklmnop"))

    assert (few, of_few) == (list("abcd"), "layer")
    assert (many, of_many) == (list("acegikmo"), "layer, one in 2 named")


@pytest.mark.parametrize(
    ("paths", "names"),
    [
        (("params/up/kernel", "params/down/kernel"), ["up", "down"]),
        (("params/up/kernel/0", "params/up/kernel/1"), ["0", "1"]),
        (("a/w", "a/b/w"), ["w", "b/w"]),
        (("params/kernel",), ["params/kernel"]),
        (("layers_0", ""), ["layers_0", "(model)"]),
        ((f"{'long' * 9}/a", "b/b"), [f"…{('long' * 9)[-23:]}/a", "b/b"]),
    ],
)
def test_paths_are_named_without_what_all_share(paths, names):
    assert named(paths)[0] == names


def test_the_axis_of_a_steady_signal_is_a_decade_at_least(ax):
    found = Propagation(("a", "b"), *np.ones((4, 1, 2)))
    low, high = plots.signal(found, ax).get_ylim()

    assert high / low >= 9.99


# Weights

UNIFORM = jinit.he_uniform()
LAWS = [
    (jinit.normal(mean=1.0, std=0.02), stats.norm(1.0, 0.02)),
    (jinit.xavier_normal(), stats.norm(0, np.sqrt(2 / 300))),
    (jinit.uniform(a=-1.0, b=3.0), stats.uniform(-1, 4)),
    (UNIFORM, stats.uniform(-np.sqrt(6 / 100), 2 * np.sqrt(6 / 100))),
    (jinit.trunc_normal(std=2.0, a=-1.0, b=5.0), stats.truncnorm(-0.5, 2.5, 0, 2.0)),
    (jinit.truncated_normal(mean=1.0, lower=-1.0), stats.truncnorm(-1, 2, 1.0, 1.0)),
    (
        jinit.he_normal(),
        stats.truncnorm(-2, 2, 0, np.sqrt(2 / 100) / stats.truncnorm(-2, 2).std()),
    ),
    (jinit.stack(jinit.trunc_normal(a=0.0)), stats.truncnorm(0, 2)),
    (jinit.orthogonal(gain=2.0), stats.norm(0, 2 / np.sqrt(200))),
]


@pytest.mark.parametrize(("init", "law"), LAWS, ids=[str(init) for init, _ in LAWS])
def test_the_density_is_that_of_the_initializer(init, law, ax):
    plots.weights(init(KEY, (100, 200)), init, ax)

    (line,) = ax.lines
    x, density = line.get_data()
    steps = abs(x[:, None] - [law.support()]).min(axis=1) < 1e-6  # up to rounding
    np.testing.assert_allclose(density[~steps], law.pdf(x[~steps]), rtol=1e-5)
    assert abs(trapezoid(density, x) - 1) < 0.01


def test_the_histogram_is_that_of_the_weights(ax):
    w = jinit.normal()(KEY, (100, 100))
    plots.weights(w, ax=ax)

    values, edges, _ = stairs(ax)
    assert np.isclose((values * np.diff(edges)).sum(), 1)
    counts, _ = np.histogram(np.ravel(w).astype(float), edges)
    np.testing.assert_allclose(values, counts / 10_000 / np.diff(edges))


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_without_an_initializer_the_density_is_normal(dtype, ax):
    w = jinit.uniform(a=1.0, b=2.0)(KEY, (50, 50), dtype)
    plots.weights(w, ax=ax)

    x, density = ax.lines[0].get_data()
    values = np.asarray(w).astype(float)
    np.testing.assert_allclose(density, stats.norm(values.mean(), values.std()).pdf(x))


def test_weights_that_are_not_of_the_initializer_show_it(ax):
    plots.weights(jnp.zeros((10, 10)), jinit.normal(std=0.1), ax)

    values, edges, _ = stairs(ax)
    assert (values > 0).sum() == 1
    assert edges[0] < -0.3
    assert edges[-1] > 0.3


# Spectra


@pytest.mark.parametrize("shape", [(100, 400), (400, 100), (2, 50, 400)])
def test_the_edges_of_marchenko_and_pastur_are_those_of_theory(shape, ax):
    init = jinit.normal(std=0.5)
    plots.spectrum(init(KEY, shape), init, ax)

    x, density = ax.lines[0].get_data()
    assert np.isclose(x[0], 0.5 * (20 - 10))
    assert np.isclose(x[-1], 0.5 * (20 + 10))
    assert abs(trapezoid(density, x) - 1) < 1e-3
    # The mean of s² is that of the squares of a column: std² · the longer side.
    assert np.isclose(trapezoid(density * x**2, x), 0.25 * 400, rtol=2e-3)


def test_the_density_of_a_square_matrix_reaches_zero(ax):
    plots.spectrum(jinit.normal()(KEY, (100, 100)), jinit.normal(), ax)

    x, density = (line[1:] for line in ax.lines[0].get_data())
    assert np.allclose(density, np.sqrt((400 - x**2).clip(0)) / (np.pi * 100))


def test_singular_values_are_those_of_the_kernel(ax):
    w = np.asarray(jinit.normal()(KEY, (40, 60)))
    plots.spectrum(w, ax=ax)

    values, edges, _ = stairs(ax)
    counts, _ = np.histogram(np.linalg.svd(w.astype(float))[1], edges)
    np.testing.assert_allclose(values, counts / 40 / np.diff(edges))


def test_singular_values_follow_marchenko_and_pastur(ax):
    plots.spectrum(jinit.normal()(KEY, (300, 600)), jinit.normal(), ax)

    values, edges, _ = stairs(ax)
    x, density = ax.lines[0].get_data()
    cumulated = np.append(0, np.cumsum((density[1:] + density[:-1]) / 2 * np.diff(x)))
    empirical = np.append(0, np.cumsum(values * np.diff(edges)))
    # Singular values repel each other: they are far closer than independent ones.
    assert abs(empirical - np.interp(edges, x, cumulated)).max() < 0.02


@pytest.mark.parametrize("dtype", ["float32", "complex64"])
def test_eigenvalues_are_drawn_in_units_of_the_circle(dtype, ax):
    w = jinit.normal(std=3.0)(KEY, (64, 64), dtype)
    plots.spectrum(w, jinit.normal(std=3.0), ax, kind="eigen")

    dots, circle = ax.lines
    expected = np.linalg.eigvals(np.asarray(w).astype(complex)) / (3 * 8)
    drawn = dots.get_xdata() + 1j * dots.get_ydata()
    distance = abs(drawn[:, None] - expected)
    assert distance.min(axis=0).max() < 1e-5
    assert distance.min(axis=1).max() < 1e-5
    np.testing.assert_allclose(np.hypot(*circle.get_data()), 1)


def test_eigenvalues_of_an_orthogonal_matrix_lie_on_the_circle(ax):
    plots.spectrum(jinit.orthogonal(gain=2.0)(KEY, (32, 32)), ax=ax, kind="eigen")

    np.testing.assert_allclose(np.hypot(*ax.lines[0].get_data()), 1, rtol=1e-5)


# Coordinates


def test_coordinates_are_the_medians_by_width_and_step(ax):
    check = checked()
    plots.coordinates(check, ax)

    drawn = [line.get_ydata() for line in ax.lines]
    expected = np.moveaxis(np.median(check.sizes, axis=1), 0, -1)  # steps, layers
    np.testing.assert_array_equal(drawn, np.concatenate(np.moveaxis(expected, 1, 0)))
    assert all(line.get_xdata().tolist() == [64, 128, 256] for line in ax.lines)
    labels = [text.get_text() for text in ax.get_legend().get_texts()]
    assert labels == ["a: level", "b: level"]


def test_layers_differ_in_their_markers_as_well_as_in_colours(ax):
    plots.coordinates(checked(layers=10), ax)

    last = ax.lines[3::4]
    assert len({(line.get_color(), line.get_marker()) for line in last}) == 10


def test_a_module_that_repeats_a_layer_is_left_out(ax):
    check = checked()
    check.sizes[..., 1] = check.sizes[..., 0]
    plots.coordinates(check, ax)

    assert len(ax.lines) == 4


# Axes

DRAWN = {
    "signal": lambda ax=None: plots.signal(signals(members=3), ax=ax),
    "weights": lambda ax=None: plots.weights(UNIFORM(KEY, (20, 20)), UNIFORM, ax=ax),
    "singular": lambda ax=None: plots.spectrum(UNIFORM(KEY, (20, 20)), ax=ax),
    "eigen": lambda ax=None: plots.spectrum(
        UNIFORM(KEY, (20, 20)), kind="eigen", ax=ax
    ),
    "coordinates": lambda ax=None: plots.coordinates(checked(), ax=ax),
}


@pytest.mark.parametrize("name", DRAWN)
def test_the_axes_that_are_given_are_drawn_on_and_returned(name, pyplot):
    ax = Figure().subplots()

    assert DRAWN[name](ax) is ax
    assert pyplot.get_fignums() == []
    assert ax.get_xlabel()
    assert ax.get_ylabel()
    assert ax.get_title()


@pytest.mark.parametrize("name", DRAWN)
def test_without_axes_a_figure_is_made(name, pyplot):
    ax = DRAWN[name]()

    assert pyplot.get_fignums() == [ax.figure.number]


@pytest.mark.parametrize("name", DRAWN)
def test_no_legend_lies_on_the_data(name, pyplot):
    ax = DRAWN[name]()
    ax.figure.canvas.draw()

    assert (
        not ax.get_legend().get_window_extent().overlaps(ax.patch.get_window_extent())
    )


def test_importing_the_module_does_not_import_matplotlib():
    code = "import sys, jinit.diagnostics.plots; sys.exit('matplotlib' in sys.modules)"

    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize("name", DRAWN)
def test_without_matplotlib_it_says_what_to_install(name, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.axes", None)

    with pytest.raises(ModuleNotFoundError, match=r"pip install 'jinit\[plots\]'"):
        DRAWN[name]()


# What is refused


EMPTY = np.zeros((2, 0), "float32")
BAD = np.array([[np.nan, 1.0], [2.0, np.inf]], "float32")
ONES = np.ones((2, 3), "float32")
NOTHING = Propagation(("a",), *np.zeros((4, 1, 1)))
NO_SIZES = CoordinateCheck(("a",), (1, 2), *np.zeros((3, 2, 2, 2, 1)), ("zero",))


@pytest.mark.parametrize(
    ("function", "args", "options", "error", "message"),
    [
        ("signal", [ONES], {}, TypeError, "propagation must be of type Propagation"),
        ("signal", [NOTHING], {}, ValueError, "mean square that is positive and"),
        ("signal", [signals(), 3], {}, TypeError, "ax must be of type Axes, got 3"),
        ("weights", [[1.0]], {}, TypeError, "leaf must be an array of known numbers"),
        ("weights", [np.arange(3)], {}, TypeError, "array of real floats, got int"),
        ("weights", [ONES + 1j], {}, TypeError, "array of real floats, got complex"),
        ("weights", [EMPTY], {}, ValueError, r"leaf must have elements.*\(2, 0\)"),
        ("weights", [BAD], {}, ValueError, "leaf must be finite, but 2 of 4 are not"),
        ("weights", [ONES], {}, ValueError, "leaf must not be constant"),
        ("weights", [ONES, jinit.ones()], {}, ValueError, "init ones.* not be const"),
        ("weights", [ONES, 0.5], {}, TypeError, "init must be of type Initializer"),
        ("weights", [ONES[0], UNIFORM], {}, ValueError, "init he_uniform.* not fit"),
        ("spectrum", [ONES[0]], {}, ValueError, r"two axes or more, got shape \(3,\)"),
        ("spectrum", [EMPTY], {}, ValueError, "kernel must have elements"),
        ("spectrum", [BAD], {}, ValueError, "kernel must be finite"),
        ("spectrum", [0 * ONES], {}, ValueError, "kernel must not be all zeros"),
        ("spectrum", [ONES, jinit.zeros()], {}, ValueError, "nor its init a constant"),
        ("spectrum", [ONES], {"kind": "eigen"}, ValueError, "square .*got 2 × 3"),
        ("spectrum", [ONES], {"kind": "svd"}, ValueError, "kind must be one of"),
        ("coordinates", [ONES], {}, TypeError, "check must be of type CoordinateC"),
        ("coordinates", [NO_SIZES], {}, ValueError, "size that is positive and finite"),
    ],
)
def test_a_mistake_is_refused(function, args, options, error, message, pyplot):
    with pytest.raises(error, match=f"(?s){message}"):
        getattr(plots, function)(*args, **options)
    assert pyplot.get_fignums() == []
