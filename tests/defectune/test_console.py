"""Tables of the commands on a narrow terminal."""

import io

import pytest
from rich.console import Console

import defectune.console
from defectune.console import show_table, show_text


@pytest.fixture
def terminal(monkeypatch):
    file = io.StringIO()
    console = Console(file=file, force_terminal=True, width=80, highlight=False, soft_wrap=True,
                      color_system=None)  # fmt: skip
    monkeypatch.setattr(defectune.console, "out", console)
    return file


def test_columns_that_do_not_fit_stand_in_blocks_and_no_cell_is_folded(terminal):
    cells = ["0.997 [0.990–1.000]", "≤ 14.2 % (0 of 24)", "100.0 % [98.0–100.0]", "n/a"]
    rows = [["", *(f"quite_long_{n}" for n in range(4))],
            ["false_alarms_per_good_image", *cells]]  # fmt: skip
    show_table(rows, title="A title")
    text = terminal.getvalue()
    assert max(map(len, text.splitlines())) <= 80
    for cell in (*rows[0], *cells):
        assert cell in text
    assert text.count("A title") == 1
    assert text.count("false_alarms_per_good_image") == 2


def test_a_sentence_is_wrapped_between_words(terminal):
    words = [f"word{n}" for n in range(40)]
    show_text(" ".join(words))
    lines = terminal.getvalue().splitlines()
    assert max(map(len, lines)) <= 80
    assert " ".join(lines).split() == words
