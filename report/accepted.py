"""What `accept` has decided, for the report's head: read from its JSON, never counted again."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

from annotations import Dataset, InputError, StoredPredictions
from annotations.dataset import COCO_ALL
from annotations.files import read_json
from annotations.images import sha256_of
from annotations.run_files import ACCEPTANCE_FOLDER
from evaluation import predictions_digest
from evaluation.acceptance.manifest import FORMAT, changed_parts
from report.head import Decision

DOCUMENT: Final = "acceptance.json"


def accepted(dataset: Dataset, run: StoredPredictions, shown_at: Path) -> Decision | str:
    """The decision of a run's acceptance, with its limits, confidence and numbers.

    Args:
        dataset: with its split and labels.
        run: whose acceptance is looked for in the dataset.
        shown_at: folder of the report; the link to the acceptance starts there.

    Returns:
        The decision; or, where an acceptance is there and is not of what the report shows, a
        sentence that says so. Empty where there is none.
    """
    folder = dataset.root / ACCEPTANCE_FOLDER / run.name
    path = folder / DOCUMENT
    if not path.is_file():
        return ""
    try:
        document = read_json(path, what="an acceptance")
        if not isinstance(document, dict) or document.get("format") != FORMAT:
            return f"{_place(run)} is no acceptance of this program, and is not shown."
        page = folder / Path(str(document["manifest"]["page_file"])).name
        changed = changed_parts(
            document, path.read_bytes(), page.read_bytes() if page.is_file() else None
        )
        if changed:
            return (
                f"{_place(run)} was changed after it was written ({', '.join(changed)}), and is "
                "not shown. Run accept again."
            )
        other = [what for what, same in _compared(dataset, run, document["digests"]) if not same]
        if other:
            return f"{_place(run)} is of {_listed(other)}, and is not shown. Run accept again."
        return _decision(document, _link(page, shown_at))
    except (InputError, KeyError, TypeError, ValueError, AttributeError, OSError):
        return f"{_place(run)} cannot be read as an acceptance, and is not shown. Run accept again."


def left_out(dataset: Dataset, run: StoredPredictions, fold: int) -> str:
    """Why the page of one fold shows no acceptance; empty where the run has none."""
    if not (dataset.root / ACCEPTANCE_FOLDER / run.name / DOCUMENT).is_file():
        return ""
    return (
        f"{_place(run)} counts all folds of the run, and is not shown: this page is of fold "
        f"{fold} alone. The report without --fold shows it."
    )


def _place(run: StoredPredictions) -> str:
    return f"{ACCEPTANCE_FOLDER}/{run.name}/{DOCUMENT}"


def _listed(words: list[str]) -> str:
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)


def _compared(
    dataset: Dataset, run: StoredPredictions, digests: Mapping[str, Any]
) -> list[tuple[str, bool]]:
    """What an acceptance must share with the report, and whether it does."""
    return [
        ("another split", digests["split"] == dataset.split.digest),
        ("other labels", digests["labels"] == sha256_of(dataset.root / COCO_ALL)),
        ("other predictions", digests["predictions"] == predictions_digest(run.run)),
        ("another run", digests["run"] == run.name),
    ]


def _decision(document: Mapping[str, Any], link: str) -> Decision:
    decision, metrics, digests = document["decision"], document["metrics"], document["digests"]
    claims, point = decision["claims"], document["operating_point"]
    confidence = f"{100 * decision['confidence']:g} %, one-sided"
    state, title = "no limit", ""
    text = "; ".join(_bound(name, metrics[name]) for name in ("escape", "overkill"))
    text += f" ({confidence}). Nothing was to be proved."
    if claims:
        state = "ready" if decision["proved"] else "not yet"
        limits = " and ".join(f"{100 * one['limit']:g} % {_ERRORS[one['rate']]}" for one in claims)
        are = "is" if len(claims) == 1 else "are"
        title = (
            f"{limits} {are} proved."
            if decision["proved"]
            else (f"Not yet: {limits} {are} not {'both ' if len(claims) > 1 else ''}proved.")
        )
        text = " ".join(str(claim["sentence"]) for claim in claims)
    at = f"at {point['rule']}"
    if digests["bundle"] is not None:
        at += f", of the bundle {digests['bundle']['file']}"
    made = str(digests["made_at"])[:10]
    return Decision(state, title, text, at=f"{at}; accepted on {made}", link=link)


_ERRORS = {"escape": "escapes", "overkill": "overkill"}


def _bound(name: str, rate: Mapping[str, Any]) -> str:
    if not rate["n"]:
        return f"{_ERRORS[name]} are not known"
    what = "defective parts escape" if name == "escape" else "good parts are overkill"
    return f"{rate['count']} of {rate['n']} {what}: at most {100 * rate['upper']:.3g} %"


def _link(page: Path, shown_at: Path) -> str:
    """From the report's folder to the acceptance's page; empty where there is no page."""
    if not page.is_file():
        return ""
    return quote(Path(os.path.relpath(page.absolute(), shown_at.absolute())).as_posix())
