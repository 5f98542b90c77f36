"""What older Kerases wrote of a model, in the words of the present one.

Configurations in and out, as plain data: nothing of them is looked up or run here, so that whoever checks the result
sees just what Keras will see. What only matters to training (initialisers, regularisers, constraints, mixed
precision) is left out: every weight comes from the file, and inference is in float32.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

from deepfake_edge.errors import ConversionError

Json: TypeAlias = dict[str, Any]

_FUNCTIONAL = ("Functional", "Model")
_MODELS = (*_FUNCTIONAL, "Sequential")
_TRAINING = re.compile(r".*_(initializer|regularizer|constraint)$|initializer$")
_GRAPH = ("name", "trainable", "layers", "input_layers", "output_layers")
_POLICIES = ("Policy", "DTypePolicy", "FloatDTypePolicy")

# Settings that Keras 3 takes no more, with the values that say nothing; None: whatever the value, it says nothing.
_GONE: Mapping[str, tuple[Any, ...] | None] = {
    "batch_input_shape": None,
    "input_length": None,
    "noise_shape": None,
    "query_shape": None,
    "key_shape": None,
    "value_shape": None,
    "rng_type": None,
    "ragged": (False, None),
    "sparse": (False, None),
    "time_major": (False, None),
    "softmax_robust_masking": (False, None),
    "shared_object_id": None,
}
_NO_GROUPS = ("SeparableConv1D", "SeparableConv2D", "DepthwiseConv1D", "DepthwiseConv2D")


def modern_config(config: Mapping[str, Any]) -> Json:
    """Translate a model's configuration.

    Args:
        config: as any Keras from 2.2 on wrote it, of a functional or Sequential model. Unchanged.
    Returns:
        The same model as Keras 3 writes it. A configuration of Keras 3's own keeps its meaning.
    Raises:
        ConversionError: it has what Keras 3 has no equal for; carries every reason.
    """
    reasons: list[str] = []
    try:
        translated = _Translation(_is_keras_2(config), reasons).item(config)
    except (KeyError, IndexError, TypeError, AttributeError, RecursionError) as error:
        raise ConversionError(f"the model's configuration is not one of Keras's ({error!r:.120})") from error
    if reasons:
        raise ConversionError("the model uses what the present Keras has not got:", reasons)
    return translated


def _is_keras_2(value: Any) -> bool:
    if isinstance(value, Mapping):
        return (
            "batch_input_shape" in value
            or str(value.get("keras_version", "")).startswith(("1.", "2."))
            or any(_is_keras_2(part) for part in value.values())
        )
    return isinstance(value, list) and any(_is_keras_2(part) for part in value)


class _Translation:
    """One model's translation; gathers what cannot be translated."""

    def __init__(self, keras_2: bool, reasons: list[str]) -> None:
        self._keras_2, self._reasons = keras_2, reasons

    def item(self, item: Mapping[str, Any]) -> Json:
        """An object: a model, a layer, or a layer inside another."""
        kind, settings = item["class_name"], item["config"]
        if kind == "Sequential":
            return _object("Sequential", "keras", self._sequential(item, settings))
        if kind in _FUNCTIONAL and "input_layers" in settings:
            return _object("Model", "keras", self._functional(settings))
        return self._layer(item, kind, settings)

    def _layer(self, item: Mapping[str, Any], kind: str, settings: Mapping[str, Any]) -> Json:
        kept = {key: self._value(value, key) for key, value in settings.items() if not self._says_nothing(key, value)}
        if "name" in kept:
            kept["name"] = _plain(kept["name"])
        if kind == "InputLayer" and "batch_input_shape" in settings:
            kept["batch_shape"] = settings["batch_input_shape"]
        if kind in _NO_GROUPS and kept.get("groups") in (1, None):
            kept.pop("groups", None)
        if kind == "BatchNormalization" and isinstance(kept.get("axis"), list) and len(kept["axis"]) == 1:
            kept["axis"] = kept["axis"][0]
        if kind == "ThresholdedReLU":
            kind, kept["threshold"] = "ReLU", kept.pop("theta")
        if self._keras_2 and "hard_sigmoid" in (kept.get("activation"), kept.get("recurrent_activation")):
            self._reasons.append(
                f"{kept.get('name')} ({kind}): Keras 2's hard_sigmoid is another function than the present one's; "
                "retrain with sigmoid"
            )
        module = str(item.get("module") or "keras.layers")
        if module.partition(".")[0] == "tf_keras":
            module = "keras" + module.removeprefix("tf_keras")
        return _object(kind, module, kept, item.get("registered_name"))

    @staticmethod
    def _says_nothing(key: str, value: Any) -> bool:
        if key in _GONE:
            harmless = _GONE[key]
            return harmless is None or value in harmless
        return _TRAINING.match(key) is not None

    def _value(self, value: Any, key: str) -> Any:
        if key == "dtype":
            return _dtype(value)
        if isinstance(value, Mapping):
            if value.get("class_name") == "__tuple__" or value.get("class_name") == "TensorShape":
                return list(value["items"])
            if "class_name" in value and isinstance(value.get("config"), Mapping) and not _is_constant(value):
                return self.item(value)
            return {name: self._value(part, name) for name, part in value.items()}
        return [self._value(part, "") for part in value] if isinstance(value, list) else value

    def _sequential(self, item: Mapping[str, Any], settings: Any) -> Json:
        """Give a Sequential model its InputLayer, wherever its shape was written."""
        if isinstance(settings, list):
            settings = {"name": "sequential", "layers": settings}
        layers = [self.item(layer) for layer in settings["layers"]]
        name = _plain(settings.get("name", "sequential"))
        first = settings["layers"][0] if settings["layers"] else {"class_name": "InputLayer"}
        if first["class_name"] != "InputLayer":
            shape = (
                (first["config"].get("batch_input_shape") if isinstance(first["config"], Mapping) else None)
                or settings.get("build_input_shape")
                or (item.get("build_config") or {}).get("input_shape")
            )
            if isinstance(shape, list):
                given = {"batch_shape": shape, "dtype": "float32", "name": f"{name}_input"}
                layers.insert(0, _object("InputLayer", "keras.layers", given))
        return {"name": name, "trainable": settings.get("trainable", True), "layers": layers}

    def _functional(self, settings: Mapping[str, Any]) -> Json:
        layers = settings["layers"]
        nested = {_name(layer): layer["class_name"] for layer in layers if layer["class_name"] in _MODELS}
        names = {_name(layer) for layer in layers}
        written_as_lists = not any(isinstance(node, Mapping) for layer in layers for node in layer["inbound_nodes"])
        graph = _Graph(names, nested if written_as_lists else {})
        kept = {key: settings[key] for key in _GRAPH if key in settings}
        kept["name"] = _plain(kept.get("name", "model"))
        kept["layers"] = []
        for layer in layers:
            translated = self.item(layer)
            translated["name"] = translated["config"]["name"] = _plain(_name(layer))
            nodes = layer["inbound_nodes"]
            translated["inbound_nodes"] = [graph.node(node) if written_as_lists else node for node in nodes]
            kept["layers"].append(translated)
        for key in ("input_layers", "output_layers"):
            kept[key] = graph.ports(kept[key])
        return kept


class _Graph:
    """How the layers of one functional model are joined, written Keras 3's way.

    Keras 2 counted a nested model's own making as its first call; Keras 3 does so for outputs of functional models
    only.
    """

    def __init__(self, names: set[str], nested: Mapping[str, str]) -> None:
        self._names, self._nested = names, nested

    def node(self, node: Sequence[Any]) -> Json:
        """A call: `[[layer, call, output, arguments], ...]` to arguments that name tensors."""
        entries = [node] if node and isinstance(node[0], str) else node
        arguments: Mapping[str, Any] = entries[0][3] if len(entries[0]) > 3 else {}
        # Inference only: what a call said of training has no meaning here.
        kept = {key: self._argument(value) for key, value in arguments.items() if key != "training"}
        given = [self._tensor(entry) for entry in entries]
        return {
            "args": given if len(given) == 1 else [given],
            "kwargs": {key: value for key, value in kept.items() if value is not None},
        }

    def ports(self, ports: Any) -> Any:
        """A model's inputs or outputs; a single one stands alone."""
        if isinstance(ports, Mapping):
            return {key: self.ports(value) for key, value in ports.items()}
        if len(ports) == 3 and isinstance(ports[0], str):
            name, call, output = ports
            return [_plain(name), max(0, call - (self._nested.get(name) == "Sequential")), output]
        return self.ports(ports[0]) if len(ports) == 1 else [self.ports(port) for port in ports]

    def _argument(self, value: Any) -> Any:
        if isinstance(value, list):
            if len(value) in (3, 4) and isinstance(value[0], str) and value[0] in self._names:
                return self._tensor(value)
            return [self._argument(part) for part in value]
        return value

    def _tensor(self, entry: Sequence[Any]) -> Json:
        name, call, output = entry[:3]
        history = [_plain(name), max(0, call - (name in self._nested)), output]
        # Shape and type are found anew when the layers are called.
        return {"class_name": "__keras_tensor__", "config": {"shape": [], "dtype": "float32", "keras_history": history}}


def _object(kind: str, module: str, settings: Json, registered: Any = None) -> Json:
    return {"module": module, "class_name": kind, "config": settings, "registered_name": registered}


def _name(layer: Mapping[str, Any]) -> str:
    return str(layer.get("name") or layer["config"]["name"])


def _plain(name: str) -> str:
    """Keras 3 takes no slash in a name; Keras 2's own MobileNetV3 has them."""
    return name.replace("/", "_")


def _is_constant(value: Mapping[str, Any]) -> bool:
    return str(value["class_name"]).startswith("__")


def _dtype(value: Any) -> Any:
    """A type's or a policy's name; one that computes in halves keeps its weights, and is run, in float32."""
    if isinstance(value, Mapping) and value.get("class_name") in _POLICIES:
        value = value["config"]["name"]
    return "float32" if value in ("mixed_float16", "mixed_bfloat16") else value
