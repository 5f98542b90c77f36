"""A module `tensorrt` out of a manifest: its names, signatures and numbers, and nothing that is not in it.

Every class stands before a simulation (`simulated` maps class names to them). A call is held against the manifest's
signatures and handed on; what the manifest has and no simulation does raises NotImplementedError naming itself.
"""

from __future__ import annotations

import types
import warnings
import weakref
from collections.abc import Callable, Mapping
from importlib.machinery import ModuleSpec
from typing import Any, ClassVar

from doubles.tensorrt.signatures import Binder

# Python methods that TensorRT itself warns of, and the first version that does.
_DEPRECATED = {
    "ICudaEngine.create_execution_context_without_device_memory": 10,
    "ICudaEngine.device_memory_size": 10,
    "ICudaEngine.get_device_memory_size_for_profile": 10,
}
_ITEM_BYTES = {"INT64": 8, "FLOAT": 4, "INT32": 4, "HALF": 2, "BF16": 2} | dict.fromkeys(
    ("INT8", "UINT8", "BOOL", "FP8", "E8M0"), 1
)
# Properties that hold an object, by what it must be.
_OBJECTS = {"IBuilderConfig.progress_monitor": "IProgressMonitor"}


class Enumeration:
    """A pybind11 enum: a member equals only its like, and turns into int when it is asked to."""

    __slots__ = ("value",)

    __members__: ClassVar[dict[str, Enumeration]] = {}

    def __init__(self, value: int) -> None:
        self.value = int(value)

    @property
    def name(self) -> str:
        return next(name for name, member in type(self).__members__.items() if member is self or member == self)

    def __int__(self) -> int:
        return self.value

    def __index__(self) -> int:
        return self.value

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and self.value == other.value

    def __hash__(self) -> int:
        return self.value

    def __repr__(self) -> str:
        return f"<{type(self).__name__}.{self.name}: {self.value}>"

    def __str__(self) -> str:
        return f"{type(self).__name__}.{self.name}"


class _FacadeType(type):
    """As pybind11's metaclass: an `__init__` that does not reach the binding's own is a TypeError."""

    def __call__(cls, *given: Any, **named: Any) -> Any:
        made = super().__call__(*given, **named)
        if "_double" not in vars(made):
            raise TypeError(f"{cls.__mro__[1].__name__}.__init__() must be called when overriding __init__")
        return made


class Facade(metaclass=_FacadeType):
    """What stands in Python for an object of the library."""

    _native = True

    def __setattr__(self, name: str, value: Any) -> None:
        if "_native" in vars(type(self)) and not hasattr(type(self), name):
            raise AttributeError(f"'tensorrt.{type(self).__name__}' object has no attribute '{name}'")
        super().__setattr__(name, value)


class _HostMemory(Facade, bytearray):
    """IHostMemory speaks the buffer protocol, and has neither length nor items of its own."""

    def __len__(self) -> int:
        raise TypeError("object of type 'tensorrt.IHostMemory' has no len()")

    def __getattribute__(self, name: str) -> Any:
        if not name.startswith("_") and hasattr(bytearray, name):
            raise AttributeError(f"'tensorrt.IHostMemory' object has no attribute '{name}'")
        return super().__getattribute__(name)


class Api:
    """The module and what turns the library's objects into Python's.

    Attributes:
        library: what stands behind it now; a test gives it a fresh one.
    """

    def __init__(self, manifest: Mapping[str, Any], simulated: Mapping[str, type]) -> None:
        self._simulated = simulated
        self.library: Any = None
        self._major = int(manifest["version"].partition(".")[0])
        self.types: dict[str, type] = {}
        self.module = types.ModuleType("tensorrt", "A test double of TensorRT; computes with ONNX Runtime.")
        self.module.__spec__ = ModuleSpec("tensorrt", None)
        self._build(manifest)

    def enum(self, name: str) -> Enumeration:
        """A member by its full name: `DataType.FLOAT`."""
        kind, _, member = name.rpartition(".")
        return self.types[kind].__members__[member]

    def wrap(self, value: Any) -> Any:
        """What Python sees of something that the library hands out."""
        if isinstance(value, (list, tuple)):
            return type(value)(self.wrap(item) for item in value)
        if type(value) not in self._simulated.values():
            return value
        known = value.facade() if getattr(value, "facade", None) else None
        if known is not None:
            return known
        cls = self.types[value.api]
        made = cls.__new__(cls, *value.content()) if value.api == "IHostMemory" else cls.__new__(cls)
        if value.api == "IHostMemory":
            bytearray.__init__(made, *value.content())
        object.__setattr__(made, "_double", value)
        value.facade = weakref.ref(made)
        return made

    def unwrap(self, value: Any) -> Any:
        """What the library sees of an argument: its own object, or Python's where Python implements an interface."""
        if isinstance(value, list):
            return [self.unwrap(item) for item in value]
        if isinstance(value, Facade) and not getattr(value._double, "interface", False):
            return value._double
        return value

    def _build(self, manifest: Mapping[str, Any]) -> None:
        for name, members in manifest["enums"].items():
            self.types[name] = self._enum(name, members)
        self.types["Severity"] = self.types["Logger.Severity"] = self.types["ILogger.Severity"]
        waiting = dict(manifest["classes"])
        while waiting:
            ready = [name for name, item in waiting.items() if not set(item["bases"]) & set(waiting)]
            for name in ready:
                self.types[name] = self._class(name, waiting.pop(name))
        for name, cls in self.types.items():
            outer, _, inner = name.rpartition(".")
            setattr(self.types[outer] if outer else self.module, inner, cls)
        del self.module.Severity
        self._rest(manifest)

    def _rest(self, manifest: Mapping[str, Any]) -> None:
        for name, target in manifest["aliases"].items():
            setattr(self.module, name, self.enum(target))
        for name in manifest["functions"]:
            setattr(self.module, name, self._function(name))
        self.module.__version__ = manifest["version"]

    def _enum(self, name: str, members: Mapping[str, int]) -> type:
        body = {"__module__": "tensorrt", "__slots__": ()}
        if name == "DataType":
            body["itemsize"] = property(lambda this: _ITEM_BYTES.get(this.name, 0.5))
        cls = type(name.rpartition(".")[2], (Enumeration,), body)
        cls.__members__ = {member: cls(value) for member, value in members.items()}
        for member, value in cls.__members__.items():
            setattr(cls, member, value)
        return cls

    def _class(self, name: str, item: Mapping[str, Any]) -> type:
        bases = tuple(self.types[base] for base in item["bases"] if base in self.types) or (Facade,)
        if name == "IHostMemory":
            bases = (_HostMemory,)
        body: dict[str, Any] = {"__module__": "tensorrt", "_native": True}
        for method, signatures in item["methods"].items():
            made = self._method(name, method, signatures)
            if made is not None:
                body[method] = made
        body.setdefault("__init__", _no_constructor(name))
        for prop, access in item["properties"].items():
            body[prop] = self._property(name, prop, access)
        return _FacadeType(name.rpartition(".")[2], bases, body)

    def _function(self, name: str) -> Callable[..., Any]:
        def call(*given: Any) -> Any:
            known = getattr(self.library, f"function_{name}", None)
            if known is None:
                raise NotImplementedError(f"tensorrt.{name} is not simulated by this double")
            return known(*given)

        return call

    def _method(self, owner: str, name: str, signatures: list[str]) -> Callable[..., Any] | None:
        if not signatures:
            return _no_constructor(owner) if name == "__init__" else self._unsimulated(owner, name)
        binder = Binder(name, signatures, self.types)
        kind = self._simulated.get(owner)
        label = f"{owner}.{name}"

        def construct(this: Any, *given: Any, **named: Any) -> None:
            if kind is None:
                raise NotImplementedError(f"tensorrt.{owner} is not simulated by this double")
            positions, keywords = binder.bind(given, named)
            taken = [self.unwrap(item) for item in positions]
            named_taken = {key: self.unwrap(item) for key, item in keywords.items()}
            made = kind(self.library, *taken, **named_taken)
            object.__setattr__(this, "_double", made)
            made.facade = weakref.ref(this)

        def call(this: Any, *given: Any, **named: Any) -> Any:
            positions, keywords = binder.bind(given, named)
            self._warn(label)
            work = getattr(this._double, name, None)
            if work is None:
                raise NotImplementedError(f"tensorrt.{label} is not simulated by this double")
            taken = [self.unwrap(item) for item in positions]
            return self.wrap(work(*taken, **{key: self.unwrap(item) for key, item in keywords.items()}))

        return construct if name == "__init__" else call

    def _unsimulated(self, owner: str, name: str) -> Callable[..., Any]:
        def call(*_given: Any, **_named: Any) -> Any:
            raise NotImplementedError(f"tensorrt.{owner}.{name} is not simulated by this double")

        return call

    def _property(self, owner: str, name: str, access: str) -> Any:
        if access == "constant":
            severity = self.types["ILogger.Severity"].__members__
            return severity.get(name, NotImplemented)
        label = f"{owner}.{name}"

        def read(this: Any) -> Any:
            self._warn(label)
            if not hasattr(this._double, name):
                raise NotImplementedError(f"tensorrt.{label} is not simulated by this double")
            return self.wrap(getattr(this._double, name))

        def write(this: Any, value: Any) -> None:
            if not hasattr(this._double, name):
                raise NotImplementedError(f"tensorrt.{label} is not simulated by this double")
            wanted = self.types.get(_OBJECTS.get(label, ""))
            _check_kind(label, getattr(this._double, name), value, wanted)
            setattr(this._double, name, self.unwrap(value))

        return property(read, write if access == "rw" else None)

    def _warn(self, label: str) -> None:
        if self._major >= _DEPRECATED.get(label, 99):
            warnings.warn(f"{label} is deprecated in this version of TensorRT", DeprecationWarning, stacklevel=4)


def _no_constructor(name: str) -> Callable[..., None]:
    def refuse(*_given: Any, **_named: Any) -> None:
        raise TypeError(f"tensorrt.{name}: No constructor defined!")

    return refuse


def _check_kind(label: str, old: Any, value: Any, wanted: type | None) -> None:
    """A property takes what it has held: an enum its own members, a number numbers."""
    fits = wanted is None or value is None or isinstance(value, wanted)
    if isinstance(old, Enumeration):
        fits = type(value) is type(old)
    elif isinstance(old, int):
        fits = hasattr(value, "__index__")
    if not fits:
        raise TypeError(f"{label}: {value!r} is not of the type of {old!r}")
