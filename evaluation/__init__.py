"""One judge for all families."""

from evaluation.leaderboard import (
    METRIC_NAMES,
    Leaderboard,
    Row,
    evaluate_runs,
    format_metric,
    table_rows,
    to_markdown,
)
from evaluation.metric import Metric
from evaluation.region_metrics import RegionMatch, match_regions

__all__ = [
    "METRIC_NAMES",
    "Leaderboard",
    "Metric",
    "RegionMatch",
    "Row",
    "evaluate_runs",
    "format_metric",
    "match_regions",
    "table_rows",
    "to_markdown",
]
