"""Pictures of the report that follow the threshold, in a real browser."""

import numpy as np
import pytest

from annotations import decode_rle
from report.heat import visible_range
from tests.report.test_browser import CHROMIUM, READY, made, opened, sync_api, wait_until

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no chromium on this machine")


def largest_area(dataset, image_id):
    return max(int(decode_rle(rle).sum()) for rle in dataset.truths[image_id].masks)


def test_score_against_defect_size_follows_the_threshold_and_opens_images(tmp_path):
    dataset, stored, path = made(tmp_path)
    ids = [i for i in dataset.split.test_ids if dataset.by_id[i].is_defective]
    areas = {i: largest_area(dataset, i) for i in ids}
    with sync_api.sync_playwright() as playwright:
        browser, page = opened(playwright)
        page.goto(path.as_uri())
        wait_until(page, READY)
        page.locator("#sizes-fold > summary").click()
        page.wait_for_selector("#sizes-line", state="attached")
        told = page.evaluate("sizeDots.map(({ i, x, y }) => [data.ids[i], x, y])")
        assert sorted(name for name, _, _ in told) == sorted(ids)
        # Further right is larger, and further up scores higher.
        assert [a for _, a in sorted((x, areas[i]) for i, x, _ in told)] == sorted(areas.values())
        heights = {i: 154 - 146 * stored.image_scores[i] for i in ids}
        assert {i: y for i, _, y in told} == pytest.approx(heights)
        for threshold in (0, 0.5, 0.9, 1):
            page.evaluate("t => setThreshold(t, false)", threshold)
            under = [i for i in ids if stored.image_scores[i] < threshold]
            name = page.locator("#sizes").get_attribute("aria-label")
            assert f"{len(under)} of {len(ids)} images with a defect of known size" in name
            if under:
                assert f"has {max(areas[i] for i in under):,} pixels" in name
            line = page.locator("#sizes-line")
            assert float(line.get_attribute("y1")) == pytest.approx(154 - 146 * threshold)
        first, x, y = told[0]
        box = page.locator("#sizes").bounding_box()
        page.mouse.click(box["x"] + x, box["y"] + y)
        assert page.locator("#viewer-title").inner_text() in {
            i for i, a, b in told if np.hypot(a - x, b - y) < 1
        } | {first}
        browser.close()


def test_similar_images_stand_under_the_image_and_open(tmp_path):
    dataset, _, path = made(tmp_path)
    ids = list(dataset.split.test_ids)
    with sync_api.sync_playwright() as playwright:
        browser, page = opened(playwright)
        page.goto(f"{path.as_uri()}#img={ids[0]}")
        wait_until(page, READY)
        found = page.evaluate("data.similar")
        part = {number: dataset.by_id[i].group for number, i in enumerate(ids)}
        for number, line in enumerate(found):
            assert len(set(line)) == 5
            assert all(part[other] != part[number] for other in line)
        names = page.locator("#similar .alike b").all_inner_texts()
        assert names == [ids[other] for other in found[0]]
        wait_until(page, "document.querySelector('#similar img').naturalWidth > 0")
        page.locator("#similar .alike").first.click()
        assert page.locator("#viewer-title").inner_text() == names[0]
        assert page.locator("#similar .alike b").all_inner_texts() == [
            ids[other] for other in found[found[0][0]]
        ]
        page.go_back()
        assert page.locator("#viewer-title").inner_text() == ids[0]
        browser.close()


def test_the_score_under_the_pointer_is_the_maps(tmp_path):
    dataset, stored, path = made(tmp_path)
    image_id = next(i for i in dataset.split.test_ids if i.startswith("contamination"))
    scores = stored.pixel_scores(image_id)
    low, high = visible_range(dataset, stored)
    inside, outside = (
        (tuple(np.argwhere(scores > 0.5)[n]) for n in (0, -1)),
        np.argwhere(scores == 0),
    )
    with sync_api.sync_playwright() as playwright:
        browser, page = opened(playwright)
        page.goto(f"{path.as_uri()}#img={image_id}")
        wait_until(page, READY)
        wait_until(page, "document.querySelector('img.heat')?.naturalWidth === 64")
        box = page.locator("#layers").bounding_box()
        for y, x in (*inside, tuple(outside[0]), tuple(outside[-1])):
            page.mouse.move(
                box["x"] + box["width"] * (x + 0.5) / 64, box["y"] + box["height"] * (y + 0.5) / 64
            )
            words = page.locator("#pointed").inner_text()
            assert words.endswith(f" at {x}, {y}.")
            numbers = [float(word) for word in words.split() if word.startswith(("0.", "1."))]
            score = float(scores[y, x])
            if score <= low:
                assert words.startswith(f"Score at most {low:.4f}")
            else:
                assert numbers[0] - 1e-4 <= score <= numbers[1] + 1e-4
                assert numbers[1] - numbers[0] == pytest.approx((high - low) / 63, abs=2e-4)
        page.mouse.move(2, 2)
        assert page.locator("#pointed").inner_text() == ""
        # Every level is told by its opacity.
        levels = [min(255, round(90 + 165 * (n / 63) ** 0.5)) if n else 0 for n in range(64)]
        assert page.evaluate("all => all.map(levelOf)", levels) == list(range(64))
        browser.close()


def test_scores_and_cost_curve_stand_in_the_printed_summary(tmp_path):
    _, _, path = made(tmp_path)
    with sync_api.sync_playwright() as playwright:
        browser, page = opened(playwright)
        page.goto(path.as_uri())
        wait_until(page, READY)
        assert "expected cost" not in page.locator("#legend").inner_text()
        for name, value in (("escape", "100"), ("overkill", "5"), ("share", "2")):
            page.locator(f"#cost-{name}").evaluate(
                "(e, v) => { e.value = v; e.dispatchEvent(new Event('input')); }", value
            )
        page.emulate_media(media="print")
        assert page.locator("#chart").is_visible()
        assert page.locator("#chart rect").count() > 0
        assert "dotted: expected cost a part, at most" in page.locator("#legend").inner_text()
        assert page.locator("#chart .cost").is_visible()
        assert not page.locator("#sizes-fold").is_visible()
        browser.close()
