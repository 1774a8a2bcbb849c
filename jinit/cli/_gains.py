"""What is known of the gain of an activation, in words and tables for a terminal."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from jinit.gains._gain import GAIN_MODES, NONLINEARITIES, calculate_gain, gain
from jinit.gains._mean_field import CriticalPoint, critical_point, variance_map
from jinit.gains._names import FUNCTIONS, GATES, Activation

_LAYERS = (0, 1, 2, 5, 10, 20, 40, 60, 100)
_STARTS = (0.9, 1.0, 1.1)


def report(activation: Activation) -> str:
    """The gains of one activation, and what they do in depth."""
    step = variance_map(activation)
    torch = _torch(activation)
    lines = [f"gain, {mode:<9} {gain(activation, mode):15.12f}" for mode in GAIN_MODES]
    lines += [
        f"gain of torch   {'none' if torch is None else f'{torch:.12f}':>15}",
        f"slope           {step.slope(1.0):15.6f}  {_verdict(step.slope(1.0))}",
        f"chi_1           {step.chi_1(1.0):15.6f}  factor of the gradients' second "
        "moment, by layer",
        f"critical point  {_critical(activation)}",
        "",
        "Variance of the pre-activations in wide layers, from that of the first:",
        "",
    ]
    maps = {f"{start:g}": _depths(step, start) for start in _STARTS}
    if torch is not None and abs(torch - gain(activation)) > 1e-9:
        maps["1, torch"] = _depths(variance_map(activation, gain=torch), 1.0)
    columns = [("layer", *map(str, _LAYERS)), *((key, *maps[key]) for key in maps)]
    lines += ["".join(map("{:>12}".format, row)) for row in zip(*columns, strict=True)]
    return "\n".join(lines)


def table() -> Iterator[str]:
    """A line for each activation that has a name, as it is computed."""
    yield _row("", *GAIN_MODES, "slope", "chi_1", "torch") + "  in depth"
    for name in names():
        step, torch = variance_map(name), _torch(name)
        gains = [f"{gain(name, mode):.6f}" for mode in GAIN_MODES]
        slope, chi_1 = step.slope(1.0), step.chi_1(1.0)
        given = "-" if torch is None else f"{torch:.6f}"
        numbers = _row(name, *gains, f"{slope:.4f}", f"{chi_1:.4f}", given)
        yield f"{numbers}  {_verdict(slope).partition(':')[0]}"


def names() -> tuple[str, ...]:
    """The activations that have a name."""
    return (*FUNCTIONS, *GATES)


def describe(activation: Activation) -> dict[str, Any]:
    """The numbers of a report, as JSON can hold them."""
    step, point = variance_map(activation), _critical_point(activation)
    return {
        "activation": activation,
        **{mode: gain(activation, mode) for mode in GAIN_MODES},
        "torch": _torch(activation),
        "slope": step.slope(1.0),
        "chi_1": step.chi_1(1.0),
        "critical_point": point and point._asdict(),
    }


def _row(name: str, *cells: str) -> str:
    return f"{name:<14}" + "".join(f"{cell:>10}" for cell in cells)


def _torch(activation: Activation) -> float | None:
    name, *parameters = activation if isinstance(activation, tuple) else (activation,)
    return calculate_gain(name, *parameters) if name in NONLINEARITIES else None


def _verdict(slope: float) -> str:
    if abs(slope - 1) < 1e-6:
        return "marginal: deviations of the variance stay as they are"
    if slope < 1:
        return "stable: deviations of the variance fade"
    grow = f"grow, {slope**60:.2g} times in 60 layers"
    return f"unstable: deviations of the variance {grow}"


def _critical_point(activation: Activation) -> CriticalPoint | None:
    try:
        return critical_point(activation)
    except ValueError:
        return None


def _critical(activation: Activation) -> str:
    point = _critical_point(activation)
    if point is None:
        return "           none"
    weights, biases = f"{point.weight_var:15.6f}", f"{point.bias_var:.6f}"
    return f"{weights}  / fan_in, the variance of the weights; biases {biases}"


def _depths(step: variance_map, q: float) -> list[str]:
    """The variance at each of the layers."""
    shown = []
    for layer in range(max(_LAYERS) + 1):
        if layer in _LAYERS:
            shown.append(f"{q:.4g}" if q < 1e12 else "> 1e+12")
        q = step(q) if q < 1e12 else q  # before it overflows
    return shown
