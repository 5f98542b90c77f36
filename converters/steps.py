"""A Keras model as a list of steps, whatever it was written as: functional, Sequential, nested."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from deepfake_edge.errors import ConversionError
from deepfake_edge.training import workshop


@dataclass(frozen=True, slots=True)
class Step:
    """One call of one layer.

    Attributes:
        layer: the Keras layer or operation.
        inputs: numbers of the values it takes, in call order.
        output: number of the value that it gives.
        input_shapes: their shapes, None for a dynamic axis.
        shape: the shape of its output.
        outputs: how many values it gives; only the first can be used.
        constants: shapes of the arrays that its call holds beside the values.
        apply: computes it as at inference: takes {number: tensor}, gives the output tensor.
    """

    layer: Any
    inputs: tuple[int, ...]
    output: int
    input_shapes: tuple[tuple[int | None, ...], ...]
    shape: tuple[int | None, ...]
    outputs: int
    constants: tuple[tuple[int, ...], ...]
    apply: Callable[[Mapping[int, Any]], Any]

    @property
    def kind(self) -> str:
        """The layer's class name."""
        return type(self.layer).__name__

    @property
    def name(self) -> str:
        """How to name it to a person."""
        return f"{self.layer.name} ({self.kind})"


@dataclass(frozen=True, slots=True)
class Graph:
    """A model's steps in an order in which they can be computed; value 0 is its input.

    Attributes:
        input_shape: with the batch axis, None for a dynamic axis.
        output_shape: likewise.
        output: number of the value that is the model's output.
    """

    steps: tuple[Step, ...]
    input_shape: tuple[int | None, ...]
    output_shape: tuple[int | None, ...]
    output: int

    @property
    def last(self) -> Step | None:
        """The step that gives the output; None where the input is the output."""
        return next((step for step in self.steps if step.output == self.output), None)


def graph_of(model: Any) -> Graph:
    """List a model's steps; models used as layers (but for those in a TimeDistributed) are unrolled into theirs.

    Raises:
        ConversionError: a subclassed model, or one with several inputs or outputs or a dict of them.
    """
    inputs, outputs = getattr(model, "inputs", None), getattr(model, "outputs", None)
    if not inputs or not outputs:
        raise ConversionError(
            f"{type(model).__name__}: wanted a functional or Sequential model, a subclassed one does not show its graph"
        )
    if len(inputs) != 1 or len(outputs) != 1:
        raise ConversionError(f"wanted one input and one output, the model has {len(inputs)} and {len(outputs)}")
    if isinstance(getattr(model, "output", None), Mapping):
        raise ConversionError(
            "the model gives its output in a dict; rebuild it: keras.Model(model.inputs, model.outputs[0])"
        )
    walker = _Walker()
    values = {id(inputs[0]): walker.number()}
    steps = tuple(walker.steps(outputs[0], values))
    return Graph(steps, tuple(inputs[0].shape), tuple(outputs[0].shape), values[id(outputs[0])])


def at_inference(layer: Any, *given: Any, **named: Any) -> Any:
    """Call a layer as `Model.predict` does: with training=False, whatever its call or the model's author said."""
    if "training" in inspect.signature(layer.call).parameters:
        named["training"] = False
    return layer(*given, **named)


class _Walker:
    """Numbers values, and walks back from an output to what it is computed from."""

    def __init__(self) -> None:
        self._next = 0

    def number(self) -> int:
        self._next += 1
        return self._next - 1

    def steps(self, output: Any, values: dict[int, int]) -> Iterator[Step]:
        """Yield the steps that lead to `output`; `values` maps a symbolic tensor's id to its number, and grows."""
        stack = [output]
        while stack:
            tensor = stack[-1]
            if id(tensor) in values:
                stack.pop()
                continue
            node = _node(tensor)
            waiting = [item for item in node.input_tensors if id(item) not in values]
            if waiting:
                stack.extend(reversed(waiting))
                continue
            yield from self._call(node, values)

    def _call(self, node: Any, values: dict[int, int]) -> Iterator[Step]:
        layer = node.operation
        inner = getattr(layer, "inputs", None) if hasattr(layer, "layers") else None
        if inner and len(inner) == 1 and len(layer.outputs) == 1:
            nested = {id(inner[0]): values[id(node.input_tensors[0])]}
            yield from self.steps(layer.outputs[0], nested)
            values[id(node.outputs[0])] = nested[id(layer.outputs[0])]
            return
        for item in node.outputs:
            values[id(item)] = self.number()
        numbers = tuple(values[id(item)] for item in node.input_tensors)
        yield Step(
            layer=layer,
            inputs=numbers,
            output=values[id(node.outputs[0])],
            input_shapes=tuple(tuple(item.shape) for item in node.input_tensors),
            shape=tuple(node.outputs[0].shape),
            outputs=len(node.outputs),
            constants=_constants(node),
            apply=_applier(node, numbers),
        )


def _node(tensor: Any) -> Any:
    operation, node_index, _ = tensor._keras_history
    return operation._inbound_nodes[node_index]


def _constants(node: Any) -> tuple[tuple[int, ...], ...]:
    values = {id(item) for item in node.input_tensors}
    given = workshop.keras().tree.flatten((node.arguments.args, node.arguments.kwargs))
    return tuple(tuple(item.shape) for item in given if hasattr(item, "shape") and id(item) not in values)


def _applier(node: Any, numbers: tuple[int, ...]) -> Callable[[Mapping[int, Any]], Any]:
    keys = [id(item) for item in node.input_tensors]

    def apply(values: Mapping[int, Any]) -> Any:
        filled = {key: values[number] for key, number in zip(keys, numbers, strict=True)}
        positional, named = node.arguments.fill_in(filled)
        return at_inference(node.operation, *positional, **named)

    return apply
