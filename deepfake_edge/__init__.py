"""Deepfake detection in video, on the edge: the verdict of the Keras model you trained, many times faster.

    from deepfake_edge import Detector

    with Detector("model.dfe") as detector:
        verdict = detector.detect("clip.mp4")
        print(verdict.label, verdict.fake_score)

Models become bundles with `deepfake-edge convert`, which needs the `convert` extra; nothing here does.
"""

from importlib.metadata import version as _version

from deepfake_edge.data import Face, Frame, Moment, Score, Track, TrackVerdict, Verdict
from deepfake_edge.detector import Detector
from deepfake_edge.errors import (
    BundleError,
    ConversionError,
    DeepfakeEdgeError,
    DeviceLost,
    EngineMismatch,
    InferenceError,
    InvalidInput,
    MissingDependency,
    OutOfDeviceMemory,
    SourceError,
)
from deepfake_edge.session import Session
from deepfake_edge.spec import ClipSpec, CropSpec, ModelSpec

__version__ = _version("deepfake-edge")

__all__ = [
    "BundleError",
    "ClipSpec",
    "ConversionError",
    "CropSpec",
    "DeepfakeEdgeError",
    "Detector",
    "DeviceLost",
    "EngineMismatch",
    "Face",
    "Frame",
    "InferenceError",
    "InvalidInput",
    "MissingDependency",
    "ModelSpec",
    "Moment",
    "OutOfDeviceMemory",
    "Score",
    "Session",
    "SourceError",
    "Track",
    "TrackVerdict",
    "Verdict",
    "__version__",
]
