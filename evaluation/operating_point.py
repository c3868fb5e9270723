"""Where to put the threshold: by what errors cost, or by a bound; chosen on validation images.

For each fold the threshold is chosen on the calibrated scores of validation images of all folds,
without those that show a part which that fold evaluates: so no test image has a say in its own
threshold, and a fold's few validation images do not stand alone.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from annotations import Dataset, InputError, StoredPredictions, UsageError
from annotations.prediction_files import THRESHOLD
from evaluation.evidence import EvaluatedImages
from evaluation.intervals import Floats, ratio_of_sums, with_interval
from evaluation.metric import Metric, rate, undefined
from inference.thresholds import ThresholdAim, choose_threshold, from_log_odds, log_odds, promise


@dataclass(frozen=True, slots=True)
class Costs:
    """What the threshold is chosen by: both costs, or one bound.

    Attributes:
        escape: of a defective part that is called good.
        overkill: of a good part that is called defective.
        max_escape: highest share of defective validation images that may escape.
        max_overkill: highest share of good validation images that may be called defective.
        defect_rate: share of defective parts on the line; None takes that of the test images,
            which is far above what a line has.

    Raises:
        UsageError: none or several of the three ways, a cost that is not above 0, or a share
            outside of [0, 1).
    """

    escape: float | None = None
    overkill: float | None = None
    max_escape: float | None = None
    max_overkill: float | None = None
    defect_rate: float | None = None

    def __post_init__(self) -> None:
        by_cost = self.escape is not None or self.overkill is not None
        ways = by_cost + (self.max_escape is not None) + (self.max_overkill is not None)
        if ways != 1 or (by_cost and (self.escape is None or self.overkill is None)):
            raise UsageError(
                "The operating point needs --cost-escape and --cost-overkill together, or "
                "--max-escape, or --max-overkill, and no two of these ways."
            )
        for name, cost in (("--cost-escape", self.escape), ("--cost-overkill", self.overkill)):
            if cost is not None and not (0 < cost < float("inf")):
                raise UsageError(f"{name} must be a number above 0, got {cost}.")
        for name, share in (
            ("--max-escape", self.max_escape),
            ("--max-overkill", self.max_overkill),
        ):
            if share is not None and not 0 <= share < 1:
                raise UsageError(f"{name} must be at least 0 and below 1, got {share}.")
        if self.defect_rate is not None and not 0 < self.defect_rate < 1:
            raise UsageError(f"--defect-rate must lie between 0 and 1, got {self.defect_rate}.")

    def aim(self, defect_rate: float) -> ThresholdAim:
        """What the threshold is chosen for, at a share of defective parts on the line."""
        return ThresholdAim(
            max_escape=self.max_escape,
            max_overkill=self.max_overkill,
            escape_cost=None if self.escape is None else self.escape * defect_rate,
            overkill_cost=None if self.overkill is None else self.overkill * (1 - defect_rate),
        )

    @property
    def rule(self) -> str:
        """The rule as text."""
        if self.max_escape is not None:
            return f"at most {100 * self.max_escape:g} % of defective validation images escape"
        if self.max_overkill is not None:
            return f"at most {100 * self.max_overkill:g} % of good validation images are overkill"
        return (
            f"lowest cost on validation images: an escape costs {self.escape:g}, "
            f"an overkill {self.overkill:g}"
        )


@dataclass(frozen=True, slots=True)
class OperatingPoint:
    """One run at the chosen threshold.

    Attributes:
        run: its name.
        thresholds: by fold, on the calibrated scale.
        validation: a text that says what the choice was made on.
        escape_rate: on the test images.
        overkill_rate: the same.
        expected_cost: a part, at the defect rate, on the test images; None without costs.
        by_type: by defect type, how many escaped, of how many, and which.
        curve: on the test images, at one threshold for all folds: `threshold`, `escape_rate`,
            `overkill_rate` and, with costs, `expected_cost`; it describes, and chose nothing.
    """

    run: str
    thresholds: Mapping[int, float]
    validation: str
    escape_rate: Metric
    overkill_rate: Metric
    expected_cost: Metric | None
    by_type: Mapping[str, tuple[int, int, tuple[str, ...]]]
    curve: Mapping[str, list[float]]

    def to_json(self) -> dict[str, Any]:
        """As leaderboard.json holds it."""
        cost = self.expected_cost
        return {
            "run": self.run,
            "thresholds": {str(fold): value for fold, value in self.thresholds.items()},
            "validation": self.validation,
            "escape_rate": self.escape_rate.to_json(),
            "overkill_rate": self.overkill_rate.to_json(),
            "expected_cost": None if cost is None else cost.to_json(),
            "escapes_by_type": {
                kind: {"escaped": escaped, "of": n, "images": list(ids)}
                for kind, (escaped, n, ids) in self.by_type.items()
            },
            "curve": dict(self.curve),
        }


def expected_cost(
    escape_rate: npt.NDArray[Any] | float,
    overkill_rate: npt.NDArray[Any] | float,
    costs: Costs,
    defect_rate: float,
) -> Floats:
    """What errors cost a part: rate times share of such parts times cost, both kinds together."""
    bad = np.asarray(escape_rate, np.float64) * defect_rate * (costs.escape or 0.0)
    good = np.asarray(overkill_rate, np.float64) * (1 - defect_rate) * (costs.overkill or 0.0)
    return np.asarray(bad + good, np.float64)


def operating_points(
    dataset: Dataset, runs: Sequence[StoredPredictions], images: EvaluatedImages, costs: Costs
) -> tuple[OperatingPoint, ...]:
    """Choose each run's thresholds and evaluate the run at them.

    Raises:
        InputError: a run that keeps no scores of validation images, or validation images that
            cannot tell (no defective one among them, as under `official`).
    """
    return tuple(_operating_point(dataset, run, images, costs) for run in runs)


def line_rate(images: EvaluatedImages, costs: Costs) -> float:
    """The defect rate that costs are reckoned at."""
    return float(images.is_defective.mean()) if costs.defect_rate is None else costs.defect_rate


def _operating_point(
    dataset: Dataset, run: StoredPredictions, images: EvaluatedImages, costs: Costs
) -> OperatingPoint:
    if not run.validation_scores:
        raise InputError(
            f"The run {run.run} keeps no scores of validation images, so that no operating point "
            "can be chosen without the test images. Train it again, or, for predictions made "
            "elsewhere, give their validation scores too."
        )
    by_id = dataset.by_id
    defect_rate = line_rate(images, costs)
    thresholds: dict[int, float] = {}
    said = ""
    for fold in sorted({run.fold_of[i] for i in images.ids}):
        tested_parts = {by_id[i].group for i in dataset.split.folds[fold].test}
        # An image counts once: by this fold's model, where it has scored it.
        chosen = {
            i: score
            for (_, i), score in sorted(
                run.validation_scores.items(), key=lambda row: (row[0][0] == fold, row[0])
            )
            if by_id[i].group not in tested_parts
        }
        rows = [(score, by_id[i].is_defective) for i, score in chosen.items()]
        scores = np.array([score for score, _ in rows], np.float64)
        truth = np.array([bad for _, bad in rows], np.bool_)
        choice = choose_threshold(log_odds(scores), truth, costs.aim(defect_rate))
        if choice is None:
            raise InputError(
                f"The {len(rows)} validation scores for fold {fold} of {run.run} hold "
                f"{int(truth.sum())} of defective and {int((~truth).sum())} of good images: not "
                f"enough to choose by '{costs.rule}'. Under the protocol 'official' only "
                "--max-overkill can be had; otherwise convert with --protocol kfold or holdout."
            )
        thresholds[fold] = from_log_odds(choice.threshold)
        said = said or (
            f"fold {fold}: {promise(choice)} of the validation images at the threshold"
            f"{_what_so_few_can_say(costs, choice.escapes, choice.n_defective)}"
            f"{_what_is_missing(escapes=choice.n_defective, overkills=choice.n_good)}"
        )
    scores = np.array([run.image_scores[i] for i in images.ids], np.float64)
    limits = np.array([thresholds[run.fold_of[i]] for i in images.ids], np.float64)
    called, bad = scores >= limits, images.is_defective
    escape = rate(int((bad & ~called).sum()), int(bad.sum()), what="defective images")
    overkill = rate(int((~bad & called).sum()), int((~bad).sum()), what="good images")
    return OperatingPoint(
        run=run.name,
        thresholds=thresholds,
        validation=said,
        escape_rate=escape,
        overkill_rate=overkill,
        expected_cost=(
            None
            if costs.escape is None
            else _cost_metric(escape, overkill, called, images, costs, defect_rate)
        ),
        by_type={
            kind: (
                int((~called & (images.types == kind)).sum()),
                int((images.types == kind).sum()),
                tuple(images.ids[i] for i in np.flatnonzero(~called & (images.types == kind))),
            )
            for kind in sorted(set(images.types[bad].tolist()))
        },
        curve=_curve(scores, bad, costs, defect_rate),
    )


def _what_is_missing(*, escapes: int, overkills: int) -> str:
    if not overkills:
        return "; no good image validates, so nothing is known of overkill at this threshold"
    if not escapes:
        return "; no defective image validates, so nothing is known of escapes at this threshold"
    return ""


def _what_so_few_can_say(costs: Costs, escapes: int, n_bad: int) -> str:
    if costs.max_escape is None:
        return ""
    high = rate(escapes, n_bad, what="defective images").high
    if high is None or high <= costs.max_escape:
        return ""
    return f"; so few cannot promise the bound: up to {100 * high:.1f} % fit them as well"


def _cost_metric(
    escape: Metric,
    overkill: Metric,
    called: npt.NDArray[np.bool_],
    images: EvaluatedImages,
    costs: Costs,
    defect_rate: float,
) -> Metric:
    bad = images.is_defective
    if escape.value is None or overkill.value is None:
        return undefined("the test images are all good or all defective", len(bad))
    drawn = expected_cost(
        ratio_of_sums(images.weights, bad & ~called, bad),
        ratio_of_sums(images.weights, ~bad & called, ~bad),
        costs,
        defect_rate,
    )
    value = float(expected_cost(escape.value, overkill.value, costs, defect_rate))
    metric = with_interval(Metric(value, len(bad)), drawn)
    if metric.low is None and escape.low is not None and overkill.low is not None:
        # Without an error no resample has one; the exact bounds of both rates still speak.
        ends = (
            float(expected_cost(escape.low, overkill.low, costs, defect_rate)),
            float(expected_cost(escape.high or 0.0, overkill.high or 0.0, costs, defect_rate)),
        )
        note = "no errors to resample: the bounds are those of both exact intervals together"
        return Metric(value, len(bad), *ends, note=note)
    return metric


def _curve(
    scores: Floats, bad: npt.NDArray[np.bool_], costs: Costs, defect_rate: float
) -> dict[str, list[float]]:
    levels = np.unique(np.concatenate((scores, [THRESHOLD])))
    n_bad, n_good = int(bad.sum()), int((~bad).sum())
    if not n_bad or not n_good:
        return {}
    escape = np.searchsorted(np.sort(scores[bad]), levels, side="left") / n_bad
    overkill = 1 - np.searchsorted(np.sort(scores[~bad]), levels, side="left") / n_good
    curve = {"threshold": levels, "escape_rate": escape, "overkill_rate": overkill}
    if costs.escape is not None:
        curve["expected_cost"] = expected_cost(escape, overkill, costs, defect_rate)
    return {name: [float(v) for v in values] for name, values in curve.items()}
