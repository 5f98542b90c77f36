"""What of a model's configuration Keras may see: an allow-list, gone through before Keras is imported.

A configuration names classes and functions for Keras to look up, import and call, and Keras's own safe mode was
passed again and again. Here every object in it must be one that only computes, every argument a plain value of
reasonable size, and whatever is not known is refused.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from deepfake_edge.converters.files.allowed_names import (
    ACTIVATIONS,
    CLASSES,
    LAYERS,
    MODELS,
    OPERATIONS,
    REASONS,
    UNNAMED,
)

_SHOWN = 40
_MAX_TEXT = 256
_MAX_LAYERS = 5_000
_MAX_LIST = 64
_MAX_VALUES = 2**22
_MAX_WHOLE = 2**31 - 1
_MAX_ELEMENTS = 2**28

_OBJECT_KEYS = frozenset((
    "module", "class_name", "config", "registered_name", "shared_object_id", "build_config", "compile_config",
    "name", "inbound_nodes",
))  # fmt: skip
_ROOT_KEYS = frozenset(("keras_version", "backend"))
# How it was trained says nothing of what it computes: it is neither looked at nor shown to Keras.
_DROPPED = "compile_config"
# Values that Keras writes as objects of its own, with the keys of their settings.
_VALUES: Mapping[str, frozenset[str]] = {
    "__keras_tensor__": frozenset(("shape", "dtype", "keras_history")),
    "__numpy__": frozenset(("value", "dtype")),
    "__tensor__": frozenset(("value", "dtype")),
    "__slice__": frozenset(("start", "stop", "step")),
    "__ellipsis__": frozenset(),
}
# As the JSON of Keras 2 writes tuples and shapes: `items` instead of settings.
_LISTS = frozenset(("__tuple__", "TensorShape"))
# Lists that are as long as the model is deep, or as its constants are large.
_LONG = frozenset(("layers", "inbound_nodes", "input_layers", "output_layers", "mean", "variance", "value", "args",
                   "batch_normalization", "weights", "variable_names"))  # fmt: skip
_ACTIVATION = re.compile(r"(?:^|_)activation$")
_WINDOWS = frozenset((
    "kernel_size", "pool_size", "strides", "dilation_rate", "size", "padding", "cropping", "target_height",
    "target_width", "height", "width",
))  # fmt: skip
_MAX_WINDOW = 8192
_WIDTHS = frozenset((
    "units", "filters", "input_dim", "output_dim", "num_heads", "num_query_heads", "num_key_value_heads", "key_dim",
    "value_dim", "head_dim", "depth_multiplier", "groups", "n", "num_layers",
))  # fmt: skip
_MAX_WIDTH = 2**20
_SHAPES = frozenset(("shape", "batch_shape", "batch_input_shape", "input_shape", "target_shape", "output_shape"))
_MAX_RANK = 8
_SEEDS = frozenset(("seed", "shared_object_id"))
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
_ADVICE = (
    "a model class of your own: keep it as a TensorFlow SavedModel and add --trust-source, or put its weights into a "
    "known architecture with --family"
)


def objections(config: Mapping[str, Any]) -> list[str]:
    """Every reason why Keras must not see a configuration: where, what, why; the first 40 of them."""
    kind = config.get("class_name")
    if not isinstance(kind, str) or not isinstance(config.get("config"), dict | list):
        return ["the configuration is not that of a Keras model"]
    if kind not in MODELS and kind not in REASONS:
        return [f"{_shown(kind)}: is {_ADVICE}"]
    if _layers(config) > _MAX_LAYERS:
        return [f"the model has more than {_MAX_LAYERS} layers"]
    found: dict[str, None] = {}
    for reason in _object({key: value for key, value in config.items() if key not in _ROOT_KEYS}, "the model"):
        if len(found) == _SHOWN and reason not in found:
            return [*found, "and more"]
        found[reason] = None
    return list(found)


def cleaned(config: Mapping[str, Any]) -> dict[str, Any]:
    """What Keras shall see of a configuration without objections: all but how the model was trained."""
    return {key: _cleaned(value) for key, value in config.items() if key != _DROPPED}


def _layers(config: Mapping[str, Any]) -> int:
    """How many layers and operations a configuration lists, in nested models too."""
    count, stack = 0, list(config.values())
    while stack:
        item = stack.pop()
        if isinstance(item, dict):
            kind = item.get("class_name")
            count += "inbound_nodes" in item or (isinstance(kind, str) and kind in LAYERS | MODELS)
            stack.extend(item.values())
        elif isinstance(item, list):
            stack.extend(item)
    return count


def _cleaned(value: Any) -> Any:
    if isinstance(value, dict):
        return cleaned(value)
    return [_cleaned(item) for item in value] if isinstance(value, list) else value


def _object(item: Mapping[str, Any], where: str) -> Iterator[str]:
    """Objections to a dict that names a class."""
    kind, settings = item.get("class_name"), item.get("config")
    if not isinstance(kind, str):
        yield f"{where}: names a class by {_shown(kind)}, which is no name"
        return
    title = _title(item, kind, where)
    if kind in _LISTS and "config" not in item:
        yield from _unknown_keys(item, frozenset(("class_name", "items")), title)
        yield from _values(item.get("items"), "items", title)
    elif kind in _VALUES:
        if kind == "__ellipsis__":
            settings = settings or {}
        yield from _unknown_keys(item, frozenset(("class_name", "config")), title)
        if not isinstance(settings, dict):
            yield f"{title}: has no settings"
            return
        yield from _unknown_keys(settings, _VALUES[kind], title)
        yield from _constant(settings, title)
    else:
        reason = _foreign(item, kind)
        if reason is not None:
            yield f"{title}: {reason}"
        else:
            yield from _inside(item, settings, title)


def _foreign(item: Mapping[str, Any], kind: str) -> str | None:
    """Why an object is not one of those that may be loaded."""
    if kind in REASONS:
        return REASONS[kind]
    module, registered = item.get("module"), item.get("registered_name")
    if module is None:
        if registered not in (None, kind):
            return f"is a custom class ({_shown(registered)}), whose code is not Keras's"
        if kind in UNNAMED:
            return None
        if any(kind in names for names in OPERATIONS.values()):
            return "is an operation of keras.ops, which an .h5 file keeps only half of; save the model as .keras"
        return "is no layer of Keras's that a video model can need"
    if not isinstance(module, str) or module.partition(".")[0] not in ("keras", "tf_keras"):
        return f"is a class of {_shown(module)}, not of Keras"
    if registered not in (None, kind):
        return f"is a custom class ({_shown(registered)}), whose code is not Keras's"
    if kind not in CLASSES.get(module, ()):
        return f"is nothing of {_shown(module)} that a video model can need"
    return None


def _inside(item: Mapping[str, Any], settings: Any, title: str) -> Iterator[str]:
    """Objections to the settings of an object whose class may be loaded."""
    yield from _unknown_keys(item, _OBJECT_KEYS, title)
    kind = item["class_name"]
    if isinstance(settings, list) and kind == "Sequential":
        settings = {"layers": settings}
    if not isinstance(settings, dict):
        yield f"{title}: has no settings"
        return
    if "class_name" in settings:
        yield f"{title}: its settings name a class instead of giving values"
    named = kind in LAYERS or kind in MODELS or item.get("module") in OPERATIONS
    for name in (item.get("name"), settings.get("name")) if named else ():
        if name is not None:
            yield from _name(name, title)
    yield from _mapping({key: value for key, value in settings.items() if key != "name"}, title)
    for key in ("build_config", "inbound_nodes", "shared_object_id"):
        yield from _values(item.get(key), key, title)


def _constant(settings: Mapping[str, Any], title: str) -> Iterator[str]:
    dtype = settings.get("dtype")
    if "dtype" in settings and not (isinstance(dtype, str) and re.fullmatch(r"b?float\d+|u?int\d+|bool", dtype)):
        yield f"{title}: has the type {_shown(dtype)}, which is none of numbers"
    for key, value in settings.items():
        if key != "dtype":
            yield from _values(value, key, title)


def _mapping(settings: Mapping[str, Any], title: str) -> Iterator[str]:
    for key, value in settings.items():
        if len(key) > _MAX_TEXT or _CONTROL.search(key):
            yield f"{title}: has a setting of the name {_shown(key)}"
        elif _ACTIVATION.search(key) and isinstance(value, str):
            if value not in ACTIVATIONS:
                yield f"{title}: {key}: {_shown(value)} is no activation of Keras's"
        elif key != _DROPPED:
            yield from _values(value, key, title)


def _values(value: Any, key: str, title: str) -> Iterator[str]:
    """Objections to a setting: a plain value, an allowed object, or lists and dicts of those."""
    if isinstance(value, dict):
        if "class_name" in value:
            yield from _object(value, title)
        elif "module" in value or "registered_name" in value:
            yield f"{title}: {key}: names something to load that is no class"
        else:
            yield from _mapping(value, title)
    elif isinstance(value, list):
        if len(value) > (_MAX_VALUES if key in _LONG else _MAX_LIST):
            yield f"{title}: {key}: a list of {len(value)} values"
            return
        yield from _sizes(value, key, title)
        for part in value:
            yield from _values(part, key, title)
    elif isinstance(value, str):
        if len(value) > _MAX_TEXT or _CONTROL.search(value):
            yield f"{title}: {key}: a text of {len(value)} characters that is none of Keras's: {_shown(value)}"
    elif isinstance(value, int) and not isinstance(value, bool):
        yield from _whole(value, key, title)


def _sizes(value: list[Any], key: str, title: str) -> Iterator[str]:
    if key not in _SHAPES and key not in _WINDOWS:
        return
    if len(value) > _MAX_RANK:
        yield f"{title}: {key}: {len(value)} dimensions; {_MAX_RANK} are the most"
    elements = 1
    for size in value:
        elements *= size if isinstance(size, int) and size > 0 else 1
    if key in _SHAPES and elements > _MAX_ELEMENTS:
        yield f"{title}: {key}: {elements} values; {_MAX_ELEMENTS} are the most"


def _whole(value: int, key: str, title: str) -> Iterator[str]:
    most = _MAX_WIDTH if key in _WIDTHS else _MAX_WINDOW if key in _WINDOWS else _MAX_WHOLE
    if key in _SEEDS:
        most = 2**64
    if abs(value) > most:
        yield f"{title}: {key}: {value} is out of all proportion; {most} is the most"


def _name(name: Any, title: str) -> Iterator[str]:
    if not isinstance(name, str) or not 0 < len(name) <= _MAX_TEXT:
        yield f"{title}: its name is no text of 1 to {_MAX_TEXT} characters"
    elif _CONTROL.search(name) or "\\" in name or {"", ".", ".."} & set(name.split("/")):
        yield f"{title}: its name would reach out of its place in the file of weights"


def _unknown_keys(item: Mapping[str, Any], known: frozenset[str], title: str) -> Iterator[str]:
    for key in item:
        if key not in known:
            yield f"{title}: {_shown(key)} is a key that Keras does not write"


def _title(item: Mapping[str, Any], kind: str, where: str) -> str:
    settings = item.get("config")
    name = settings.get("name") if isinstance(settings, dict) else None
    if kind in MODELS or kind in LAYERS or kind in REASONS or isinstance(name, str):
        return f"{_plain(name)} ({_plain(kind)})" if isinstance(name, str) else _plain(kind)
    return f"{where}: {_plain(kind)}"


def _plain(text: str) -> str:
    return _CONTROL.sub("?", text[:80])


def _shown(value: Any) -> str:
    return repr(value if not isinstance(value, str) else value[:80])[:120]
