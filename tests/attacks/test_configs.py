"""Configurations that would have Keras import, run, read or connect to something, or allocate without end."""

from __future__ import annotations

import base64
import json
import marshal
import pickle
import random
from pathlib import Path
from typing import Any

import h5py
import pytest

from attacks.forge import MUTANTS, Base, Target, hidden, with_config


def lambdas(target: Target) -> list[dict[str, Any]]:
    code = base64.b64encode(marshal.dumps(compile(target.code, "x", "exec"))).decode()
    value = {"class_name": "__lambda__", "config": {"value": [code, None, None]}}
    named = {"class_name": "function", "config": "exec", "module": "builtins", "registered_name": "exec"}
    found: list[dict[str, Any]] = [value, named]
    for module in ("keras.layers", "keras.src.layers.core.lambda_layer", "tf_keras.layers", None, "os"):
        for function in ([code, None, None], value, named, {"class_name": "__lambda__", "config": {"code": code}}):
            settings = {"name": "evil", "function": function, "arguments": {"safe_mode": False}}
            found.append({"module": module, "class_name": "Lambda", "config": settings, "registered_name": None})
    return found


def imports(target: Target) -> list[dict[str, Any]]:
    places = [
        ("os", "system"), ("subprocess", "Popen"), ("builtins", "exec"), ("builtins", "open"), ("importlib", "util"),
        ("shutil", "rmtree"), ("pickle", "loads"), ("ctypes", "CDLL"), ("socket", "create_connection"),
        ("keras.utils", "get_file"), ("keras.src.utils.file_utils", "get_file"), ("keras.models", "load_model"),
        ("keras.saving", "load_model"), ("keras.src.saving.saving_lib", "load_model"), ("keras.config", "Dense"),
        ("keras.src.backend.common.global_state", "set_global_attribute"), ("keras_hub.models", "Backbone"),
        ("keras.layers.", "Dense"), ("keras\x00.layers", "Dense"), ("Keras.layers", "Dense"), ("my.code", "Dense"),
        ("keras.src.ops.core", "Map"), ("keras.src.ops.core", "WhileLoop"), ("keras.layersx", "Dense"),
    ]  # fmt: skip
    classes = [
        {"module": module, "class_name": name, "config": {"name": "evil", "command": f"python -c {target.code!r}"}}
        for module, name in places
    ]
    functions = [
        {"module": module, "class_name": "function", "config": name, "registered_name": name} for module, name in places
    ]
    registered = [
        {"module": "keras.layers", "class_name": "Dense", "config": {"name": "evil"}, "registered_name": "my>Evil"},
        {"module": None, "class_name": "Dense", "config": {"name": "evil"}, "registered_name": "my>Evil"},
        {"module": "keras.layers", "registered_name": "Evil", "config": {}},
        {"module": "tensorflow", "class_name": "__typespec__", "spec_name": "X", "registered_name": "X", "config": []},
    ]
    return [*classes, *registered, *functions]


def named(names: list[str], settings: list[dict[str, Any]]) -> list[dict[str, Any]]:
    modules = ("keras.layers", "keras.src.layers", None, "tf_keras.layers")
    return [
        {"module": module, "class_name": name, "config": {"name": "evil", **values}, "registered_name": None}
        for values in settings
        for module in modules
        for name in names
    ]


def programs(target: Target) -> list[dict[str, Any]]:
    paths = [target.url, str(target.folder), "../../canary", "file:///etc", "gs://bucket/model", "\\\\host\\share"]
    return named(["TFSMLayer", "JaxLayer", "FlaxLayer"], [{"filepath": path, "call_fn": path} for path in paths])


class _Payload:
    def __init__(self, code: str) -> None:
        self.code = code

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return exec, (self.code,)


def torch_modules(target: Target) -> list[dict[str, Any]]:
    pickled = base64.b64encode(pickle.dumps(_Payload(target.code))).decode()
    modules = [pickled, pickled[:200], {"class_name": "__bytes__", "config": {"value": pickled}}, None, 7]
    return named(["TorchModuleWrapper"], [{"module": module, "output_shape": [1]} for module in modules])


def vocabularies(target: Target) -> list[dict[str, Any]]:
    paths = [str(target.file), target.url, "../canary/secret.h5", "/etc/passwd"]
    return named(["StringLookup", "IntegerLookup", "TextVectorization", "Hashing"], [{"vocabulary": p} for p in paths])


CLASSES = {
    "lambda": (lambdas, "never run|never looked up|is a class of 'os'"),
    "import": (
        imports,
        "never looked up|not of Keras|custom class|nothing of|no class|TensorFlow type|is no layer|class of your own",
    ),
    "tfsm": (programs, "path of its own choice|never run|nothing of"),
    "torch": (torch_modules, "unpickles a PyTorch module"),
    "lookup": (vocabularies, "reads a vocabulary|nothing of|no layer of Keras"),
}


@pytest.mark.parametrize("number", range(MUTANTS))
@pytest.mark.parametrize("kind", sorted(CLASSES))
def test_what_keras_would_look_up(kind, number, base, canary, refused, tmp_path):
    variants, words = CLASSES[kind]
    choices = variants(canary.target)
    evil = choices[number % len(choices)]
    refused(with_config(base, hidden(base.config(), evil, number), tmp_path / "in" / "evil.keras"), words)


@pytest.mark.parametrize("number", range(MUTANTS))
def test_legacy_models_with_code(number, base, canary, refused, tmp_path):
    """Keras ignores its safe mode for .h5."""
    evil = lambdas(canary.target)[number]
    source = tmp_path / "in" / "evil.h5"
    source.write_bytes(base.legacy.read_bytes())
    with h5py.File(source, "r+") as file:
        config = json.loads(file.attrs["model_config"])
        file.attrs["model_config"] = json.dumps(hidden(config, evil, number))
    refused(source, "never run|never looked up|is a class of 'os'")


NAMES = [
    "../evil", "../../../../tmp/evil", "/etc/passwd", "/evil", "..", ".", "a/../../b", "a//b", "evil/", "./evil",
    "..\\evil", "C:\\evil", "a\x00b", "a\nb", "\x1b[2Jevil", "", "e" * 300, "\u202egnp.evil", "a/..",
    "../" * 40 + "evil", "\ud800", 7, ["evil"], {"a": 1},
]  # fmt: skip


@pytest.mark.parametrize("number", range(len(NAMES)))
def test_layer_names_that_lead_elsewhere(number, base, refused, tmp_path):
    config = base.config()
    layers = config["config"]["layers"]
    layer = layers[-1] if number % 2 else layers[1]["config"]["layer"]["config"]["layers"][-1]
    layer["config"]["name"] = NAMES[number]
    if number % 4 == 1:
        layer["name"] = NAMES[number]
    refused(with_config(base, config, tmp_path / "in" / "evil.keras"), "its name")


SIZES = [
    ("units", 10**12), ("units", 2**63), ("units", -(10**12)), ("filters", 10**9), ("kernel_size", [10**6, 10**6]),
    ("kernel_size", [1] * 3000), ("strides", [1] * 65), ("pool_size", 10**9), ("input_shape", [10**6, 10**6, 3]),
    ("batch_shape", [None, 2**20, 2**20]), ("target_shape", [1] * 9), ("num_heads", 10**9), ("key_dim", 2**40),
    ("padding", [[10**6, 10**6]] * 2), ("groups", 10**30), ("input_dim", 10**10), ("output_dim", 10**11),
    ("size", [10**5, 10**5]), ("name", "x" * 10**6), ("epsilon", [[0.1] * 100]), ("units", 10**31),
]  # fmt: skip


@pytest.mark.parametrize("number", range(len(SIZES)))
def test_numbers_out_of_all_proportion(number, base, refused, tmp_path):
    key, value = SIZES[number]
    config = base.config()
    config["config"]["layers"][-1]["config"][key] = value
    source = with_config(base, config, tmp_path / "in" / "evil.keras")
    refused(source, "out of all proportion|dimensions|values|its name|a list of")


def broken_json(base: Base, number: int) -> bytes:
    whole = json.dumps(base.config()).encode()
    return [
        b"", b"null", b"[]", b"7", b'"model"', b"{", whole[:-1], whole + b"}", b"[" * 200_000, b'{"a":' * 100_000,
        b"[" * 50 + b"]" * 50, whole.replace(b'"units": 3', b'"units": NaN', 1),
        whole.replace(b'"units": 3', b'"units": Infinity', 1), whole.replace(b'"units": 3', b'"units": 1e999', 1),
        whole.replace(b'"units": 3', b'"units": ' + b"9" * 5000, 1),
        whole.replace(b'"class_name"', b'"class_name": "Lambda", "class_name"', 1),
        whole.replace(b'"units": 3', b'"units": 3, "units": 4', 1), b'{"class_name": "Functional"}',
        b'{"class_name": "Functional", "config": 3}', b"\xff\xfe" + whole, whole.decode().encode("utf-16"),
        b'{"a": [' + b"0," * 1_100_000 + b"0]}", b'{"class_name": ["Functional"], "config": {}}',
        b'{"x": ' + b'{"x": ' * 150 + b"1" + b"}" * 151,
    ][number]  # fmt: skip


@pytest.mark.parametrize("number", range(24))
def test_json_that_is_none(number, base, refused, tmp_path):
    source = with_config(base, broken_json(base, number), tmp_path / "in" / "evil.keras")
    refused(source, "JSON|does not describe|nested|values, which|is not that of a Keras model")


def test_every_objection_is_said_at_once(base, canary, refused, tmp_path):
    dice = random.Random(7)
    config = base.config()
    evils = [dice.choice(variants(canary.target)) for variants, _ in CLASSES.values()]
    for number, evil in enumerate(evils):
        settings = evil["config"] if isinstance(evil["config"], dict) else {}
        layer = {**evil, "config": {**settings, "name": f"evil{number}"}, "name": f"evil{number}", "inbound_nodes": []}
        config["config"]["layers"].append(layer)
    message = refused(with_config(base, config, tmp_path / "in" / "evil.keras"), "never run or loaded")
    assert all(f"evil{number}" in message for number in range(len(evils)))


def test_the_path_of_the_file_is_all_that_is_said_of_it(base, canary, refused, tmp_path):
    folder = tmp_path / "in" / "sub"
    folder.mkdir()
    source = with_config(base, hidden(base.config(), lambdas(canary.target)[0], 0), Path(folder, "evil.keras"))
    assert str(canary.target.port) not in refused(source, "never run")
