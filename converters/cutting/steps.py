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
        apply: computes it as at inference: takes {number: tensor}, gives the (first) output tensor.
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
    def further(self) -> range:
        """Numbers of the values that it gives after the first."""
        return range(self.output + 1, self.output + self.outputs)

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
        outputs: numbers of the values that the model gives, in the order in which Keras lists them.
        output_shapes: their shapes.
    """

    steps: tuple[Step, ...]
    input_shape: tuple[int | None, ...]
    outputs: tuple[int, ...]
    output_shapes: tuple[tuple[int | None, ...], ...]

    def giver(self, value: int) -> Step | None:
        """The step that gives a value; None for the input."""
        return next((step for step in self.steps if step.output == value), None)


def graph_of(model: Any) -> Graph:
    """List a model's steps; models used as layers (but for those in a TimeDistributed) are unrolled into theirs.

    Raises:
        ConversionError: a subclassed model, or one with several inputs.
    """
    inputs, outputs = getattr(model, "inputs", None), getattr(model, "outputs", None)
    if not inputs or not outputs:
        raise ConversionError(
            f"{type(model).__name__}: wanted a functional or Sequential model, a subclassed one does not show its graph"
        )
    if len(inputs) != 1:
        raise ConversionError(f"wanted one input, the model has {len(inputs)}")
    walker = _Walker()
    values = {id(inputs[0]): walker.number()}
    steps = tuple(step for output in outputs for step in walker.steps(output, values))
    shapes = tuple(tuple(item.shape) for item in outputs)
    return Graph(steps, tuple(inputs[0].shape), tuple(values[id(item)] for item in outputs), shapes)


def shows_its_graph(layer: Any) -> bool:
    """Whether a layer is a functional or Sequential model."""
    return hasattr(layer, "layers") and bool(getattr(layer, "inputs", None)) and bool(layer.outputs)


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
        if shows_its_graph(layer):
            pairs = zip(layer.inputs, node.input_tensors, strict=True)
            nested = {id(inner): values[id(outer)] for inner, outer in pairs}
            for inner, outer in zip(layer.outputs, node.outputs, strict=True):
                yield from self.steps(inner, nested)
                values[id(outer)] = nested[id(inner)]
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
        given = at_inference(node.operation, *positional, **named)
        return workshop.keras().tree.flatten(given)[0] if len(node.outputs) > 1 else given

    return apply
