"""ONNX Runtime on CUDA: what is bound is right for real (on the CPU); what goes wrong is said in our own words."""

from __future__ import annotations

import threading

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import helper

from deepfake_edge.errors import BundleError, DeviceLost, InferenceError, MissingDependency, OutOfDeviceMemory
from deepfake_edge.ort_session import BoundSession
from deepfake_edge.runtimes import ort_cuda
from deepfake_edge.runtimes.ort_cuda import OnnxRuntimeCudaNetwork
from doubles.onnxruntime_cuda import install
from fakes import SIZE_PX, brightness_graph, mean_head, serialise

GRAPH = brightness_graph("features", None)
PLACES = "/onnxruntime_src/onnxruntime/core/providers/cuda/cuda_call.cc:154 std::conditional_t<THRW> f() "


@pytest.fixture
def double(monkeypatch):
    return install(monkeypatch)


def session(graph: bytes) -> onnxruntime.InferenceSession:
    return onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])


def bound(graph: bytes = GRAPH) -> BoundSession:
    return BoundSession(onnxruntime, session(graph), ("cpu", 0))


def crops(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).random((count, 3, SIZE_PX, SIZE_PX), np.float32)


class TestBoundBuffers:
    """For real: ONNX Runtime's own IO binding, on the CPU."""

    @pytest.mark.parametrize("count", [1, 2, 15, 16, 17, 32, 40])
    def test_every_batch_gives_what_a_plain_run_gives(self, count):
        wanted = session(GRAPH).run(None, {"crops": crops(count)})[0]
        for _ in range(2):
            np.testing.assert_array_equal(bound().run({"crops": crops(count)})["features"], wanted)

    def test_buffers_that_are_used_again_hold_nothing_of_the_call_before(self):
        network = bound()
        first = network.run({"crops": crops(3, seed=1)})["features"]
        kept = first.copy()
        second = network.run({"crops": crops(3, seed=2)})["features"]
        np.testing.assert_array_equal(first, kept)
        np.testing.assert_array_equal(second, session(GRAPH).run(None, {"crops": crops(3, seed=2)})[0])

    def test_a_crop_that_is_not_contiguous_is_read_in_its_order(self):
        turned = crops(4)[::2, :, ::-1]
        wanted = session(GRAPH).run(None, {"crops": np.ascontiguousarray(turned)})[0]
        np.testing.assert_array_equal(bound().run({"crops": turned})["features"], wanted)

    def test_two_outputs_come_by_their_names(self):
        windows = np.random.default_rng(0).random((3, 4, 1), np.float32)
        graph = mean_head(4, frame_outputs="each")
        given = bound(graph).run({"window": windows})
        for name, value in zip(("outputs", "each"), session(graph).run(None, {"window": windows}), strict=True):
            np.testing.assert_array_equal(given[name], value)

    def test_threads_do_not_share_buffers(self):
        network, wrong = bound(), []

        def work(seed: int) -> None:
            for turn in range(40):
                given = crops(1 + (seed + turn) % 5, seed)
                wanted = given.mean(axis=(2, 3)).sum(axis=1, keepdims=True) * (4 / 3)
                if not np.allclose(network.run({"crops": given})["features"], wanted, atol=1e-5):
                    wrong.append(seed)

        threads = [threading.Thread(target=work, args=(seed,)) for seed in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not wrong

    @pytest.mark.parametrize(
        ("given", "message"),
        [
            (crops(2).astype(np.float64), "crops: wanted float32"),
            (crops(2).view(np.int32), "crops: wanted float32"),
            (crops(2).reshape(2, SIZE_PX, SIZE_PX, 3), "crops: wanted float32"),
            (np.float32(1), "crops: wanted float32"),
            (crops(0), "batches of one size"),
            (None, "wanted an input 'crops'"),
        ],
    )
    def test_what_does_not_fit_is_refused(self, given, message):
        with pytest.raises(ValueError, match=message):
            bound().run({} if given is None else {"crops": np.asarray(given)})

    @pytest.mark.parametrize("shape", [["n", "m"], [2, 3], []])
    def test_only_the_batch_may_be_open(self, shape):
        graph = serialise([helper.make_node("Relu", ["x"], ["y"])], {}, ("y", shape), ("x", shape))
        with pytest.raises(ValueError, match="wanted a batch of any size on axis 0 alone"):
            bound(graph)


class TestOverTheDouble:
    """The CUDA provider's double: computes on the CPU, counts and refuses as the real one."""

    def test_it_computes_what_the_cpu_does(self, double):
        network = OnnxRuntimeCudaNetwork(GRAPH, name="x")
        wanted = session(GRAPH).run(None, {"crops": crops(20)})[0]
        np.testing.assert_array_equal(network.run({"crops": crops(20)})["features"], wanted)
        assert network.inputs[0].shape == (None, 3, SIZE_PX, SIZE_PX)
        assert network.outputs[0].name == "features"

    def test_buffers_are_taken_once_a_batch_size_and_a_few_are_kept(self, double):
        network = OnnxRuntimeCudaNetwork(GRAPH, name="x")
        for _ in range(50):
            network.run({"crops": crops(3)})
            network.run({"crops": crops(5)})
        assert double.allocated == 4
        for count in range(1, 17):
            network.run({"crops": crops(count)})
        assert len(network._bound._waiting) == 8

    def test_the_session_is_asked_for_float32_and_for_no_cpu(self, double):
        OnnxRuntimeCudaNetwork(mean_head(4), name="x", device=0)
        assert double.settings[-1]["use_tf32"] == "0"
        assert double.entries[-1] == {"session.disable_cpu_ep_fallback": "1"}

    def test_a_gpu_that_is_not_there(self, double):
        with pytest.raises(MissingDependency, match=r"on GPU 3: CUDA failure 101: invalid device ordinal\. See"):
            OnnxRuntimeCudaNetwork(GRAPH, name="x", device=3)

    def test_a_session_that_is_on_the_cpu_after_all(self, double, monkeypatch):
        monkeypatch.setattr("doubles.onnxruntime_cuda._Session.get_providers", lambda _: ["CPUExecutionProvider"])
        with pytest.raises(MissingDependency, match="wanted CUDAExecutionProvider, got CPUExecutionProvider"):
            OnnxRuntimeCudaNetwork(GRAPH, name="x")

    @pytest.mark.parametrize(
        ("message", "kind"),
        [
            (f"{PLACES}CUDA failure 700: an illegal memory access was encountered ; GPU=0 ; hostname=h", DeviceLost),
            (f"{PLACES}CUDA failure 719: unspecified launch failure ; GPU=0 ; expr=x", DeviceLost),
            (f"{PLACES}CUDA failure 2: out of memory ; GPU=0 ; expr=cudaMalloc(p, size)", OutOfDeviceMemory),
            (f"{PLACES}CUBLAS failure 3: CUBLAS_STATUS_ALLOC_FAILED ; GPU=0 ; expr=x", OutOfDeviceMemory),
            (
                "BFCArena::AllocateRawInternal Failed to allocate memory for requested buffer of size 9",
                OutOfDeviceMemory,
            ),
            ("Available memory of 12 is smaller than requested bytes of 256", OutOfDeviceMemory),
            (f"{PLACES}CUDNN failure 9: CUDNN_STATUS_NOT_SUPPORTED ; GPU=0 ; expr=x", InferenceError),
        ],
    )
    def test_what_fails_has_its_own_error_and_the_network_stays_usable(self, double, message, kind):
        network = OnnxRuntimeCudaNetwork(GRAPH, name="backbone")
        network.run({"crops": crops(2)})
        double.fault = RuntimeError(message)
        with pytest.raises(InferenceError, match="backbone: ONNX Runtime failed on CUDA") as caught:
            network.run({"crops": crops(2)})
        assert type(caught.value) is kind
        assert "onnxruntime_src" not in str(caught.value)
        assert len(network._bound._waiting) == 0
        assert np.isfinite(network.run({"crops": crops(2)})["features"]).all()

    def test_what_does_not_fit_names_the_network(self, double):
        network = OnnxRuntimeCudaNetwork(GRAPH, name="backbone")
        with pytest.raises(InferenceError, match=r"backbone: .*wanted an input 'crops', found none"):
            network.run({})

    def test_no_onnx_at_all(self, double):
        with pytest.raises(BundleError, match="x: ONNX Runtime refuses the graph on CUDA"):
            OnnxRuntimeCudaNetwork(b"no", name="x")

    def test_closed(self, double):
        network = OnnxRuntimeCudaNetwork(GRAPH, name="x")
        network.close()
        network.close()
        with pytest.raises(InferenceError, match="x: is closed"):
            network.run({"crops": crops(1)})


class TestWhatIsMissing:
    def test_the_package_without_cuda_is_said_with_the_command(self):
        if "CUDAExecutionProvider" in onnxruntime.get_available_providers():
            pytest.skip("this is onnxruntime-gpu")
        with pytest.raises(MissingDependency, match=r"built without CUDA\. Try: pip uninstall -y onnxruntime"):
            OnnxRuntimeCudaNetwork(GRAPH, name="x")

    def test_on_jetson_pypi_is_not_advised(self, monkeypatch):
        monkeypatch.setattr("platform.machine", lambda: "aarch64")
        assert "docs/jetson.md" in ort_cuda._package_advice()

    def test_an_old_package(self, double):
        double.__version__ = "1.17.3"
        assert "wanted onnxruntime 1.18 or newer, found 1.17.3" in str(ort_cuda.available())

    def test_libraries_that_are_not_there(self, double, monkeypatch, tmp_path):
        monkeypatch.undo()
        double.__file__ = str(tmp_path / "__init__.py")
        reason = ort_cuda._missing_library(double)
        assert "wants CUDA 12 and cuDNN 9" in reason
        assert "libonnxruntime_providers_shared.so: cannot open shared object file" in reason

    def test_the_probe_is_one_convolution(self):
        model = onnx.load_from_string(ort_cuda._PROBE)
        onnx.checker.check_model(model)
        assert [node.op_type for node in model.graph.node] == ["Conv"]
        assert [item.name for item in model.graph.input] == ["x"]
