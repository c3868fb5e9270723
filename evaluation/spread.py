"""How much a metric moves with the seed of the training."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from evaluation.run_metrics import Row

SEED_SUFFIX: Final = re.compile(r"-seed-\d+$")
"""What `train --seeds` adds to the names of runs."""


@dataclass(frozen=True, slots=True)
class Spread:
    """One metric over runs that differ in their seed alone.

    Attributes:
        metric: its name.
        runs: the runs' name without the seed.
        n: runs that have the metric, two or more.
        mean: over them.
        standard_deviation: over them, with n - 1.
        low: lowest.
        high: highest.
    """

    metric: str
    runs: str
    n: int
    mean: float
    standard_deviation: float
    low: float
    high: float

    @property
    def text(self) -> str:
        """The spread as a sentence."""
        return (
            f"{self.metric}: {self.runs} over {self.n} seeds {self.mean:.3f} ± "
            f"{self.standard_deviation:.3f} ({self.low:.3f}–{self.high:.3f})."
        )

    def to_json(self) -> dict[str, Any]:
        """As leaderboard.json holds it."""
        names = ("metric", "runs", "n", "mean", "standard_deviation", "low", "high")
        return {name: getattr(self, name) for name in names}


def seed_spreads(rows: Sequence[Row]) -> tuple[Spread, ...]:
    """The spread of every metric that two or more seeds of the same settings have.

    Runs of one name but for `-seed-N` belong together; their seeds are read from their settings,
    not from their names, and a seed counts once.
    """
    families: dict[str, dict[int, Row]] = {}
    for row in rows:
        named = SEED_SUFFIX.search(row.run)
        if named:
            seed = int(named[0].rpartition("-")[2]) if row.seed is None else row.seed
            families.setdefault(SEED_SUFFIX.sub("", row.run), {}).setdefault(seed, row)
    result = []
    for name, members in sorted(families.items()):
        for metric in next(iter(members.values())).metrics:
            found = [m.value for row in members.values() if (m := row.metrics.get(metric))]
            values = [value for value in found if value is not None]
            if len(values) > 1:
                result.append(
                    Spread(
                        metric,
                        name,
                        len(values),
                        float(np.mean(values)),
                        float(np.std(values, ddof=1)),
                        min(values),
                        max(values),
                    )
                )
    return tuple(result)
