"""The acceptance as a page of a few printed sheets; it fetches nothing and runs no script."""

from collections.abc import Mapping
from typing import Any

from markupsafe import Markup

from report.acceptance_charts import curve_chart, score_chart
from report.html import csp_hash
from report.templating import joined_sources, page_environment


def acceptance_page(title: str, sections: Mapping[str, Any], digest: str) -> bytes:
    """The page of an acceptance, HTML.

    Args:
        title: name of the dataset.
        sections: of acceptance.json, see `evaluation.acceptance.manifest.SECTIONS`.
        digest: of their content, printed on the page.
    """
    environment = page_environment(percent=percent, bounds=_bounds, kappa=_kappa, share=_share)
    style = joined_sources(environment, ("report.css", "acceptance.css"))
    page = environment.get_template("acceptance.html.j2").render(
        title=title,
        content=digest,
        # Escapes first, each kind by name.
        wrong=sorted(
            (
                row
                for row in sections["evidence"]
                if (row["defect_type"] == "good") is not (row["verdict"] == "good")
            ),
            key=lambda row: (row["defect_type"] == "good", row["image_id"]),
        ),
        scores=score_chart(sections["evidence"]),
        curves=curve_chart(sections["plan"]),
        # The file is ours; Markup keeps its quotes as they are.
        style=Markup(style),  # noqa: S704
        style_hash=csp_hash(style),
        **sections,
    )
    return page.encode("utf-8", "backslashreplace")


def percent(value: float | None) -> str:
    """A share as a person reads it: `0.997 %`; a dash for none."""
    if value is None:
        return "–"
    return f"{100 * value:.3g} %"


def _bounds(rate: Mapping[str, Any]) -> str:
    """A rate with its one-sided bound: `0 of 63 (at most 4.64 %)`."""
    if not rate["n"]:
        return f"cannot be had, because {rate.get('reason') or 'there is none'}"
    return f"{rate['count']} of {rate['n']} (at most {percent(rate['upper'])})"


def _share(rate: Mapping[str, Any]) -> str:
    """A rate with its two-sided interval: `41 of 43, 95.3 % (84.2 % to 99.4 %)`."""
    if not rate["n"]:
        return f"cannot be had, because {rate.get('reason') or 'there is none'}"
    ends = f"{percent(rate['low'])} to {percent(rate['high'])}"
    return f"{rate['count']} of {rate['n']}, {percent(rate['value'])} ({ends})"


def _kappa(value: Mapping[str, Any]) -> str:
    """A kappa with its interval and AIAG's band, or why there is none."""
    reason = str(value.get("reason") or "")
    if value["value"] is None:
        begun = reason.startswith("cannot be had")
        return reason if begun else f"cannot be had, because {reason}"
    text = f"{value['value']:.3f}"
    text += f" ({reason})" if value["low"] is None else ""
    if value["low"] is not None:
        # The asymptotic interval may reach beyond what a kappa can be; the JSON has it as it is.
        low, high = max(value["low"], -1.0), min(value["high"], 1.0)
        text += f" ({low:.3f} to {high:.3f})"
    return f"{text}, of {value['n']} parts: {value['band']}"
