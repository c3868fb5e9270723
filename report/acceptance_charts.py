"""Charts of the acceptance's page, as SVG within it: operating characteristic, and scores.

Only numbers and words of ours stand in them, so that nothing has to be escaped.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import numpy as np
from markupsafe import Markup

WIDTH: Final = 440
HEIGHT: Final = 220
_LEFT, _RIGHT, _TOP, _BOTTOM = 44, 10, 10, 36
_DASHES: Final = ("", "6 3", "2 3")
_BINS: Final = 40


def _x(share: float) -> float:
    return _LEFT + share * (WIDTH - _LEFT - _RIGHT)


def _y(share: float) -> float:
    return HEIGHT - _BOTTOM - share * (HEIGHT - _TOP - _BOTTOM)


def _frame(x_ticks: Iterable[tuple[float, str]], y_ticks: Iterable[tuple[float, str]]) -> list[str]:
    parts = [
        f'<path d="M{_x(0):.1f} {_y(1):.1f}V{_y(0):.1f}H{_x(1):.1f}" stroke="currentColor" '
        'stroke-width="1"/>'
    ]
    parts += [
        f'<text x="{_x(at):.1f}" y="{_y(0) + 14:.1f}" text-anchor="middle">{text}</text>'
        for at, text in x_ticks
    ]
    parts += [
        f'<text x="{_x(0) - 5:.1f}" y="{_y(at) + 4:.1f}" text-anchor="end">{text}</text>'
        for at, text in y_ticks
    ]
    return parts


def _svg(parts: Sequence[str], label: str, below: str) -> Markup:
    caption = f'<text x="{_x(0.5):.1f}" y="{HEIGHT - 4}" text-anchor="middle">{below}</text>'
    body = "".join(parts)
    return Markup(  # noqa: S704 - numbers and words of this module alone
        f'<svg class="chart" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{label}">'
        f"{body}{caption}</svg>"
    )


def curve_chart(plan: Mapping[str, Any]) -> Markup:
    """The chance to pass each plan over the true rate, with the limit that it proves."""
    rates = plan["curve_rates"]
    last = rates[-1] or 1.0
    parts = _frame(
        [(at, f"{100 * at * last:.3g} %") for at in (0, 1 / 3, 2 / 3, 1)],
        [(0, "0"), (0.5, "50 %"), (1, "100 %")],
    )
    limit = _x(plan["curve_limit"] / last)
    parts.append(
        f'<path d="M{limit:.1f} {_y(0):.1f}V{_y(1):.1f}" stroke="currentColor" '
        'stroke-width="0.7" stroke-dasharray="2 2"/>'
    )
    for number, curve in enumerate(plan["curves"]):
        points = " ".join(
            f"{_x(rate / last):.1f} {_y(chance):.1f}"
            for rate, chance in zip(rates, curve["chance"], strict=True)
        )
        dash = _DASHES[number % len(_DASHES)]
        parts.append(
            f'<path d="M{points}" stroke="currentColor" stroke-width="1.6" '
            f'stroke-dasharray="{dash or "none"}"/>'
        )
        top = _TOP + 14 + 15 * number
        words = f"{curve['parts']:,} parts, {curve['allowed']} allowed"
        parts.append(
            f'<path d="M{WIDTH - 178} {top - 4}h26" stroke="currentColor" stroke-width="1.6" '
            f'stroke-dasharray="{dash or "none"}"/><text x="{WIDTH - 146}" y="{top}">{words}</text>'
        )
    return _svg(
        parts,
        "Chance to pass each plan over the true escape rate",
        "true escape rate; dotted: the limit",
    )


def score_chart(evidence: Sequence[Mapping[str, Any]]) -> Markup:
    """How many photographs score what: good ones upward, defective ones downward."""
    edges = np.linspace(0, 1, _BINS + 1)
    good, bad = (
        np.histogram(
            [row["score"] for row in evidence if (row["defect_type"] == "good") is kind], edges
        )[0]
        for kind in (True, False)
    )
    most = max(int(good.max()), int(bad.max()), 1)
    parts = _frame([(at, f"{at:g}") for at in (0, 0.25, 0.5, 0.75, 1)], [])
    parts += [
        f'<text x="{_x(0) - 5:.1f}" y="{_y(0.75):.1f}" text-anchor="end">good</text>',
        f'<text x="{_x(0) - 5:.1f}" y="{_y(0.25):.1f}" text-anchor="end">bad</text>',
        f'<path d="M{_x(0):.1f} {_y(0.5):.1f}H{_x(1):.1f}" stroke="currentColor" '
        'stroke-width="0.5"/>',
    ]
    for counts, up in ((good, True), (bad, False)):
        for number, count in enumerate(counts.tolist()):
            if not count:
                continue
            height = 0.48 * count / most
            top = _y(0.5 + height) if up else _y(0.5)
            tall = abs(_y(height) - _y(0))
            parts.append(
                f'<rect class="{"bar-good" if up else "bar-bad"}" '
                f'x="{_x(edges[number]) + 0.5:.1f}" y="{top:.1f}" '
                f'width="{_x(1 / _BINS) - _x(0) - 1:.1f}" height="{tall:.1f}"/>'
            )
    for threshold in sorted({row["threshold"] for row in evidence}):
        parts.append(
            f'<path d="M{_x(threshold):.1f} {_y(0):.1f}V{_y(1):.1f}" stroke="currentColor" '
            'stroke-width="0.8" stroke-dasharray="3 2"/>'
        )
    return _svg(
        parts,
        "Calibrated scores of good and of defective photographs, with the thresholds",
        f"calibrated score; dashed: threshold; the tallest bar is {most} photographs",
    )
