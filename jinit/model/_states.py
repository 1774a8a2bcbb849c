"""States: what a recurrence starts from whose turns are written out.

    a = dot_general h u      of two parameters, so far
    b = add a x              meets an input: a shift, so far
    c = dot_general t u      u again, of what was computed: so h stands where t does

So where a parameter has met a kernel before the inputs, as these meet it later, or is
put beside an input where later something is that is computed.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from jinit.model._graph import Graph, Use


def first_states(graph: Graph) -> set[str]:
    """The parameters that are where signals are elsewhere."""
    kernels = [use for use in graph.uses if use.kind == "contraction"]
    others = [use for use in graph.uses if use.kind != "contraction"]
    return {*_multiplied(kernels, others), *_beside(kernels, others)}


def _multiplied(kernels: list[Use], others: list[Use]) -> Iterator[str]:
    plain = {use.view.path for use in kernels if not use.view.functions}
    values = {id(value): value for use in others for value in use.step.inputs}
    for value in values.values():
        products = [view for view in value.views if "dot_general" in view.functions]
        apart = [view for view in products if view.path not in plain]
        if apart and len(apart) < len(products):
            yield max(apart, key=lambda view: len(view.functions)).path


def _beside(kernels: list[Use], others: list[Use]) -> Iterator[str]:
    joined = [use for use in kernels if _joins(use)]
    for use in others:
        if use.step.name != "concatenate":
            continue
        made, inputs = use.step.outputs[0], use.step.inputs
        place = next(n for n, value in enumerate(inputs) if use.view in value.views)
        met = {kernel.view.path for kernel in joined if kernel.operand is made}
        again = [u.operand.step for u in joined if u.view.path in met]
        beside = [step.inputs[place : place + 1] for step in again if step is not None]
        if any(value.data for values in beside for value in values):
            yield use.view.path


def _joins(use: Use) -> bool:
    """Whether a kernel sums over what values are put beside each other."""
    step = use.operand.step
    if step is None or step.name != "concatenate" or use.step.name != "dot_general":
        return False
    at = next(n for n, value in enumerate(use.step.inputs) if value is use.operand)
    summed = use.step.equation.params["dimension_numbers"][0][at]
    return step.equation.params["dimension"] in summed
