"""One deep network, seven ways to draw it, and which of them learn.

    pip install -e '.[examples]' && python examples/deep_network.py

A stack of ReLU layers is trained on the digits that scikit-learn ships: real images,
and nothing to download. Data, batches and optimizer are the same for all, so the first
weights alone make one row of the table differ from another. The row "jinit.roles" is
told nothing: its rules are read from the program. Two things to know when reading it:
the biases of torch's default hold its activations up, and tell nothing of the image
(its gradients show that). And training is short: given longer, Xavier's network leaves
the plateau too.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

try:
    import flax.linen as nn
    import jax
    import jax.numpy as jnp
    import numpy as np
    import optax
    from matplotlib import figure, ticker
    from sklearn import datasets, model_selection

    import jinit
    from jinit.diagnostics.plots import COLORS, MARKERS
except ModuleNotFoundError as error:
    sys.exit(f"deep_network.py needs {error.name}: pip install -e '.[examples]'")


def _kernel(init: jinit.Initializer) -> Callable[[int], dict[str, Any]]:
    """What a Dense layer takes, by the number of its inputs: here the same for all."""
    return lambda inputs: {"kernel_init": init}


CASES: dict[str, Callable[[int], dict[str, Any]] | None] = {  # None: as roles says
    "torch Linear default": jinit.torch.linear,
    "Xavier": _kernel(jinit.xavier_normal()),
    "He with gain": _kernel(jinit.kaiming_normal(nonlinearity="relu")),
    "orthogonal with gain": _kernel(jinit.orthogonal(gain="relu")),
    "jinit.roles": None,
    "N(0, 1)": _kernel(jinit.normal(std=1.0)),
    "N(0, 0.01²)": _kernel(jinit.normal(std=0.01)),
}
# Plain momentum shows the size of the gradients; Adam would divide it out.
OPTIMIZER = optax.sgd(learning_rate=0.002, momentum=0.9)


@dataclass(frozen=True)
class Result:
    """What became of one initializer; both lists hold a number for each layer."""

    name: str
    expected_std: float  # of a square kernel
    measured_std: float
    activations: list[float]  # rms over all training images, before training
    gradients: list[float]  # rms of the kernels', in the same pass
    loss: float  # on the test images, after training
    accuracy: float

    @property
    def outcome(self) -> str:
        """Whether it learned, in words."""
        if not math.isfinite(self.loss):
            return "diverged"
        return "learned" if self.accuracy > 0.5 else "did not learn"


class MLP(nn.Module):
    """Dense layers with ReLUs between them; returns what each of them puts out."""

    depth: int
    width: int
    options: Callable[[int], dict[str, Any]] = lambda inputs: {}

    @nn.compact
    def __call__(self, x: jax.Array) -> list[jax.Array]:
        """Returns the activations of every layer; the last are the logits."""
        outputs = []
        for layer in range(1, self.depth + 1):
            units = self.width if layer < self.depth else 10  # digits
            x = nn.Dense(units, **self.options(x.shape[-1]), name=f"layer_{layer}")(x)
            x = nn.relu(x) if layer < self.depth else x
            outputs.append(x)
        return outputs


def main(arguments: Sequence[str] | None = None) -> None:
    """Trains the networks, prints what became of them and draws it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    kinds = ".png, .svg or .pdf"
    options = {"metavar": "PATH", "help": f"the picture, a {kinds} (%(default)s)"}
    parser.add_argument("--plot", type=Path, default="deep_network.png", **options)
    path = parser.parse_args(arguments).plot
    if path.suffix not in (".png", ".svg", ".pdf") or not path.parent.is_dir():
        parser.error(f"--plot must be a {kinds} in a folder that exists, got {path}")
    print("Compiling, then training on scikit-learn's digits ...", file=sys.stderr)
    results = []
    for result in study():
        print(f"  {result.name}: {result.outcome}", file=sys.stderr)
        results.append(result)
    print(table(results), conclusion(results), sep="\n\n")
    draw(results, path)
    print(f"The picture: {path}")


def study(depth=30, width=128, steps=300, seed=0) -> Iterator[Result]:
    """Yields the result of each of `CASES`, as soon as there is one."""
    images, labels = datasets.load_digits(return_X_y=True)
    images = ((images - images.mean()) / images.std()).astype("float32")
    images, tests, labels, answers = model_selection.train_test_split(
        images, labels, test_size=0.2, random_state=seed, stratify=labels
    )
    train, test = (images, labels.astype("int32")), (tests, answers.astype("int32"))
    batches = np.random.default_rng(seed).integers(len(labels), size=(steps, 64))
    # One module stands for all of them in jit, so that it compiles once: after the
    # draw, the initializer makes no difference to the program.
    model = MLP(depth, width)
    for name, options in CASES.items():
        params, expected = _drawn(model, options, jax.random.key(seed), images[:1])
        outputs, gradients, loss, accuracy = _run(model, params, train, test, batches)
        yield Result(
            name=name,
            expected_std=expected,
            measured_std=float(jnp.std(_kernels(params)[depth // 2])),
            activations=[_rms(output) for output in outputs],
            gradients=[_rms(gradient) for gradient in _kernels(gradients)],
            loss=float(loss),
            accuracy=float(accuracy),
        )


def _drawn(model: MLP, options: Any, key: jax.Array, x: Any) -> tuple[Any, float]:
    """The first weights, and the deviation that those of a square kernel have."""
    square = (model.width, model.width)
    if options is not None:
        init = options(model.width)["kernel_init"]
        params = MLP(model.depth, model.width, options).init(key, x)
        return params, init.law(square).std
    shapes = jax.eval_shape(model.init, key, x)
    plan = jinit.plan(shapes, jinit.roles(model, shapes, x).rules())
    inits = {entry.path: entry.init for entry in plan.entries}
    middle = inits[f"params/layer_{model.depth // 2 + 1}/kernel"]
    return plan.init(key), middle.law(square).std


def table(results: Sequence[Result]) -> str:
    """The results as plain text, a line for each, under two lines of headings."""
    depth = len(results[0].activations)
    layers = (1, depth // 2, depth)
    numbers = "".join(f"{layer:8}" for layer in layers)
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
        lines.append(
            f"{result.name:20} {result.expected_std:7.4f} {result.measured_std:7.4f} "
            + "".join(f"{scale:8.2g}" for scale in (*scales, result.loss))
            + f"{'diverged' if diverged else format(result.accuracy, '.0%'):>9}"
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
            *first, last = [result.name for result in those]
            names = f"{', '.join(first)} and {last}" if first else last
            clauses.append(f"{names} {outcome} ({scale})")
    return (
        f"Given the same training, {'; '.join(clauses)}; in brackets, the rms of the "
        "first layer's gradient at the start."
    )


def draw(results: Sequence[Result], path: Path) -> None:
    """Draws activations and gradients by layer, and writes them to a picture."""
    depth = len(results[0].activations)
    page = figure.Figure(figsize=(11, 5), layout="constrained")
    title = f"What {depth} layers make of the signal at the start"
    page.suptitle(f"{title} (solid: learned, dashed: did not)")
    forward, backward = page.subplots(1, 2, sharey=True)
    for number, result in enumerate(results):
        learned, diverged = (result.outcome == o for o in ("learned", "diverged"))
        right = "" if diverged else f": {result.accuracy:.0%} right"
        style = {
            "label": f"{result.name}\n{result.outcome}{right}",
            "color": COLORS[number],
            "marker": MARKERS[number],
            "markevery": (number % depth, len(CASES)),
            "linestyle": "-" if learned else "--",
            "linewidth": 2.5 if learned else 1.5,
        }
        forward.semilogy(range(1, depth + 1), result.activations, **style)
        backward.semilogy(range(1, depth + 1), result.gradients, **style)
    forward.set(title="activations, forward", ylabel="root mean square")
    backward.set(title="gradients of the kernels, backward")
    for axes in (forward, backward):
        axes.set_xlabel("layer")
        axes.grid(alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
    forward.yaxis.set_major_locator(ticker.LogLocator(base=1e10))  # both share it
    legend = {"title": "after training", "alignment": "left", "frameon": False}
    legend |= {"labelspacing": 1.2, "handlelength": 3.5, "loc": "outside right center"}
    page.legend(*forward.get_legend_handles_labels(), **legend)
    page.savefig(path, dpi=120)


@partial(jax.jit, static_argnums=0)
def _run(model: MLP, params: Any, train: Any, test: Any, batches: Any) -> Any:
    """Activations and gradients before training; loss and accuracy after it."""

    def loss_of(params: Any, data: Any) -> tuple[jax.Array, list[jax.Array]]:
        outputs: Any = model.apply(params, data[0])
        losses = optax.softmax_cross_entropy_with_integer_labels(outputs[-1], data[1])
        return losses.mean(), outputs

    def step(state: Any, batch: jax.Array) -> tuple[Any, None]:
        params, momentum = state
        data = train[0][batch], train[1][batch]
        gradients, _ = jax.grad(loss_of, has_aux=True)(params, data)
        updates, momentum = OPTIMIZER.update(gradients, momentum)
        return (optax.apply_updates(params, updates), momentum), None

    gradients, activations = jax.grad(loss_of, has_aux=True)(params, train)
    (params, _), _ = jax.lax.scan(step, (params, OPTIMIZER.init(params)), batches)
    loss, outputs = loss_of(params, test)
    right = outputs[-1].argmax(axis=-1) == test[1]
    return activations, gradients, loss, right.mean()


def _kernels(params: Any) -> list[jax.Array]:
    """The kernels of all layers, in order."""
    layers = params["params"]
    return [layers[f"layer_{n}"]["kernel"] for n in range(1, len(layers) + 1)]


def _rms(x: Any) -> float:
    """Root mean square, in double precision: 1e27 and 1e-33 have no float32 square."""
    return math.sqrt(np.mean(np.square(np.asarray(x, np.float64))))


if __name__ == "__main__":
    main()
