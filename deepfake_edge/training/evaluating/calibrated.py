"""A bundle with another temperature: the same networks and the same proofs."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from deepfake_edge.bundle import read_bundle, write_bundle
from deepfake_edge.errors import InvalidInput
from deepfake_edge.training.datasets.entries import Split
from deepfake_edge.training.evaluating.answers import Answered
from deepfake_edge.training.evaluating.bootstrap import Resampling
from deepfake_edge.training.evaluating.stress import CLEAN
from deepfake_edge.training.evaluating.temperature import Fitted, fit_temperature
from deepfake_edge.training.preparing.prepared import Prepared, read_prepared


def calibrate(source: Path, output: Path, answered: Answered, where: str, how: Resampling) -> dict[str, Any]:
    """Fit a temperature on what a bundle says, and write it.

    Args:
        source: the bundle.
        output: where to; may be the source.
        answered: what it says, in the precision that it is used in.
        where: what the clips are, for the provenance.
        how: the resampling behind the temperature's interval.
    Returns:
        what came of it, as plain JSON types.
    Raises:
        InvalidInput: no temperature can be fitted.
        BundleError: it cannot be written; the old file is left as it was.
    """
    fitted = fit_temperature(answered.answers[CLEAN.name], answered.spec, how)
    sha256 = write_calibrated(source, output, fitted, where)
    return {
        "file": str(output),
        "sha256": sha256,
        "fitted_on": where,
        "model": answered.identity.title,
        "temperature": asdict(fitted.temperature),
        "threshold": fitted.spec.threshold,
        "before": asdict(fitted.before),
        "after": asdict(fitted.after),
        "videos": fitted.videos,
        "flips": fitted.flips,
    }


def write_calibrated(source: Path, output: Path, fitted: Fitted, where: str) -> str:
    """Write a bundle with a fitted temperature.

    Golden outputs and parity figures stay: they are of the networks, before any temperature.

    Args:
        source: the bundle that was evaluated.
        output: where to; may be the source.
        fitted: on its outputs.
        where: what it was fitted on, for the provenance.
    Returns:
        the new file's sha256.
    Raises:
        BundleError: it cannot be written; the old file is left as it was.
    """
    bundle = read_bundle(source)
    told = f"{fitted.spec.temperature:.6g}, fitted on {fitted.videos} clips of {where}"
    return write_bundle(
        replace(bundle, spec=fitted.spec, provenance={**bundle.provenance, "temperature": told}), output
    )


def check_unseen(source: Path, run: Path | None, prepared: Prepared, split: Split) -> None:
    """Refuse clips that the model was trained on: its scores on them are surer than on any others.

    Args:
        source: the bundle that is to be calibrated.
        run: the folder of the run that trained it; None: nobody knows.
        prepared: where the clips are.
        split: which of them.
    Raises:
        InvalidInput: the run trained on one of them, is not the bundle's, or cannot be read; or there is no run, and
            the split is `train`.
        BundleError: the bundle cannot be read.
    """
    if run is None:
        if split == "train":
            raise InvalidInput(
                "calibrate: a temperature is not fitted on the split train, which models are trained on; name another "
                "--split, or show with --run that the model was trained on other clips"
            )
        return
    bundle = read_bundle(source)
    if bundle.provenance.get("source_sha256") != _sha256(run / "best.keras"):
        raise InvalidInput(f"calibrate: {bundle.name} was not converted from {run / 'best.keras'}")
    folder = _prepared_of(run)
    if not folder.is_dir():
        raise InvalidInput(
            f"calibrate: {run} was trained on clips of {folder}, which is not there now; put it, or a link to it, "
            "there, so that they can be told from these"
        )
    trained = read_prepared(folder).of("train")
    known = {(clip.entry.dataset, clip.entry.source) for clip in trained}
    seen = [clip.id for clip in prepared.of(split) if (clip.entry.dataset, clip.entry.source) in known]
    if seen:
        raise InvalidInput(
            f"calibrate: {bundle.name} was trained on {len(seen)} of these clips ({', '.join(seen[:3])}); "
            "name another --split"
        )


def _prepared_of(run: Path) -> Path:
    path = run / "config.json"
    try:
        return Path(json.loads(path.read_bytes())["prepared"])
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise InvalidInput(f"{path}: does not say what was trained on ({error})") from error


def _sha256(path: Path) -> str:
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise InvalidInput(f"{path}: cannot be read: {error.strerror}") from error
