"""What print adds to the page: what was not tested, and what exactly was judged."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from annotations import Dataset, StoredPredictions
from evaluation.acceptance import Asked, accept_photographs
from evaluation.strata import size_classes
from report.head import photographs_of

_MOST: Final = 14
"""Sentences, so that the summary stays two pages; the last one counts those that are left out."""


def not_tested(
    dataset: Dataset,
    run: StoredPredictions,
    ids: Sequence[str],
    thresholds: Mapping[str, float] | None = None,
) -> list[str]:
    """What a run's numbers do not speak of, a sentence each; as `accept` says it, by parts.

    Args:
        dataset: with truth and parts.
        run: whose verdicts count.
        ids: test images of the page.
        thresholds: by fold; None for the run's own.
    """
    photographs = photographs_of(dataset, run, ids, thresholds, size_classes(dataset))
    said = []
    if missing := len(ids) - len(photographs):
        said.append(f"{missing} of {len(ids)} test images have no verdict of {run.name}.")
    if photographs:
        counted = accept_photographs(
            photographs, Asked(), class_names=dataset.class_names, repeats="", graders={}
        )
        said += counted.not_tested()
    if len(said) <= _MOST:
        return said
    left = len(said) - _MOST + 1
    # The last sentence speaks of unknown kinds of defects, and holds for every dataset.
    return [
        *said[: _MOST - 2],
        f"{left} more such limits: defectune accept writes all of them.",
        said[-1],
    ]


def digests(dataset: Dataset, rows: Sequence[Mapping[str, Any]]) -> list[tuple[str, str]]:
    """Names and SHA-256 of what was judged: split, data version, and each run's predictions.

    Args:
        dataset: with its split and version.
        rows: of leaderboard.json, of the runs shown.
    """
    version = dataset.version
    found = [("split", dataset.split.digest)]
    found += [] if version is None else [(f"data version {version.number}", version.digest)]
    return found + [
        (f"predictions of {row['run']}", row["predictions"])
        for row in rows
        if row.get("predictions")
    ]
