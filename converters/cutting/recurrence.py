"""Recurrent layers taken apart: the input projection, once a frame, and the recurrence, unrolled without a loop.

For an LSTM (Hochreiter and Schmidhuber, 1997; gates i, f, g, o in Keras's order), with p = x W + b:
    i, f, o = s(p + h U);  g = a(p + h U);  c' = f c + i g;  h' = o a(c')
For a GRU (Cho et al., 2014; gates z, r, n): z, r = s(p + h U);  h' = z h + (1 - z) n, with
    n = a(p + r (h U + b_r))  when the reset is applied after the product,  n = a(p + (r h) U)  when before.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np

from deepfake_edge.data import Floats
from deepfake_edge.training.workshop import tensorflow

Kind: TypeAlias = Literal["LSTM", "GRU", "SimpleRNN"]
Merge: TypeAlias = Literal["concat", "sum", "mul", "ave"]
_KINDS: tuple[Kind, ...] = ("LSTM", "GRU", "SimpleRNN")


@dataclass(frozen=True, slots=True)
class Direction:
    """One recurrent layer, run over a window in one direction.

    Attributes:
        kind: which recurrence.
        units: size H of its state.
        kernel: (F, G*H), the input projection W; G gates.
        bias: (G*H,), what is added to it.
        recurrent: (H, G*H), U.
        recurrent_bias: (G*H,), or None.
        activation: a, on tensors.
        gate: s, on tensors; unused by SimpleRNN.
        reset_after: for a GRU.
        backwards: starts at the last frame.
    """

    kind: Kind
    units: int
    kernel: Floats
    bias: Floats
    recurrent: Floats
    recurrent_bias: Floats | None
    activation: Callable[[Any], Any]
    gate: Callable[[Any], Any]
    reset_after: bool
    backwards: bool

    @property
    def size(self) -> int:
        """Numbers a frame that the recurrence takes: G*H."""
        return int(self.kernel.shape[1])


@dataclass(frozen=True, slots=True)
class Recurrence:
    """A recurrent layer: one direction, or two that are merged.

    Attributes:
        directions: one, or forward and backward.
        merge: how two are merged.
        sequences: gives a state for every frame rather than the last one.
    """

    directions: tuple[Direction, ...]
    merge: Merge
    sequences: bool

    @property
    def size(self) -> int:
        """Numbers a frame that `run` takes."""
        return sum(item.size for item in self.directions)

    def project(self, values: Any) -> Any:
        """The input projections of all directions in one product: (..., F) -> (..., size)."""
        tf = tensorflow()
        kernel = np.concatenate([item.kernel for item in self.directions], axis=1)
        bias = np.concatenate([item.bias for item in self.directions])
        product = tf.matmul(values, tf.constant(kernel))
        return product + tf.constant(bias) if bias.any() else product

    def run(self, projected: Any) -> Any:
        """The recurrence: (B, T, size) -> (B, H') or, with sequences, (B, T, H')."""
        tf = tensorflow()
        parts = tf.split(projected, [item.size for item in self.directions], axis=-1)
        if len(self.directions) == 1:
            parts = [projected]
        given = [_unroll(item, part, self.sequences) for item, part in zip(self.directions, parts, strict=True)]
        if len(given) == 1:
            return given[0]
        first, second = given
        if self.sequences:
            second = tf.reverse(second, axis=[1])
        if self.merge == "concat":
            return tf.concat([first, second], axis=-1)
        if self.merge == "mul":
            return first * second
        total = first + second
        return total / 2.0 if self.merge == "ave" else total


def is_recurrent(layer: Any) -> bool:
    """Whether `read_recurrence` understands the layer's class."""
    if type(layer).__name__ == "Bidirectional":
        return all(type(item).__name__ in _KINDS for item in (layer.forward_layer, layer.backward_layer))
    return type(layer).__name__ in _KINDS


def objections(layer: Any) -> list[str]:
    """Why a recurrent layer cannot be taken apart; empty when it can."""
    reasons = []
    if layer.stateful:
        reasons.append("is stateful: what it says depends on earlier windows; rebuild it with stateful=False")
    if layer.return_state:
        reasons.append("returns its state; rebuild it with return_state=False (h is its last output)")
    if type(layer).__name__ == "Bidirectional" and layer.merge_mode is None:
        reasons.append("gives its two directions apart (merge_mode=None)")
    return reasons


@contextmanager
def unrolled(layer: Any) -> Iterator[None]:
    """Within this, a recurrent layer of any other kind (a convolutional one, say) runs without a loop."""
    parts = [getattr(layer, name, None) for name in ("forward_layer", "backward_layer")]
    loops = [item for item in (layer, *parts) if hasattr(item, "unroll") and hasattr(item, "cell")]
    kept = [item.unroll for item in loops]
    try:
        for item in loops:
            item.unroll = True
        yield
    finally:
        for item, value in zip(loops, kept, strict=True):
            item.unroll = value


def read_recurrence(layer: Any) -> Recurrence:
    """Take a layer's weights and options; see `is_recurrent` and `objections`."""
    if type(layer).__name__ == "Bidirectional":
        pair = (layer.forward_layer, layer.backward_layer)
        return Recurrence(tuple(_direction(item) for item in pair), layer.merge_mode, layer.return_sequences)
    return Recurrence((_direction(layer),), "concat", layer.return_sequences)


def _direction(layer: Any) -> Direction:
    cell = layer.cell
    kernel, recurrent = np.asarray(cell.kernel), np.asarray(cell.recurrent_kernel)
    bias = np.asarray(cell.bias) if cell.use_bias else np.zeros(kernel.shape[1], np.float32)
    recurrent_bias = None
    if bias.ndim == 2:
        bias, recurrent_bias = bias[0], bias[1]
    return Direction(
        kind=_KINDS[_KINDS.index(type(layer).__name__)],
        units=cell.units,
        kernel=kernel,
        bias=bias,
        recurrent=recurrent,
        recurrent_bias=recurrent_bias,
        activation=cell.activation,
        gate=getattr(cell, "recurrent_activation", cell.activation),
        reset_after=bool(getattr(cell, "reset_after", False)),
        backwards=layer.go_backwards,
    )


def _unroll(direction: Direction, projected: Any, sequences: bool) -> Any:
    tf = tensorflow()
    moments = tf.unstack(projected, axis=1)
    if direction.backwards:
        moments.reverse()
    cell = {"LSTM": _lstm, "GRU": _gru, "SimpleRNN": _simple}[direction.kind](direction)
    state: tuple[Any, ...] | None = None
    given = []
    for moment in moments:
        state = cell(moment, state)
        given.append(state[0])
    return tf.stack(given, axis=1) if sequences else given[-1]


_Cell: TypeAlias = Callable[[Any, "tuple[Any, ...] | None"], "tuple[Any, ...]"]


def _lstm(direction: Direction) -> _Cell:
    tf = tensorflow()
    units, gate, activation = direction.units, direction.gate, direction.activation
    recurrent = tf.constant(direction.recurrent)

    def step(moment: Any, state: tuple[Any, ...] | None) -> tuple[Any, ...]:
        # A window begins with a state of zeros: neither h U nor f c has anything to add.
        total = moment if state is None else moment + tf.matmul(state[0], recurrent)
        i, f, g, o = tf.split(total, [units] * 4, axis=-1)
        memory = gate(i) * activation(g)
        if state is not None:
            memory = gate(f) * state[1] + memory
        return gate(o) * activation(memory), memory

    return step


def _gru(direction: Direction) -> _Cell:
    tf = tensorflow()
    units, gate, activation = direction.units, direction.gate, direction.activation
    recurrent = direction.recurrent
    gates, candidate = tf.constant(recurrent[:, : 2 * units]), tf.constant(recurrent[:, 2 * units :])
    both = tf.constant(recurrent)
    extra = direction.recurrent_bias
    bias = tf.constant(np.zeros(3 * units, np.float32) if extra is None else extra)

    def step(moment: Any, state: tuple[Any, ...] | None) -> tuple[Any, ...]:
        mz, mr, mn = tf.split(moment, [units] * 3, axis=-1)
        if direction.reset_after:
            inner = bias if state is None else tf.matmul(state[0], both) + bias
            iz, ir, inn = tf.split(inner, [units] * 3, axis=-1)
            z, r = gate(mz + iz), gate(mr + ir)
            n = activation(mn + r * inn)
        elif state is None:
            z, n = gate(mz), activation(mn)
        else:
            iz, ir = tf.split(tf.matmul(state[0], gates), [units] * 2, axis=-1)
            z, r = gate(mz + iz), gate(mr + ir)
            n = activation(mn + tf.matmul(r * state[0], candidate))
        mixed = (1.0 - z) * n
        return (mixed if state is None else z * state[0] + mixed,)

    return step


def _simple(direction: Direction) -> _Cell:
    tf = tensorflow()
    recurrent = tf.constant(direction.recurrent)

    def step(moment: Any, state: tuple[Any, ...] | None) -> tuple[Any, ...]:
        total = moment if state is None else moment + tf.matmul(state[0], recurrent)
        return (direction.activation(total),)

    return step
