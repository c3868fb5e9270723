"""Is a new model better or worse than the one before? Image by image, on the same images."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from annotations import InputError, StoredPredictions
from evaluation.acceptance.rates import BoundedRate, missing_parts
from evaluation.compare import LEVEL, Comparable, holm, p_text, paired_exact, part_differences
from evaluation.evidence import EvaluatedImages

CONFIDENCE: Final = 0.95
_NAMED: Final = 4


@dataclass(frozen=True, slots=True)
class TypeChange:
    """What became of the images of one type; for good ones, found means called good.

    Attributes:
        n: images.
        found: those that the baseline found.
        lost: ids of images that the baseline found and the run does not.
        won: ids of images that the run finds and the baseline did not.
    """

    n: int
    found: int
    lost: tuple[str, ...]
    won: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """As leaderboard.json holds it."""
        return {"n": self.n, "found": self.found, "lost": list(self.lost), "won": list(self.won)}


@dataclass(frozen=True, slots=True)
class AgainstBaseline:
    """One run compared with the baseline, verdict by verdict.

    Attributes:
        run: its name.
        baseline: name of the other.
        by_type: by defect type, in order.
        good: of the good images.
        p_value: of defective images: that as many are lost and won with no difference between the
            runs, by an exact permutation test over parts; corrected by Holm for the runs that are
            compared with the baseline.
        p_good: the same, of good images.
        lost_parts: parts of which an image is lost, among those of which the baseline found one.
        limit: highest share of such parts that may be lost; None where nothing was asked.
    """

    run: str
    baseline: str
    by_type: Mapping[str, TypeChange]
    good: TypeChange
    p_value: float
    p_good: float
    lost_parts: BoundedRate
    limit: float | None = None

    @property
    def missing(self) -> int | None:
        """Parts, all kept, that would yet have to be seen to show the limit; None without one."""
        return None if self.limit is None else missing_parts(self.lost_parts, self.limit)

    @property
    def held(self) -> bool:
        """False where a limit was given and is not shown to hold."""
        return not self.missing

    @property
    def lines(self) -> list[str]:
        """The comparison in words, the gate first."""
        lost = [i for change in self.by_type.values() for i in change.lost]
        won = [i for change in self.by_type.values() for i in change.won]
        found = sum(change.found for change in self.by_type.values())
        said = [
            f"{self.run} against {self.baseline}: of {found} defective images found before, "
            f"{len(lost)} are lost{_some(lost)}; {len(won)} are won{_some(won)}. "
            f"{self._verdict(len(won) - len(lost), self.p_value)}"
        ]
        said += [
            f"  {kind}: {len(change.lost)} lost of {change.found} found before, {len(change.won)} "
            f"won of {change.n - change.found} missed before"
            for kind, change in self.by_type.items()
            if change.lost or change.won
        ]
        good = self.good
        if good.lost or good.won:
            said.append(
                f"  good: {len(good.lost)} newly called defective{_some(good.lost)}, "
                f"{len(good.won)} no longer{_some(good.won)} (p {p_text(self.p_good)})"
            )
        return [*([self._gate()] if self.limit is not None else []), *said]

    def _verdict(self, gain: int, p: float) -> str:
        if gain == 0:
            return "As many are lost as won."
        word = "better" if gain > 0 else "worse"
        if p < LEVEL:
            return f"It is {word} (p {p_text(p)})."
        return f"That is within noise (p {p_text(p)})."

    def _gate(self) -> str:
        rate, limit = self.lost_parts, self.limit or 0.0
        seen = (
            f"{rate.count} of {rate.n} parts found before are lost, at most "
            f"{100 * rate.upper:.2f} % at {100 * CONFIDENCE:.0f} %"
        )
        if self.held:
            return f"No regression: {seen}; {100 * limit:g} % may be."
        return (
            f"Not shown that {self.run} loses at most {100 * limit:g} %: {seen}. {self.missing} "
            "more parts that are found by both would show it."
        )

    def to_json(self) -> dict[str, Any]:
        """As leaderboard.json holds it."""
        return {
            "run": self.run,
            "by_type": {kind: change.to_json() for kind, change in self.by_type.items()},
            "good": self.good.to_json(),
            "p_value": self.p_value,
            "p_good": self.p_good,
            "lost_parts": self.lost_parts.to_json(),
            "limit": self.limit,
            "missing_parts": self.missing,
            "held": self.held,
            "lines": self.lines,
        }


def _some(ids: Sequence[str]) -> str:
    return f" ({', '.join(ids[:_NAMED])}{' …' if len(ids) > _NAMED else ''})" if ids else ""


def against_baseline(
    runs: Sequence[Comparable],
    stored: Sequence[StoredPredictions],
    baseline: str,
    images: EvaluatedImages,
    limit: float | None,
) -> tuple[AgainstBaseline, ...]:
    """Compare every run with the baseline, which is one of them.

    Args:
        runs: of the same images.
        stored: their predictions.
        baseline: its name.
        images: that they were evaluated on.
        limit: highest share of the parts found before that may be lost, from 0 to 1.

    Raises:
        InputError: a run without verdicts.
    """
    without = next((s for s in stored if s.no_threshold), None)
    if without is not None:
        raise InputError(
            f"{without.name} has no verdicts to be compared with a baseline's: "
            f"{without.no_threshold}. Give its threshold, or name the other runs."
        )
    leaky = next((s for s in stored if s.late_leaks and s.name != baseline), None)
    if leaky is not None and limit is not None:
        raise InputError(
            f"{leaky.name} learned from parts that {len(leaky.late_leaks)} test images show, as an "
            f"update found later ({', '.join(leaky.late_leaks[:_NAMED])}), so that --no-regression "
            "cannot be shown for it. Train it again on this version."
        )
    base = next(run for run in runs if run.run == baseline)
    others = [run for run in runs if run.run != baseline]
    bad, good = images.is_defective, ~images.is_defective
    corrected = [
        holm(
            [
                paired_exact(
                    part_differences(run.right[kind], base.right[kind], images.groups[kind])
                )
                for run in others
            ]
        )
        for kind in (bad, good)
    ]
    made = []
    for place, run in enumerate(others):
        lost, won = base.right & ~run.right, run.right & ~base.right

        def change(
            kind: Any, lost: Any = lost, won: Any = won, found: Any = base.right
        ) -> TypeChange:
            return TypeChange(
                int(kind.sum()),
                int((kind & found).sum()),
                tuple(images.ids[n] for n in np.flatnonzero(kind & lost)),
                tuple(images.ids[n] for n in np.flatnonzero(kind & won)),
            )

        types = sorted(set(images.types[bad].tolist()))
        made.append(
            AgainstBaseline(
                run.run,
                baseline,
                {kind: change(bad & (images.types == kind)) for kind in types},
                change(good),
                corrected[0][place],
                corrected[1][place],
                BoundedRate(
                    len(set(images.groups[bad & lost].tolist())),
                    len(set(images.groups[bad & base.right].tolist())),
                    CONFIDENCE,
                    "the baseline found no defective part",
                ),
                limit,
            )
        )
    return tuple(made)
