"""What the page's head says: intervals of every count, marks on the scale, and one decision."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Final

import numpy as np
from scipy import stats

from annotations import Dataset, StoredPredictions, UsageError
from annotations.prediction_files import THRESHOLD
from evaluation.acceptance.parts import Photograph, trials_of
from evaluation.acceptance.rates import BoundedRate, missing_parts
from evaluation.strata import SizeClass, image_size
from report.palette import type_color_rgb

CONFIDENCE: Final = 0.95


@dataclass(frozen=True, slots=True)
class Decision:
    """What a run's verdicts prove of its escapes.

    Attributes:
        state: `ready`, `not yet`, `no limit` or `not known`.
        title: in a few words.
        text: counts, bound, and what is missing.
        at: thresholds it was counted at, where they are not the page's own.
        link: address of the page that says all of it, from the report's folder; empty for none.
    """

    state: str
    title: str
    text: str
    at: str = ""
    link: str = ""

    def to_json(self) -> dict[str, str]:
        """As the page reads it."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Head:
    """What the head holds beside the scores.

    Attributes:
        decisions: by name of the run.
        points: chosen thresholds by name of the run and fold, and the rule that chose them.
        given: runs whose threshold was given with the predictions.
        key: what the page keeps its tags under.
        baseline: name of the run that the others were compared with; empty for none.
    """

    decisions: Mapping[str, Decision] = field(default_factory=dict)
    points: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    given: frozenset[str] = frozenset()
    key: Mapping[str, Any] = field(default_factory=dict)
    baseline: str = ""


def decide(
    dataset: Dataset,
    run: StoredPredictions,
    ids: Sequence[str],
    limit: float | None,
    thresholds: Mapping[str, float] | None = None,
) -> Decision:
    """Whether a run's escapes are proved to lie below a limit, by parts, at 95 %, one-sided.

    Args:
        dataset: with truth and parts.
        run: whose verdicts count.
        ids: test images that count.
        limit: highest share of defective parts that may escape, from 0 to 1; None for no limit.
        thresholds: by fold; None for the run's own.
    """
    photographs = photographs_of(dataset, run, ids, thresholds)
    bad = [trial for trial in trials_of(photographs) if trial.is_defective]
    if not bad:
        return Decision("not known", "Not known", "No defective part was judged.")
    escapes = BoundedRate(sum(not trial.called for trial in bad), len(bad), CONFIDENCE)
    proved = (
        f"{escapes.count} of {escapes.n} escapes proves at most {100 * escapes.upper:.1f} % "
        f"({100 * CONFIDENCE:g} %, one-sided)"
    )
    if limit is None:
        return Decision("no limit", "", f"{proved}. For a decision give --max-escape.")
    if escapes.upper <= limit:
        return Decision("ready", f"{100 * limit:g} % escapes is proved.", f"{proved}.")
    try:
        more = missing_parts(escapes, limit)
        need = (
            f"{more:,} more defective part{'' if more == 1 else 's'} without an escape would prove "
            f"{100 * limit:g} %"
        )
    except ValueError:
        need = f"no number of parts proves {100 * limit:g} %"
    return Decision("not yet", f"Not yet: {100 * limit:g} % escapes is not proved.",
                    f"{proved}; {need}.")  # fmt: skip


def photographs_of(
    dataset: Dataset,
    run: StoredPredictions,
    ids: Sequence[str],
    thresholds: Mapping[str, float] | None = None,
    sizes: Sequence[SizeClass] = (),
) -> list[Photograph]:
    """Images with a verdict of a run, for counting by parts.

    Args:
        dataset: with truth and parts.
        run: whose verdicts count.
        ids: test images; those that the run did not predict are left out.
        thresholds: by fold; None for the run's own.
        sizes: the size classes; without them no image has a size.
    """
    return [
        Photograph(
            image_id=image_id,
            part=(sample := dataset.by_id[image_id]).group,
            defect_type=sample.defect_type,
            size=(image_size(dataset, image_id, sizes) or "") if sizes else "",
            source=sample.origin,
            fold=(fold := run.fold_of[image_id]),
            score=run.image_scores[image_id],
            threshold=(thresholds or {}).get(str(fold), THRESHOLD),
        )
        for image_id in ids
        if image_id in run.image_scores
    ]


def check_limit(limit: float | None) -> None:
    """Refuse a limit that is no share.

    Raises:
        UsageError: it does not lie between 0 and 1.
    """
    if limit is not None and not 0 < limit < 1:
        raise UsageError(
            f"--max-escape is a share between 0 and 1, such as 0.01 for 1 %, got {limit}."
        )


def bounds(n: int) -> list[list[float]]:
    """Clopper and Pearson's two-sided 95 % interval for 0, 1, … n of n, in percent."""
    if not n:
        return []
    counts = np.arange(n + 1)
    low, high = np.zeros(n + 1), np.ones(n + 1)
    low[1:] = stats.beta.ppf(0.025, counts[1:], n - counts[1:] + 1)
    high[:-1] = stats.beta.ppf(0.975, counts[:-1] + 1, n - counts[:-1])
    return np.round(100 * np.stack((low, high), 1), 2).tolist()  # type: ignore[no-any-return]


def head_json(
    head: Head, dataset: Dataset, runs: Sequence[str], lines: Sequence[Mapping[str, Any]]
) -> dict[str, Any]:
    """What the page reads of the head, as JSON.

    Args:
        head: what is known of each run.
        dataset: with the types.
        runs: names, in the order of the page.
        lines: of the gallery, each with `type` and `scores`.
    """
    sizes = {
        sum(line["scores"][place] is not None and (line["type"] != "good") == bad for line in lines)
        for place in range(len(runs))
        for bad in (False, True)
    }
    parts = sorted({line["part"] for line in lines})
    place_of = {part: place for place, part in enumerate(parts)}
    return {
        "bounds": {str(n): bounds(n) for n in sorted(sizes)},
        "colors": [
            "#{:02x}{:02x}{:02x}".format(*type_color_rgb(n))
            for n in range(len(dataset.class_names))
        ],
        "decisions": [d.to_json() if (d := head.decisions.get(run)) else None for run in runs],
        "points": [dict(head.points.get(run, {})) for run in runs],
        "key": dict(head.key),
        "baseline": runs.index(head.baseline) if head.baseline in runs else -1,
        "parts": [place_of[line["part"]] for line in lines],
    }
