"""Builds a bundle's engines for this device, proves them on it, and keeps them; all of a precision or none."""

from __future__ import annotations

import hashlib
import logging
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from importlib.metadata import version as version_of
from pathlib import Path
from typing import Any, TypeAlias

from deepfake_edge.bundle import Bundle
from deepfake_edge.cuda.device import Device
from deepfake_edge.engines.compiler import Order, compile_engine, default_workspace
from deepfake_edge.engines.gate import prove
from deepfake_edge.engines.identity import Part, Platform, parts_of, platform_of
from deepfake_edge.engines.monitor import Progress
from deepfake_edge.engines.options import BuildOptions
from deepfake_edge.engines.sidecar import Sidecar
from deepfake_edge.engines.store import EngineStore, StoredEngine
from deepfake_edge.errors import BundleError
from deepfake_edge.model import Model
from deepfake_edge.protocols import Network

EngineFactory: TypeAlias = Callable[[bytes, str], Network]
"""(plan, name for messages) -> Network."""

# Weights, kernels for them, and room to write the new file beside the old one.
_ROOM_PER_GRAPH_BYTE = 3
_LEAST_ROOM_BYTES = 64 * 1024**2
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class BuiltEngine:
    """One engine: its file, and whether this build made it or found it."""

    path: Path
    built: bool
    sidecar: Sidecar


@dataclass(frozen=True, slots=True)
class BuildReport:
    """What a build came to.

    Attributes:
        bundle: its name.
        precision: what was asked for.
        platform: for what it was built.
        engines: backbone and head, as far as the bundle has them.
    """

    bundle: str
    precision: str
    platform: Platform
    engines: tuple[BuiltEngine, ...]

    @property
    def up_to_date(self) -> bool:
        """Whether everything was there already."""
        return not any(engine.built for engine in self.engines)


def build_engines(
    bundle: Bundle,
    precision: str | None,
    options: BuildOptions,
    device: Device,
    network: EngineFactory,
    progress: Progress | None = None,
) -> BuildReport:
    """Build what is not there yet, prove all of it, and keep it.

    Args:
        bundle: as it was read.
        precision: `fp32`, `fp16` or `int8`; None takes the first that the bundle has.
        options: batch sizes and limits.
        device: open, for which GPU.
        network: makes a network of a plan on that device.
        progress: called in this thread while TensorRT builds.
    Raises:
        InvalidInput: the bundle does not have the precision, or TensorRT does not compute in it.
        MissingDependency: there is no TensorRT.
        BundleError: the cache folder cannot be written or is too small, or TensorRT cannot parse a graph.
        InferenceError: nothing was built, or it does not do what the graph does; nothing of it is kept.
        OutOfDeviceMemory, DeviceLost: the GPU failed.
    """
    job = _Job(bundle, precision or bundle.first_precision, options, device, platform_of(device.facts))
    parts = parts_of(bundle, precision)
    with job.store.lock():
        found = {} if options.force else {part.name: engine for part in parts if (engine := job.kept(part))}
        missing = [part for part in parts if part.name not in found]
        if not missing:
            _log.info("%s: its %s engines are up to date", bundle.name, job.precision)
            return job.report(found, built=())
        job.store.remove_leftovers()
        job.store.check_room(max(_LEAST_ROOM_BYTES, _ROOM_PER_GRAPH_BYTE * sum(len(part.graph) for part in missing)))
        engines = {part.name: found.get(part.name) or job.compile(part, progress) for part in parts}
        figures = job.prove(parts, engines, network)
        for part in missing:
            plan, sidecar = engines[part.name].plan, replace(engines[part.name].sidecar, gate=figures)
            job.store.put(plan, sidecar)
            engines[part.name] = StoredEngine(plan, sidecar)
    return job.report(engines, built=[part.name for part in missing])


@dataclass(frozen=True, slots=True)
class _Job:
    bundle: Bundle
    precision: str
    options: BuildOptions
    device: Device
    platform: Platform
    store: EngineStore = field(default_factory=EngineStore)

    def kept(self, part: Part) -> StoredEngine | None:
        """What is there and was built as asked."""
        try:
            found = self.store.find(part.identity(self.platform))
        except BundleError as error:
            _log.info("%s", error)
            return None
        wanted = self.options
        if found is None or found.sidecar.batch != wanted.batch:
            return None
        return found if wanted.workspace_bytes in (None, found.sidecar.workspace_bytes) else None

    def compile(self, part: Part, progress: Progress | None) -> StoredEngine:
        workspace = self.options.workspace_bytes
        if workspace is None:
            workspace = default_workspace(self.device)
        name = f"{self.bundle.name} {part.name} ({part.precision})"
        _log.info("building %s for %s with TensorRT %s", name, self.platform.gpu, self.platform.tensorrt)
        order = Order(name, part.graph, part.precision, self.options.batch, workspace, self.store.timing(self.platform))
        started = time.monotonic()
        compiled = compile_engine(order, self.device, progress)
        build_s = round(time.monotonic() - started, 1)
        if compiled.timing:
            self.store.keep_timing(self.platform, compiled.timing)
        sidecar = Sidecar(
            identity=part.identity(self.platform),
            part=part.name,
            bundle=self.bundle.name,
            bundle_sha256=self.bundle.sha256,
            batch=self.options.batch,
            workspace_bytes=workspace,
            plan_sha256=hashlib.sha256(compiled.plan).hexdigest(),
            plan_bytes=len(compiled.plan),
            build_s=build_s,
            gate={},
            made_with=version_of("deepfake-edge"),
        )
        return StoredEngine(compiled.plan, sidecar)

    def report(self, engines: Mapping[str, StoredEngine], built: Collection[str]) -> BuildReport:
        listed = tuple(
            BuiltEngine(self.store.path_of(engine.sidecar.identity), name in built, engine.sidecar)
            for name, engine in engines.items()
        )
        return BuildReport(self.bundle.name, self.precision, self.platform, listed)

    def prove(
        self, parts: tuple[Part, ...], engines: Mapping[str, StoredEngine], network: EngineFactory
    ) -> dict[str, Any]:
        """Run the golden crops through the engines; the gate's figures."""
        plans = {part.graph: engines[part.name].plan for part in parts}
        variant = self.bundle.variant_for(self.precision, "tensorrt")

        def engine(graph: bytes, title: str) -> Network:
            return network(plans[graph], title)

        _log.info("replaying the golden crops at batches of %s", ", ".join(map(str, self.options.batch.sizes)))
        with Model(self.bundle, variant, engine, self.precision) as model:
            return prove(model, self.bundle, self.options.batch).figures()
