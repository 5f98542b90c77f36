"""A temperature that turns scores into probabilities: Guo, Pleiss, Sun and Weinberger, "On Calibration of Modern
Neural Networks", ICML 2017.

score = sigmoid(logit(p) / T), with the T that makes the scores of a validation split's windows likeliest (the least
negative log-likelihood). Each video counts alike, however many windows it has.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from deepfake_edge.errors import InvalidInput
from deepfake_edge.model import fake_scores
from deepfake_edge.optional import require
from deepfake_edge.spec import ModelSpec
from deepfake_edge.training.evaluating.bootstrap import Figure, Resampling, draws, interval, too_few
from deepfake_edge.training.evaluating.comparing import compare
from deepfake_edge.training.evaluating.judging import Answer, judge
from deepfake_edge.training.evaluating.metrics import Doubles, Judged, calibration_error, log_loss
from deepfake_edge.training.evaluating.summary import judged_of

_LEAST, _MOST = 0.02, 50.0
# For the interval: two neighbours are 2 % apart.
_GRID = np.geomspace(_LEAST, _MOST, 400)
_NONE, _MORE = "calibrate: no temperature is the best on these", "take more clips"


@dataclass(frozen=True, slots=True)
class Fitness:
    """How well scores are probabilities.

    Attributes:
        windows_nll: mean negative log-likelihood of the windows, each video counting alike.
        windows_ece: see `metrics.calibration_error`, likewise.
        videos_nll: of the videos' scores.
        videos_ece: of the videos' scores.
    """

    windows_nll: float
    windows_ece: float
    videos_nll: float
    videos_ece: float


@dataclass(frozen=True, slots=True)
class Fitted:
    """A temperature and what it does.

    Attributes:
        temperature: T, with the interval of the T that resamples of the videos would have had.
        spec: with T, and with the threshold moved along: every window keeps its label.
        before: with the temperature that the spec had.
        after: with T.
        videos: that it was fitted on.
        flips: videos with another label than before: the mean of the windows' scores may cross the threshold.
    """

    temperature: Figure
    spec: ModelSpec
    before: Fitness
    after: Fitness
    videos: int
    flips: int


def fit_temperature(answers: Sequence[Answer], spec: ModelSpec, how: Resampling) -> Fitted:
    """Fit T.

    Args:
        answers: the model's outputs for clips of both labels that it was not trained on.
        spec: what the outputs mean; its own temperature is not used for the fit.
        how: the resampling behind the interval.
    Raises:
        InvalidInput: there are no videos of one label with a verdict, or no T is the best: the model tells all windows
            apart, or nearly so, or is no better than chance.
        MissingDependency: SciPy, which scikit-learn brings, is not installed.
    """
    judged = [answer for answer in answers if judge(answer, spec).fake_score is not None]
    labels = {answer.clip.entry.label for answer in judged}
    if labels != {"real", "fake"}:
        found = f"only {labels.pop()} ones" if labels else "none"
        raise InvalidInput(f"calibrate: wanted clips of both labels with a verdict, found {found}")

    temperature = _likeliest(judged, spec)
    fitted = replace(spec, temperature=temperature, threshold=_moved(spec.threshold, spec.temperature / temperature))
    before, after = ([judge(answer, each) for answer in judged] for each in (spec, fitted))
    flips = compare(before, after, (spec.threshold, fitted.threshold)).flips
    figure = _with_interval(temperature, judged, spec, how)
    return Fitted(figure, fitted, _fitness(judged, spec), _fitness(judged, fitted), len(judged), flips)


def _likeliest(answers: Sequence[Answer], spec: ModelSpec) -> float:
    def loss(log_temperature: float) -> float:
        return log_loss(_windows(answers, replace(spec, temperature=math.exp(log_temperature))))

    raw = _windows(answers, replace(spec, temperature=1.0))
    if ((raw.scores > 0.5) == raw.fake).all():
        raise InvalidInput(f"{_NONE} {len(answers)} clips: every window is right, so the lower the better; {_MORE}")
    bounds = (math.log(_LEAST), math.log(_MOST))
    best = require("scipy.optimize", extra="train").minimize_scalar(loss, bounds=bounds, method="bounded")
    temperature = math.exp(float(best.x))
    if temperature < 1.1 * _LEAST:
        raise InvalidInput(f"{_NONE} {len(answers)} clips: down to {_LEAST:g}, the lower the better; {_MORE}")
    if temperature > _MOST / 1.1:
        raise InvalidInput(f"{_NONE} {len(answers)} clips: the model is no better than chance on them; {_MORE}")
    return temperature


def _with_interval(temperature: float, answers: Sequence[Answer], spec: ModelSpec, how: Resampling) -> Figure:
    fake, videos = np.asarray([answer.clip.entry.label == "fake" for answer in answers]), np.arange(len(answers))
    if short := too_few(fake, videos):
        return Figure(temperature, reason=short)
    windows, outputs = _windows(answers, spec), np.concatenate([answer.outputs for answer in answers])
    starts = np.cumsum([0, *(len(answer.outputs) for answer in answers[:-1])])
    scores = (fake_scores(outputs, replace(spec, temperature=float(each))) for each in _GRID)
    losses = np.stack([_losses(replace(windows, scores=each), starts) for each in scores], axis=1)
    return Figure(temperature, *interval([_GRID[np.argmin(times @ losses)] for times in draws(fake, videos, how)]))


def _losses(windows: Judged, starts: NDArray[np.int64]) -> Doubles:
    """The negative log-likelihood of each video, whose windows start there: the mean of its windows'."""
    right = np.where(windows.fake, windows.scores, 1.0 - windows.scores)
    least = np.finfo(np.float64).tiny
    return np.asarray(np.add.reduceat(-windows.weights * np.log(np.maximum(right, least)), starts))


def _fitness(answers: Sequence[Answer], spec: ModelSpec) -> Fitness:
    windows = _windows(answers, spec)
    videos, _ = judged_of([judge(answer, spec) for answer in answers], "videos")
    return Fitness(log_loss(windows), calibration_error(windows), log_loss(videos), calibration_error(videos))


def _windows(answers: Sequence[Answer], spec: ModelSpec) -> Judged:
    """All windows; those of one video weigh 1 together."""
    counts = [len(answer.outputs) for answer in answers]
    fake = np.repeat([answer.clip.entry.label == "fake" for answer in answers], counts)
    scores = fake_scores(np.concatenate([answer.outputs for answer in answers]), spec)
    return Judged(fake, scores, np.repeat(1 / np.asarray(counts, np.float64), counts))


def _moved(threshold: float, factor: float) -> float:
    """The threshold where the log-odds of every score are multiplied by a factor; 0 and 1 stay."""
    if threshold in (0.0, 1.0):
        return threshold
    exponent = -factor * math.log(threshold / (1 - threshold))
    # Beyond, exp overflows; there the threshold is 0 or 1 in float64 anyway.
    return 1 / (1 + math.exp(min(max(exponent, -700.0), 700.0)))
