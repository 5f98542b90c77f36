"""Training of a family's model on a prepared folder: one run is one folder, and can be taken up again."""

from __future__ import annotations

from deepfake_edge.training.fitting.options import Stage, TrainOptions, parse_stages
from deepfake_edge.training.fitting.report import Moment, Report
from deepfake_edge.training.fitting.run import Outcome, fit, resume

__all__ = ["Moment", "Outcome", "Report", "Stage", "TrainOptions", "fit", "parse_stages", "resume"]
