"""Two runs on the same images: is the difference more than noise?"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from scipy import stats

from evaluation.intervals import Floats
from evaluation.metric import Metric

LEVEL: Final = 0.05
VERDICT_METRICS: Final = ("accuracy", "escape_rate", "overkill_rate")
ONE_SIDED_METRICS: Final = (*VERDICT_METRICS, "balanced_accuracy", "precision", "recall", "f1")
LOWER_IS_BETTER: Final = frozenset(
    {
        "escape_rate",
        "overkill_rate",
        "false_alarms_per_image",
        "false_alarms_per_good_image",
        "good_pixels_called",
    }
)


@dataclass(frozen=True, slots=True)
class Comparison:
    """One metric of two runs.

    Attributes:
        metric: its name.
        run_a: a run.
        run_b: another.
        difference: of a less b.
        low: of its 95 % interval, from the paired bootstrap; None for verdicts.
        high: of the same.
        p_value: that a difference this large arises with no difference between the runs.
        p_holm: the same, corrected for the number of pairs of runs (Holm, Scandinavian Journal of
            Statistics 1979).
        test: `paired_exact` or `paired_bootstrap`.
        only_a_right: for verdicts, images that a alone called right; else None.
        only_b_right: the same of b.
    """

    metric: str
    run_a: str
    run_b: str
    difference: float
    low: float | None
    high: float | None
    p_value: float
    p_holm: float
    test: str
    only_a_right: int | None = None
    only_b_right: int | None = None

    @property
    def within_noise(self) -> bool:
        """True where the corrected p-value is not below 5 %."""
        return self.p_holm >= LEVEL

    @property
    def text(self) -> str:
        """The difference as a sentence."""
        if self.difference == 0 and self.within_noise:
            return f"{self.metric}: {self.run_a} and {self.run_b} are equal."
        a_is_better = (self.difference > 0) != (self.metric in LOWER_IS_BETTER)
        better, other = (self.run_a, self.run_b) if a_is_better else (self.run_b, self.run_a)
        p = f"p {p_text(self.p_holm)}"
        if self.within_noise:
            return f"{self.metric}: {better} over {other} is within noise ({p})."
        return f"{self.metric}: {better} is better than {other} ({p})."

    def to_json(self) -> dict[str, Any]:
        """As leaderboard.json holds it."""
        names = (
            "metric", "run_a", "run_b", "difference", "low", "high", "p_value", "p_holm", "test",
            "only_a_right", "only_b_right", "within_noise", "text",
        )  # fmt: skip
        return {name: getattr(self, name) for name in names}


def p_text(p: float) -> str:
    """A p-value as people read it: `= 0.13`, `< 0.001`."""
    return "< 0.001" if p < 0.001 else f"= {p:.3f}" if p < 0.1 else f"= {p:.2f}"


def paired_exact(differences: npt.NDArray[np.int64]) -> float:
    """Two-sided exact p-value of a permutation test of paired verdicts, by physical part.

    Without a difference between two runs, which of them gave which verdicts on a part is a coin
    flip: the sum of the parts' differences is compared with that of every way to flip them, all
    of which are counted. With one image a part it is McNemar's exact test (Psychometrika 1947);
    several photographs of one part are flipped together, since they are one witness.

    Args:
        differences: int (parts,), images of a part that one run alone called right, less those
            that the other alone called right.

    Returns:
        The probability of a sum at least as far from 0, from 0 to 1; 1 where no part differs.

    Example:
        >>> paired_exact(np.array([1, 1, 1, 1, 1, 1, 1, 1]))
        0.0078125
        >>> paired_exact(np.array([8]))
        1.0
    """
    sizes = np.abs(differences[differences != 0]).astype(int)
    total = int(sizes.sum())
    # ways[total + s]: the chance of the sum s after the parts so far.
    ways = np.zeros(2 * total + 1)
    ways[total] = 1.0
    for size in sizes.tolist():
        ways = (np.roll(ways, size) + np.roll(ways, -size)) / 2
    far = abs(int(differences.sum()))
    distance = np.abs(np.arange(-total, total + 1))
    return min(1.0, float(ways[distance >= far].sum()))


def part_differences(
    first_right: npt.NDArray[np.bool_],
    second_right: npt.NDArray[np.bool_],
    groups: npt.NDArray[np.str_],
) -> npt.NDArray[np.int64]:
    """Of every part, images that the first alone called right less those of the second.

    Args:
        first_right: bool (n,).
        second_right: bool (n,), of the same images.
        groups: text (n,), the physical part of each image.

    Returns:
        int64 (parts,).
    """
    difference = first_right.astype(np.int64) - second_right.astype(np.int64)
    _, codes = np.unique(groups, return_inverse=True)
    return np.asarray(np.bincount(codes, difference, minlength=0).round(), np.int64)


def bootstrap_p_value(
    resampled: Floats, *, difference: float | None = None, n_parts: int = 0, n_strata: int = 1
) -> float:
    """Two-sided p-value of a paired bootstrap over parts, cautious where parts are few.

    The larger of two: twice the smaller part of the resamples on one side of zero, with one
    resample added on each side, so that it is never 0 (Davison and Hinkley 1997, 4.2); and
    Student's, of the difference over the resamples' standard deviation, whose bias by a factor of
    (parts - strata) / parts is taken out (Efron 1982, 4.1), with parts - strata degrees of
    freedom. Percentiles alone call one in ten equal runs better where eight parts are tested.

    Args:
        resampled: float (r,), of resampled metrics of two runs, drawn alike; NaN left out.
        difference: of the metrics themselves; None leaves the second out.
        n_parts: parts that were drawn from, of the rarer kind.
        n_strata: that those were drawn in.

    Returns:
        From 2 / (r + 1) to 1; 1 without a resample, or with no more parts than strata.
    """
    kept = resampled[np.isfinite(resampled)]
    if not len(kept):
        return 1.0
    below, above = int((kept <= 0).sum()), int((kept >= 0).sum())
    p = min(1.0, 2 * (1 + min(below, above)) / (len(kept) + 1))
    if difference is None:
        return p
    freedom = n_parts - n_strata
    spread = float(kept.std()) * float(np.sqrt(n_parts / freedom)) if freedom > 0 else 0.0
    if spread == 0.0:
        return p if freedom > 0 else 1.0
    return max(p, 2 * float(stats.t.sf(abs(difference) / spread, freedom)))


def rarer_parts(
    is_defective: npt.NDArray[np.bool_],
    types: npt.NDArray[np.str_],
    groups: npt.NDArray[np.str_],
) -> tuple[int, int]:
    """Parts of the kind, good or defective, that has fewer degrees of freedom, and the strata
    (types) that they are drawn in."""
    kinds = []
    for kind in (is_defective, ~is_defective):
        if kind.any():
            pairs = {*zip(types[kind].tolist(), groups[kind].tolist(), strict=True)}
            kinds.append((len(pairs), len(set(types[kind].tolist()))))
    return min(kinds, key=lambda one: one[0] - one[1], default=(0, 1))


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's step-down correction of p-values, in their own order."""
    order = np.argsort(np.asarray(p_values, np.float64), kind="stable").tolist()
    corrected = [0.0] * len(p_values)
    highest = 0.0
    for rank, index in enumerate(order):
        highest = max(highest, min(1.0, (len(order) - rank) * p_values[index]))
        corrected[index] = highest
    return corrected


@dataclass(frozen=True)
class Comparable:
    """What a comparison needs of one run.

    Attributes:
        run: its name.
        metrics: its metrics.
        values: their resampled values, float (r,), drawn alike for every run.
        right: bool (n,), whether the verdict on each image was right.
    """

    run: str
    metrics: Mapping[str, Metric | None]
    values: Mapping[str, Floats]
    right: npt.NDArray[np.bool_]


def compare_runs(
    runs: Sequence[Comparable],
    is_defective: npt.NDArray[np.bool_],
    names: Sequence[str],
    *,
    types: npt.NDArray[np.str_],
    groups: npt.NDArray[np.str_],
) -> list[Comparison]:
    """Compare every pair of runs in every metric that both have.

    Verdicts are compared by an exact permutation test over parts: accuracy on all images,
    escape_rate on the defective ones, overkill_rate on the good ones. The rest by a paired
    bootstrap, which draws parts too. Each metric is corrected for its number of pairs; the metrics
    among themselves are not. Without a good or without a defective image verdicts are not
    compared: one run would be called better for calling everything the one kind there is.

    Args:
        runs: of the same images.
        is_defective: bool (n,).
        names: of the metrics.
        types: text (n,), good or the defect type: what resamples are drawn in.
        groups: text (n,), the physical part of each image.
    """
    one_kind = bool(is_defective.all() or not is_defective.any())
    n_parts, n_strata = rarer_parts(is_defective, types, groups)
    result: list[Comparison] = []
    of = {
        "accuracy": np.ones(len(is_defective), np.bool_),
        "escape_rate": is_defective,
        "overkill_rate": ~is_defective,
    }
    for name in names:
        if one_kind and name in ONE_SIDED_METRICS:
            continue
        rows: list[Comparison] = []
        for a, b in combinations(runs, 2):
            first, second = a.metrics.get(name), b.metrics.get(name)
            if first is None or second is None or first.value is None or second.value is None:
                continue
            difference = first.value - second.value
            if name in VERDICT_METRICS:
                only_a = int((a.right & ~b.right & of[name]).sum())
                only_b = int((b.right & ~a.right & of[name]).sum())
                inside = of[name]
                p = paired_exact(part_differences(a.right[inside], b.right[inside], groups[inside]))
                rows.append(
                    Comparison(
                        name, a.run, b.run, difference, None, None, p, p, "paired_exact",
                        only_a, only_b,
                    )
                )  # fmt: skip
            elif name in a.values and name in b.values:
                drawn = a.values[name] - b.values[name]
                kept = drawn[np.isfinite(drawn)]
                if not len(kept):
                    continue
                low, high = (float(v) for v in np.quantile(kept, [0.025, 0.975]))
                p = bootstrap_p_value(
                    drawn, difference=difference, n_parts=n_parts, n_strata=n_strata
                )
                rows.append(
                    Comparison(name, a.run, b.run, difference, low, high, p, p, "paired_bootstrap")
                )
        corrected = holm([row.p_value for row in rows])
        result += [replace(row, p_holm=p) for row, p in zip(rows, corrected, strict=True)]
    return result
