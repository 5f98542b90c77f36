"""A process of its own that builds on the doubles of CUDA and TensorRT: `python builder.py BUNDLE PAUSE_S [MAX_BYTES]`.

Says `building` when TensorRT begins, then `up to date`, `built`, or the error's type and message. Files beyond
`MAX_BYTES` cannot be written, as on a disk that is full.
"""

from __future__ import annotations

import resource
import sys

from deepfake_edge.bundle import read_bundle
from deepfake_edge.engines import monitor
from deepfake_edge.engines.options import BatchProfile, BuildOptions
from deepfake_edge.errors import DeepfakeEdgeError
from deepfake_edge.gpu import build_engines
from doubles.cuda import load_cuda_double
from doubles.tensorrt import TensorRtDouble


def say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def main(bundle: str, pause_s: str, max_bytes: str | None = None) -> None:
    cuda = load_cuda_double()
    cuda.reset()
    double = TensorRtDouble("11.4", cuda)
    double.slow_down(float(pause_s))
    sys.modules["tensorrt"] = double.module
    monitor._LOOK_EVERY_S = 0.01
    said = []

    def progress(_: monitor.Stage) -> None:
        if not said:
            said.append(True)
            say("building")

    if max_bytes is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (int(max_bytes), resource.RLIM_INFINITY))
    options = BuildOptions(BatchProfile(1, 2, 5), workspace_bytes=1024**2)
    try:
        report = build_engines(read_bundle(bundle), None, options, progress=progress)
        say("up to date" if report.up_to_date else "built")
    except DeepfakeEdgeError as error:
        say(f"{type(error).__name__}: {error}")


if __name__ == "__main__":
    main(*sys.argv[1:])
