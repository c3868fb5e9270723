"""The map of all images, in a real browser."""

import pytest

from tests.report.test_browser import CHROMIUM, READY, made, opened, sync_api, wait_until

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no chromium on this machine")

SHOWN = "shown.map((i) => data.ids[i]).sort()"


def inside(page, box):
    places = page.evaluate("data.place")
    ids = page.evaluate("data.ids")
    x1, y1, x2, y2 = box
    return sorted(
        i for i, (x, y) in zip(ids, places, strict=True) if x1 <= x <= x2 and y1 <= y <= y2
    )


def test_the_map_filters_by_a_dragged_rectangle_and_shows_thumbnails(tmp_path):
    dataset, _, path = made(tmp_path)
    n_test = len(dataset.split.test_ids)
    complaints = []
    with sync_api.sync_playwright() as playwright:
        browser, page = opened(playwright)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.goto(path.as_uri())
        wait_until(page, READY)
        assert not page.locator("#map").is_visible()
        # A filter draws nothing that is folded: 300 is the width of a canvas never drawn.
        drawn = (
            "[byId('map').width, ...['sizes', 'similar'].map((id) => byId(id).childElementCount)]"
        )
        assert page.evaluate(f"() => {{ state.part = 'wrong'; update(); return {drawn}; }}") == [
            300, 0, 0,
        ]  # fmt: skip
        page.evaluate("() => { state.part = ''; update(); }")
        page.locator("#map-fold > summary").click()
        page.locator("#map").scroll_into_view_if_needed()
        wait_until(page, "byId('map-said').textContent !== ''")
        name = page.locator("#map").get_attribute("aria-label")
        assert name.startswith(f"Map of {n_test} images by look: 1 escape, ")
        n_bad = sum(dataset.by_id[i].is_defective for i in dataset.split.test_ids)
        assert f"{n_bad - 1} defective, called so" in name
        box = page.locator("#map").bounding_box()
        # An escape's place has its color, and a place far from every dot shows nothing.
        escape = page.evaluate("data.ids.indexOf('broken_small/002')")
        x, y = page.evaluate("i => [mapX(data.place[i][0]), mapY(data.place[i][1])]", escape)
        pixel = "([x, y]) => [...byId('map').getContext('2d').getImageData(x, y, 1, 1).data]"
        assert page.evaluate(pixel, [x, y]) == [179, 38, 30, 255]
        page.mouse.move(box["x"] + x, box["y"] + y)
        assert page.locator("#map-peek b").inner_text() == "broken_small/002"
        assert page.locator("#map-peek span").inner_text() == "broken_small; escape"
        wait_until(page, "document.querySelector('#map-peek img').naturalWidth > 0")
        page.mouse.move(box["x"] + 2, box["y"] - 30)
        assert not page.locator("#map-peek").is_visible()
        # Dragged from either corner, a rectangle keeps what lies in it.
        page.mouse.move(box["x"] + 0.9 * box["width"], box["y"] + 250)
        page.mouse.down()
        page.mouse.move(box["x"] + 0.4 * box["width"], box["y"] + 40, steps=4)
        page.mouse.up()
        kept = page.evaluate(SHOWN)
        assert 0 < len(kept) < n_test
        assert kept == inside(page, page.evaluate("mapBox()"))
        assert "box=" in page.evaluate("location.hash")
        address = page.url
        assert page.locator("#map-clear").is_visible()
        page.keyboard.press("Escape")
        assert page.evaluate("shown.length") == n_test
        page.go_back()
        assert page.evaluate(SHOWN) == kept
        page.locator("#map-clear").click()
        assert page.evaluate("shown.length") == n_test
        assert not page.locator("#map-clear").is_visible()
        # A link holds the rectangle; a malformed one counts as none.
        for text, expected in ((address, kept), (path.as_uri() + "#box=0.2,7,x,1", None)):
            page.goto("about:blank")
            page.goto(text)
            wait_until(page, READY)
            assert page.locator("#map").is_visible() is bool(expected)
            assert page.evaluate(SHOWN) == (expected or inside(page, (0, 0, 1, 1)))
        # A click opens the image under the pointer.
        page.locator("#map-fold > summary").click()
        page.locator("#map").scroll_into_view_if_needed()
        box = page.locator("#map").bounding_box()
        page.mouse.click(box["x"] + x, box["y"] + y)
        assert page.locator("#viewer-title").inner_text() == "broken_small/002"
        browser.close()
    assert complaints == []
