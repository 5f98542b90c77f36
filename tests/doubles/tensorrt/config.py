"""Simulated: how to build, and what was timed before."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from doubles.tensorrt.library import Library
from doubles.tensorrt.network import OptimizationProfile
from doubles.tensorrt.values import HostMemory


class TimingCache:
    """ITimingCache: the layers that were timed before, on this device and version."""

    api = "ITimingCache"

    def __init__(self, library: Library, stamp: list[Any], entries: set[str]) -> None:
        self._library = library
        self.stamp = stamp
        self.entries = entries
        library.born(self, "timing_caches")

    def serialize(self) -> HostMemory | None:
        if self._library.fault("serialize_timing_cache"):
            return None
        body = json.dumps([self.stamp, sorted(self.entries)]).encode()
        return HostMemory(self._library, hashlib.sha256(body).digest() + body)

    def combine(self, input_cache: TimingCache, ignore_mismatch: bool) -> bool:
        if self._library.fault("combine_timing_cache") or (input_cache.stamp != self.stamp and not ignore_mismatch):
            return False
        self.entries |= input_cache.entries
        return True

    def reset(self) -> bool:
        self.entries.clear()
        return True


class BuilderConfig:
    """IBuilderConfig."""

    api = "IBuilderConfig"

    def __init__(self, library: Library, logger: Any) -> None:
        self._library = library
        self._pools: dict[str, int] = {}
        self._flags = 1 << int(library.enum("BuilderFlag.TF32"))
        self._previews: set[str] = set()
        self.profiles: list[OptimizationProfile] = []
        self.cache: TimingCache | None = None
        self.progress_monitor: Any = None
        self.builder_optimization_level = 3
        self.avg_timing_iterations = 1
        self.max_aux_streams = -1
        self.hardware_compatibility_level = library.enum("HardwareCompatibilityLevel.NONE")
        self.profiling_verbosity = library.enum("ProfilingVerbosity.LAYER_NAMES_ONLY")
        self.default_device_type = library.enum("DeviceType.GPU")
        self.logger = logger
        library.born(self, "configs")

    @property
    def flags(self) -> int:
        return self._flags

    @flags.setter
    def flags(self, value: int) -> None:
        self._flags = int(value)

    @property
    def num_optimization_profiles(self) -> int:
        return len(self.profiles)

    @property
    def workspace(self) -> int:
        return self._pools.get("WORKSPACE", -1)

    def set_flag(self, flag: Any) -> None:
        self._flags |= 1 << int(flag)

    def clear_flag(self, flag: Any) -> None:
        self._flags &= ~(1 << int(flag))

    def get_flag(self, flag: Any) -> bool:
        return bool(self._flags >> int(flag) & 1)

    def flag_names(self) -> set[str]:
        known = self._library.manifest["enums"]["BuilderFlag"]
        return {name for name, value in known.items() if self._flags >> value & 1}

    def set_preview_feature(self, feature: Any, enable: bool) -> None:
        (self._previews.add if enable else self._previews.discard)(feature.name)

    def get_preview_feature(self, feature: Any) -> bool:
        return feature.name in self._previews

    def set_memory_pool_limit(self, pool: Any, pool_size: int) -> None:
        self._pools[pool.name] = pool_size

    def get_memory_pool_limit(self, pool: Any) -> int:
        if pool.name not in self._pools and pool.name == "WORKSPACE":
            return int(self._library.memory.facts()[2])
        return self._pools.get(pool.name, 0)

    def settings(self) -> dict[str, Any]:
        return {
            "builder_optimization_level": self.builder_optimization_level,
            "hardware_compatibility_level": self.hardware_compatibility_level.name,
            "profiling_verbosity": self.profiling_verbosity.name,
            "previews": sorted(self._previews),
            "max_aux_streams": self.max_aux_streams,
        }

    def add_optimization_profile(self, profile: OptimizationProfile) -> int:
        if self._library.fault("add_optimization_profile") or not profile.valid():
            self._library.refuse(self.logger, "addOptimizationProfile: Error Code 3: profile is not valid")
            return -1
        self.profiles.append(profile)
        return len(self.profiles) - 1

    def create_timing_cache(self, serialized_timing_cache: memoryview) -> TimingCache | None:
        data = bytes(serialized_timing_cache)
        stamp = self._stamp()
        damaged = bool(self._library.fault("create_timing_cache"))
        if not data and not damaged:
            return TimingCache(self._library, stamp, set())
        if damaged or hashlib.sha256(data[32:]).digest() != data[:32]:
            self._library.refuse(self.logger, "createTimingCache: Error Code 1: Serialization (damaged blob)")
            return None
        made, entries = json.loads(data[32:])
        return TimingCache(self._library, made, set(entries))

    def set_timing_cache(self, cache: TimingCache, ignore_mismatch: bool) -> bool:
        if self._library.fault("set_timing_cache"):
            return False
        if cache.stamp != self._stamp() and not ignore_mismatch:
            self._library.say(self.logger, "WARNING", "setTimingCache: of another device or version")
            return False
        self.cache = cache
        return True

    def get_timing_cache(self) -> TimingCache | None:
        return self.cache

    def _stamp(self) -> list[Any]:
        name, capability, _ = self._library.memory.facts()
        return [self._library.full_version, name, list(capability)]
