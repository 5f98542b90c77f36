"""What makes an engine valid: another graph, precision, TensorRT, GPU, driver or way of building, another engine."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from deepfake_edge.bundle import Bundle
from deepfake_edge.cuda.device import DeviceFacts
from deepfake_edge.engines import library
from deepfake_edge.errors import InvalidInput

# Raised when the same graph would be built in another way: flags, limits, how the batch axis is treated.
RECIPE = 1
PRECISIONS = ("fp32", "fp16", "int8")
_NUMBERS = ("multiprocessors", "recipe")


@dataclass(frozen=True, slots=True)
class Platform:
    """Where an engine runs.

    Attributes:
        tensorrt: the full version.
        compute_capability: of the GPU, e.g. `8.7`.
        device: the GPU's name.
        multiprocessors: how many it has: boards of one name differ in it, and so do Jetson's power modes.
        driver: the newest CUDA version that the driver knows, e.g. `13.0`.
        recipe: how engines are built, `RECIPE`.
    """

    tensorrt: str
    compute_capability: str
    device: str
    multiprocessors: int
    driver: str
    recipe: int = RECIPE

    def against(self, here: Platform) -> str:
        """In what an engine of this platform does not fit `here`, in words; empty where it does."""
        parts = [
            ("with TensorRT {}, this is {}", self.tensorrt, here.tensorrt),
            ("for {}, this is {}", self.gpu, here.gpu),
            ("with a driver for CUDA {}, this is one for {}", self.driver, here.driver),
            ("by recipe {} of deepfake-edge, this one has recipe {}", self.recipe, here.recipe),
        ]
        return "; ".join(text.format(was, now) for text, was, now in parts if was != now)

    @property
    def gpu(self) -> str:
        """The GPU, for people."""
        return f"{self.device} (compute capability {self.compute_capability}, {self.multiprocessors} multiprocessors)"

    @property
    def timing_key(self) -> str:
        """Names what kernels took on this GPU with this TensorRT."""
        return _digest([self.tensorrt, self.compute_capability, self.device, self.multiprocessors])


@dataclass(frozen=True, slots=True)
class EngineIdentity:
    """Everything that an engine depends on but what a user may choose freely, such as its batch sizes.

    Attributes:
        graph_sha256: of the ONNX file.
        precision: one of PRECISIONS.
        platform: where it runs.
    """

    graph_sha256: str
    precision: str
    platform: Platform

    @property
    def digest(self) -> str:
        """Names the engine's files: 64 hexadecimal digits."""
        return _digest(asdict(self))


@dataclass(frozen=True, slots=True)
class Part:
    """One network of a bundle's variant: `backbone` or `head`, its ONNX file, and in what it is computed."""

    name: str
    graph: bytes
    precision: str

    @property
    def graph_sha256(self) -> str:
        """The digest of its ONNX file."""
        return hashlib.sha256(self.graph).hexdigest()

    def identity(self, platform: Platform) -> EngineIdentity:
        """Its engine's, on a platform."""
        return EngineIdentity(self.graph_sha256, self.precision, platform)


def parts_of(bundle: Bundle, precision: str | None) -> tuple[Part, ...]:
    """The networks that give a precision, one engine each. A head beside a backbone is fp32, whatever the precision.

    Args:
        bundle: as it was read.
        precision: one of PRECISIONS; None takes the first that the bundle has.
    Raises:
        InvalidInput: TensorRT does not compute in it, or the bundle does not have it.
    """
    precision = precision or bundle.first_precision
    if precision == "bf16":
        raise InvalidInput("precision: bf16 is computed by openvino alone; for TensorRT take fp16, fp32 or int8")
    variant = bundle.variants[bundle.variant_for(precision, "tensorrt")]
    parts = []
    if variant.backbone is not None:
        parts.append(Part("backbone", variant.backbone, precision))
    if variant.head is not None:
        parts.append(Part("head", variant.head, "fp32" if parts else precision))
    return tuple(parts)


def platform_of(facts: DeviceFacts) -> Platform:
    """What this TensorRT makes engines for, on a GPU. Raises MissingDependency."""
    major, minor = facts.compute_capability
    return Platform(library.version(), f"{major}.{minor}", facts.name, facts.multiprocessors, facts.driver_version)


def identity_from(table: Mapping[str, Any]) -> EngineIdentity:
    """Read back what `asdict` made. Raises KeyError, TypeError or ValueError: it is something else."""
    found = {item.name: table["platform"][item.name] for item in fields(Platform)}
    texts = [table["graph_sha256"], table["precision"], *(found[name] for name in found if name not in _NUMBERS)]
    numbers = [found[name] for name in _NUMBERS]
    if not all(isinstance(value, str) for value in texts) or not all(isinstance(value, int) for value in numbers):
        raise ValueError("not an engine's identity")
    return EngineIdentity(table["graph_sha256"], table["precision"], Platform(**found))


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()
