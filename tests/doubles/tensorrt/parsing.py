"""Simulated: the ONNX parser."""

from __future__ import annotations

from typing import Any

from doubles.tensorrt.graph import Graph
from doubles.tensorrt.library import Library
from doubles.tensorrt.network import Network


class Parser:
    """OnnxParser."""

    api = "OnnxParser"

    def __init__(self, library: Library, network: Network, logger: Any) -> None:
        if library.fault("parser"):
            raise TypeError("pybind11::init(): factory function returned nullptr")
        self._library = library
        self._network = network
        self._logger = logger
        self._errors: list[ParserError] = []
        library.born(self, "parsers")

    @property
    def num_errors(self) -> int:
        return len(self._errors)

    def get_error(self, index: int) -> ParserError:
        return self._errors[index]

    def clear_errors(self) -> None:
        self._errors.clear()

    def supports_operator(self, op_name: str) -> bool:
        return op_name not in self._library.unsupported_operators

    def parse(self, model: memoryview, path: str | None = None) -> bool:
        self._errors += self._problems(bytes(model))
        for error in self._errors:
            self._library.refuse(self._logger, f"ModelImporter.cpp:{error.line()}: {error.desc()}")
        return not self._errors

    def parse_from_file(self, model: str) -> bool:
        try:
            with open(model, "rb") as file:
                data = file.read()
        except OSError:
            self._errors.append(ParserError("MODEL_DESERIALIZE_FAILED", -1, "", f"Could not open file {model}"))
            return False
        return self.parse(memoryview(data))

    def _problems(self, data: bytes) -> list[ParserError]:
        how = self._library.fault("parse")
        if how is not None:
            given = how.get("errors", ((3, "Conv", "Assertion failed: a failure that a test asked for"),))
            return [ParserError("UNSUPPORTED_NODE", node, operator, text) for node, operator, text in given]
        if self._network.has_implicit_batch_dimension:
            text = (
                "Assertion failed: !mImporterCtx.network()->hasImplicitBatchDimension() && This version of the ONNX "
                "parser only supports TensorRT INetworkDefinitions with an explicit batch dimension."
            )
            return [ParserError("INVALID_VALUE", -1, "", text)]
        try:
            graph = Graph(data)
        except ValueError as error:
            return [ParserError("MODEL_DESERIALIZE_FAILED", -1, "", str(error))]
        found = graph.problems(self._library.unsupported_operators)
        if not found:
            self._network.graph = graph
        return [ParserError("UNSUPPORTED_NODE", *item) for item in found]


class ParserError:
    """ParserError: where and why."""

    api = "ParserError"

    def __init__(self, code: str, node: int, operator: str, text: str) -> None:
        self._code, self._node, self._operator, self._text = code, node, operator, text

    def desc(self) -> str:
        return (
            f"In node {self._node} with name:  and operator: {self._operator} (parseNode): {self._code}: {self._text}"
        )

    def node(self) -> int:
        return self._node

    def node_operator(self) -> str:
        return self._operator

    def node_name(self) -> str:
        return ""

    def file(self) -> str:
        return "ModelImporter.cpp"

    def func(self) -> str:
        return "parseNode"

    def line(self) -> int:
        return 836
