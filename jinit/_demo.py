"""The demonstration: one deep network, six initializers, and which of them learn.

A stack of ReLU layers is trained on the digits that scikit-learn ships: real images,
and nothing to download. Data, batches and optimizer are the same for all, so that what
differs between two rows of the table is due to the first weights alone. Two things to
know when reading it: torch's default holds its activations up by the biases, which tell
nothing of the image (its gradients show that). And training is short: given longer,
Xavier's network leaves the plateau too.

Only the command line imports this module, since it needs the extra `demo`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

import jinit

CLASSES = 10
BATCH_SIZE = 64
# Plain momentum shows the size of the gradients; Adam would divide it out.
OPTIMIZER = optax.sgd(learning_rate=0.002, momentum=0.9)

# Okabe and Ito's palette, which the colour-blind can tell apart.
COLORS = ("#E69F00", "#56B4E9", "#009E73", "#0072B2", "#D55E00", "#CC79A7")
MARKERS = ("v", "s", "o", "D", "^", "X")

Data = tuple[jax.Array, jax.Array]
"""Images, one a row, and their labels."""


def _zeros(fan_in: int) -> jinit.Initializer:
    return jinit.zeros()


@dataclass(frozen=True)
class Case:
    """An initializer to try, and the standard deviation that its formula promises."""

    name: str
    kernel_init: jinit.Initializer
    std: Callable[[int], float]  # of a square kernel, by its fan
    bias_init: Callable[[int], jinit.Initializer] = _zeros  # by the layer's fan_in


CASES = (
    Case(
        "torch Linear default",
        jinit.kaiming_uniform(a=math.sqrt(5)),
        lambda fan: math.sqrt(1 / (3 * fan)),
        lambda fan_in: jinit.kaiming_uniform(a=math.sqrt(5), fan_in=fan_in),
    ),
    Case("Xavier", jinit.xavier_normal(), lambda fan: math.sqrt(1 / fan)),
    Case(
        "He with gain",
        jinit.kaiming_normal(nonlinearity="relu"),
        lambda fan: math.sqrt(2 / fan),
    ),
    Case(
        "orthogonal with gain",
        jinit.orthogonal(gain="relu"),
        lambda fan: math.sqrt(2 / fan),
    ),
    Case("N(0, 1)", jinit.normal(std=1.0), lambda fan: 1.0),
    Case("N(0, 0.01²)", jinit.normal(std=0.01), lambda fan: 0.01),
)


@dataclass(frozen=True)
class Result:
    """What became of one initializer; both lists hold a number for each layer."""

    name: str
    expected_std: float
    measured_std: float
    activations: list[float]  # rms over a pass through the images, before training
    gradients: list[float]  # rms of the kernels', in the same pass
    loss: float  # on the test images, after training
    accuracy: float

    @property
    def outcome(self) -> str:
        if not math.isfinite(self.loss):
            return "diverged"
        return "learned" if self.accuracy > 0.5 else "did not learn"


class MLP(nn.Module):
    """Dense layers with ReLUs between them; returns what each of them puts out."""

    depth: int
    width: int
    kernel_init: Any = jinit.zeros()
    bias_init: Callable[[int], Any] = _zeros

    @nn.compact
    def __call__(self, x: jax.Array) -> list[jax.Array]:
        """Returns the activations of every layer; the last are the logits."""
        outputs = []
        for layer in range(1, self.depth + 1):
            x = nn.Dense(
                self.width if layer < self.depth else CLASSES,
                kernel_init=self.kernel_init,
                bias_init=self.bias_init(x.shape[-1]),
                name=f"layer_{layer}",
            )(x)
            x = nn.relu(x) if layer < self.depth else x
            outputs.append(x)
        return outputs


def study(
    depth: int = 30, width: int = 128, steps: int = 300, seed: int = 0
) -> Iterator[Result]:
    """Tries each of `CASES`, and yields its result as soon as there is one.

    Args:
      depth: Number of layers, at least 3: a square kernel lies between the ends.
      width: Units of each layer but the last.
      steps: Training steps.
      seed: Seed of the weights, of the batches and of the choice of test images.

    Yields:
      A `Result` for each case, in order.
    """
    train, test = _digits(seed)
    count = len(train[1])
    batches = np.random.default_rng(seed).integers(count, size=(steps, BATCH_SIZE))
    # One module stands for all of them in jit, so that it compiles once: after the
    # draw, the initializer makes no difference to the program.
    model = MLP(depth, width)
    for case in CASES:
        drawn = MLP(depth, width, case.kernel_init, case.bias_init)
        params = drawn.init(jax.random.key(seed), train[0][:1])
        outputs, gradients = _first_pass(model, params, train)
        loss, accuracy = _train(model, params, train, test, batches)
        yield Result(
            name=case.name,
            expected_std=case.std(width),
            measured_std=float(jnp.std(_kernels(params)[depth // 2])),
            activations=[_rms(output) for output in outputs],
            gradients=[_rms(gradient) for gradient in _kernels(gradients)],
            loss=float(loss),
            accuracy=float(accuracy),
        )


def table(results: Sequence[Result]) -> str:
    """The results as plain text, a line for each, under two lines of headings."""
    depth = len(results[0].activations)
    layers = (1, depth // 2, depth)
    numbers = "".join(f"{layer:>8}" for layer in layers)
    lines = [
        f"{'':20} {'std of a kernel':>15} {'activation rms, layer':>24}"
        f"{'kernel gradient, layer':>24}{'after training':>17}",
        f"{'initializer':20} {'formula':>7} {'sample':>7} {numbers}{numbers}"
        f"{'loss':>8}{'accuracy':>9}",
    ]
    for result in results:
        scales = [result.activations[layer - 1] for layer in layers]
        scales += [result.gradients[layer - 1] for layer in layers]
        diverged = result.outcome == "diverged"
        accuracy = "diverged" if diverged else f"{result.accuracy:.0%}"
        lines.append(
            f"{result.name:20} {result.expected_std:7.4f} {result.measured_std:7.4f} "
            + "".join(f"{scale:8.2g}" for scale in scales)
            + f"{result.loss:8.2g}{accuracy:>9}"
        )
    return "\n".join(lines)


def conclusion(results: Sequence[Result]) -> str:
    """What the results show, in a sentence."""
    clauses = []
    for outcome in ("learned", "did not learn", "diverged"):
        those = [result for result in results if result.outcome == outcome]
        if those:
            gradients = [result.gradients[0] for result in those]
            low, high = f"{min(gradients):.2g}", f"{max(gradients):.2g}"
            scale = low if low == high else f"{low} to {high}"
            names = _enumerate([result.name for result in those])
            clauses.append(f"{names} {outcome} ({scale})")
    return (
        f"Given the same training, {'; '.join(clauses)}; in brackets, the rms of the "
        "first layer's gradient at the start."
    )


def draw(results: Sequence[Result], path: Path) -> None:
    """Draws activations and gradients by depth, and writes them to a picture.

    Raises:
      ImportError: matplotlib is not installed.
      OSError: The picture cannot be written.
    """
    from matplotlib.figure import Figure
    from matplotlib.ticker import LogLocator

    figure = Figure(figsize=(11, 5), layout="constrained")
    figure.suptitle(
        f"What {len(results[0].activations)} layers make of the signal at the start "
        "(solid: learned, dashed: did not)"
    )
    forward, backward = figure.subplots(1, 2, sharey=True)
    _draw_scales(forward, "activations", results)
    _draw_scales(backward, "gradients", results)
    forward.set(title="activations, forward", ylabel="root mean square")
    backward.set(title="gradients of the kernels, backward")
    forward.yaxis.set_major_locator(LogLocator(base=1e10))  # for both: they share it
    lines, labels = forward.get_legend_handles_labels()
    figure.legend(
        lines,
        labels,
        loc="outside right center",
        title="after training",
        alignment="left",
        frameon=False,
        labelspacing=1.2,
        handlelength=3.5,
    )
    figure.savefig(path, dpi=120)


def _draw_scales(axes: Any, quantity: str, results: Sequence[Result]) -> None:
    """Draws one quantity by layer; a dashed line is a network that did not learn."""
    for number, result in enumerate(results):
        scales = getattr(result, quantity)
        learned = result.outcome == "learned"
        axes.semilogy(
            range(1, len(scales) + 1),
            scales,
            label=f"{result.name}\n{_verdict(result)}",
            color=COLORS[number],
            marker=MARKERS[number],
            markevery=(number, len(CASES)) if len(scales) > len(CASES) else 1,
            linestyle="-" if learned else "--",
            linewidth=2.5 if learned else 1.5,
        )
    axes.set_xlabel("layer")
    axes.grid(alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)


def _digits(seed: int) -> tuple[Data, Data]:
    """The images and labels to train on and to test on."""
    images, labels = load_digits(return_X_y=True)
    images = (images - images.mean()) / images.std()
    train_images, test_images, train_labels, test_labels = train_test_split(
        jnp.asarray(images, jnp.float32),
        jnp.asarray(labels, jnp.int32),
        test_size=0.2,
        random_state=seed,
        stratify=labels,
    )
    return (train_images, train_labels), (test_images, test_labels)


def _loss(params: Any, model: MLP, data: Data) -> tuple[jax.Array, list[jax.Array]]:
    images, labels = data
    outputs: Any = model.apply(params, images)
    losses = optax.softmax_cross_entropy_with_integer_labels(outputs[-1], labels)
    return losses.mean(), outputs


@partial(jax.jit, static_argnums=0)
def _first_pass(model: MLP, params: Any, data: Data) -> tuple[list[jax.Array], Any]:
    gradients, outputs = jax.grad(_loss, has_aux=True)(params, model, data)
    return outputs, gradients


@partial(jax.jit, static_argnums=0)
def _train(
    model: MLP, params: Any, train: Data, test: Data, batches: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Loss and accuracy on the test images, after a step for each of the batches."""

    def step(state: Any, batch: jax.Array) -> tuple[Any, None]:
        params, momentum = state
        data = (train[0][batch], train[1][batch])
        gradients, _ = jax.grad(_loss, has_aux=True)(params, model, data)
        updates, momentum = OPTIMIZER.update(gradients, momentum)
        return (optax.apply_updates(params, updates), momentum), None

    (params, _), _ = jax.lax.scan(step, (params, OPTIMIZER.init(params)), batches)
    loss, outputs = _loss(params, model, test)
    return loss, jnp.mean(outputs[-1].argmax(axis=-1) == test[1])


def _kernels(params: Any) -> list[jax.Array]:
    layers = params["params"]
    return [layers[f"layer_{n}"]["kernel"] for n in range(1, len(layers) + 1)]


def _rms(x: Any) -> float:
    """Root mean square, in double precision: 1e27 and 1e-33 have no float32 square."""
    return math.sqrt(np.mean(np.square(np.asarray(x, np.float64))))


def _verdict(result: Result) -> str:
    accuracy = "" if result.outcome == "diverged" else f": {result.accuracy:.0%} right"
    return result.outcome + accuracy


def _enumerate(names: Sequence[str]) -> str:
    *first, last = names
    return f"{', '.join(first)} and {last}" if first else last
