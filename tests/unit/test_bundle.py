"""The bundle: the same bytes every time, and nothing damaged gets in."""

from __future__ import annotations

import hashlib
import io
import json
import os
import zipfile
from dataclasses import replace

import numpy as np
import pytest
from onnx import ModelProto, TensorProto

from deepfake_edge.bundle import MANIFEST, Bundle, read_bundle, write_bundle
from deepfake_edge.errors import BundleError, DeepfakeEdgeError, InvalidInput
from deepfake_edge.sealed import pack
from fakes import bright_means_fake


@pytest.fixture
def path(tmp_path):
    target = tmp_path / "bright.dfe"
    write_bundle(bright_means_fake(frames=4, sample_fps=10.0), target)
    return target


def reseal(path, members: list[tuple[str, bytes]]) -> None:
    """Write members as given, with a digest that fits: what an attacker, not an accident, would make."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for name, content in members:
            archive.writestr(name, content)
        archive.comment = b"sha256:" + b"0" * 64
    body = path.read_bytes()[:-71]
    path.write_bytes(body + b"sha256:" + hashlib.sha256(body).hexdigest().encode())


def members_of(path) -> list[tuple[str, bytes]]:
    with zipfile.ZipFile(path) as archive:
        return [(name, archive.read(name)) for name in archive.namelist()]


def test_what_is_written_is_read_back(path):
    wanted, found = bright_means_fake(frames=4, sample_fps=10.0), read_bundle(path)
    assert (found.name, found.spec, found.variants, found.provenance) == (
        wanted.name,
        wanted.spec,
        wanted.variants,
        wanted.provenance,
    )
    for name in ("crops", "windows", "features", "outputs"):
        np.testing.assert_array_equal(getattr(found.golden, name), getattr(wanted.golden, name))
    assert found.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.mark.parametrize("kind", [{"fused": True}, {"frame_outputs": "frame_outputs"}])
def test_fused_networks_and_frame_outputs_are_written_and_read_back(tmp_path, kind):
    wanted = bright_means_fake(frames=4, sample_fps=10.0, **kind)
    write_bundle(wanted, tmp_path / "model.dfe")
    found = read_bundle(tmp_path / "model.dfe")
    assert found.variants == wanted.variants
    assert found.golden.features.shape == wanted.golden.features.shape
    variant = found.variants["fp32"]
    assert (variant.backbone is None, variant.scores_frames) == ("fused" in kind, "frame_outputs" in kind)


@pytest.mark.parametrize("change", [{"backbone": None, "head": None}, {"backbone": None}])
def test_networks_that_do_not_go_with_the_golden_features_are_not_written(tmp_path, change):
    bundle = bright_means_fake(frames=4, sample_fps=10.0)
    variants = {"fp32": replace(bundle.variants["fp32"], **change)}
    with pytest.raises(InvalidInput, match=r"neither|golden features"):
        write_bundle(replace(bundle, variants=variants), tmp_path / "model.dfe")
    assert not list(tmp_path.iterdir())


def without(*names: str):
    def edit(manifest, members) -> None:
        for name in names:
            del members[name], manifest["members"][name]

    return edit


def test_the_same_content_gives_the_same_bytes(path, tmp_path):
    again = tmp_path / "again.dfe"
    assert write_bundle(bright_means_fake(frames=4, sample_fps=10.0), again) == read_bundle(path).sha256
    assert again.read_bytes() == path.read_bytes()


def test_any_zip_tool_can_open_it(path):
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None
        assert archive.namelist()[0] == MANIFEST


def test_every_flipped_byte_is_refused_before_parsing(path, monkeypatch):
    data = path.read_bytes()
    monkeypatch.setattr("deepfake_edge.sealed.zipfile.ZipFile", None)
    monkeypatch.setattr("deepfake_edge.bundle.json.loads", None)
    for position in range(len(data)):
        path.write_bytes(data[:position] + bytes([data[position] ^ 0x41]) + data[position + 1 :])
        with pytest.raises(BundleError):
            read_bundle(path)


@pytest.mark.parametrize("kept", [0, 1, 21, 100, -1])
def test_a_truncated_file_is_refused(path, kept):
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(BundleError):
        read_bundle(path)


def test_something_after_the_end_is_refused(path):
    path.write_bytes(path.read_bytes() + b"x")
    with pytest.raises(BundleError):
        read_bundle(path)


def test_an_extra_member_is_refused(path):
    reseal(path, [*members_of(path), ("extra.txt", b"x")])
    with pytest.raises(BundleError, match="unexpected members"):
        read_bundle(path)


def test_a_missing_member_is_refused(path):
    reseal(path, members_of(path)[:-1])
    with pytest.raises(BundleError, match="missing members"):
        read_bundle(path)


def test_a_member_twice_is_refused(path):
    with pytest.warns(UserWarning, match="Duplicate name"):
        reseal(path, [*members_of(path), members_of(path)[-1]])
    with pytest.raises(BundleError, match="twice"):
        read_bundle(path)


def test_a_swapped_graph_is_refused(path):
    swapped = [
        (name, content + b"\x00" if name.endswith("head.onnx") else content) for name, content in members_of(path)
    ]
    reseal(path, swapped)
    with pytest.raises(BundleError, match="does not match the manifest"):
        read_bundle(path)


def test_another_format_is_refused_by_number(path):
    changed = [(n, c.replace(b'"format": 2', b'"format": 9') if n == MANIFEST else c) for n, c in members_of(path)]
    reseal(path, changed)
    with pytest.raises(BundleError, match="format 9"):
        read_bundle(path)


def test_a_manifest_that_is_no_json_is_refused(path):
    reseal(path, [(n, b"[" if n == MANIFEST else c) for n, c in members_of(path)])
    with pytest.raises(BundleError, match="not JSON"):
        read_bundle(path)


def rewrite(path, edit) -> None:
    """Change the manifest or the golden arrays, and make every size and digest fit again."""
    members = dict(members_of(path))
    manifest = json.loads(members.pop(MANIFEST))
    text = edit(manifest, members)
    for name, content in members.items():
        manifest["members"][name] = {"size": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    reseal(path, [(MANIFEST, text or json.dumps(manifest).encode()), *members.items()])


def golden_with(**changes: np.ndarray | bytes):
    def edit(_, members) -> None:
        with np.load(io.BytesIO(members["golden.npz"])) as archive:
            arrays = {name: archive[name] for name in archive.files} | changes
        contents = {}
        for name, value in arrays.items():
            buffer = io.BytesIO()
            if isinstance(value, np.ndarray):
                np.lib.format.write_array(buffer, value)
            else:
                buffer.write(value)
            contents[f"{name}.npy"] = buffer.getvalue()
        members["golden.npz"] = pack(contents)

    return edit


def set_in(*keys: str, value: object):
    def edit(manifest, _) -> None:
        for key in keys[:-1]:
            manifest = manifest[key]
        manifest[keys[-1]] = value

    return edit


def compressed_golden(_, members) -> None:
    buffer = io.BytesIO()
    np.savez_compressed(buffer, crops=np.zeros((9, 8, 8, 3), np.uint8))
    members["golden.npz"] = buffer.getvalue()


HUGE = (
    b"\x93NUMPY\x01\x00\x76\x00"
    + str({"descr": "|u1", "fortran_order": False, "shape": (1 << 48, 8, 8, 3)}).encode().ljust(117)
    + b"\n"
)


@pytest.mark.parametrize(
    "edit",
    [
        set_in("variants", value={}),
        set_in("variants", value={"fp64": {"parity": {}, "layers": {}}}),
        set_in("variants", value=["fp32"]),
        set_in("name", value="\x1b[2Jmodel"),
        set_in("name", value=None),
        set_in("spec", "crop", "margin", value=10**400),
        set_in("spec", "crop", "size_px", value=9),
        set_in("spec", "threshold", value=True),
        set_in("provenance", value=3),
        lambda manifest, members: b"[" * 200_000,
        lambda manifest, members: members.update({"golden.npz": b""}),
        lambda manifest, members: members.update({"golden.npz": b"PK not a zip"}),
        compressed_golden,
        without("fp32/backbone.onnx"),
        without("fp32/backbone.onnx", "fp32/head.onnx"),
        without("golden.npz"),
        without("fp32/golden.npz"),
        set_in("variants", "fp32", "layers", value=3),
        lambda manifest, members: members.update({"fp16/head.onnx": members["fp32/head.onnx"]}),
        lambda manifest, members: members.update({"notes.txt": b"x"}),
        golden_with(features=np.zeros((4, 0), np.float32)),
        golden_with(outputs=np.zeros((4, 0), np.float32)),
        golden_with(windows=np.full((4, 4), 99, np.int64)),
        golden_with(windows=np.full((4, 4), -1, np.int64)),
        golden_with(features=np.full((4, 1), np.nan, np.float32)),
        golden_with(outputs=np.zeros((4, 2), np.float32)),
        golden_with(crops=np.zeros((4, 8, 8, 3), np.float32)),
        golden_with(crops=np.zeros((0, 8, 8, 3), np.uint8)),
        golden_with(crops=HUGE),
        golden_with(crops=b"not an array"),
    ],
)
def test_a_rewritten_and_resealed_bundle_is_refused_with_a_typed_error(path, edit):
    rewrite(path, edit)
    with pytest.raises(BundleError):
        read_bundle(path)


def test_a_link_is_followed_and_a_long_name_can_be_written(tmp_path):
    real = tmp_path / ("n" * 250)
    (tmp_path / "link.dfe").symlink_to(real)
    write_bundle(bright_means_fake(), tmp_path / "link.dfe")
    assert (tmp_path / "link.dfe").is_symlink()
    assert read_bundle(real).name == "bright"


def external(graph: bytes) -> bytes:
    model = ModelProto.FromString(graph)
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="/etc/passwd")
    return model.SerializeToString()


def test_external_data_is_refused_when_written(tmp_path):
    bundle = bright_means_fake()
    variant = bundle.variants["fp32"]
    bad = replace(bundle, variants={"fp32": replace(variant, backbone=external(variant.backbone))})
    with pytest.raises(DeepfakeEdgeError, match="external data"):
        write_bundle(bad, tmp_path / "bad.dfe")
    assert not list(tmp_path.iterdir())


def test_an_unknown_variant_is_refused(tmp_path):
    bundle = bright_means_fake()
    with pytest.raises(InvalidInput, match="int4"):
        write_bundle(replace(bundle, variants={"int4": bundle.variants["fp32"]}), tmp_path / "bad.dfe")


def test_a_failed_write_leaves_the_old_file(path, monkeypatch):
    before = path.read_bytes()

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(BundleError, match="No space left"):
        write_bundle(bright_means_fake(), path)
    assert path.read_bytes() == before
    assert [item.name for item in path.parent.iterdir()] == [path.name]


def test_a_folder_that_does_not_exist_is_a_clear_error(tmp_path):
    with pytest.raises(BundleError, match="cannot be written"):
        write_bundle(bright_means_fake(), tmp_path / "absent" / "model.dfe")


@pytest.mark.parametrize("name", ["absent.dfe", "."])
def test_what_is_no_file_is_a_clear_error(tmp_path, name):
    with pytest.raises(BundleError):
        read_bundle(tmp_path / name)


def test_an_onnx_file_is_not_a_bundle(tmp_path):
    target = tmp_path / "model.dfe"
    target.write_bytes(bright_means_fake().variants["fp32"].backbone * 2)
    with pytest.raises(BundleError, match="not a bundle"):
        read_bundle(target)


def test_variants_of_an_empty_bundle_are_asked_for(tmp_path):
    empty: Bundle = replace(bright_means_fake(), variants={})
    with pytest.raises(InvalidInput, match="at least one"):
        write_bundle(empty, tmp_path / "x.dfe")
