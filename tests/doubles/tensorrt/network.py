"""Simulated: a network as the ONNX parser fills it, and the shapes that it is built for."""

from __future__ import annotations

from typing import Any

from doubles.tensorrt.graph import Graph
from doubles.tensorrt.library import Library
from doubles.tensorrt.plans import Shapes


class Network:
    """INetworkDefinition, as far as the ONNX parser fills it."""

    api = "INetworkDefinition"

    def __init__(self, library: Library, builder: Any, flag_names: tuple[str, ...]) -> None:
        self.library = library
        self.builder = builder
        self.flag_names = flag_names
        self.graph: Graph | None = None
        self.name = "Unnamed Network 0"
        library.born(self, "networks")

    @property
    def has_implicit_batch_dimension(self) -> bool:
        return self.library.number < (9, 0) and "EXPLICIT_BATCH" not in self.flag_names

    @property
    def strongly_typed(self) -> bool:
        return self.library.number >= (11, 0) or "STRONGLY_TYPED" in self.flag_names

    @property
    def num_inputs(self) -> int:
        return len(self.graph.inputs) if self.graph else 0

    @property
    def num_outputs(self) -> int:
        return len(self.graph.outputs) if self.graph else 0

    @property
    def num_layers(self) -> int:
        return len(self.graph.layers) if self.graph else 0

    def get_input(self, index: int) -> Tensor | None:
        return self._port(list(self.graph.inputs.items()) if self.graph else [], index, True)

    def get_output(self, index: int) -> Tensor | None:
        return self._port(list(self.graph.outputs.items()) if self.graph else [], index, False)

    def get_flag(self, flag: Any) -> bool:
        return flag.name in self.flag_names

    def _port(self, ports: list[tuple[str, tuple[int, ...]]], index: int, is_input: bool) -> Tensor | None:
        if not 0 <= index < len(ports):
            self.library.refuse(self.builder.logger, "Error Code 3: API Usage Error (index out of range)")
            return None
        assert self.graph
        name, shape = ports[index]
        kind = self.library.enum(f"DataType.{self.graph.kinds[name]}")
        return Tensor(self.library, name, shape, kind, is_input)


class Tensor:
    """ITensor, to be looked at."""

    api = "ITensor"

    def __init__(self, library: Library, name: str, shape: tuple[int, ...], dtype: Any, is_input: bool) -> None:
        self.name = name
        self.shape = library.dims(shape)
        self.dtype = dtype
        self.is_network_input = is_input
        self.is_network_output = not is_input


class OptimizationProfile:
    """IOptimizationProfile; belongs to its builder."""

    api = "IOptimizationProfile"

    def __init__(self) -> None:
        self.shapes: dict[str, Shapes] = {}
        self.extra_memory_target = 1.0

    def set_shape(self, input: str, min: Any, opt: Any, max: Any) -> None:  # noqa: A002
        shapes = tuple(tuple(dims.sizes) for dims in (min, opt, max))
        for which, shape in zip(("min", "opt", "max"), shapes, strict=True):
            if any(size < 0 for size in shape) or len(shape) != len(shapes[0]):
                raise RuntimeError(f"Shape provided for {which} is inconsistent with other shapes.")
        self.shapes[input] = shapes

    def get_shape(self, input: str) -> list[Any]:  # noqa: A002
        raise NotImplementedError("IOptimizationProfile.get_shape is not simulated by this double")

    def valid(self) -> bool:
        rows = [zip(*shapes, strict=True) for shapes in self.shapes.values()]
        return bool(rows) and all(low <= best <= high for row in rows for low, best, high in row)
