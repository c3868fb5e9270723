"""Many models on a narrow screen: a line a model, best first, with what decides."""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

FEW: Final = 3
"""Models that stand beside each other, a column each, also where blocks of columns are needed."""
_FOURTH: Final = ("pixel_ap", "box_map50")
_HEADS: Final = {
    "escape_rate": "escapes",
    "overkill_rate": "overkill",
    "balanced_accuracy": "balanced",
    "image_auroc": "AUROC",
    "pixel_ap": "pixel AP",
    "box_map50": "mAP50",
}
_COUNTED: Final = frozenset({"escape_rate", "overkill_rate"})
_PERCENT: Final = frozenset({"balanced_accuracy"})


def models_as_rows(
    ranked: Sequence[Mapping[str, Any]], *, fits: Callable[[Sequence[Sequence[str]]], bool]
) -> tuple[list[list[str]], str]:
    """Header and a line a model, with the intervals that fit, and a note on what was shortened.

    Args:
        ranked: rows of leaderboard.json, best first.
        fits: whether a table stands on the screen in one block. Columns get their intervals from
            the left for as long as it does.
    """
    fourth = next((m for m in _FOURTH if any(r["metrics"].get(m) for r in ranked)), None)
    metrics = ["escape_rate", "overkill_rate", "balanced_accuracy", "image_auroc"]
    metrics += [fourth] if fourth else []
    names, shortened = without_common_part([row["run"] for row in ranked])

    def table(n_intervals: int) -> list[list[str]]:
        body = [
            [name, *(_cell(m, row["metrics"].get(m), at < n_intervals)
                     for at, m in enumerate(metrics))]
            for name, row in zip(names, ranked, strict=True)
        ]  # fmt: skip
        return [["", *(_HEADS[m] for m in metrics)], *body]

    most = len(metrics)
    best = next((n for n in range(most, -1, -1) if fits(table(n))), 0)
    return table(best), shortened


def without_common_part(names: Sequence[str]) -> tuple[list[str], str]:
    """Names without the words that all begin or end with, and what was left away, in words.

    Words end at `-`, `_`, `.`, `+`, `/` and spaces; at least one of each name is left.
    """
    parts = [re.findall(r"[^-_.+/ ]*[-_.+/ ]?", name)[:-1] for name in names]
    # From the end, the mark before a word goes with it.
    back = [re.findall(r"[-_.+/ ]?[^-_.+/ ]*", name)[:-1][::-1] for name in names]
    room = min(map(len, [*parts, *back])) - 1
    head = _alike(parts, room)
    tail = _alike(back, room - head)
    begin = "".join(parts[0][:head])
    end = "".join(back[0][:tail][::-1])
    short = [name[len(begin) : len(name) - len(end)] for name in names]
    if len(names) == 1 or not (begin or end) or not all(short):
        return list(names), ""
    return short, f"Every name is shortened: {begin}…{end}."


def _alike(parts: Sequence[Sequence[str]], most: int) -> int:
    n = 0
    while n < most and len({one[n] for one in parts}) == 1:
        n += 1
    return n


def _cell(name: str, value: Mapping[str, Any] | None, interval: bool) -> str:
    """`3 of 24`, `93.8 %` or `0.953`, with its 95 % interval where there is room."""
    if value is None:
        return "—"
    if value["value"] is None:
        return "n/a"
    ends = interval and None not in (value.get("low"), value.get("high"))
    low, high = value.get("low") or 0.0, value.get("high") or 0.0
    if name in _COUNTED:
        text = f"{round(value['value'] * value['n'])} of {value['n']}"
        return f"{text} [{100 * low:.1f}–{100 * high:.1f} %]" if ends else text
    if name in _PERCENT:
        text = f"{100 * value['value']:.1f}"
        return f"{text} [{100 * low:.1f}–{100 * high:.1f}] %" if ends else f"{text} %"
    text = f"{value['value']:.3f}"
    return f"{text} [{low:.3f}–{high:.3f}]" if ends else text
