"""The report in a real browser: Debian's or anybody's Chromium, driven by Playwright."""

import math
import os
import shutil
import time
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from annotations import Dataset, read_predictions
from evaluation import evaluate_runs
from report import write_report
from tests.report.test_report import build

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
sync_api = pytest.importorskip("playwright.sync_api")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no chromium on this machine")


READY = "document.documentElement.dataset.ready === 'yes'"


def opened(playwright, **options):
    args = ["--no-sandbox"] if os.geteuid() == 0 else []
    browser = playwright.chromium.launch(executable_path=CHROMIUM, args=args)
    context = browser.new_context(viewport={"width": 1400, "height": 900}, **options)
    return browser, context.new_page()


def wait_until(page, words, arg=None, seconds=30):
    """Wait for an expression of the page, or a function of `arg`.

    Playwright's own wait evaluates text in the page at each look but the first, which the page's
    Content-Security-Policy refuses: it fails wherever a page is not as fast as the test.
    """
    last = time.monotonic() + seconds
    while not page.evaluate(words, arg):
        assert time.monotonic() < last, f"still not true: {words}"
        page.wait_for_timeout(20)


def made(tmp_path):
    dataset, run = build(tmp_path, wrong="broken_small/002")
    board = evaluate_runs(dataset, [run]).to_json()
    stored = read_predictions(run, dataset)
    return dataset, stored, write_report(dataset, [stored], board, dataset.root / "report")


def test_verdicts_filters_address_and_keys_from_disk(tmp_path):
    dataset, stored, path = made(tmp_path)
    n_test = len(dataset.split.test_ids)
    n_bad = sum(dataset.by_id[i].is_defective for i in dataset.split.test_ids)
    complaints, requests = [], []
    with sync_api.sync_playwright() as playwright:
        browser, page = opened(playwright)
        page.on("console", lambda m: complaints.append(m.text) if m.type == "error" else None)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("request", lambda request: requests.append(request.url))
        page.goto(path.as_uri() + "#t=7&type=nobody&%E0%A4%A&model=x")
        wait_until(page, READY)
        assert page.evaluate("shown.length") == n_test
        assert page.evaluate("state.t") == 0.5
        for threshold in (0, 0.2, 0.205, 0.5, 0.9, 0.905, 1):
            agree(page, dataset, stored, threshold)
        page.evaluate("state.t = 0.5; update()")
        page.locator("#part").select_option("escape")
        assert page.evaluate("shown.map((i) => data.ids[i])") == ["broken_small/002"]
        assert page.locator(".escape-rate").inner_text().startswith(f"1 of {n_bad} ")
        assert page.locator("#escape-value").inner_text() == f"1 of {n_bad}"
        page.locator("#region").select_option("missed")
        assert page.evaluate("shown.length") == 0
        assert page.locator("#count").inner_text() == "no image passes these filters"
        page.go_back()
        assert page.evaluate("shown.length") == 1
        assert page.locator("#region").input_value() == ""
        page.locator("h1").click()
        page.keyboard.press("?")
        assert page.locator("#help").is_visible()
        page.keyboard.press("ArrowRight")
        page.keyboard.press("Enter")
        look_closely(page)
        page.go_back()
        assert not page.locator("#viewer").is_visible()
        assert page.locator("#part").input_value() == "escape"
        assert page.locator("img[src=x]").count() == 0
        browser.close()
    assert complaints == []
    assert all(url.startswith(dataset.root.as_uri()) for url in requests)


def agree(page, dataset, stored, threshold):
    """Order, caption and alternative text are the verdicts', at any threshold."""
    page.evaluate("t => { state.t = t; update(); }", threshold)
    keys = []
    for image_id in page.evaluate("shown.map((i) => data.ids[i])"):
        bad, score = dataset.by_id[image_id].is_defective, stored.image_scores[image_id]
        wrong = (score >= threshold) != bad
        keys.append((not wrong, -(threshold - score if bad else score - threshold), image_id))
    assert keys == sorted(keys)
    for node in page.locator(".panel").all():
        words = node.locator("img").get_attribute("alt")
        image_id = words.partition(",")[0]
        bad = dataset.by_id[image_id].is_defective
        called = stored.image_scores[image_id] >= threshold
        said = "correct" if called == bad else "escape" if bad else "overkill"
        assert f": {said}: called {'defective' if called else 'good'}" in words
        assert node.locator(".chip").text_content() == said
        assert node.get_attribute("data-verdict") == said
    wrong = [bool(not key[0]) for key in keys]
    page.evaluate("state.part = 'wrong'; update()")
    assert page.evaluate("shown.length") == sum(wrong)
    page.evaluate("state.part = ''; update()")


SCORES = st.one_of(st.none(), st.sampled_from([0.0, 0.25, 0.4999, 0.5, 1.0]), st.floats(0, 1))
CASES = st.lists(st.tuples(st.booleans(), SCORES, SCORES), min_size=1, max_size=12)


def test_worst_first_is_wrong_before_right_then_the_distance(tmp_path):
    _, _, path = made(tmp_path)
    thresholds, models = st.sampled_from([0.0, 0.25, 0.5, 0.73, 1.0]), st.sampled_from([-1, 0, 1])
    with sync_api.sync_playwright() as playwright:
        browser, page = opened(playwright)
        page.goto(path.as_uri())
        wait_until(page, READY)

        @settings(deadline=None, max_examples=100)
        @given(CASES, thresholds, models)
        def holds(cases, t, model):
            in_order(page, cases, t, model)

        holds()
        browser.close()


def in_order(page, cases, t, model):
    """Of two models, one or both of which are shown; None is an image that one did not predict."""
    told = page.evaluate(
        """([bad, scores, t, model]) => {
          const before = [data, state.model];
          const ids = bad.map((_, i) => String(i).padStart(3, "0"));
          data = { ids, bad, scores, runs: [{}, {}], fold: bad.map(() => 0) };
          state.model = model;
          const order = ordered(bad.map((_, i) => i), t);
          const said = bad.map((_, i) => [0, 1].map((r) => verdict(i, r, t)));
          [data, state.model] = before;
          return [order, said];
        }""",
        [[c[0] for c in cases], [[c[1 + r] for c in cases] for r in (0, 1)], t, model],
    )
    order, said = told
    assert sorted(order) == list(range(len(cases)))
    keys = []
    for i in order:
        bad, wrong, error = cases[i][0], False, -math.inf
        for r in (0, 1):
            score = cases[i][1 + r]
            called = None if score is None else score >= t
            expected = {None: "", bad: "correct", not bad: "escape" if bad else "overkill"}[called]
            assert said[i][r] == expected
            if score is not None and model in (-1, r):
                wrong = wrong or called != bad
                error = max(error, t - score if bad else score - t)
        keys.append((not wrong, -error, i))
    assert keys == sorted(keys)


def look_closely(page):
    """The viewer: blinking, and zoom that keeps the point under the pointer."""
    assert page.locator("#viewer-title").inner_text() == "broken_small/002"
    assert page.locator("#viewer-verdict .chip").inner_text() == "escape"
    wait_until(page, "document.querySelector('#layers .base')?.naturalWidth === 64")
    for words in ("truth alone", "prediction alone", "truth alone"):
        page.keyboard.press(" ")
        assert page.locator("#blink").inner_text() == words
    assert not page.locator(".layer-boxes").last.is_visible()
    box = page.locator("#layers").bounding_box()
    x, y = box["x"] + box["width"] * 0.7, box["y"] + box["height"] * 0.6
    page.mouse.move(x, y)
    for _ in range(3):
        page.mouse.wheel(0, -100)
    wait_until(page, "w => document.querySelector('#layers').clientWidth > 1.6 * w",
                           arg=box["width"])  # fmt: skip
    grown = page.locator("#layers").bounding_box()
    assert abs(grown["x"] + grown["width"] * 0.7 - x) <= 3
    assert abs(grown["y"] + grown["height"] * 0.6 - y) <= 3


def test_images_lost_and_won_against_the_baseline(tmp_path):
    dataset, run = build(tmp_path, wrong="broken_small/002")
    old = run.with_name("old")
    shutil.copytree(run, old)
    folder = old / "predictions"
    rows = (folder / "images.csv").read_text().splitlines()
    places = {row.split(",")[0]: n for n, row in enumerate(rows)}
    mine = rows[places["broken_small/002"]], rows[places["broken_small/003"]]
    swapped = [b.replace(b.split(",")[0], a.split(",")[0]) for a, b in (mine, mine[::-1])]
    rows[places["broken_small/002"]], rows[places["broken_small/003"]] = swapped
    (folder / "images.csv").write_text("\n".join(rows) + "\n")
    before = read_predictions(old, dataset).image_scores
    assert before["broken_small/002"] > 0.5
    assert before["broken_small/003"] < 0.5
    board = evaluate_runs(dataset, [run, old], baseline="old").to_json()
    stored = [read_predictions(one, dataset) for one in (run, old)]
    path = write_report(dataset, stored, board, dataset.root / "report")
    with sync_api.sync_playwright() as playwright:
        browser, page = opened(playwright)
        page.goto(path.as_uri() + "#part=lost")
        wait_until(page, READY)
        assert page.evaluate("shown.map((i) => data.ids[i])") == ["broken_small/002"]
        fits_in_one_row(page)
        page.locator("#part").select_option("won")
        assert page.evaluate("shown.map((i) => data.ids[i])") == ["broken_small/003"]
        # Of the baseline itself nothing is lost or won.
        page.evaluate("state.model = 1; update()")
        assert page.evaluate("shown.length") == 0
        browser.close()
    plain = write_report(
        dataset, stored, evaluate_runs(dataset, [run, old]).to_json(), dataset.root / "report"
    )
    with sync_api.sync_playwright() as playwright:
        browser, page = opened(playwright)
        page.goto(plain.as_uri() + "#part=lost")
        wait_until(page, READY)
        assert page.evaluate("shown.length") == len(dataset.split.test_ids)
        assert page.locator("#part option[value=lost]").count() == 0
        browser.close()


def test_two_models_side_by_side_are_linked_in_zoom(tmp_path):
    dataset, run = build(tmp_path, wrong="broken_small/002")
    other = run.with_name("twin")
    shutil.copytree(run, other)
    board = evaluate_runs(dataset, [run, other]).to_json()
    stored = [read_predictions(one, dataset) for one in (run, other)]
    path = write_report(dataset, stored, board, dataset.root / "report")
    with sync_api.sync_playwright() as playwright:
        browser, page = opened(playwright)
        page.goto(path.as_uri())
        wait_until(page, READY)
        fits_in_one_row(page)
        page.goto(f"{path.as_uri()}#img=broken_small/002")
        page.reload()
        wait_until(page, READY)
        wait_until(page, "document.querySelector('#layers .base')?.naturalWidth === 64")
        assert not page.locator("#stage-b").is_visible()
        page.keyboard.press("p")
        wait_until(page, "document.querySelector('#layers-b .base')?.naturalWidth === 64")
        assert "At the right: twin escape" in page.locator("#viewer-verdict").inner_text()

        def offsets():
            left, right = (page.locator(name).bounding_box() for name in ("#layers", "#layers-b"))
            stages = [page.locator(name).bounding_box() for name in ("#stage", "#stage-b")]
            pairs = zip((left, right), stages, strict=True)
            return [(b["x"] - s["x"], b["y"] - s["y"], b["width"]) for b, s in pairs]

        first, second = offsets()
        assert first == pytest.approx(second, abs=1)
        box = page.locator("#stage").bounding_box()
        page.mouse.move(box["x"] + box["width"] * 0.3, box["y"] + box["height"] * 0.3)
        for _ in range(3):
            page.mouse.wheel(0, -100)
        wait_until(page, "w => byId('layers').clientWidth > 1.6 * w", arg=first[2])
        page.wait_for_timeout(100)
        grown, follows = offsets()
        assert grown == pytest.approx(follows, abs=1)
        assert grown[0] != pytest.approx(first[0], abs=1)
        page.keyboard.press("ArrowDown")
        assert page.locator("#viewer-verdict b").first.inner_text() == "twin"
        assert page.locator("#layers-b img.base").count() == 1
        page.locator("#pair-button").click()
        assert not page.locator("#stage-b").is_visible()
        browser.close()


def fits_in_one_row(page):
    """The bar that sticks shows its order at 1400 pixels, with the counts of 9,999 images too."""
    counts = page.evaluate("[...document.querySelectorAll('.pick b')].map(b => b.textContent)")
    page.evaluate("document.querySelectorAll('.pick b').forEach(b => { b.textContent = '9999' })")
    page.evaluate("byId('count').textContent = '9999 of 9999'")
    for width, rows in ((1400, 1), (1000, 2), (390, 1)):
        page.set_viewport_size({"width": width, "height": 900})
        tops = page.evaluate("[...byId('controls').children].filter(n => n.offsetHeight)"
                             ".map(n => Math.round(n.offsetTop / 34))")  # fmt: skip
        assert len(set(tops)) == rows
        cut = page.evaluate("byId('controls').scrollWidth > byId('controls').clientWidth")
        assert cut == (width == 390)
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    page.set_viewport_size({"width": 1400, "height": 900})
    tiles = page.evaluate("[...document.querySelectorAll('.big > div')].map(n => n.offsetTop)")
    assert len(tiles) == 3
    assert len(set(tiles)) == 1
    page.evaluate("all => document.querySelectorAll('.pick b').forEach("
                  "(b, n) => { b.textContent = all[n] })", counts)  # fmt: skip


def long_named(dataset):
    """The same dataset with a defect type of 200 letters in place of broken_small."""
    long = "Loetperle" * 22 + "xx"
    samples = tuple(
        replace(s, defect_type=long) if s.defect_type == "broken_small" else s
        for s in dataset.samples
    )
    names = tuple(long if name == "broken_small" else name for name in dataset.class_names)
    return long, Dataset(dataset.root, names, samples, dataset.truths, dataset.split)


HASHES = ("#", "#&&==&t=", "#t=NaN&model=1e9&fold=-3", "#img=gone/000&run=99", "#%", "#t=0.5#t=1",
          "#part=__proto__&order=constructor", "#q=" + "x" * 5000, "#img=%00&type=%FF")  # fmt: skip


@pytest.mark.parametrize("width", [1400, 390])
def test_gone_images_long_names_and_malformed_addresses(tmp_path, width):
    dataset, run = build(tmp_path, wrong="broken_small/002")
    dataset.by_id["good/001"].image_path.unlink()
    name, dataset = long_named(dataset)
    board = evaluate_runs(dataset, [run]).to_json()
    path = write_report(dataset, [read_predictions(run, dataset)], board, dataset.root / "report")
    complaints = []
    with sync_api.sync_playwright() as playwright:
        browser, page = opened(playwright)
        page.set_viewport_size({"width": width, "height": 844})
        page.on("pageerror", lambda error: complaints.append(str(error)))
        for number, end in enumerate(HASHES):
            page.goto(f"{path.as_uri()}?{number}{end}")
            wait_until(page, READY)
            assert page.evaluate("state.t") == 0.5
            assert not page.locator("#viewer").is_visible()
            n = page.evaluate("shown.length")
            assert n == (0 if "q=" in end else len(dataset.split.test_ids))
        page.goto(f"{path.as_uri()}#q=good/001")
        page.reload()
        wait_until(page, READY)
        assert page.locator("#list .gone").inner_text() == "image cannot be read"
        assert "1 of 16 images cannot be read" in page.locator("main").inner_text()
        page.locator("#list .panel").click()
        gone = page.locator("#layers .gone").inner_text()
        assert dataset.by_id["good/001"].image_path.name in gone
        page.keyboard.press("Escape")
        page.goto(f"{path.as_uri()}?long")
        wait_until(page, READY)
        page.locator("details").evaluate_all("all => all.forEach(d => { d.open = true })")
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        page.locator("#type").select_option(name)
        assert page.evaluate("shown.length") == 4
        page.locator("#list .panel").first.click()
        assert page.evaluate("byId('viewer').scrollWidth <= innerWidth")
        assert page.locator("#stage").bounding_box()["height"] > 300
        browser.close()
    assert complaints == []


@pytest.mark.parametrize("viewing", [False, True])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_against_wcag_aa(tmp_path, scheme, viewing):
    axe = pytest.importorskip("axe_playwright_python.sync_playwright")
    _, _, path = made(tmp_path)
    with sync_api.sync_playwright() as playwright:
        # The page lets no script in but its own, and axe is one that the test brings.
        browser, page = opened(playwright, bypass_csp=True, color_scheme=scheme)
        page.goto(path.as_uri())
        wait_until(page, READY)
        page.locator("details").evaluate_all("all => all.forEach(d => { d.open = true })")
        if viewing:
            page.locator("h1").click()
            page.keyboard.press("ArrowRight")
            page.keyboard.press("Enter")
            assert page.locator("#viewer").is_visible()
        tags = ["best-practice", "wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]
        found = axe.Axe().run(page, options={"runOnly": tags}).response
        browser.close()
    assert [
        (rule["id"], rule["nodes"][0]["html"][:200], rule["nodes"][0]["failureSummary"])
        for rule in found["violations"]
    ] == []
    assert len(found["passes"]) > 10
