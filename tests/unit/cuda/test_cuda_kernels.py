"""Modules and kernels over the driver double: a kernel here is C++ of the host, compiled when the test starts."""

from __future__ import annotations

import ctypes
import subprocess
from pathlib import Path

import numpy as np
import pytest

import doubles.cuda
from deepfake_edge.errors import DeviceLost, InferenceError

_SOURCE = r"""
#include "kernel.h"

static float* floats(const KernelLaunch* launch, int index) {
  return reinterpret_cast<float*>(launch->resolve(*static_cast<uint64_t*>(launch->arguments[index]), nullptr));
}

// values[i] += by, for every i below count that a thread stands for.
extern "C" const size_t add_argument_bytes[] = {8, 4, 4, 0};
extern "C" int add_launch(const KernelLaunch* launch) {
  float* const values = floats(launch, 0);
  if (!values) return 700;
  const int count = *static_cast<int*>(launch->arguments[1]);
  const float by = *static_cast<float*>(launch->arguments[2]);
  for (unsigned block = 0; block < launch->grid[0]; ++block)
    for (unsigned thread = 0; thread < launch->block[0]; ++thread) {
      const int i = block * launch->block[0] + thread;
      if (i < count) values[i] += by;
    }
  return 0;
}
"""


@pytest.fixture(scope="session")
def image(tmp_path_factory) -> bytes:
    folder = tmp_path_factory.mktemp("kernel")
    (folder / "add.cpp").write_text(_SOURCE)
    include = Path(doubles.cuda.__file__).parent
    command = ["g++", "-std=c++17", "-shared", "-fPIC", f"-I{include}", "-o", "add.so", "add.cpp"]
    subprocess.run(command, cwd=folder, check=True)
    return b"double:" + bytes(folder / "add.so")


@pytest.fixture
def current(device):
    with device.current():
        yield device


def test_a_kernel_runs_when_its_stream_is_waited_for(current, image, cuda_double):
    stream, memory = current.stream(), current.allocate(40)
    values, out = np.arange(10, dtype=np.float32), np.zeros(10, np.float32)
    with current.load_module(image) as module:
        arguments = [ctypes.c_uint64(memory.address), ctypes.c_int32(9), ctypes.c_float(0.5)]
        current.copy_to_device(memory.address, values, stream)
        module.function("add").launch((3, 1, 1), (4, 1, 1), arguments, stream)
        arguments[2].value = 100
        current.copy_from_device(out, memory.address, stream)
        stream.synchronize()
    assert out.tolist() == [*(values[:9] + 0.5), 9]
    assert cuda_double.live["modules"] == 0


def test_a_kernel_can_be_part_of_a_graph(current, image):
    stream, memory = current.stream(), current.allocate(4)
    zero, out = np.zeros(1, np.float32), np.zeros(1, np.float32)
    add = current.load_module(image).function("add")
    arguments = [ctypes.c_uint64(memory.address), ctypes.c_int32(1), ctypes.c_float(1)]
    current.copy_to_device(memory.address, zero, stream)
    graph = current.capture(stream, lambda: add.launch((1, 1, 1), (1, 1, 1), arguments, stream))
    for _ in range(3):
        graph.launch(stream)
    current.copy_from_device(out, memory.address, stream)
    stream.synchronize()
    assert out.tolist() == [3]


def test_a_kernel_that_writes_behind_the_end_loses_the_context(current, image):
    stream, memory = current.stream(), current.allocate(12)
    add = current.load_module(image).function("add")
    arguments = [ctypes.c_uint64(memory.address), ctypes.c_int32(4), ctypes.c_float(1)]
    add.launch((1, 1, 1), (4, 1, 1), arguments, stream)
    with pytest.raises(DeviceLost, match="ILLEGAL_ADDRESS"):
        stream.synchronize()


def test_a_kernel_with_a_wrong_address_loses_the_context(current, image):
    stream = current.stream()
    add = current.load_module(image).function("add")
    add.launch((1, 1, 1), (1, 1, 1), [ctypes.c_uint64(4096), ctypes.c_int32(1), ctypes.c_float(1)], stream)
    with pytest.raises(DeviceLost, match="ILLEGAL_ADDRESS"):
        stream.synchronize()


def test_a_kernel_that_is_not_there_is_named(current, image):
    module = current.load_module(image)
    with pytest.raises(InferenceError, match="the kernel subtract: cuModuleGetFunction failed"):
        module.function("subtract")


def test_code_that_is_none_is_refused(current, cuda_double):
    for broken in (b"", b"nonsense", b"double:/nowhere.so"):
        with pytest.raises(InferenceError, match="cuModuleLoadData failed with CUDA_ERROR_INVALID_IMAGE"):
            current.load_module(broken)
    assert cuda_double.live["modules"] == 0


def test_a_launch_that_no_gpu_takes_is_refused(current, image):
    stream = current.stream()
    add = current.load_module(image).function("add")
    arguments = [ctypes.c_uint64(0), ctypes.c_int32(0), ctypes.c_float(0)]
    for grid, block in (((0, 1, 1), (1, 1, 1)), ((1, 1, 1), (1025, 1, 1)), ((1, 70000, 1), (1, 1, 1))):
        with pytest.raises(InferenceError, match="cuLaunchKernel failed"):
            add.launch(grid, block, arguments, stream)
