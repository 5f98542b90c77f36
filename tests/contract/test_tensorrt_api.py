"""Every name of TensorRT that our code uses is in the versions that it is used for.

A name that some version lacks stands in GUARDED, with the condition that our code asks before it uses it and the
versions that this condition lets through. An entry that nothing uses any more fails, and so does one that needs no
guard.
"""

from __future__ import annotations

import re
import textwrap
from dataclasses import dataclass
from pathlib import Path

import pytest

from deepfake_edge.engines import library
from doubles.tensorrt import VERSIONS, manifest
from doubles.tensorrt.read_bindings import WHEELS, BindingsUnavailable, read_version
from doubles.tensorrt.uses import find_uses

PACKAGE = Path(__file__).resolve().parents[2] / "deepfake_edge"
FILES = (*sorted(PACKAGE.glob("engines/*.py")), PACKAGE / "runtimes/trt.py", PACKAGE / "gpu.py")
SINCE_10 = tuple(version for version in VERSIONS if version != "8.6")
TYPED = ("10.14", "10.16", "11.0", "11.4")
FLAGGED = ("8.6", "10.3", "10.7")


@dataclass(frozen=True)
class Guard:
    """What our code asks first, and the versions in which it then uses the name (`names`, where it is computed)."""

    condition: str
    versions: tuple[str, ...]
    names: tuple[str, ...] = ()


GUARDED = {
    "BuilderFlag.*": Guard("not _is_typed()", FLAGGED, ("BuilderFlag.FP16", "BuilderFlag.INT8")),
    "ExecutionContextAllocationStrategy": Guard("self._sized()", SINCE_10),
    "ExecutionContextAllocationStrategy.USER_MANAGED": Guard("self._sized()", SINCE_10),
    "IBuilderConfig.progress_monitor": Guard("hasattr(config, 'progress_monitor')", SINCE_10),
    "ICudaEngine.create_execution_context_without_device_memory": Guard("self._sized()", ("8.6",)),
    "ICudaEngine.device_memory_size": Guard("self._sized()", ("8.6",)),
    "ICudaEngine.device_memory_size_v2": Guard("self._sized()", SINCE_10),
    "IExecutionContext.set_device_memory": Guard("self._sized()", SINCE_10),
    "IProgressMonitor": Guard("not hasattr(trt, 'IProgressMonitor')", SINCE_10),
    "NetworkDefinitionCreationFlag.EXPLICIT_BATCH": Guard("version_numbers() < _MODERN_FROM", ("8.6",)),
    "NetworkDefinitionCreationFlag.STRONGLY_TYPED": Guard("_is_typed()", TYPED),
    "PreviewFeature.PROFILE_SHARING_0806": Guard("version_numbers() < _MODERN_FROM", ("8.6",)),
}


def has(version: str, name: str) -> bool:
    """Whether a version's API has a name: of the module, a class's member, or an enum's."""
    facts = manifest(version)
    owner, _, member = name.rpartition(".")
    if not owner:
        return member == "__version__" or any(member in facts[kind] for kind in ("classes", "enums", "functions"))
    if owner in facts["enums"]:
        return member in facts["enums"][owner]
    found = facts["classes"].get(owner)
    if found is None:
        return False
    own = member in found["methods"] or member in found["properties"] or f"{owner}.{member}" in facts["enums"]
    return own or any(has(version, f"{base}.{member}") for base in found["bases"])


def wrong(files) -> list[str]:
    """What is used without being there, one line each."""
    lines = []
    for use in find_uses(files, map(manifest, VERSIONS)):
        lacking = [version for version in VERSIONS if not has(version, use.name)]
        guard = GUARDED.get(use.name)
        if lacking and guard is None:
            lines.append(f"{use.place}: {use.name} is not in TensorRT {', '.join(lacking)}; see GUARDED")
        elif lacking and not any(guard.condition in condition for condition in use.conditions):
            lines.append(f"{use.place}: {use.name} must stand under `{guard.condition}`")
    return sorted(lines)


def test_every_name_is_there_or_guarded():
    assert wrong(FILES) == []


@pytest.mark.parametrize("name", sorted(GUARDED))
def test_a_guard_is_needed_used_and_lets_through_what_has_the_name(name):
    guard = GUARDED[name]
    assert name in {use.name for use in find_uses(FILES, map(manifest, VERSIONS))}, "nothing uses it any more"
    for used in guard.names or (name,):
        assert not all(has(version, used) for version in VERSIONS), f"{used} is in every version"
        for version in guard.versions:
            assert has(version, used), f"{used} is not in TensorRT {version}"


def test_what_the_library_asks_for_first_is_in_every_version():
    for name in library._NEEDED:
        assert all(has(version, name) for version in VERSIONS), name


def test_the_check_follows_our_code_to_what_tensorrt_makes():
    """Else it would pass because it sees nothing."""
    found = {use.name for use in find_uses(FILES, map(manifest, VERSIONS))}
    for name in (
        "Builder.build_serialized_network",
        "IBuilderConfig.clear_flag",
        "ICudaEngine.get_tensor_profile_shape",
        "IExecutionContext.execute_async_v3",
        "IExecutionContext.set_tensor_address",
        "INetworkDefinition.get_input",
        "IOptimizationProfile.set_shape",
        "ITensor.shape",
        "ITimingCache.serialize",
        "ParserError.desc",
        "Runtime.deserialize_cuda_engine",
    ):
        assert name in found


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ("trt.Bilder(log)", "Bilder is not in"),
        ("config.set_flagg(1)", r"IBuilderConfig\.set_flagg is not in"),
        ("config.set_flag(trt.BuilderFlag.FP17)", r"BuilderFlag\.FP17 is not in"),
        ("config.set_flag(trt.BuilderFlag.BF16)", r"BuilderFlag\.BF16 is not in TensorRT 8\.6, 11\.0, 11\.4"),
        ("config.progress_monitor = None", "must stand under `hasattr"),
        ("config.max_workspace_size = 1", r"max_workspace_size is not in TensorRT 10\.3"),
        ("builder.build_engine(network, config)", r"Builder\.build_engine is not in TensorRT 10\.3"),
        ("for error in [parser.get_error(0)]:\n        error.text()", r"ParserError\.text is not in"),
        ("with device:\n        context = Holder(builder).config\n        context.oops()", r"IBuilderConfig\.oops"),
    ],
)
def test_a_wrong_name_is_seen(tmp_path, line, complaint):
    source = f"""
class Holder:
    def __init__(self, builder):
        self.config = builder.create_builder_config()


def build(log, device):
    builder = trt.Builder(log)
    network = builder.create_network(0)
    parser = trt.OnnxParser(network, log)
    config = builder.create_builder_config()
    {line}
"""
    path = tmp_path / "source.py"
    path.write_text(textwrap.dedent(source))
    (found,) = wrong([path])
    assert re.search(complaint, found), found


@pytest.mark.slow
@pytest.mark.parametrize("version", sorted(WHEELS))
def test_a_manifest_is_what_the_real_bindings_say(version):
    try:
        found = read_version(version)
    except BindingsUnavailable as error:
        pytest.skip(f"the bindings of TensorRT {version} cannot be read here: {error}")
    assert found == manifest(version)
