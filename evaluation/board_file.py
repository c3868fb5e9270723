"""What leaderboard.json must hold for the report, the summary and the comparisons to read it."""

from collections.abc import Mapping
from typing import Any, Final, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

_CURVE_COLUMNS: Final = {
    "image": ("threshold", "precision", "recall", "false_positive_rate"),
    "box": ("recall", "precision"),
    "mask": ("recall", "precision"),
}


class _Part(BaseModel):
    # Newer versions may write more; what is read here must be as it is written here. No value is
    # changed into another type: "3" is no number.
    model_config = ConfigDict(extra="ignore", strict=True, allow_inf_nan=False)


class _Metric(_Part):
    value: float | None
    n: int = Field(ge=0)
    low: float | None = None
    high: float | None = None
    reason: str | None = None
    note: str | None = None


_Metrics = dict[str, _Metric | None]


class _Row(_Part):
    run: str
    family: str = ""
    model: str = ""
    predictions: str = ""
    threshold_from: str = ""
    metrics: _Metrics = Field(min_length=1)
    by_type: dict[str, _Metrics] = {}
    by_size: dict[str, _Metrics] = {}
    by_source: dict[str, _Metrics] = {}
    late_leaks: list[str] = []
    without_late_leaks: _Metrics = {}
    curves: dict[str, dict[str, list[float]]] = {}

    @model_validator(mode="after")
    def _curves_can_be_drawn(self) -> Self:
        for name, curve in self.curves.items():
            columns = _CURVE_COLUMNS.get(name, ())
            missing = [column for column in columns if curve and column not in curve]
            if missing:
                raise ValueError(f"the curve {name} has no {missing[0]}")
            if len({len(values) for values in curve.values()}) > 1:
                raise ValueError(f"the columns of the curve {name} differ in length")
        return self


class _Comparison(_Part):
    metric: str
    run_a: str
    run_b: str
    difference: float
    within_noise: bool


class _Spread(_Part):
    metric: str
    runs: str
    n: int
    mean: float
    standard_deviation: float


class _Escapes(_Part):
    escaped: int
    of: int


class _Point(_Part):
    run: str
    validation: str
    escape_rate: _Metric
    overkill_rate: _Metric
    expected_cost: _Metric | None
    escapes_by_type: dict[str, _Escapes]


class _OperatingPoint(_Part):
    rule: str | None
    runs: list[_Point]


class _Against(_Part):
    run: str
    lines: list[str]


class _Baseline(_Part):
    run: str
    runs: list[_Against]


class _Board(_Part):
    split_digest: str
    rows: list[_Row]
    n_groups: int | None = None
    missing_kind: str | None = None
    matching_rule: str = ""
    interval: str = ""
    comparisons: list[_Comparison] = []
    spread: list[_Spread] = []
    differences: list[str] = []
    operating_point: _OperatingPoint | None = None
    baseline: _Baseline | None = None


def board_damage(board: object) -> str | None:
    """What is wrong with the content of leaderboard.json; None where it can be read.

    Returns:
        The first place that is not as `Leaderboard.to_json` writes it, and what is wrong with it:
        `rows, 0, metrics, escape_rate, n: Field required`.
    """
    if not isinstance(board, Mapping):
        return "no object with rows"
    value: dict[str, Any] = dict(board)
    try:
        checked = _Board.model_validate(value)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        return f"{', '.join(str(place) for place in first['loc'])}: {first['msg']}"
    names = [row.run for row in checked.rows]
    twice = next((name for name in names if names.count(name) > 1), None)
    return None if twice is None else f"two rows of the run {twice}"
