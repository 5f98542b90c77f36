"""Small things that can be tried on the real bindings without the library, and what came of them.

The child process that has the real bindings runs this same file, with nothing but the standard library and numpy.
"""

from __future__ import annotations

import importlib
import json
import sys
from typing import Any

EXPRESSIONS = (
    "repr(trt.BuilderFlag.TF32)",
    "str(trt.BuilderFlag.TF32)",
    "trt.BuilderFlag.TF32.name",
    "int(trt.BuilderFlag.TF32) == trt.BuilderFlag.TF32.value",
    "trt.BuilderFlag.TF32 == trt.BuilderFlag.TF32.value",
    "trt.BuilderFlag.DEBUG == trt.DataType.INT8",
    "trt.DataType.FLOAT == 0",
    "trt.DataType.FLOAT == None",
    "trt.DataType.FLOAT < trt.DataType.HALF",
    "1 << trt.BuilderFlag.TF32",
    "1 << int(trt.BuilderFlag.TF32)",
    "{trt.BuilderFlag.TF32: 1}[trt.BuilderFlag.TF32]",
    "'abcdefgh'[trt.BuilderFlag.TF32]",
    "trt.BuilderFlag.TF32 | trt.BuilderFlag.DEBUG",
    "repr(trt.BuilderFlag(6))",
    "setattr(trt.BuilderFlag.TF32, 'x', 1)",
    "sorted(trt.BuilderFlag.__members__)",
    "list(trt.BuilderFlag)",
    "trt.BuilderFlag.NOPE",
    "trt.Bilder",
    "trt.Builder()",
    "trt.Builder(1)",
    "trt.Builder(None)",
    "trt.Builder(trt.Logger(), 1)",
    "trt.ICudaEngine()",
    "trt.IHostMemory()",
    "Forgetful()",
    "Silent().log(trt.ILogger.Severity.ERROR, 'x')",
    "Silent().log(1, 'x')",
    "Spoken().mine",
    "type('Mixed', (Mixin, trt.ILogger), {})().mine",
    "setattr(trt.ILogger(), 'x', 1)",
    "setattr(trt.Logger(), 'x', 1)",
    "repr(trt.ILogger.ERROR)",
    "repr(trt.Logger.ERROR)",
    "trt.Logger.Severity is trt.ILogger.Severity",
    "repr(trt.Logger().min_severity)",
    "setattr(trt.Logger(), 'min_severity', 3)",
    "repr(trt.Logger(min_severity=trt.Logger.ERROR).min_severity)",
    "trt.Logger(3)",
    "trt.Logger(trt.Logger.INTERNAL_ERROR).log(trt.Logger.INFO, 'x')",
    "trt.Logger().log(1, 'x')",
    "tuple(trt.Dims((1, 2, 3)))",
    "tuple(trt.Dims(numpy.array([1, 2])))",
    "tuple(trt.Dims((True, 2)))",
    "len(trt.Dims())",
    "trt.Dims((1, 2))[-1]",
    "trt.Dims((1, 2))[2]",
    "trt.Dims((1, 2, 3))[1:]",
    "repr(trt.Dims((1, 2)))",
    "str(trt.Dims((1, 2)))",
    "-1 in trt.Dims((1, -1))",
    "trt.Dims((1, 2)) == (1, 2)",
    "trt.Dims((1, 2)) != [1, 3]",
    "trt.Dims((1, 2)) == trt.Dims((1, 2))",
    "trt.Dims((1, 2)) == None",
    "hash(trt.Dims((1, 2)))",
    "trt.Dims((1.5, 2))",
    "trt.Dims('ab')",
    "trt.Dims((1,) * 9)",
    "setattr(trt.Dims((1,)), 'x', 1)",
    "trt.volume((2, 3))",
    "trt.nptype(trt.DataType.HALF).__name__",
    "trt.nptype(trt.DataType.FP8)",
    "trt.DataType.FLOAT.itemsize",
    "trt.DataType.INT8.itemsize",
    "trt.float32 == trt.DataType.FLOAT",
)


def tried(trt: Any) -> dict[str, str]:
    """Each expression, with its value or the name of the error that it raised."""

    class Forgetful(trt.ILogger):
        def __init__(self) -> None:
            pass

    class Silent(trt.ILogger):
        pass

    class Spoken(trt.ILogger):
        def __init__(self) -> None:
            super().__init__()
            self.mine = 3

        def log(self, severity: Any, msg: str) -> None:
            pass

    class Mixin:
        def __init__(self) -> None:
            super().__init__()
            self.mine = 4

    names = {"trt": trt, "numpy": importlib.import_module("numpy"), "Mixin": Mixin}
    names |= {cls.__name__: cls for cls in (Forgetful, Silent, Spoken)}
    return {expression: _value(expression, names) for expression in EXPRESSIONS}


def _value(expression: str, names: dict[str, Any]) -> str:
    try:
        return repr(eval(expression, names))
    except Exception as error:  # noqa: BLE001
        return type(error).__name__


if __name__ == "__main__":
    # The folder of this file holds a package `tensorrt` of ours.
    sys.path.pop(0)
    print("\n" + json.dumps(tried(importlib.import_module("tensorrt_bindings"))))  # noqa: T201
