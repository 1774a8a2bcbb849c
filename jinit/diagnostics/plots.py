"""Pictures of what is measured: each function draws on one Axes and returns it.

They need matplotlib, and raise a ModuleNotFoundError without it: `pip install
'jinit[plots]'`. With `ax` they draw there and leave pyplot alone; without, they make a
figure with `matplotlib.pyplot`, which a notebook shows. Colours are told apart by the
colour-blind, and no line differs from another by its colour alone.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

import jax
import numpy as np

from jinit import _checks
from jinit._initializer import Initializer
from jinit._types import Array
from jinit.audit._expected import expected
from jinit.audit._statistics import as_matrix
from jinit.laws import Law, Moments, Normal, Truncated
from jinit.signal._coordinates import CoordinateCheck
from jinit.signal._propagation import Propagation, quartiles
from jinit.signal._watch import layer_name

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Okabe and Ito's palette, without its yellow, which fades in print.
COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
MARKERS = ("o", "s", "^", "D", "v", "X", "P", "<")
_BLUE, _ORANGE = COLORS[:2]
_PALE, _BLACK = "#A6CBE3", COLORS[-1]  # of histograms, and of what is expected
# Lines of a coordinate check, by the step.
_BEFORE: dict[str, Any] = {"linestyle": "--", "linewidth": 1.2, "markersize": 4}
_BETWEEN: dict[str, Any] = {"linewidth": 0.7, "markersize": 2.5, "alpha": 0.6}
_AFTER: dict[str, Any] = {"linewidth": 2.2, "markersize": 6}
_NAMED = 12  # layers, at most, that are named below the axis
_LONGEST = 26  # letters of a name


def signal(propagation: Propagation, ax: Axes | None = None) -> Axes:
    """Draws the mean squares of outputs and gradients by layer.

    Solid and dashed lines are outputs and gradients: the median of the members, with a
    band from quartile to quartile. A dotted line is the prediction. Zeros, infinities
    and NaNs leave gaps. Paths are named without what all begin and end with, as with
    "params" and "kernel"; of more than 12 layers some are.

    Args:
      propagation: What `jinit.diagnostics.propagation` returned, or some layers of it:
        `found.select("block_*")`.
      ax: The Axes to draw on; by default those of a new figure.

    Raises:
      ValueError: No mean square is positive and finite.

    Example:
      >>> import numpy as np
      >>> from matplotlib.figure import Figure
      >>> from jinit.diagnostics import Propagation, plots
      >>> q = np.array([[1.0, 0.5, 0.25]])
      >>> found = Propagation(("a", "b", "c"), q, 0 * q, 0 * q, q[:, ::-1])
      >>> ax = plots.signal(found, ax=Figure().subplots())
      >>> [line.get_label() for line in ax.lines]
      ['outputs', 'gradients']
    """
    _check_type("propagation", propagation, Propagation)
    drawn = _drawable(propagation.second_moment), _drawable(propagation.gradient)
    if np.isnan(drawn).all():
        raise ValueError(
            "propagation must have a mean square that is positive and finite, got "
            f"{propagation.second_moment!r}."
        )
    axes = _axes(ax)
    x = np.arange(1, len(propagation.layers) + 1)
    _banded(axes, x, drawn[0], "o-", label="outputs", color=_BLUE)
    _banded(axes, x, drawn[1], "s--", label="gradients", color=_ORANGE)
    if propagation.predicted is not None:
        predicted = _drawable(propagation.predicted)
        known = ~np.isnan(propagation.predicted)
        style = {"color": _BLACK, "linewidth": 1, "zorder": 3}
        axes.plot(x[known], predicted[known], ":", label="predicted outputs", **style)
    _log_scale(axes)
    axes.set_ylabel("mean square")
    _name_layers(axes, x, propagation.layers)
    members = len(propagation.second_moment)
    of = f": median and quartiles of {members}" if members > 1 else ""
    return _finished(axes, f"Signal by layer{of}")


def weights(
    leaf: Array, init: Initializer | None = None, ax: Axes | None = None
) -> Axes:
    """Draws a histogram of weights, and the density that they are to have.

    Without an initializer, or where its density is not known, that is a normal one, of
    the initializer's standard deviation or else of that of the weights.

    Args:
      leaf: An array of real numbers, of any shape.
      init: The initializer of the weights.
      ax: The Axes to draw on; by default those of a new figure.

    Raises:
      ValueError: The array is empty or not finite, does not fit the initializer, or is
        constant; or the initializer is.

    Example:
      >>> import jax, jinit
      >>> from matplotlib.figure import Figure
      >>> init, ax = jinit.he_uniform(), Figure().subplots()
      >>> w = init(jax.random.key(0), (256, 256))
      >>> print(jinit.diagnostics.plots.weights(w, init, ax).lines[0].get_label())
      uniform, std 0.08839
    """
    array = _array("leaf", leaf).astype(float)
    flat = array.ravel()
    label, pdf, (low, high) = _density(array, init)
    axes = _axes(ax)
    bins = np.clip(np.sqrt(flat.size), 5, 80)
    seen = min(flat.min(), low), max(flat.max(), high)
    margin = 0.1 * (seen[1] - seen[0])
    x = np.linspace(seen[0] - margin, seen[1] + margin, 801)
    names = f"{flat.size} weights, std {flat.std():.4g}", label, "weight"
    _histogram(axes, flat, bins, seen, (x, pdf(x)), names)
    return _finished(axes, f"Weights of shape {array.shape}")


def spectrum(
    kernel: Array,
    init: Initializer | None = None,
    ax: Axes | None = None,
    *,
    kind: Literal["singular", "eigen"] = "singular",
) -> Axes:
    """Draws the singular values or the eigenvalues of a kernel beside random ones.

        p(s) = sqrt((s₊² - s²) (s² - s₋²)) / (π · std² · min · s),
        s± = std · (sqrt(max) ± sqrt(min))

    is the density of the singular values of independent entries in a large matrix, by
    Marchenko and Pastur; min and max are its sides. Eigenvalues of a square matrix,
    divided by std · sqrt(n), fill the unit circle evenly; those of an orthogonal one
    lie on it.

    Args:
      kernel: Shape (..., columns), real or complex; all axes but the last are the rows
        of the matrix.
      init: The initializer, for std; by default that of the kernel, about zero.
      ax: The Axes to draw on; by default those of a new figure.
      kind: Which values.

    Raises:
      ValueError: The kernel has fewer than two axes, is empty, zero or not finite, is
        not square where eigenvalues are asked for, or does not fit the initializer.

    Example:
      >>> import jax, jinit
      >>> from matplotlib.figure import Figure
      >>> init, ax = jinit.normal(), Figure().subplots()
      >>> w = init(jax.random.key(0), (100, 400))
      >>> x = jinit.diagnostics.plots.spectrum(w, init, ax).lines[0].get_xdata()
      >>> print(f"{x.min():.2f} {x.max():.2f}")  # sqrt(400) ± sqrt(100)
      10.00 30.00

    References:
      Marchenko and Pastur (1967), for the density; Tao and Vu (2010), arXiv:0807.4898,
      for the circle.
    """
    _checks.choice("kind", kind, ("singular", "eigen"))
    array = _array("kernel", kernel, real=False)
    if array.ndim < 2:
        raise ValueError(f"kernel must have two axes or more, got shape {array.shape}.")
    matrix = as_matrix(array.astype(np.result_type(array, np.float64)))
    law = _law(init, array)
    std = float(np.sqrt(np.mean(abs(matrix) ** 2))) if law is None else law.std
    if not std:
        raise ValueError("kernel must not be all zeros, nor its init a constant.")
    return (_singular_values if kind == "singular" else _eigenvalues)(matrix, std, ax)


def coordinates(check: CoordinateCheck, ax: Axes | None = None) -> Axes:
    """Draws the sizes of activations by width, before and after each step.

    A layer has one colour and one marker. Its dashed line is the size before training,
    thin lines those after each step and the bold line that after the last: medians over
    the keys. A line that rises grows with the width. A module whose output is that of
    the layer before it, as a whole model's often is, is left out.

    Args:
      check: What `jinit.diagnostics.coordinate_check` returned, or some layers of it:
        `check.select("block_*")`.
      ax: The Axes to draw on; by default those of a new figure.

    Raises:
      ValueError: No size is positive and finite.

    Example:
      >>> import numpy as np
      >>> from matplotlib.figure import Figure
      >>> from jinit.diagnostics import CoordinateCheck, plots
      >>> sizes, zero = np.ones((2, 3, 2, 1)), np.zeros((2, 1))
      >>> check = CoordinateCheck(("a",), (64, 128), sizes, zero, zero, ("level",))
      >>> len(plots.coordinates(check, ax=Figure().subplots()).lines)
      2
    """
    _check_type("check", check, CoordinateCheck)
    sizes = _drawable(check.sizes)
    if np.isnan(sizes).all():
        raise ValueError(
            f"check must have a size that is positive and finite, got {check.sizes!r}."
        )
    axes = _axes(ax)
    last = sizes.shape[2] - 1
    for layer, path in enumerate(check.layers):
        this, before = sizes[..., layer], sizes[..., layer - 1]
        if layer > 0 and np.array_equal(this, before, equal_nan=True):
            continue
        color, marker = COLORS[layer % len(COLORS)], MARKERS[layer % len(MARKERS)]
        label = f"{layer_name(path)}: {check.verdicts[layer]}"
        styles = [_BEFORE, *[_BETWEEN] * (last - 1), _AFTER | {"label": label}]
        medians = np.median(this, axis=1).T
        for style, median in zip(styles[-len(medians) :], medians, strict=True):
            axes.plot(check.widths, median, color=color, marker=marker, **style)
    axes.set_xscale("log", base=2)
    _log_scale(axes)
    axes.set_xticks(check.widths, labels=map(str, check.widths))
    axes.tick_params(which="minor", bottom=False)
    axes.set(xlabel="width", ylabel="mean absolute value of the output")
    title = f"Coordinate check: before training (dashed) to step {last} (bold)"
    return _finished(axes, title, beside=True)


def _axes(ax: Any) -> Any:
    """The Axes given, or those of a new figure."""
    try:
        from matplotlib.axes import Axes
    except ModuleNotFoundError as error:
        message = "jinit.diagnostics.plots needs matplotlib: pip install 'jinit[plots]'"
        raise ModuleNotFoundError(message, name=error.name) from error
    if ax is None:
        from matplotlib import pyplot

        return pyplot.subplots(figsize=(7, 4.2), layout="constrained")[1]
    _check_type("ax", ax, Axes)
    return ax


def _finished(ax: Any, title: str, *, beside: bool = False) -> Any:
    """Adds the title, and a legend beside the data or above them, never over them."""
    place = {"loc": "center left", "bbox_to_anchor": (1.01, 0.5)}
    if not beside:
        place = {"loc": "lower center", "bbox_to_anchor": (0.5, 1.0), "ncols": 3}
    ax.legend(frameon=False, **place)
    ax.set_title(title, pad=6 if beside else 26)
    ax.grid(alpha=0.3)
    ax.set_axisbelow(True)
    ax.spines[["top", "right"]].set_visible(False)
    return ax


def _check_type(name: str, value: Any, kind: type) -> None:
    if not isinstance(value, kind):
        raise TypeError(f"{name} must be of type {kind.__name__}, got {value!r}.")


def _drawable(values: np.ndarray) -> np.ndarray:
    """What a logarithmic axis can show; the rest is NaN."""
    return np.where((values > 0) & (values < np.inf), values, np.nan)


def _banded(ax: Any, x: np.ndarray, values: np.ndarray, fmt: str, **style: Any) -> None:
    low, median, high = quartiles(values)
    every = max(1, len(x) // 15)
    ax.plot(x, median, fmt, markersize=4, markevery=every, **style)
    if len(values) > 1:
        ax.fill_between(x, low, high, color=style["color"], alpha=0.25, linewidth=0)


def _log_scale(ax: Any) -> None:
    """A logarithmic axis of at least a decade, so that it has a labelled tick."""
    ax.set_yscale("log")
    low, high = ax.get_ylim()
    if high < 10 * low:
        middle = np.sqrt(low * high)
        ax.set_ylim(middle / np.sqrt(10), middle * np.sqrt(10))


def _name_layers(ax: Any, x: np.ndarray, layers: tuple[str, ...]) -> None:
    """Names layers below the axis: all, or of many one in so many."""
    every = -(-len(layers) // _NAMED)
    style = {"rotation": 30, "ha": "right", "rotation_mode": "anchor"}
    ax.set_xticks(x[::every], _short_names(layers)[::every], **style)
    ax.set_xlabel("layer" if every == 1 else f"layer, one in {every} named")


def _short_names(layers: Sequence[str]) -> list[str]:
    """Without what all paths begin and end with; of long ones the end."""
    parts = [layer.split("/") for layer in layers]
    least = min(map(len, parts)) - 1 if len(parts) > 1 else 0
    first = _shared(parts, least)
    last = _shared([part[::-1] for part in parts], least - first)
    names = ["/".join(part[first : len(part) - last]) for part in parts]
    return [_cut(layer_name(name)) for name in names]


def _shared(parts: Sequence[Sequence[str]], most: int) -> int:
    """With how many equal elements all begin, up to so many."""
    alike = (len(set(column)) == 1 for column in zip(*parts, strict=False))
    return sum(itertools.takewhile(bool, itertools.islice(alike, most)))


def _cut(name: str) -> str:
    return name if len(name) <= _LONGEST else f"…{name[1 - _LONGEST :]}"


def _array(name: str, value: Any, *, real: bool = True) -> np.ndarray:
    """An array of floats on the host, refusing what cannot be drawn."""
    if _checks.is_traced(value) or not isinstance(value, jax.Array | np.ndarray):
        raise TypeError(f"{name} must be an array of known numbers, got {value!r}.")
    array = np.asarray(value)
    kinds = np.floating if real else np.inexact
    if not jax.numpy.issubdtype(array.dtype, kinds):
        allowed = "real floats" if real else "floats or complex numbers"
        raise TypeError(f"{name} must be an array of {allowed}, got {array.dtype}.")
    if not array.size:
        raise ValueError(f"{name} must have elements, got shape {array.shape}.")
    if bad := np.count_nonzero(~np.isfinite(array)):
        raise ValueError(f"{name} must be finite, but {bad} of {array.size} are not.")
    return array


def _law(init: Any, array: np.ndarray) -> Law | None:
    """The law of an initializer for an array of this shape, as far as it is known."""
    if init is None:
        return None
    _check_type("init", init, Initializer)
    try:
        meant = expected(init, array.shape, array.dtype)
        return init.law(array.shape) or Normal(meant.mean, meant.std)
    except ValueError as error:
        raise ValueError(f"init {init!r} does not fit: {error}") from error


def _histogram(
    ax: Any, values: np.ndarray, bins: float, seen: Any, line: Any, names: Sequence[str]
) -> None:
    """Values as a histogram, and the density that is expected of them as a line."""
    heights, edges = np.histogram(values, int(bins), seen, density=True)
    ax.stairs(heights, edges, fill=True, color=_PALE, label=names[0])
    ax.plot(*line, color=_BLACK, linewidth=1.5, label=names[1])
    ax.set_ylim(bottom=0)
    ax.set(xlabel=names[2], ylabel="density")


def _density(array: np.ndarray, init: Any) -> tuple[str, Any, tuple[float, float]]:
    """The density of an initializer: a label, the function and where it is seen."""
    law = _law(init, array) or Normal(float(array.mean()), float(array.std()))
    if not law.std:
        what = "leaf" if init is None else f"init {init!r}"
        raise ValueError(f"{what} must not be constant, for it has no density then.")
    if not law.dense or isinstance(law, Moments):
        law = Normal(law.mean, law.std)
    spread = 4 * law.std
    far = law.mean - spread, law.mean + spread
    if not np.isfinite(spread):  # of heavy tails
        far = (float(end) for end in np.quantile(array, (0.005, 0.995)))
    ends = zip(far, law.bounds, strict=True)
    seen = [end if np.isfinite(end) else far for far, end in ends]
    name = "truncated normal" if isinstance(law, Truncated) else type(law).__name__
    return f"{name.lower()}, std {law.std:.4g}", law.pdf, (seen[0], seen[1])


def _singular_values(matrix: np.ndarray, std: float, ax: Any) -> Any:
    values = np.linalg.svd(matrix, compute_uv=False)
    small, large = sorted(matrix.shape)
    first, last = (std * (np.sqrt(large) + sign * np.sqrt(small)) for sign in (-1, 1))
    s = np.linspace(first, last, 802)
    squares = (last**2 - s**2) * (s**2 - first**2)
    with np.errstate(invalid="ignore"):  # 0 / 0 at the lower end of a square matrix
        p = np.sqrt(squares.clip(0)) / (np.pi * std**2 * small * s)
    ax = _axes(ax)
    bins = np.clip(np.sqrt(values.size) * 2, 5, 60)
    seen = min(values.min(), first), max(values.max(), last)
    labels = f"{values.size} singular values", f"Marchenko–Pastur, std {std:.4g}"
    _histogram(ax, values, bins, seen, (s, p), (*labels, "singular value"))
    return _finished(ax, "Singular values of a {} × {} matrix".format(*matrix.shape))


def _eigenvalues(matrix: np.ndarray, std: float, ax: Any) -> Any:
    rows, columns = matrix.shape
    if rows != columns:
        raise ValueError(
            f"kernel must be square for its eigenvalues, got {rows} × {columns}; draw "
            "its singular values instead."
        )
    values = np.linalg.eigvals(matrix) / (std * np.sqrt(rows))
    angle = np.linspace(0, 2 * np.pi, 361)
    ax = _axes(ax)
    dots = {"color": _BLUE, "marker": "o", "markersize": 2.5, "linestyle": ""}
    ax.plot(values.real, values.imag, label=f"{rows} eigenvalues", **dots)
    circle = {"color": _BLACK, "linewidth": 1, "zorder": 1}
    ax.plot(np.cos(angle), np.sin(angle), "--", label="unit circle", **circle)
    ax.set_aspect("equal")
    unit = "in units of std · sqrt(n)"
    ax.set(xlabel=f"real part, {unit}", ylabel="imaginary part")
    return _finished(ax, f"Eigenvalues of a {rows} × {rows} matrix, std {std:.4g}")
