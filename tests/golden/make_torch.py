"""Writes torch.json: what torch.nn.init computes, for tests that run without torch.

    python tests/golden/make_torch.py

Nothing is worked out here: torch's own functions are called, and what they return, or
what they ask of torch's generator, is recorded.
"""

import contextlib
import inspect
import itertools
import json
import math
from pathlib import Path
from unittest import mock

# Its test imports it before it is skipped where there is no torch.
with contextlib.suppress(ModuleNotFoundError):
    import torch

PATH = Path(__file__).with_name("torch.json")

LINEAR = ((7, 5), (5, 7), (1, 9), (128, 64))
CONVOLUTIONS = ((6, 4, 3), (4, 6, 3, 3), (8, 1, 5, 5), (2, 3, 1, 2, 4))
SHAPES = (*LINEAR, *CONVOLUTIONS)
NONLINEARITIES = (
    *("linear", "conv1d", "conv2d", "conv3d"),
    *("conv_transpose1d", "conv_transpose2d", "conv_transpose3d"),
    *("sigmoid", "tanh", "relu", "leaky_relu", "selu"),
)
SLOPES = (0, 1, 0.01, 0.2, -0.5, math.sqrt(5))
CONSTANTS = {
    "float64": (0.1, -2.5, 1e-300),
    "float32": (0.1, -2.5, 1e-40),
    "bfloat16": (0.1, -2.5, 1e-40, 257),
    "float16": (0.1, -2.5, 1e-7, 65504),
    "float8_e4m3fn": (0.1, -2.5, 448),
    "float8_e5m2": (0.1, -2.5, 57344),
    "complex64": (0.1, -2.5),
    "int32": (3, -2, 2**24 + 1),
    "int8": (3, -128),
    "bool": (0, 1),
}
# The second row: products with a size that are not whole in binary though they are in
# decimal, such as 0.07 · 100 = 7.000000000000001.
SPARSITIES = (
    *((10, 0.0), (10, 0.1), (10, 0.5), (10, 0.9), (10, 1.0), (1, 0.5), (7, 0.01)),
    *((10, 0.3), (3, 0.1), (100, 0.07), (100, 0.29), (50, 0.14), (25, 0.28)),
)


def golden():
    """The whole of torch.json, as the dictionary that reading it gives."""
    record = {
        "torch": torch.__version__.split("+")[0],
        "defaults": list(defaults()),
        "calculate_gain": list(gains()),
        "fans": list(fans()),
        "scales": list(scales()),
        "eye": list(identities()),
        "dirac": list(diracs()),
        "fills": list(fills()),
        "sparse": list(sparse_zeros()),
    }
    return json.loads(json.dumps(record))


def defaults():
    """The default arguments of every function, without the generator."""
    functions = [name for name in torch.nn.init.__all__ if name.endswith("_")]
    for name in ("calculate_gain", *functions):
        parameters = inspect.signature(getattr(torch.nn.init, name)).parameters.values()
        options = {
            p.name: p.default
            for p in parameters
            if p.default is not p.empty and p.name != "generator"
        }
        yield {"name": name.removesuffix("_"), "defaults": options}


def gains():
    for name in NONLINEARITIES:
        for param in (None, *SLOPES) if name == "leaky_relu" else (None,):
            gain = torch.nn.init.calculate_gain(name, param)
            yield {"nonlinearity": name, "param": param, "gain": gain}


def fans():
    for shape in (*SHAPES, (1, 1), (3, 0), (4, 2, 1, 1), (5, 3, 7, 1)):
        counted = torch.nn.init._calculate_fan_in_and_fan_out(torch.empty(shape))
        yield {"shape": shape, "fans": counted}


def scales():
    """The bound or the standard deviation that torch asks of its generator."""
    for family, shape in itertools.product(("uniform", "normal"), SHAPES):
        for gain in (1.0, 0.5, 5 / 3):
            yield scale(f"xavier_{family}", shape, gain=gain)
        for mode in ("fan_in", "fan_out"):
            for a in (0.0, 0.2, math.sqrt(5)):
                yield scale(f"kaiming_{family}", shape, a=a, mode=mode)
            for nonlinearity in ("linear", "tanh", "relu", "selu"):
                options = {"mode": mode, "nonlinearity": nonlinearity}
                yield scale(f"kaiming_{family}", shape, **options)


def scale(name, shape, **options):
    asked = mock.Mock()
    with (
        mock.patch.object(torch.Tensor, "uniform_", asked),
        mock.patch.object(torch.Tensor, "normal_", asked),
    ):
        getattr(torch.nn.init, name + "_")(torch.empty(shape), **options)
    first, second = asked.call_args.args
    # Bounds -bound and bound, or mean 0 and std.
    assert first == (-second if name.endswith("uniform") else 0)
    return {"name": name, "options": options, "shape": shape, "scale": second}


def identities():
    for shape in ((3, 3), (2, 4), (4, 2), (1, 3)):
        values = torch.nn.init.eye_(torch.empty(shape)).tolist()
        yield {"shape": shape, "values": values}


def diracs():
    """The indices of the ones; everything else is zero."""
    cases = (
        *(((4, 4, 3), 1), ((2, 4, 5), 1), ((6, 2, 4), 3)),
        *(((4, 4, 3, 3), 1), ((5, 3, 2, 4), 1), ((6, 3, 3, 2), 2), ((8, 1, 1, 3), 4)),
        *(((3, 3, 3, 3, 3), 1), ((4, 3, 2, 1, 4), 2)),
    )
    for shape, groups in cases:
        kernel = torch.nn.init.dirac_(torch.empty(shape), groups)
        assert kernel.sum() == kernel.count_nonzero()
        ones = kernel.nonzero().tolist()
        yield {"shape": shape, "groups": groups, "ones": ones}


def fills():
    """What a constant becomes in each dtype, exactly, as a double."""
    for dtype, values in CONSTANTS.items():
        for value in values:
            yield fill(dtype, "constant", value)
        yield fill(dtype, "ones")
        yield fill(dtype, "zeros")


def fill(dtype, name, *value):
    filled = torch.empty(1, dtype=getattr(torch, dtype))
    getattr(torch.nn.init, name + "_")(filled, *value)
    stored = filled.real.to(torch.float64).item()
    return {"name": name, "value": value, "dtype": dtype, "stored": stored}


def sparse_zeros():
    """The number of zeros in every column."""
    with mock.patch.object(torch.Tensor, "normal_", lambda x, *_, **__: x.fill_(1)):
        for rows, sparsity in SPARSITIES:
            weight = torch.nn.init.sparse_(torch.empty(rows, 3), sparsity)
            (zeros,) = set((weight == 0).sum(dim=0).tolist())
            yield {"rows": rows, "sparsity": sparsity, "zeros": zeros}


def dumps(record):
    """JSON with a line for each case."""
    sections = []
    for name, cases in record.items():
        lines = json.dumps(cases)
        if isinstance(cases, list):
            lines = "[\n  " + ",\n  ".join(map(json.dumps, cases)) + "\n]"
        sections.append(f"{json.dumps(name)}: {lines}")
    return "{\n" + ",\n".join(sections) + "\n}\n"


if __name__ == "__main__":
    PATH.write_text(dumps(golden()))
