"""Verdicts as people and as programs read them."""

from __future__ import annotations

from typing import Any

from deepfake_edge.data import Score, TrackVerdict, Verdict
from deepfake_edge.detector import Detector
from deepfake_edge.errors import DeepfakeEdgeError

_DECIMALS = 6


def verdict_json(name: str, verdict: Verdict, detector: Detector) -> dict[str, Any]:
    """One input's result as the documented JSON object.

    Args:
        name: the input as it was given.
        verdict: its verdict.
        detector: what made it.
    """
    return {
        "input": name,
        "label": verdict.label,
        "fake_score": _score(verdict.fake_score),
        "reason": verdict.reason,
        "complete": verdict.complete,
        "frames_read": verdict.frames_read,
        "faces_seen": verdict.faces_seen,
        "duration_s": round(verdict.duration_s, 3),
        "tracks": [_track_json(track) for track in verdict.tracks],
        "model": _model_json(detector),
        "runtime": verdict.runtime,
        "faces": verdict.finder,
        "timings_ms": {stage: round(value, 1) for stage, value in verdict.timings_ms.items()},
    }


def window_json(score: Score) -> dict[str, Any]:
    """One window's score; `frame_scores` only where the model scores each frame too."""
    frames = {"frame_scores": [_score(value) for value in score.frame_scores]} if score.frame_scores else {}
    return {
        "start_s": round(score.start_s, 3),
        "end_s": round(score.end_s, 3),
        "fake_score": _score(score.fake_score),
        **frames,
    }


def error_json(name: str, error: DeepfakeEdgeError) -> dict[str, Any]:
    """One input's failure as the documented JSON object."""
    return {"input": name, "error": {"type": type(error).__name__, "message": str(error)}}


def score_text(score: float | None) -> str:
    """A score with three decimals, or a dash where there is none."""
    return "-" if score is None else f"{score:.3f}"


def _track_json(track: TrackVerdict) -> dict[str, Any]:
    return {
        "id": track.id,
        "first_s": round(track.first_s, 3),
        "last_s": round(track.last_s, 3),
        "fake_score": _score(track.fake_score),
        "reason": track.reason,
        "windows": [window_json(item) for item in track.scores],
    }


def _model_json(detector: Detector) -> dict[str, Any]:
    variants = dict.fromkeys(member.model.variant for member in detector.members)
    result: dict[str, Any] = {
        "name": detector.name,
        "sha256": detector.sha256,
        "precision": detector.precision,
        "variant": ", ".join(variants),
    }
    if detector.sha256 != detector.members[0].model.sha256:
        result["members"] = [
            {
                "name": member.model.name,
                "sha256": member.model.sha256,
                "precision": member.model.precision,
                "variant": member.model.variant,
                "weight": round(member.weight, _DECIMALS),
            }
            for member in detector.members
        ]
    return result


def _score(value: float | None) -> float | None:
    return None if value is None else round(value, _DECIMALS)
