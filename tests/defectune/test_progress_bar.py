"""The bar on a terminal of 80 columns: count and time always show."""

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len
from rich.console import Console

import defectune.library.progress as progress

WORDS = st.text(st.characters(exclude_categories=["C", "Z"], include_characters=" 検査[]"))


def line_of(what, note, total, width, monkeypatch):
    """What a terminal shows of a bar after one step."""
    file = io.StringIO()
    console = Console(file=file, force_terminal=True, width=width, color_system=None)
    monkeypatch.setattr(progress, "error_console", lambda: console)
    reporter = progress.BarReporter()
    reporter.track(what, total)(note)
    console.print(reporter._progress.get_renderable())
    return file.getvalue().splitlines()


@pytest.mark.parametrize("width", [80, 100, 200])
def test_count_and_time_show_beside_any_words(width):
    @given(WORDS, WORDS, st.integers(2, 99_999))
    def shows(what, note, total):
        with pytest.MonkeyPatch.context() as monkeypatch:
            (line,) = line_of(what, note, total, width, monkeypatch)
        assert cell_len(line) <= width
        assert f"1/{total} -:--:--" in line

    shows()


def test_words_that_fit_are_whole_and_long_ones_keep_both_ends(monkeypatch):
    (line,) = line_of("predicting [new] images", "", 60, 80, monkeypatch)
    assert line.startswith("predicting [new] images ")
    what = "classify-efficientnet_lite0: fold 0, test and validation images"
    (line,) = line_of(what, "loss 0.131", 23, 80, monkeypatch)
    assert line.startswith("classify-efficientn… validation images ")
    assert " 1/23 -:--:-- loss 0.131" in line


@given(WORDS, st.integers(4, 60))
def test_a_shortened_text_is_as_wide_as_asked_at_most(text, width):
    short = progress.shortened_middle(text, width)
    assert cell_len(short) <= width
    plain = " ".join(text.split())
    assert short == plain if cell_len(plain) <= width else "…" in short
