"""The head of the report shows what `accept` decided, where it is of the same data and run."""

import json
import shutil
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import unquote

import pytest

import defectune as dt
from evaluation.acceptance.manifest import SECTIONS, document_bytes, sealed_document
from tests.drawn import trained_category
from tests.report.test_browser import CHROMIUM, READY, opened, sync_api, wait_until


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = trained_category(tmp_path_factory.mktemp("decided"))
    dt.evaluate(folder / "out", progress=False)
    return folder


@pytest.fixture
def out(trained, tmp_path):
    shutil.copytree(trained / "out", tmp_path / "out", symlinks=True)
    shutil.copytree(trained / "source", tmp_path / "source")
    return tmp_path / "out"


def decision_of(out, **options):
    page = dt.report(out, progress=False, **options)
    index = (page.parent / "data/index.js").read_text()
    value = json.loads(index.removeprefix("defectuneIndex(").rstrip().removesuffix(");"))
    return page, value["decisions"][0]


def test_the_decision_of_accept_stands_in_the_head(out):
    made = dt.accept(
        out, "quick", max_escape=0.9, max_overkill=0.95, confidence=0.9, progress=False
    )
    page, told = decision_of(out)
    claims = made.decision["claims"]
    assert told["text"] == " ".join(claim["sentence"] for claim in claims)
    assert "with 90 % confidence" in told["text"]
    assert told["state"] == ("ready" if made.proved else "not yet")
    assert "90 % escapes and 95 % overkill" in told["title"]
    assert told["title"].endswith(" are proved." if made.proved else " are not both proved.")
    today = datetime.now(UTC).strftime("%Y-%m-%d")
    assert told["at"] == f"at the thresholds that training chose; accepted on {today}"
    assert (page.parent / unquote(told["link"])).resolve() == made.page.resolve()
    html = page.read_text(encoding="utf-8")
    assert claims[0]["sentence"] in html
    assert f'href="{told["link"]}"' in html
    # What is asked for at the line goes first.
    assert decision_of(out, max_escape=0.01)[1]["title"] == "Not yet: 1 % escapes is not proved."
    # One fold's page is about other images, and says what it leaves out.
    page, told = decision_of(out, fold=0)
    assert told["link"] == ""
    assert told["text"].endswith(
        "For a decision give --max-escape. acceptance/quick/acceptance.json counts all folds of "
        "the run, and is not shown: this page is of fold 0 alone. The report without --fold "
        "shows it."
    )
    # An option is code, which stays on one line.
    assert "give <code>--max-escape</code>. acceptance/" in page.read_text(encoding="utf-8")


def test_the_page_of_one_fold_without_an_acceptance_says_nothing_of_one(out):
    assert decision_of(out, fold=0)[1]["text"].endswith("For a decision give --max-escape.")


def test_an_acceptance_that_proves_nothing_says_its_bounds(out):
    made = dt.accept(out, "quick", progress=False)
    escape = json.loads(made.document.read_text())["metrics"]["escape"]
    _, told = decision_of(out)
    assert told["state"] == "no limit"
    assert told["text"].startswith(
        f"{escape['count']} of {escape['n']} defective parts escape: at most "
        f"{100 * escape['upper']:.3g} %; "
    )
    assert told["text"].endswith(" (95 %, one-sided). Nothing was to be proved.")


@pytest.mark.parametrize(
    ("key", "words"),
    [
        ("split", "another split"),
        ("labels", "other labels"),
        ("predictions", "other predictions"),
        ("run", "another run"),
    ],
)
def test_an_acceptance_of_something_else_is_not_shown_and_said(key, words, out):
    made = dt.accept(out, "quick", max_escape=0.9, progress=False)
    document = json.loads(made.document.read_text())
    document["digests"][key] = "0" * 64
    sections = {name: document[name] for name in SECTIONS}
    sealed = sealed_document(sections, made.page.read_bytes(), made.page.name)
    made.document.write_bytes(document_bytes(sealed))
    _, told = decision_of(out)
    assert told["link"] == ""
    assert told["text"].endswith(
        f"For a decision give --max-escape. acceptance/quick/acceptance.json is of {words}, and is "
        "not shown. Run accept again."
    )


def test_a_changed_or_broken_acceptance_is_not_shown_and_said(out):
    made = dt.accept(out, "quick", max_escape=0.9, progress=False)
    text = made.document.read_text()
    for broken, words in (
        (
            text.replace('"max_escape": 0.9', '"max_escape": 0.1'),
            "was changed after it was written (d",
        ),
        (text[:200], "cannot be read as an acceptance"),
        ('{"format": "defectune-acceptance-1"}', "cannot be read as an acceptance"),
        ("[]", "is no acceptance of this program"),
    ):
        made.document.write_text(broken)
        _, told = decision_of(out)
        assert f"acceptance/quick/acceptance.json {words}" in told["text"]
        assert (told["state"], told["link"]) == ("no limit", "")


@pytest.mark.skipif(CHROMIUM is None, reason="no chromium on this machine")
def test_the_link_of_the_head_opens_the_acceptance(out):
    dt.accept(out, "quick", max_escape=0.9, progress=False)
    page_path = Path(dt.report(out, progress=False))
    with sync_api.sync_playwright() as playwright:
        browser, page = opened(playwright)
        page.goto(page_path.absolute().as_uri())
        wait_until(page, READY)
        assert "training chose; accepted on" in page.locator("#decision-of").inner_text()
        page.locator("#decision-link").click()
        assert page.locator("h1").inner_text() == "Acceptance of quick on out"
        browser.close()
