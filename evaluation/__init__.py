"""One evaluation for all families."""

from evaluation.board_file import board_damage
from evaluation.compare import Comparison
from evaluation.evaluating import evaluate_runs, predictions_digest
from evaluation.evidence import match_image
from evaluation.external import ExternalOptions, import_predictions
from evaluation.leaderboard import Leaderboard
from evaluation.metric import Metric
from evaluation.metric_words import METRIC_WORDS
from evaluation.operating_point import Costs, OperatingPoint
from evaluation.run_metrics import METRIC_NAMES, Row
from evaluation.summary import BigFigure, Summary, big_figure, summarize
from evaluation.table import HEADLINE, difference_lines, format_metric, table_rows, to_markdown
from inference.matching import RegionMatch, match_regions

__all__ = [
    "HEADLINE",
    "METRIC_NAMES",
    "METRIC_WORDS",
    "BigFigure",
    "Comparison",
    "Costs",
    "ExternalOptions",
    "Leaderboard",
    "Metric",
    "OperatingPoint",
    "RegionMatch",
    "Row",
    "Summary",
    "big_figure",
    "board_damage",
    "difference_lines",
    "evaluate_runs",
    "format_metric",
    "import_predictions",
    "match_image",
    "match_regions",
    "predictions_digest",
    "summarize",
    "table_rows",
    "to_markdown",
]
