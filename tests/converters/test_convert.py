"""From a file to a bundle, or to an error that says everything and leaves nothing behind."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import zipfile
from dataclasses import replace

import cv2
import numpy as np
import pytest

from deepfake_edge.bundle import read_bundle
from deepfake_edge.converters import ConvertOptions, convert
from deepfake_edge.errors import ConversionError, InvalidInput
from deepfake_edge.golden import replay
from deepfake_edge.model import Model
from deepfake_edge.runtimes.ort import OnnxRuntimeNetwork
from deepfake_edge.training.face_crops import make_crops
from deepfake_edge.training.families import FAMILIES

# Keras 3.15 copies its variables in a way that numpy 2.4 calls deprecated; it is not ours to mend.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy:DeprecationWarning")

stages = sys.modules["deepfake_edge.converters.convert"]


@pytest.fixture(scope="module")
def options(tiny):
    return ConvertOptions(overrides=tiny.overrides)


@pytest.fixture(scope="module")
def meso4(keras, tmp_path_factory):
    """A small Meso4 whose score hardly varies, as a full model and as weights."""
    folder = tmp_path_factory.mktemp("meso4")
    keras.utils.set_random_seed(1)
    model = FAMILIES["meso4"].build(size_px=64)
    kernel, bias = model.layers[-1].get_weights()
    model.layers[-1].set_weights([kernel * 1e-3, bias])
    model.save(folder / "full.keras")
    model.save_weights(folder / "only.weights.h5")
    return folder


@pytest.fixture(scope="module")
def converted(saved, options, tmp_path_factory):
    """The report on a clip model, and what was said meanwhile."""
    said: list[str] = []
    output = tmp_path_factory.mktemp("converted") / "m.dfe"
    return convert(saved, output, replace(options, progress=said.append)), said


def test_a_bundle_comes_out_and_replays(saved, converted):
    report, said = converted
    bundle = read_bundle(report.path)
    assert report.sha256 == bundle.sha256 == hashlib.sha256(report.path.read_bytes()).hexdigest()
    assert bundle.name == "clip"
    assert bundle.provenance["source_sha256"] == hashlib.sha256(saved.read_bytes()).hexdigest()
    assert bundle.variants["fp32"].parity == report.parity
    assert str(saved.parent) not in json.dumps([dict(bundle.provenance), dict(report.parity)])
    with Model(bundle, "fp32", lambda graph, name: OnnxRuntimeNetwork(graph, name=name)) as model:
        assert replay(model, bundle).outputs_max_diff < 2e-5
    assert list(report.seconds) == ["checking", "opening", "export", "crops", "reference", "parity", "writing"]
    assert said[0] == "checking clip.keras"
    assert said[-1] == "writing m.dfe"
    assert report.peak_memory_bytes > 100e6
    origins = {key: origin for key, _, origin in report.spec_rows()}
    assert (origins["classes"], origins["frames"], origins["stride"]) == ("--spec", "the model", "default")


def test_values_that_nobody_gave_are_all_named(saved, tmp_path):
    with pytest.raises(ConversionError) as caught:
        convert(saved, tmp_path / "m.dfe", ConvertOptions(overrides={"fit": "square"}))
    named = {reason.partition(" ")[0] for reason in caught.value.reasons}
    assert named == {"margin", "resize", "channel_order", "mean", "scale", "sample_fps", "classes"}
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("part", ["backbone", "head"])
def test_a_sabotaged_network_is_refused_and_nothing_is_written(part, saved, options, tmp_path, monkeypatch):
    import onnx

    real = stages._networks

    def sabotaged(sandbox, exported):
        networks, counts = real(sandbox, exported)
        model = onnx.load_from_string(getattr(networks, part))
        first = next(item for item in model.graph.initializer if len(item.dims) >= 2)
        values = onnx.numpy_helper.to_array(first).copy()
        values.flat[0] += 2.0
        first.CopyFrom(onnx.numpy_helper.from_array(values, first.name))
        return replace(networks, **{part: model.SerializeToString()}), counts

    monkeypatch.setattr(stages, "_networks", sabotaged)
    old = tmp_path / "m.dfe"
    old.write_bytes(b"the old one")
    with pytest.raises(ConversionError, match="nothing was written") as caught:
        convert(saved, old, options)
    assert any(reason.startswith("outputs: largest difference") for reason in caught.value.reasons)
    assert old.read_bytes() == b"the old one"
    assert [item.name for item in tmp_path.iterdir()] == ["m.dfe"]


def test_two_processes_write_the_same_bytes(saved, converted, options, tmp_path):
    script = (
        "import sys, pathlib\n"
        "from deepfake_edge.converters import ConvertOptions, convert\n"
        "convert(pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2]), ConvertOptions(overrides=eval(sys.argv[3])))\n"
    )
    output = tmp_path / "m.dfe"
    command = [sys.executable, "-c", script, str(saved), str(output), repr(options.overrides)]
    # Hashes of texts differ from those of this process, whose seed is another.
    seed = "2" if os.environ.get("PYTHONHASHSEED") == "1" else "1"
    environment = {**os.environ, "PYTHONHASHSEED": seed}
    done = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert hashlib.sha256(output.read_bytes()).hexdigest() == converted[0].sha256


def test_importing_the_converter_loads_no_tensorflow(tmp_path):
    script = "import sys, deepfake_edge.converters as c; print(c.convert.__name__, 'tensorflow' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["convert", "False"]


def test_a_full_model_is_known_by_its_structure(meso4, tmp_path):
    picture = tmp_path / "face.png"
    cv2.imwrite(str(picture), np.full((64, 64, 3), 90, np.uint8))
    report = convert(meso4 / "full.keras", tmp_path / "m.dfe", ConvertOptions(checks=((picture, "fake"),)))
    assert sum(fit.chosen for fit in report.fits) == 1
    assert any("give both kinds" in warning for warning in report.warnings)
    assert (report.spec.family, report.spec.classes, report.spec.crop.size_px) == ("meso4", ("real",), 64)
    assert "recognised by its structure" in report.spec_origin["family"]
    assert any("parity proves little" in warning for warning in report.warnings)


def test_weights_go_into_their_family(meso4, tmp_path):
    options = ConvertOptions(family="meso4", overrides={"size_px": "64"})
    # Renamed, since a file is told by its content.
    for name, renamed in (("only.weights.h5", "a.bin"), ("full.keras", "b.model")):
        source = tmp_path / renamed
        source.write_bytes((meso4 / name).read_bytes())
        if name == "full.keras":
            with pytest.raises(ConversionError):
                convert(source, tmp_path / "m.dfe", replace(options, family="xception-lstm"))
        report = convert(source, tmp_path / "m.dfe", options)
        assert report.spec.family == "meso4"


def test_weights_that_do_not_fit_are_all_named(meso4, keras, tmp_path):
    with pytest.raises(ConversionError, match=r"dense.*wanted .1024, 16., found .64, 16.") as caught:
        convert(meso4 / "only.weights.h5", tmp_path / "m.dfe", ConvertOptions(family="meso4"))
    assert len(caught.value.reasons) == 1
    other = keras.Sequential([keras.Input((8, 8, 3)), keras.layers.Conv2D(2, 3), keras.layers.Flatten()])
    other.save_weights(tmp_path / "other.weights.h5")
    with pytest.raises(ConversionError) as caught:
        convert(tmp_path / "other.weights.h5", tmp_path / "m.dfe", ConvertOptions(family="meso4"))
    assert len(caught.value.reasons) > 20
    assert not (tmp_path / "m.dfe").exists()


@pytest.mark.parametrize("name", ["Meso4_DF", "Meso4_F2F"])
def test_mesonets_own_weights(name, data_dir, tmp_path, keras):
    source = data_dir / "models" / "mesonet" / f"{name}.h5"
    report = convert(source, tmp_path / "m.dfe", ConvertOptions(family="meso4"))
    assert report.parity["outputs_max_diff"] < 1e-5


def test_mesonets_own_weights_say_neither_family_nor_size(data_dir, tmp_path, keras):
    source = data_dir / "models" / "mesonet" / "Meso4_DF.h5"
    with pytest.raises(ConversionError, match=r"--family NAME, one of .*meso4"):
        convert(source, tmp_path / "n.dfe")
    with pytest.raises(ConversionError) as caught:
        convert(source, tmp_path / "n.dfe", ConvertOptions(family="meso4", overrides={"size_px": "128"}))
    (reason,) = caught.value.reasons
    assert "weight 0: wanted (256, 16) kernel, found (1024, 16) kernel in dense_" in reason


def test_calibration_with_ones_own_pictures(meso4, data_dir, tmp_path):
    images = data_dir / "models" / "mesonet" / "test_images"
    report = convert(meso4 / "full.keras", tmp_path / "m.dfe", ConvertOptions(calibration=images))
    assert report.parity["crops"] >= 64
    assert "4 pictures of the user's own" in report.parity["crops_are"]


def test_calibration_with_a_clip(saved, options, data_dir, tmp_path):
    clips = data_dir / "videos" / "real_single_frontal_intel_male.mp4"
    report = convert(saved, tmp_path / "m.dfe", replace(options, calibration=clips))
    assert report.parity["windows"] >= 16
    assert report.parity["crops"] >= 64


def broken(kind, saved):
    data = saved.read_bytes()
    return {
        "empty": b"",
        "garbage": bytes(range(256)) * 40,
        "cut archive": data[: len(data) // 2],
        "flipped archive": data[:3000] + bytes([data[3000] ^ 255]) + data[3001:],
        "bare zip magic": b"PK\x03\x04" + bytes(100),
        "bare hdf5 magic": b"\x89HDF\r\n\x1a\n" + bytes(100),
        "text": b"model = keras.Sequential()",
    }[kind]


@pytest.mark.parametrize(
    "kind", ["empty", "garbage", "cut archive", "flipped archive", "bare zip magic", "bare hdf5 magic", "text"]
)
@pytest.mark.parametrize("family", [None, "meso4"])
def test_broken_files_give_one_line(kind, family, saved, tmp_path):
    source = tmp_path / "model.keras"
    source.write_bytes(broken(kind, saved))
    with pytest.raises(ConversionError) as caught:
        convert(source, tmp_path / "m.dfe", ConvertOptions(family=family))
    assert "\n" not in str(caught.value)
    assert "model.keras" in str(caught.value)


def test_absent_files_folders_and_families(tmp_path, saved):
    with pytest.raises(ConversionError, match="does not exist"):
        convert(tmp_path / "none.keras", tmp_path / "m.dfe")
    with pytest.raises(ConversionError, match="folder"):
        convert(tmp_path, tmp_path / "m.dfe")
    with pytest.raises(InvalidInput, match="family"):
        convert(saved, tmp_path / "m.dfe", ConvertOptions(family="resnet"))
    with pytest.raises(InvalidInput, match="output"):
        convert(saved, tmp_path / "nowhere" / "m.dfe")
    with pytest.raises(InvalidInput, match="calibration"):
        make_crops(FAMILIES["meso4"].spec.crop, FAMILIES["meso4"].spec.clip, tmp_path / "none")


def test_code_in_a_model_is_never_run(keras, tmp_path):
    layers = keras.layers
    model = keras.Sequential([
        keras.Input((16, 16, 3)),
        layers.Lambda(lambda values: values, name="first"),
        layers.Flatten(),
        layers.Lambda(lambda values: values, name="second"),
        layers.Dense(1, activation="sigmoid"),
    ])  # fmt: skip
    model.save(tmp_path / "trap.keras")
    with pytest.raises(ConversionError, match="first") as caught:
        convert(tmp_path / "trap.keras", tmp_path / "m.dfe")
    assert len([reason for reason in caught.value.reasons if "Lambda" in reason]) == 2


def test_custom_classes_are_named(keras, saved, tmp_path):
    with zipfile.ZipFile(saved) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    config = json.loads(members["config.json"])
    config["config"]["layers"][-1] |= {"module": "my.layers", "class_name": "Mine", "registered_name": "Mine"}
    members["config.json"] = json.dumps(config).encode()
    with zipfile.ZipFile(tmp_path / "custom.keras", "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    with pytest.raises(ConversionError, match=r"my\.layers"):
        convert(tmp_path / "custom.keras", tmp_path / "m.dfe")


def test_subclassed_models_are_refused(keras):
    from deepfake_edge.converters.cutting.steps import graph_of

    class Own(keras.Model):
        def call(self, values):
            return values

    with pytest.raises(ConversionError, match="subclassed"):
        graph_of(Own())


def test_xception_lstm_is_the_one_in_the_field(keras):
    family = FAMILIES["xception-lstm"]
    model = family.build(frames=2)
    assert model.count_params() == 23_222_314
    assert family.sizes(model) == {"frames": 2, "size_px": 299, "units": 256}
    assert family.spec.fake_output.startswith("output 1 of 2")
    assert FAMILIES["meso4"].build().count_params() == 28_073


def test_seeded_weights_are_the_same_twice(keras, cnn, frame_crops, tiny):
    from deepfake_edge.training.untrained import seed_weights

    first, second = (keras.Sequential([cnn(), keras.layers.Dense(1, activation="sigmoid")]) for _ in range(2))
    for model in (first, second):
        seed_weights(model, tiny.per_frame, seed=3, crops=frame_crops)
    for one, other in zip(first.weights, second.weights, strict=True):
        np.testing.assert_array_equal(np.asarray(one), np.asarray(other))
