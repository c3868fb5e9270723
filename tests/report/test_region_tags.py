"""Tags of single regions, set with the mouse and with keys, in a real browser."""

import json

import pytest

from tests.report.test_browser import CHROMIUM, READY, made, opened, sync_api, wait_until

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no chromium on this machine")
IMAGE = "contamination/001"


def test_a_chosen_region_takes_the_tag_and_the_image_keeps_its_own(tmp_path):
    dataset, stored, path = made(tmp_path)
    truth, found = dataset.truths[IMAGE], stored.found_regions(IMAGE)
    boxes = [[round(v, 1) for v in one.boxes_xyxy[0].tolist()] for one in (truth, found)]
    with sync_api.sync_playwright() as playwright:
        browser, page = opened(playwright, accept_downloads=True)
        page.goto(f"{path.as_uri()}#img={IMAGE}")
        wait_until(page, READY)
        page.wait_for_selector("#layers svg path")
        said = page.locator("#region-said")
        assert said.inner_text() == "Tags go to the image."
        page.keyboard.press("l")
        x1, y1, x2, y2 = boxes[0]
        where = page.locator("#layers").bounding_box()
        scale = where["width"] / 64
        middle = (where["x"] + scale * (x1 + x2) / 2, where["y"] + scale * (y1 + y2) / 2)
        page.mouse.click(*middle)
        assert said.inner_text() == "Tags go to the true region 1, contamination."
        assert page.locator(".chosen-region").count() == 1
        pressed = "#tag-buttons button[aria-pressed=true]"
        assert page.locator(pressed).count() == 0
        page.keyboard.press("w")
        assert page.locator(pressed).all_inner_texts() == ["wrong label (w)"]
        # Truth and prediction cover the same place: a second click takes the other one.
        page.mouse.click(*middle)
        assert said.inner_text().startswith("Tags go to the predicted region 1, ")
        page.keyboard.press("i")
        page.keyboard.press("m")
        page.keyboard.press("m")
        page.mouse.click(where["x"] + 3, where["y"] + 3)
        assert said.inner_text() == "Tags go to the image."
        assert page.locator(pressed).all_inner_texts() == ["look again (l)"]
        page.keyboard.press("r")
        assert said.inner_text() == "Tags go to the true region 1, contamination."
        page.keyboard.press("ArrowRight")
        assert said.inner_text() == "Tags go to the image."
        page.keyboard.press("Escape")
        # The address follows a moment later.
        wait_until(page, "!location.hash.includes('img=')")
        page.reload()
        wait_until(page, READY)
        assert page.locator("#tag-count").inner_text() == "1 image tagged, 2 tags of regions"
        page.locator("#tag").select_option("ignore")
        assert page.evaluate("shown.map((i) => data.ids[i])") == [IMAGE]
        with page.expect_download() as caught:
            page.locator("#save-tags").click()
        caught.value.save_as(tmp_path / "tags.json")
        browser.close()
    saved = json.loads((tmp_path / "tags.json").read_text(encoding="utf-8"))
    assert saved["split_digest"] == dataset.split.digest
    assert saved["images"] == [{"image_id": IMAGE, "tags": ["look again"]}]
    region = {"kind": "truth", "index": 0, "box_xyxy": boxes[0]}
    other = {"kind": "prediction", "run": stored.name, "index": 0, "box_xyxy": boxes[1]}
    assert saved["regions"] == [
        {"image_id": IMAGE, "region": region, "tag": "wrong label"},
        {"image_id": IMAGE, "region": other, "tag": "ignore"},
    ]
