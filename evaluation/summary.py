"""Which run is best, in one sentence and three numbers; the command and the report both begin so.

Everything is read from what leaderboard.json holds, so that nothing is evaluated twice.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from evaluation.metric import rate
from evaluation.metric_words import METRIC_WORDS

DECIDES: Final = ("balanced_accuracy", "image_auroc")
"""Metrics that choose the best run: the first one that all runs have."""
THREE: Final = ("escape_rate", "overkill_rate", "region_recall")
TEN: Final = 10
"""Defective images that a reader is told the worth of."""
_TIED: Final = "ties"
_THINGS: Final = {
    "escape_rate": "defective parts",
    "overkill_rate": "good parts",
    "region_recall": "defect regions",
}


@dataclass(frozen=True, slots=True)
class BigFigure:
    """One of the three numbers.

    Attributes:
        metric: its name in leaderboard.json.
        name: in plain words.
        meaning: its definition.
        value: `3 of 24`, or `—`.
        detail: the rate with its interval, or why there is none.
    """

    metric: str
    name: str
    meaning: str
    value: str
    detail: str

    @property
    def text(self) -> str:
        """One line: `escapes: 3 of 24 (12.5 %, 95 %: 2.7 to 32.4 %)`."""
        return f"{self.name}: {self.value} ({self.detail})"


@dataclass(frozen=True, slots=True)
class Summary:
    """What a reader wants to know first.

    Attributes:
        best: the run that the metrics are of; None where no run is evaluated.
        sentence: the verdict.
        figures: escapes, overkill and regions found of the best run.
        against: every run compared with the baseline, where `evaluate` was given one, in lines.
    """

    best: str | None
    sentence: str
    figures: tuple[BigFigure, ...]
    against: tuple[str, ...] = ()


def summarize(board: Mapping[str, Any], runs: Sequence[str] | None = None) -> Summary:
    """The sentence and the three numbers of a leaderboard.

    The best run has the highest balanced accuracy, equal ones the higher image AUROC: a run that
    calls everything defective must not win by its ranking alone. Where no good or no defective
    image is evaluated, AUROC decides, or else the order of the rows. Runs without any difference
    in what decides are called tied, and the numbers are those of the one first.

    Args:
        board: content of leaderboard.json.
        runs: names of the runs to speak of; None for all.
    """
    rows = [row for row in board.get("rows", []) if runs is None or row["run"] in runs]
    if not rows:
        return Summary(None, "No model is evaluated yet.", ())
    decider = deciding_metric(rows)
    best = best_first(rows)[0]
    figures = tuple(big_figure(name, best["metrics"].get(name)) for name in THREE)
    compared = (board.get("baseline") or {}).get("runs", [])
    against = tuple(
        line for one in compared if runs is None or one["run"] in runs for line in one["lines"]
    )
    missing = board.get("missing_kind")
    if missing:
        return Summary(best["run"], f"{missing}{_of_good_alone(board, best)}", figures, against)
    others = [row for row in rows if row is not best]
    tied = [row for row in others if _relation(board, best["run"], row, decider) == _TIED]
    said = [_of_tied(best, tied, decider) if tied else _of_best(best, len(rows))]
    said += _of_others(
        board,
        best["run"],
        [row for row in others if row not in tied],
        decider,
        # With several at the top, "it" could be any of them.
        called=best["run"] if tied else "it",
    )
    return Summary(best["run"], "; ".join(said) + ".", figures, against)


def best_first(rows: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Rows of leaderboard.json in the order of what decides, then of image AUROC."""
    decider = deciding_metric(rows)
    return sorted(
        rows,
        key=lambda row: (_value(row, decider) or 0.0, _value(row, DECIDES[1]) or 0.0),
        reverse=True,
    )


def deciding_metric(rows: Sequence[Mapping[str, Any]]) -> str:
    """The metric that chooses the best of some rows; empty where there is none."""
    return next((name for name in DECIDES if all(_value(r, name) is not None for r in rows)), "")


def _of_good_alone(board: Mapping[str, Any], best: Mapping[str, Any]) -> str:
    """What good images alone tell, and what some defective ones would add; else empty."""
    if board.get("n_defective") != 0 or _value(best, "overkill_rate") is None:
        return ""
    overkill = big_figure("overkill_rate", best["metrics"]["overkill_rate"])
    bound = rate(0, TEN, what="defective images").high
    return (
        f" {best['run']} calls {overkill.value} good parts defective ({overkill.detail}). With "
        f"{TEN} defective images, of image labels alone, escapes can be measured too: none of "
        f"{TEN} would mean at most {100 * (bound or 1):.0f} %."
    )


def big_figure(name: str, value: Mapping[str, Any] | None) -> BigFigure:
    """A rate as a count with its interval; a rate of zero is said as what it may be at most."""
    words, meaning = METRIC_WORDS[name]
    if value is None:
        return BigFigure(name, words, meaning, "—", "the model gives none")
    if value["value"] is None:
        reason = str(value.get("reason") or "undefined")
        return BigFigure(name, words, meaning, "—", reason)
    text = f"{round(value['value'] * value['n'])} of {value['n']}"
    return BigFigure(name, words, meaning, text, _interval(name, value))


def _interval(name: str, value: Mapping[str, Any]) -> str:
    rate, low, high = value["value"], value.get("low"), value.get("high")
    if low is None or high is None:
        return f"{100 * rate:.1f} %"
    if rate == 0 and name != "region_recall":
        return f"at most {100 * high:.1f} %"
    return f"{100 * rate:.1f} %, 95 %: {100 * low:.1f} to {100 * high:.1f} %"


def _value(row: Mapping[str, Any], name: str) -> float | None:
    metric = row["metrics"].get(name)
    return None if metric is None or metric["value"] is None else float(metric["value"])


def _failing(row: Mapping[str, Any]) -> str | None:
    """A verdict that is the same for all parts: no threshold was found that tells them apart."""
    if _value(row, "overkill_rate") == 1:
        return "calls every good part defective"
    if _value(row, "escape_rate") == 1:
        return "calls every defective part good"
    return None


def _of_best(best: Mapping[str, Any], n_runs: int) -> str:
    failing = _failing(best)
    if best.get("threshold_from") == "given" and n_runs > 1 and not failing:
        return f"{best['run']} is best, at a threshold that was given with its predictions"
    if n_runs == 1:
        return f"{best['run']} {failing or 'is the only model that is evaluated'}"
    return f"{best['run']} is best" + (f", and yet it {failing}" if failing else "")


def _of_tied(best: Mapping[str, Any], tied: Sequence[Mapping[str, Any]], decider: str) -> str:
    """`A and B tie`, and what puts the first one first, where anything does."""
    text = f"{_listed([best['run'], *(row['run'] for row in tied)])} tie"
    failing = _failing(best)
    if failing:
        return f"{text}, and yet {best['run']} {failing}"
    finest = DECIDES[1]
    ahead = _value(best, finest)
    if decider != finest and ahead is not None:
        values = [_value(row, finest) for row in tied]
        if all(value is not None and value < ahead for value in values):
            return f"{text}, and {best['run']} has the higher AUROC of images"
    return text


def _of_others(
    board: Mapping[str, Any],
    best: str,
    others: Sequence[Mapping[str, Any]],
    decider: str,
    *,
    called: str,
) -> list[str]:
    groups: dict[str, list[str]] = {}
    # Runs that are of no use come last: a reader wants the rivals first.
    for row in sorted(others, key=lambda row: _failing(row) is not None):
        relation = _relation(board, best, row, decider, called)
        groups.setdefault(relation, []).append(row["run"])
    return [
        f"{_listed(names)} {relation if len(names) == 1 else _plural(relation)}"
        for relation, names in groups.items()
    ]


def _plural(relation: str) -> str:
    verb, _, rest = relation.partition(" ")
    return f"{'are' if verb == 'is' else 'call'} {rest}"


def _relation(
    board: Mapping[str, Any],
    best: str,
    row: Mapping[str, Any],
    decider: str,
    called: str = "it",
) -> str:
    failing = _failing(row)
    if failing:
        return failing
    pair = {best, row["run"]}
    for found in board.get("comparisons", []):
        if found["metric"] == decider and {found["run_a"], found["run_b"]} == pair:
            if not found["within_noise"]:
                return "is worse"
            return f"is within noise of {called}" if found["difference"] else _TIED
    return f"is not compared with {called}"


def _listed(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
