"""The printed report: limits and digests, and the PDF that `report --pdf` writes."""

import re
import shutil
from dataclasses import replace

import pytest

import defectune as dt
from annotations import InputError, read_predictions
from evaluation import evaluate_runs
from report import write_report
from report.document import digests, not_tested
from report.printing import BROWSERS, print_report
from tests.report.test_report import Page, build

BROWSER = next((found for name in BROWSERS if (found := shutil.which(name))), None)


def made(tmp_path):
    dataset, run = build(tmp_path, wrong="broken_small/002")
    board = evaluate_runs(dataset, [run]).to_json()
    stored = read_predictions(run, dataset)
    return dataset, stored, board, write_report(dataset, [stored], board, dataset.root / "report")


def test_print_says_what_was_not_tested_and_names_all_by_digest(tmp_path):
    dataset, stored, board, page = made(tmp_path)
    said = not_tested(dataset, stored, dataset.split.test_ids)
    assert any(
        line.startswith("The defect type 'broken_small' was tested on 4 defective parts, fewer")
        for line in said
    )
    assert said[-1].startswith("Defects of kinds that are not among the defect types")
    assert not any("no verdict" in line for line in said)
    predictions = board["rows"][0]["predictions"]
    assert len(predictions) == 64
    named = digests(dataset, board["rows"])
    assert named == [
        ("split", dataset.split.digest), ("predictions of <b>run", predictions)
    ]  # fmt: skip
    words = Page(page.read_text(encoding="utf-8")).words
    for text in (*said, *(digest for _, digest in named)):
        assert any(text in word for word in words)


def test_images_without_a_verdict_and_long_lists_are_counted(tmp_path):
    dataset, stored, _, _ = made(tmp_path)
    first = dataset.split.test_ids[0]
    scores = {i: s for i, s in stored.image_scores.items() if i != first}
    fewer = replace(stored, image_scores=scores)
    said = not_tested(dataset, fewer, dataset.split.test_ids)
    assert said[0] == "1 of 16 test images have no verdict of <b>run."
    none = replace(stored, image_scores={})
    assert not_tested(dataset, none, dataset.split.test_ids) == [
        "16 of 16 test images have no verdict of <b>run."
    ]
    many = replace(dataset, class_names=(*dataset.class_names, *(f"type {n}" for n in range(40))))
    long = not_tested(many, stored, many.split.test_ids)
    whole = len(not_tested(dataset, stored, dataset.split.test_ids)) + 40
    assert len(long) == 14
    assert long[-2] == f"{whole - 13} more such limits: defectune accept writes all of them."
    assert long[-1] == said[-1]


@pytest.mark.skipif(BROWSER is None, reason="no browser that prints on this machine")
def test_pdf_is_a_summary_of_two_pages_and_six_wrong_images_a_page(tmp_path):
    dataset, _, _, _ = made(tmp_path)
    page = dt.report(dataset.root, "<b>run", pdf=True, progress=False)
    content = page.with_name("report.pdf").read_bytes()
    assert content.startswith(b"%PDF-")
    # The summary takes two pages, and the only wrong image a third one, on Letter paper too.
    assert len(re.findall(rb"/Type\s*/Page\b", content)) == 3


def test_without_a_browser_the_advice_is_to_print_the_page(tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda _name: None)
    page = tmp_path / "index.html"
    with pytest.raises(InputError, match="--pdf needs Chromium, Chrome or Edge") as caught:
        print_report(page)
    assert f"open {page} and print it" in str(caught.value)
    assert not (tmp_path / "report.pdf").exists()
