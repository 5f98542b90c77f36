"""Compiled CUDA code on a device."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from typing import Any

from deepfake_edge.cuda.context import Context, Resource
from deepfake_edge.cuda.memory import Stream


class Module(Resource):
    """Code that a device has loaded."""

    def __init__(self, context: Context, image: bytes) -> None:
        """Load code.

        Args:
            context: current in this thread.
            image: a cubin, a fatbin or PTX.
        Raises:
            InferenceError: it is none of them, or holds nothing that this GPU runs.
        """
        module = ctypes.c_void_p()
        context.call("cuModuleLoadData", ctypes.byref(module), image)
        super().__init__(context, lambda: context.driver.call("cuModuleUnload", module))
        self._module = module

    def function(self, name: str) -> Function:
        """A kernel by its name in the code. Raises InferenceError where there is none."""
        self._check()
        handle = ctypes.c_void_p()
        with self._context.calling(f"the kernel {name}"):
            self._context.driver.call("cuModuleGetFunction", ctypes.byref(handle), self._module, name.encode())
        return Function(self._context, handle)


class Function:
    """A kernel; to be used no longer than its module."""

    def __init__(self, context: Context, handle: ctypes.c_void_p) -> None:
        self._context = context
        self._handle = handle

    def launch(
        self,
        grid: tuple[int, int, int],
        block: tuple[int, int, int],
        arguments: Sequence[Any],
        stream: Stream,
    ) -> None:
        """Put the kernel on a stream.

        Args:
            grid: blocks along x, y and z.
            block: threads of a block along x, y and z.
            arguments: ctypes values as the kernel declares them, device addresses as c_uint64; copied at once.
            stream: what it stands in line on.
        Raises:
            InferenceError: the driver refuses.
        """
        pointers = (ctypes.c_void_p * len(arguments))(*(ctypes.addressof(argument) for argument in arguments))
        self._context.call(
            "cuLaunchKernel", self._handle, *grid, *block, 0, ctypes.c_void_p(stream.handle), pointers, None
        )
