"""A GPU's primary context: what is open on it, whether it still works, and what its failures mean."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import TypeVar

from deepfake_edge.cuda.driver import Driver, DriverFailure
from deepfake_edge.cuda.handles import Binding
from deepfake_edge.errors import DeviceLost, InferenceError, OutOfDeviceMemory

_OUT_OF_MEMORY = 2
_INVALID_CONTEXT = 201
# After these "the process must be terminated and relaunched", as cuda.h says of them, or the hardware is at fault.
_STICKY = frozenset({214, 220, 226, 700, 702, 709, 710, *range(714, 720), 721, 810, 911})

_AnyResource = TypeVar("_AnyResource", bound="Resource")


def kind_of_failure(code: int) -> type[InferenceError]:
    """The class of error that a CUresult is."""
    if code == _OUT_OF_MEMORY:
        return OutOfDeviceMemory
    return DeviceLost if code in _STICKY else InferenceError


class _Stack(threading.local):
    """The contexts that this thread has made current, the innermost last."""

    def __init__(self) -> None:
        self.contexts: list[Context] = []


_stack = _Stack()


class Context:
    """A retained primary context, and all that was made on it and not yet freed."""

    def __init__(self, driver: Driver, binding: Binding, name: str) -> None:
        """Take over a context.

        Args:
            driver: what the binding stands on.
            binding: has retained the context; is released by `close`.
            name: of the GPU, for messages.
        """
        self.driver = driver
        self.binding = binding
        self._name = name
        self._open: dict[Resource, None] = {}
        # Held again where Python collects garbage meanwhile, and a forgotten network frees what it held.
        self._lock = threading.RLock()
        self._closed = False
        self._lost: str | None = None

    @contextmanager
    def current(self) -> Iterator[None]:
        """Make the context current in this thread; may be nested. Raises InferenceError where it is closed."""
        self._check()
        with self._pushed():
            yield

    @contextmanager
    def calling(self, what: str = "") -> Iterator[None]:
        """Calls of the driver or the binding, whose failures become typed errors.

        Args:
            what: what the calls are for, where the name of the driver's function does not say it.
        Raises:
            OutOfDeviceMemory: the GPU has too little memory left.
            DeviceLost: the context does not work any more, since now or before.
            InferenceError: anything else, and a context that is closed.
        """
        self._check()
        with self._typed(what):
            yield

    def call(self, function: str, *arguments: object) -> None:
        """Call a function of the driver; fails as `calling` does."""
        with self.calling():
            self.driver.call(function, *arguments)

    def keep(self, resource: Resource) -> None:
        """Free this, too, when the context is closed."""
        with self._lock:
            self._open[resource] = None

    def free(self, resource: Resource) -> None:
        """Free what `keep` was told of; nothing happens where that was done before.

        What a lost context holds is lost with it, and forgotten when it is closed.
        """
        with self._lock:
            if self._lost is not None or resource not in self._open:
                return
            del self._open[resource]
        with self._pushed(), self._typed():
            resource.give_back()

    def is_open(self, resource: Resource) -> bool:
        """Whether it is not yet freed."""
        return resource in self._open

    def close(self) -> None:
        """Free all that is open, the newest first, and release the context; may be called twice.

        Raises:
            InferenceError: it is current in this thread, or something could not be freed; the rest is freed then.
        """
        if self in _stack.contexts:
            raise InferenceError(f"{self._name}: leave `current()` before closing the device")
        with self._lock:
            if self._closed:
                return
            self._closed = True
            resources = list(reversed(self._open))
        failures = [failure for resource in resources if (failure := self._free_quietly(resource))]
        try:
            with self._typed():
                self.binding.release()
        except InferenceError as error:
            failures.append(error)
        self._open.clear()
        if failures and self._lost is None:
            raise failures[0]

    def close_at_exit(self) -> None:
        """Close while Python ends: nobody is left to tell of a failure."""
        with suppress(InferenceError):
            self.close()

    def _free_quietly(self, resource: Resource) -> InferenceError | None:
        try:
            self.free(resource)
        except InferenceError as error:
            return error
        return None

    @contextmanager
    def _pushed(self) -> Iterator[None]:
        if _stack.contexts[-1:] == [self]:
            yield
            return
        with self._typed():
            self.binding.push()
        _stack.contexts.append(self)
        try:
            yield
        finally:
            _stack.contexts.pop()
            with self._typed():
                self.binding.pop()

    def _check(self) -> None:
        if self._lost is not None:
            raise DeviceLost(self._lost)
        if self._closed:
            raise InferenceError(f"{self._name}: the device is closed")

    @contextmanager
    def _typed(self, what: str = "") -> Iterator[None]:
        try:
            yield
        except DriverFailure as failure:
            raise self._error(failure, what) from failure

    def _error(self, failure: DriverFailure, what: str) -> InferenceError:
        purpose = f"{what}: " if what else ""
        said = f"{self._name}: {purpose}{failure.call} failed with {self.driver.describe(failure.code)}"
        kind = kind_of_failure(failure.code)
        if kind is OutOfDeviceMemory:
            said += ". Close what else uses the GPU, or use smaller batches"
        elif kind is DeviceLost:
            said += ". The GPU is lost to this process: restart it"
            self._lost = said
        elif failure.code == _INVALID_CONTEXT:
            said += ". A device is used inside `with device.current():`"
        return kind(said)


class Resource:
    """Something on a device that has to be freed: by `free`, by leaving its `with` block, or with its device."""

    def __init__(self, context: Context, give_back: Callable[[], None]) -> None:
        """Hold it.

        Args:
            context: where it is.
            give_back: frees it, once, while the context is current; may raise DriverFailure.
        """
        self._context = context
        self.give_back = give_back
        context.keep(self)

    def free(self) -> None:
        """Free it; may be called twice, from any thread. Raises InferenceError where the driver fails."""
        self._context.free(self)

    def __enter__(self: _AnyResource) -> _AnyResource:
        return self

    def __exit__(self, *_: object) -> None:
        self.free()

    def _check(self) -> None:
        if not self._context.is_open(self):
            raise InferenceError(f"this {type(self).__name__} is freed, or its device closed")
