"""Every word of the page at any threshold, against what the files say."""

import json
from datetime import UTC, datetime

import numpy as np
import pytest

from annotations import FoldThresholds, Prediction, PredictionWriter, load_dataset, read_predictions
from annotations.regions import mask_to_regions
from evaluation import evaluate_runs, match_image
from inference.matching import region_states
from report import write_report
from tests.drawn import drawn_dataset
from tests.report.test_browser import CHROMIUM, READY, opened, sync_api, wait_until

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no chromium on this machine")
THRESHOLDS = np.round(np.linspace(0, 1, 20), 3).tolist()


def corner(mask):
    """A few pixels of the first true region: well under 30 % of it."""
    part = np.zeros_like(mask)
    row, column = np.argwhere(mask)[0]
    part[row : row + 2, column : column + 2] = mask[row : row + 2, column : column + 2]
    return part


def noisy_run(dataset, name, seed):
    """A run that hits, half covers, misses and makes false alarms, on good parts too."""
    rng = np.random.default_rng(seed)
    folder = dataset.root / "runs" / name
    for number, fold in enumerate(dataset.split.folds):
        about = {"family": "segment", "model": "drawn"}
        thresholds = FoldThresholds(0.5, "odds", 0.5, "test")
        with PredictionWriter(folder, dataset, number, thresholds, about) as writer:
            for place, image_id in enumerate(fold.test):
                truth = dataset.truths[image_id].union_mask()
                found = np.zeros_like(truth)
                if truth.any():
                    found |= (truth, corner(truth), found)[place % 3]
                if place % 2:
                    found[1:4, 1:4] = ~truth[1:4, 1:4]
                scores = found * rng.uniform(0.6, 0.9)
                regions = mask_to_regions(found, pixel_scores=scores)
                writer.write(Prediction(image_id, float(rng.uniform()), regions, scores))
    return folder


@pytest.fixture(scope="module")
def page_of(tmp_path_factory):
    dataset = load_dataset(drawn_dataset(tmp_path_factory.mktemp("words")))
    folders = [noisy_run(dataset, name, seed) for seed, name in enumerate(("one", "two"))]
    board = evaluate_runs(dataset, folders).to_json()
    runs = [read_predictions(folder, dataset) for folder in folders]
    return dataset, runs, write_report(
        dataset, runs, board, dataset.root / "report", max_escape=0.01
    )  # fmt: skip


def words_of(dataset, run, image_id, threshold):
    """The region words, derived from the files by the evaluation's own rule."""
    found = run.found_regions(image_id)
    called = run.image_scores[image_id] >= threshold
    if not called and not dataset.by_id[image_id].is_defective:
        if not len(found):
            return "no regions"
        return (
            f"{len(found)} region{'s' * (len(found) != 1)} above the region threshold 0.5 not shown"
        )
    match = match_image(dataset, image_id, found)
    states = region_states(dataset.truths[image_id], found, match).tolist()
    counts = (
        (int((~match.found_truth).sum()), "missed", ""),
        (int(match.found_truth.sum()), "hit", "s"),
        (states.count(2), "region", "s"),
        (states.count(1), "false alarm", "s"),
    )
    said = []
    for n, word, end in counts:
        if n:
            tail = " covering under 30 % of a defect" if word == "region" else ""
            said.append(f"{n} {word}{end if n != 1 else ''}{tail}")
    if called and not len(found):
        said.append("no region reaches the region threshold 0.5")
    return ", ".join(said) or "no regions"


def test_all_words_and_states_follow_the_files_at_twenty_thresholds(page_of):
    dataset, runs, path = page_of
    seen = set()
    with sync_api.sync_playwright() as playwright:
        browser, page = opened(playwright)
        page.goto(path.as_uri())
        wait_until(page, READY)
        for threshold in THRESHOLDS:
            told = page.evaluate(
                """(t) => { setThreshold(t, false); return {
                  cards: data.ids.map((id, i) => data.runs.map((_, r) => {
                    const node = card(i).querySelectorAll(".panel")[r];
                    return [node.querySelector("small").textContent, node.dataset.verdict,
                      node.dataset.cause, node.classList.contains("quiet"), node.title];
                  })),
                  rows: [...document.querySelectorAll("tr[data-run]")].map((row) =>
                    [...row.querySelectorAll("td")].map((cell) => cell.textContent)),
                  big: [byId("escape-value").textContent, byId("overkill-value").textContent],
                  head: headRun(), claim: byId("claim").textContent,
                }; }""",
                threshold,
            )
            ids = dataset.split.test_ids
            for cards, image_id in zip(told["cards"], ids, strict=True):
                bad = dataset.by_id[image_id].is_defective
                for run, (words, said, cause, quiet, title) in zip(runs, cards, strict=True):
                    called = run.image_scores[image_id] >= threshold
                    assert words == words_of(dataset, run, image_id, threshold)
                    assert said == ("correct" if called == bad else "escape" if bad else "overkill")
                    assert quiet == (not bad and not called)
                    assert words in title
                    assert (cause not in ("", "confused")) == (said != "correct")
                    seen.add(cause)
            for number, run in enumerate(runs):
                bad = [i for i in ids if dataset.by_id[i].is_defective]
                good = [i for i in ids if not dataset.by_id[i].is_defective]
                escaped = sum(run.image_scores[i] < threshold for i in bad)
                killed = sum(run.image_scores[i] >= threshold for i in good)
                escape, overkill = told["rows"][number]
                assert escape.startswith(f"{escaped} of {len(bad)} ")
                assert overkill.startswith(f"{killed} of {len(good)} ")
                if number == told["head"]:
                    assert told["big"] == [f"{escaped} of {len(bad)}", f"{killed} of {len(good)}"]
            assert "nothing may be claimed" in told["claim"]
        for number, run in enumerate(runs):
            matches = [match_image(dataset, i, run.found_regions(i)) for i in ids]
            found = sum(int(match.found_truth.sum()) for match in matches)
            n_true = sum(len(match.found_truth) for match in matches)
            page.locator("#model").select_option(str(number))
            assert page.locator("#region-value").inner_text() == f"{found} of {n_true}"
        browser.close()
    assert {"below", "partial", "alarm", "label"} <= seen


def test_a_partly_covering_region_is_neither_hit_nor_false_alarm(page_of):
    dataset, runs, _ = page_of
    partial = 0
    for run in runs:
        for image_id in dataset.split.test_ids:
            found, truth = run.found_regions(image_id), dataset.truths[image_id]
            match = match_image(dataset, image_id, found)
            states = region_states(truth, found, match)
            assert ((states == 1) == match.false_alarm).all()
            if not match.found_truth.any():
                assert 0 not in states
            partial += int((states == 2).sum())
    assert partial > 0


def test_the_threshold_is_typed_dragged_and_moved_by_keys_and_marks(page_of):
    dataset, runs, path = page_of
    with sync_api.sync_playwright() as playwright:
        browser, page = opened(playwright)
        page.goto(path.as_uri())
        wait_until(page, READY)
        assert "may be claimed" in page.locator("#claim").inner_text()
        page.get_by_label("Threshold", exact=True).nth(1).fill("0.3")
        assert page.evaluate("state.t") == 0.3
        slider = page.get_by_role("slider", name="Threshold")
        slider.focus()
        page.keyboard.press("ArrowRight")
        assert page.evaluate("state.t") == 0.305
        page.keyboard.press("Home")
        assert page.evaluate("state.t") == 0
        box = slider.bounding_box()
        page.mouse.move(box["x"] + 2, box["y"] + 60)
        page.mouse.down()
        page.mouse.move(box["x"] + box["width"] * 0.75, box["y"] + 60, steps=4)
        page.mouse.up()
        wait_until(page, "Math.abs(state.t - 0.75) < 0.01")
        # The address follows a moment later.
        wait_until(page, "location.hash.includes('t=0.7')")
        head = runs[page.evaluate("headRun()")]
        page.locator("#marks [data-mark=no-escape]").click()
        lowest = min(head.image_scores[i] for i in dataset.split.test_ids
                     if dataset.by_id[i].is_defective)  # fmt: skip
        assert page.evaluate("state.t") == lowest
        # The mark is not made anew under the pointer, and keeps the focus.
        mark = "document.activeElement.dataset.mark"
        assert page.evaluate(mark) == "no-escape"
        assert page.locator("#marks [aria-pressed=true]").evaluate_all(
            "(all) => all.map((one) => Number(one.dataset.t))"
        ) == [lowest]
        assert page.locator("#escape-value").inner_text().startswith("0 of ")
        page.locator("#marks [data-mark=no-overkill]").click()
        assert page.locator("#overkill-value").inner_text().startswith("0 of ")
        page.get_by_text("What errors cost").click()
        for name, value in (("escape", "50"), ("overkill", "1"), ("share", "2")):
            page.locator(f"#cost-{name}").fill(value)
        assert page.locator("#chart .cost").count() == 1
        cheapest = page.evaluate("cheapest(headRun())")
        by_hand = []
        for n in range(101):
            wrong = {True: [0, 0], False: [0, 0]}
            for i in dataset.split.test_ids:
                bad = dataset.by_id[i].is_defective
                wrong[bad][0] += (head.image_scores[i] >= n / 100) != bad
                wrong[bad][1] += 1
            shares = {bad: hits / of for bad, (hits, of) in wrong.items()}
            by_hand.append(shares[True] * 0.02 * 50 + shares[False] * 0.98)
        assert cheapest["cost"] == pytest.approx(min(by_hand))
        browser.close()


def test_tags_by_keys_are_kept_and_saved(page_of, tmp_path):
    dataset, _, path = page_of
    with sync_api.sync_playwright() as playwright:
        browser, page = opened(playwright, accept_downloads=True)
        page.goto(f"{path.as_uri()}#img=good/001")
        wait_until(page, READY)
        wait_until(page, "look.fitted")
        for key in "wl":
            page.keyboard.press(key)
        pressed = page.locator("#tag-buttons [aria-pressed=true]").all_inner_texts()
        assert pressed == ["wrong label (w)", "look again (l)"]
        page.keyboard.press("Escape")
        # The address follows a moment later, and a reload goes by it.
        wait_until(page, "!location.hash.includes('img=')")
        page.reload()
        wait_until(page, READY)
        assert page.locator("#tag-count").inner_text() == "1 image tagged"
        with page.expect_download() as caught:
            page.locator("#save-tags").click()
        caught.value.save_as(tmp_path / "tags.json")
        saved = json.loads((tmp_path / "tags.json").read_text(encoding="utf-8"))
        assert saved["format"] == "defectune-tags"
        assert saved["split_digest"] == dataset.split.digest
        assert saved["images"] == [{"image_id": "good/001", "tags": ["wrong label", "look again"]}]
        page.locator("#tag").select_option("wrong label")
        assert page.evaluate("shown.map((i) => data.ids[i])") == ["good/001"]
        browser.close()


def test_a_deep_link_opens_fitted(page_of):
    _, _, path = page_of
    with sync_api.sync_playwright() as playwright:
        browser, page = opened(playwright)
        page.goto(f"{path.as_uri()}#img=broken_small/002")
        wait_until(page, "look.fitted")
        stage, layers = (page.locator(n).bounding_box() for n in ("#stage", "#layers"))
        assert layers["height"] == pytest.approx(stage["height"], abs=24)
        browser.close()


def test_the_head_names_data_date_and_decision(page_of):
    dataset, _, path = page_of
    text = path.read_text(encoding="utf-8")
    assert datetime.now(UTC).strftime("%B %Y") in text
    assert "Not yet: 1 % escapes is not proved." in text
    assert "more defective parts without an escape would prove 1 %" in text
    assert "(95 %, one-sided)" in text
    assert dataset.split.digest[:8] in text
