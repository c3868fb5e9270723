"""Curves of the operating window's page, as SVG within it.

Only numbers and words of ours stand in them, so that nothing has to be escaped.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from markupsafe import Markup

WIDTH: Final = 360
HEIGHT: Final = 200
_LEFT, _RIGHT, _TOP, _BOTTOM = 42, 12, 24, 34
_CURVES: Final = (
    ("flips", "flips", "currentColor", "none"),
    ("escape", "escapes", "#c62828", "5 3"),
    ("overkill", "overkill", "#0072b2", "2 2"),
)


def step_chart(
    row: Mapping[str, Any], cells: Sequence[Mapping[str, Any]], unchanged: Mapping[str, Any]
) -> Markup:
    """Flips, escapes and overkill over the values of a kind, with intervals.

    Steps stand at equal distances, as they were tried: a kind's values may grow by factors.

    Args:
        row: of the window.
        cells: of this kind, by `value`.
        unchanged: escape and overkill of unchanged images.
    """
    none = {"value": 0.0, "low": 0.0, "high": 0.0}
    points = [*cells, {"value": row["unchanged"], "flips": none, **unchanged}]
    points.sort(key=lambda point: point["value"])
    values = [point["value"] for point in points]

    def x(place: float) -> float:
        return _LEFT + (place + 0.5) / len(points) * (WIDTH - _LEFT - _RIGHT)

    def y(share: float) -> float:
        return HEIGHT - _BOTTOM - share * (HEIGHT - _TOP - _BOTTOM)

    low, high = (
        max(i for i, v in enumerate(values) if v <= max(row["low"], values[0])),
        min(i for i, v in enumerate(values) if v >= min(row["high"], values[-1])),
    )
    low, high = min(low, high), max(low, high)
    parts = [
        f'<rect x="{x(low - 0.3):.1f}" y="{y(1):.1f}" width="{x(high + 0.3) - x(low - 0.3):.1f}" '
        f'height="{y(0) - y(1):.1f}" fill="#56b4e9" fill-opacity="0.18"/>',
        f'<path d="M{_LEFT} {y(1):.1f}V{y(0):.1f}H{WIDTH - _RIGHT}" stroke="currentColor" '
        'stroke-width="1"/>',
    ]
    parts += [
        f'<text x="{_LEFT - 4}" y="{y(at) + 4:.1f}" text-anchor="end">{text}</text>'
        for at, text in ((0, "0"), (0.5, "50 %"), (1, "100 %"))
    ]
    parts += [
        f'<text x="{x(i):.1f}" y="{y(0) + 13:.1f}" text-anchor="middle">{v:g}</text>'
        for i, v in enumerate(values)
    ]
    for number, (name, words, color, dashes) in enumerate(_CURVES):
        known = [(i, p[name]) for i, p in enumerate(points) if p[name]["value"] is not None]
        at = WIDTH - _RIGHT - 76 * (len(_CURVES) - number)
        parts.append(
            f'<path d="M{at} 9h18" stroke="{color}" stroke-width="1.8" '
            f'stroke-dasharray="{dashes}"/><text x="{at + 21}" y="13">{words}</text>'
        )
        line = " ".join(f"{x(i):.1f} {y(rate['value']):.1f}" for i, rate in known)
        if len(known) > 1:
            parts.append(
                f'<path d="M{line}" stroke="{color}" stroke-width="1.8" '
                f'stroke-dasharray="{dashes}"/>'
            )
        shift = 3 * (number - 1)
        parts += [
            f'<path d="M{x(i) + shift:.1f} {y(rate["low"]):.1f}V{y(rate["high"]):.1f}" '
            f'stroke="{color}" stroke-width="0.8"/>'
            for i, rate in known
        ]
    below = f"{row['unit']}; unchanged: {row['unchanged']:g}; shaded: the window"
    return Markup(  # noqa: S704 - numbers and words of ours alone
        f'<svg class="chart" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" '
        f'aria-label="Verdicts over {row["change"]}">{"".join(parts)}'
        f'<text x="{WIDTH / 2:.0f}" y="{HEIGHT - 5}" text-anchor="middle">{below}</text></svg>'
    )
