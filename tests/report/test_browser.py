"""The report in a real browser: Debian's or anybody's Chromium, driven by Playwright."""

import os
import shutil

import pytest

from annotations import read_predictions
from evaluation import evaluate_runs
from report import write_report
from tests.report.test_report import build

CHROMIUM = shutil.which("chromium")
sync_api = pytest.importorskip("playwright.sync_api")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no chromium on this machine")


def test_filters_slider_keys_and_links_work_from_disk(tmp_path):
    dataset, run = build(tmp_path, wrong="broken_small/002")
    board = evaluate_runs(dataset, [run]).to_json()
    page_path = write_report(
        dataset, [read_predictions(run, dataset)], board, dataset.root / "report"
    )
    n_test = len(dataset.split.test_ids)
    n_bad = sum(dataset.by_id[i].is_defective for i in dataset.split.test_ids)
    args = ["--no-sandbox"] if os.geteuid() == 0 else []
    complaints, requests = [], []
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=args)
        page = browser.new_page()
        page.on("console", lambda m: complaints.append(m.text) if m.type == "error" else None)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("request", lambda request: requests.append(request.url))
        page.goto(page_path.as_uri())
        shown = page.locator(".entry:visible")
        assert shown.count() == n_test
        page.get_by_role("button", name="missed").click()
        assert shown.count() == 1
        assert page.locator(".escape").inner_text().startswith(f"1 of {n_bad} ")
        page.locator("#threshold").fill("0.95")
        assert shown.count() == n_bad
        assert page.locator(".escape").inner_text().startswith(f"{n_bad} of {n_bad} ")
        page.get_by_role("button", name="back to").click()
        assert shown.count() == 1
        page.get_by_role("button", name="false alarm").click()
        assert shown.count() == 0
        page.locator("#search").fill("good/001")
        page.get_by_role("button", name="all").first.click()
        assert shown.count() == 1
        page.locator("#search").fill("")
        page.locator("#order").select_option("name")
        names = page.locator(".entry h3").all_text_contents()
        assert names == sorted(names)
        page.locator("#order").select_option("worst")
        page.locator("h1").click()
        page.keyboard.press("?")
        assert page.locator("#help").is_visible()
        page.keyboard.press("1")
        assert page.locator("figure[data-score]:visible").count() == 0
        page.keyboard.press("1")
        page.keyboard.press("ArrowRight")
        first = page.url.partition("#")[2]
        assert first == dataset.by_id["broken_small/002"].stem
        look_closely(page, dataset)
        page.goto(page_path.as_uri() + "#" + dataset.by_id["good/001"].stem)
        assert page.evaluate("document.activeElement.id") == dataset.by_id["good/001"].stem
        assert page.locator("img[src=x]").count() == 0
        browser.close()
    assert complaints == []
    assert requests
    assert all(url.startswith(dataset.root.as_uri()) for url in requests)


def look_closely(page, dataset):
    """The viewer: layers, blinking, zoom, the next image, and back."""
    page.keyboard.press(" ")
    viewer = page.locator("#viewer")
    assert viewer.is_visible()
    assert page.locator("#viewer-title").inner_text() == "broken_small/002"
    base = page.locator("#layers img:not([data-layer])")
    page.wait_for_function("document.querySelector('#layers').clientWidth > 1")
    assert base.evaluate("image => image.naturalWidth") == 64
    layer = {kind: page.locator(f'#layers img[data-layer="{kind}"]') for kind in ("truth", "boxes")}
    for image in layer.values():
        assert image.evaluate("image => image.decode().then(() => image.naturalWidth)") == 64
        assert image.is_visible()
    page.keyboard.press(" ")
    assert layer["truth"].is_visible()
    assert not layer["boxes"].is_visible()
    page.keyboard.press(" ")
    page.get_by_label("truth", exact=True).uncheck()
    assert not layer["truth"].is_visible()
    assert layer["boxes"].is_visible()
    page.get_by_label("truth", exact=True).check()
    wide = page.locator("#layers").evaluate("node => node.clientWidth")
    page.locator("#stage").focus()
    page.keyboard.press("+")
    assert page.locator("#layers").evaluate("node => node.clientWidth") > 1.3 * wide
    page.keyboard.press("0")
    assert abs(page.locator("#layers").evaluate("node => node.clientWidth") - wide) <= 2
    page.keyboard.press("ArrowRight")
    assert page.locator("#viewer-title").inner_text() != "broken_small/002"
    page.keyboard.press("Escape")
    assert not viewer.is_visible()


@pytest.mark.parametrize("viewing", [False, True])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_against_wcag_aa(tmp_path, scheme, viewing):
    axe = pytest.importorskip("axe_playwright_python.sync_playwright")
    dataset, run = build(tmp_path, wrong="broken_small/002")
    board = evaluate_runs(dataset, [run]).to_json()
    page_path = write_report(
        dataset, [read_predictions(run, dataset)], board, dataset.root / "report"
    )
    args = ["--no-sandbox"] if os.geteuid() == 0 else []
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=args)
        # The page lets no script in but its own, and axe is one that the test brings.
        context = browser.new_context(bypass_csp=True, color_scheme=scheme)
        page = context.new_page()
        page.goto(page_path.as_uri())
        page.locator("details").evaluate_all("all => all.forEach(d => { d.open = true })")
        if viewing:
            page.locator("h1").click()
            page.keyboard.press("ArrowRight")
            page.keyboard.press(" ")
            assert page.locator("#viewer").is_visible()
        tags = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]
        found = axe.Axe().run(page, options={"runOnly": tags}).response
        browser.close()
    assert [rule["id"] for rule in found["violations"]] == []
    assert len(found["passes"]) > 10
