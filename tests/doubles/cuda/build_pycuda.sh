#!/usr/bin/env bash
# Builds pycuda from its source package and installs it for the `python` of the PATH, on a machine that has neither
# CUDA nor a GPU: NVIDIA's headers come from the package index, and the driver is not linked (it, or its double, is
# there when pycuda is imported). Needs g++ and Python's headers.
set -euo pipefail
work=$(mktemp -d "${TMPDIR:-/tmp}/build-pycuda.XXXXXX")
trap 'rm -rf "$work"' EXIT

python -m pip install -q --no-deps --target "$work/cuda" \
  "nvidia-cuda-runtime==13.0.*" "nvidia-cuda-crt==13.0.*" "nvidia-cuda-profiler-api==13.0.*"
python -m pip download -q --no-deps --no-binary pycuda -d "$work" pycuda==2026.1
tar -xzf "$work"/pycuda-*.tar.gz -C "$work"
cd "$work"/pycuda-*/
cat >siteconf.py <<CONF
CUDA_ROOT = None
CUDA_ENABLE_CURAND = False
CUDA_INC_DIR = ["$work/cuda/nvidia/cu13/include"]
CUDADRV_LIBNAME = []
CXXFLAGS = ["-O1", "-w"]
CONF
python -m pip install -q .
