"""Filter and order by date, in a real browser."""

from dataclasses import replace
from datetime import timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from annotations import Dataset, read_predictions
from evaluation import evaluate_runs
from report import write_report
from report.dates import read_date
from tests.report.test_browser import CHROMIUM, READY, made, opened, sync_api, wait_until
from tests.report.test_report import build

browser_only = pytest.mark.skipif(CHROMIUM is None, reason="no chromium on this machine")
SHOWN = "shown.map((i) => data.ids[i])"


@given(
    st.datetimes(timezones=st.none() | st.builds(
        lambda m: timezone(timedelta(minutes=m)), st.integers(-1439, 1439))),
    st.sampled_from("-/."),
)  # fmt: skip
def test_a_date_that_names_the_year_first_is_read_as_it_was_written(when, between):
    text = when.isoformat()
    expected = text[:19].replace("T", " ")
    assert read_date(f" {text[:10].replace('-', between)}{text[10:]} ") == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2026-03-08", "2026-03-08 00:00:00"),
        ("20260308T1405", "2026-03-08 14:05:00"),
        ("2026-03-08T23:30:00Z", "2026-03-08 23:30:00"),
        # The day or the month first; seconds and milliseconds since 1970; no day; no date.
        *[
            (text, "")
            for text in ("", "03/04/2026", "8.3.2026", "1711121412", "1711121412000", "2026-03",
                         "2026-02-30", "2026-03-08 25:00", "monday")
        ],
    ],
)  # fmt: skip
def test_dates_of_other_forms(text, expected):
    assert read_date(text) == expected


def dated(tmp_path, dates):
    """A report whose first test images have these dates, and the ids of the images."""
    dataset, run = build(tmp_path)
    ids = list(dataset.split.test_ids)
    of = dict(zip(ids, dates, strict=False))
    samples = tuple(replace(s, date=of.get(s.image_id, "")) for s in dataset.samples)
    dataset = Dataset(dataset.root, dataset.class_names, samples, dataset.truths, dataset.split)
    board = evaluate_runs(dataset, [run]).to_json()
    stored = read_predictions(run, dataset)
    return ids, write_report(dataset, [stored], board, dataset.root / "report")


@browser_only
def test_dates_filter_and_order(tmp_path):
    ids, path = dated(
        tmp_path, ["2026-03-08 14:05", "2026-03-01", "2026/03/08 06:00", "04/03/2026", "2026-04-01"]
    )
    a, b, c, _, d = ids[:5]
    unknown = sorted(set(ids) - {a, b, c, d})
    with sync_api.sync_playwright() as playwright:
        browser, page = opened(playwright)
        page.goto(path.as_uri())
        wait_until(page, READY)
        words = f"{len(unknown)} images without a date of the form year-month-day"
        assert page.locator("#no-date").inner_text() == words
        assert page.locator("#since").get_attribute("min") == "2026-03-01"
        assert page.locator("#until").get_attribute("max") == "2026-04-01"
        page.locator("#order").select_option("oldest")
        assert page.evaluate(SHOWN) == [b, c, a, d, *unknown]
        page.locator("#order").select_option("newest")
        assert page.evaluate(SHOWN) == [d, a, c, b, *unknown]
        assert "2026-03-08 14:05:00" in page.locator(".entry .name").nth(1).inner_text()
        page.locator("#since").fill("2026-03-08")
        assert page.evaluate(SHOWN) == [d, a, c]
        # Both days belong to the span.
        page.locator("#until").fill("2026-03-08")
        assert page.evaluate(SHOWN) == [a, c]
        assert page.evaluate("location.hash") == ("#order=newest&since=2026-03-08&until=2026-03-08")
        page.reload()
        wait_until(page, READY)
        assert page.evaluate(SHOWN) == [a, c]
        assert page.locator("#since").input_value() == "2026-03-08"
        page.locator("#clear").click()
        assert page.evaluate("shown.length") == len(ids)
        assert page.locator("#since").input_value() == ""
        page.goto(f"{path.as_uri()}?malformed#since=tomorrow&until=%00&order=oldest")
        wait_until(page, READY)
        assert page.evaluate(SHOWN) == [b, c, a, d, *unknown]
        browser.close()


@browser_only
def test_without_dates_nothing_of_them_is_offered(tmp_path):
    dataset, _, path = made(tmp_path)
    with sync_api.sync_playwright() as playwright:
        browser, page = opened(playwright)
        page.goto(path.as_uri() + "#since=2026-03-08&order=oldest")
        wait_until(page, READY)
        assert page.evaluate("shown.length") == len(dataset.split.test_ids)
        assert page.locator("#order").input_value() == "worst"
        assert page.locator("#order option[value=oldest]").count() == 0
        assert not page.locator("#since").is_visible()
        browser.close()
