"""Models that judge together; a single model is an ensemble of one, and nothing else is said of it.

- One finder and one tracker serve all members; each member crops and samples a track as its own spec says.
- A track's score is the weighted mean of every member's newest score. It is given at a moment when at least one
  member has a new score and every member has one that still stands: none is ever left out.
- A member's score stands until its next window is overdue by half a second, the member's window starts anew after a
  hole, or the track ends.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass

from deepfake_edge.bundle import Bundle, read_bundle
from deepfake_edge.data import Choice, Score
from deepfake_edge.golden import load_proven
from deepfake_edge.model import Model, Runtime
from deepfake_edge.recipe import Recipe
from deepfake_edge.spec import ClipSpec

# Weights 3 and 1 are the same ensemble as 0.3 and 0.1, whose shares differ in the last bit.
_SHARE_DECIMALS = 12


@dataclass(frozen=True, slots=True)
class Member:
    """A model, its share of the score, 0..1, and what runs it; the shares of an ensemble sum to 1."""

    model: Model
    weight: float
    runtime: Choice


@dataclass(frozen=True, slots=True)
class Ensemble:
    """Members, at least one, and the threshold of their fused score."""

    members: tuple[Member, ...]
    threshold: float

    @property
    def name(self) -> str:
        """The members' names."""
        return " + ".join(member.model.name for member in self.members)

    @property
    def sha256(self) -> str:
        """The bundle's digest; of several, the digest of all that decides: their digests, weights and threshold."""
        first = self.members[0].model
        if len(self.members) == 1 and self.threshold == first.spec.threshold:
            return first.sha256
        models = [[member.model.sha256, round(member.weight, _SHARE_DECIMALS)] for member in self.members]
        return hashlib.sha256(json.dumps([models, self.threshold]).encode("ascii")).hexdigest()

    @property
    def precision(self) -> str:
        """The members' precisions, each named once."""
        return ", ".join(dict.fromkeys(member.model.precision for member in self.members))

    @property
    def runtime(self) -> Choice:
        """What runs the members; named member by member where they differ."""
        chosen = [member.runtime for member in self.members]
        if len(set(chosen)) == 1:
            return chosen[0]
        reasons = (f"{member.model.name}: {member.runtime.reason}" for member in self.members)
        return Choice(" + ".join(choice.name for choice in chosen), "; ".join(reasons))

    @property
    def clip(self) -> ClipSpec:
        """How the member samples whose window takes longest; `frames` is 1 only where all members are per-frame."""
        return max((member.model.spec.clip for member in self.members), key=_window_s)

    @property
    def sample_fps(self) -> float | None:
        """Crops a second that satisfy every member; None where no member asks for a rate."""
        rates = (member.model.spec.clip.sample_fps for member in self.members)
        return max((rate for rate in rates if rate is not None), default=None)

    def fuse(self, scores: Sequence[Score]) -> Score:
        """One track's score of this moment.

        Args:
            scores: every member's, in their order, all of one track.
        Returns:
            the weighted mean, over the time from the first crop to the last of all their windows. Where all members
            are per-frame it is a point in time, that of the newest crop.
        """
        values = [score.fake_score for score in scores]
        mean = sum(member.weight * value for member, value in zip(self.members, values, strict=True))
        end_s = max(score.end_s for score in scores)
        return Score(
            track_id=scores[0].track_id,
            start_s=min(score.start_s for score in scores) if self.clip.frames > 1 else end_s,
            end_s=end_s,
            # Shares are rounded: their sum may miss 1 by a hair, and a mean lies between what it is the mean of.
            fake_score=min(max(mean, min(values)), max(values)),
            frame_scores=scores[0].frame_scores if len(scores) == 1 else (),
        )

    def close(self) -> None:
        """Free the networks; may be called twice."""
        for member in self.members:
            member.model.close()


def load_ensemble(recipe: Recipe, precision: str | None, choose: Callable[[Bundle], Runtime]) -> Ensemble:
    """Read a recipe's bundles, one at a time, load their networks, and replay their golden crops.

    Args:
        recipe: which bundles, and their weights.
        precision: what every member computes in; None: each the first it has of fp32, fp16, int8.
        choose: what runs a bundle's networks, in that precision.
    Raises:
        BundleError: a bundle is absent, damaged or foreign.
        InvalidInput: a bundle has no such precision, or the members' thresholds differ and the recipe has none.
        InferenceError: a member says something else here than when it was converted.
    """
    with ExitStack() as stack:
        members: list[Member] = []
        for entry in recipe.entries:
            bundle = read_bundle(entry.bundle)
            runtime = choose(bundle)
            model = stack.enter_context(load_proven(bundle, precision, runtime))
            members.append(Member(model, entry.weight, runtime.choice))
        threshold = recipe.decided_threshold([member.model.spec for member in members])
        stack.pop_all()
    return Ensemble(tuple(members), threshold)


def _window_s(clip: ClipSpec) -> float:
    return 0.0 if clip.sample_fps is None else (clip.frames - 1) / clip.sample_fps
