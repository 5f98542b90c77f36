"""ONNX files that reach for other files, need code of others, or are damaged."""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from pathlib import Path

import pytest
from onnx import ModelProto, TensorProto, helper

from attacks.forge import MUTANTS, Base, Target


def external(base: Base, location: str, number: int) -> bytes:
    """The graph with one of its tensors, or a constant's, kept in the file at a location."""
    model = ModelProto.FromString(base.onnx)
    tensor = model.graph.initializer[number % len(model.graph.initializer)]
    if number % 4 == 3:
        node = helper.make_node(
            "Constant", [], ["evil"], value=helper.make_tensor("evil", TensorProto.FLOAT, [1], [1.0])
        )
        model.graph.node.insert(0, node)
        tensor = model.graph.node[0].attribute[0].t
    tensor.ClearField("raw_data")
    tensor.ClearField("float_data")
    if number % 3:
        tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value=location)
    if number % 2:
        tensor.external_data.add(key="offset", value=str(number))
        tensor.external_data.add(key="length", value="4")
    return model.SerializeToString()


def relative(base: Base, number: int, target: Target, folder: Path) -> bytes:
    ways = ["../canary/secret.h5", "./../canary/secret.h5", "x/../../canary/secret.h5", "../../../../../../etc/passwd"]
    return external(base, ways[number // 5], number)


def absolute(base: Base, number: int, target: Target, folder: Path) -> bytes:
    ways = [str(target.file), "/etc/passwd", target.file.as_uri(), f"//{target.file}", "/proc/self/environ"]
    return external(base, ways[number // 4], number)


def symlink(base: Base, number: int, target: Target, folder: Path) -> bytes:
    name = f"weights{number}.data"
    (folder / name).symlink_to(target.file if number % 2 else Path("..", "canary", "secret.h5"))
    return external(base, name, number)


def hardlink(base: Base, number: int, target: Target, folder: Path) -> bytes:
    name = f"weights{number}.data"
    os.link(target.file, folder / name)
    return external(base, name, number)


def custom_domain(base: Base, number: int, target: Target, folder: Path) -> bytes:
    model = ModelProto.FromString(base.onnx)
    domain = ["com.microsoft", "evil", "org.pytorch.aten", "ai.onnx.training", "ai.onnx.preview.training"][number // 4]
    if number % 4 == 0:
        model.opset_import.add(domain=domain, version=1)
    elif number % 4 == 1:
        model.graph.node[0].domain = domain
    elif number % 4 == 2:
        function = helper.make_function(domain, "Evil", ["x"], ["y"], [helper.make_node("Relu", ["x"], ["y"])], [])
        model.functions.append(function)
    else:
        inner = helper.make_graph([helper.make_node("Evil", ["x"], ["y"], domain=domain)], "inner", [], [])
        model.graph.node[0].attribute.append(helper.make_attribute("body", inner))
    return model.SerializeToString()


def foreign_operators(base: Base, number: int, target: Target, folder: Path) -> bytes:
    model = ModelProto.FromString(base.onnx)
    names = [
        "Loop", "Scan", "If", "PythonOp", "TreeEnsembleClassifier", "Evil", "SequenceMap", "StringConcat",
        "TfIdfVectorizer", "ImageDecoder", "Optional", "SequenceEmpty", "StringNormalizer", "Gradient", "Adam", "load",
        "../evil", "A\x00dd", "SequenceConstruct", "RegexFullMatch",
    ]  # fmt: skip
    model.graph.node[number % len(model.graph.node)].op_type = names[number]
    return model.SerializeToString()


def declared_sizes(base: Base, number: int, target: Target, folder: Path) -> bytes:
    """Tensors that say they are 2 GB and more, and hold a few bytes, or none."""
    model = ModelProto.FromString(base.onnx)
    tensor = model.graph.initializer[number % len(model.graph.initializer)]
    dims = [[1 << 29], [1 << 31], [1 << 15, 1 << 16], [1 << 62, 2], [-1], [0], [3, 3, 3, 3], [1] * 40 + [1 << 30]]
    if number < 16:
        del tensor.dims[:]
        tensor.dims.extend([*dims[number % len(dims)], 1 + number])
    else:
        tensor.data_type = [TensorProto.STRING, 99, TensorProto.UNDEFINED, TensorProto.COMPLEX128][number - 16]
    return model.SerializeToString()


def damaged(base: Base, number: int, target: Target, folder: Path) -> bytes:
    if number % 2:
        return base.onnx[: 1 + (len(base.onnx) - 2) * number // MUTANTS]
    dice = random.Random(number)
    return bytes(dice.randrange(256) for _ in range(200 + number))


CLASSES: dict[str, tuple[Callable[[Base, int, Target, Path], bytes], str]] = {
    "relative": (relative, "external data"),
    "absolute": (absolute, "external data"),
    "symlink": (symlink, "external data"),
    "hardlink": (hardlink, "external data"),
    "custom-domain": (custom_domain, "domain|functions of its own|graph"),
    "foreign-operators": (foreign_operators, "operator"),
    "declared-sizes": (declared_sizes, "tensor|shape|bytes|initializer"),
    "damaged": (damaged, "ONNX"),
}


@pytest.mark.parametrize("number", range(MUTANTS))
@pytest.mark.parametrize("kind", sorted(CLASSES))
def test_onnx(kind, number, base, canary, refused, tmp_path):
    forge, words = CLASSES[kind]
    source = tmp_path / "in" / "evil.onnx"
    source.write_bytes(forge(base, number, canary.target, tmp_path / "in"))
    refused(source, words)
