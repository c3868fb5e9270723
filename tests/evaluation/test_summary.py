"""The sentence and the three figures that the command and the report begin with."""

import pytest

from evaluation import METRIC_NAMES, METRIC_WORDS, summarize


def metric(value, n, low=None, high=None):
    return {"value": value, "low": low, "high": high, "n": n}


def row(name, balanced, *, escape=0.0, overkill=0.0, recall=None):
    return {
        "run": name,
        "metrics": {
            "balanced_accuracy": metric(balanced, 32),
            "image_auroc": metric(balanced, 32),
            "escape_rate": metric(escape, 24, 0.0, 0.142),
            "overkill_rate": metric(overkill, 8, 0.0, 0.37),
            "region_recall": recall,
        },
    }


def pair(a, b, *, noise=True, difference=0.1):
    return {"metric": "balanced_accuracy", "run_a": a, "run_b": b, "difference": difference,
            "within_noise": noise}  # fmt: skip


def test_the_verdict_is_a_sentence():
    found = metric(11 / 13, 13, 0.5, 0.98)
    board = {
        "rows": [
            row("classify", 0.9),
            row("segment", 0.98, recall=found),
            row("detect", 0.5, overkill=1.0),
            row("old", 0.6),
            row("new", 0.98),
            row("twin", 0.9),
        ],
        "comparisons": [
            pair("classify", "segment"),
            pair("segment", "old", noise=False),
            pair("segment", "new", difference=0.0),
            pair("twin", "segment"),
        ],
    }
    summary = summarize(board)
    assert summary.best == "segment"
    assert summary.sentence == (
        "segment and new tie; classify and twin are within noise of segment; "
        "old is worse; detect calls every good part defective."
    )
    assert [figure.text for figure in summary.figures] == [
        "escapes: 0 of 24 (at most 14.2 %)",
        "overkill: 0 of 8 (at most 37.0 %)",
        "regions found: 11 of 13 (84.6 %, 95 %: 50.0 to 98.0 %)",
    ]
    some = summarize(board, ["classify", "old", "detect"])
    assert some.sentence == (
        "classify is best; old is not compared with it; detect calls every good part defective."
    )
    assert some.figures[2].text == "regions found: — (the model gives none)"


def test_a_tie_says_what_puts_one_first():
    """Equal balanced accuracy; the figures below are of the one with the higher AUROC."""
    first, second, third = row("a", 0.9), row("b", 0.9), row("c", 0.9)
    second["metrics"]["image_auroc"] = metric(0.95, 32)
    board = {
        "rows": [first, second, third],
        "comparisons": [pair("a", "b", difference=0.0), pair("b", "c", difference=0.0)],
    }
    summary = summarize(board)
    assert summary.best == "b"
    assert summary.sentence == ("b, a and c tie, and b has the higher AUROC of images.")
    del board["comparisons"][1]
    assert summarize(board).sentence == (
        "b and a tie, and b has the higher AUROC of images; c is not compared with b."
    )
    useless = {"rows": [row("a", 0.5, overkill=1.0), row("b", 0.5)],
               "comparisons": [pair("a", "b", difference=0.0)]}  # fmt: skip
    assert summarize(useless).sentence == (
        "a and b tie, and yet a calls every good part defective."
    )


@pytest.mark.parametrize(
    ("board", "sentence"),
    [
        ({}, "No model is evaluated yet."),
        ({"rows": [row("a", 0.9)]}, "a is the only model that is evaluated."),
        ({"rows": [row("a", 0.5, overkill=1.0)]}, "a calls every good part defective."),
        (
            {"rows": [row("a", 0.5, escape=1.0), row("b", 0.4, escape=1.0)]},
            "a is best, and yet it calls every defective part good; b calls every defective part "
            "good.",
        ),
        ({"rows": [row("a", 0.9)], "missing_kind": "No good image is evaluated."},
         "No good image is evaluated."),
    ],
)  # fmt: skip
def test_one_model_or_none_or_a_useless_one(board, sentence):
    assert summarize(board).sentence == sentence


def test_an_undefined_figure_says_why():
    one = row("a", 0.9)
    one["metrics"]["overkill_rate"] = metric(None, 0) | {"reason": "there are no good images"}
    assert summarize({"rows": [one]}).figures[1].text == "overkill: — (there are no good images)"


def test_every_metric_has_words_and_a_definition():
    assert set(METRIC_WORDS) == set(METRIC_NAMES)
    words = [words for words, _ in METRIC_WORDS.values()]
    assert len(set(words)) == len(words)
    assert all(meaning.endswith(".") for _, meaning in METRIC_WORDS.values())


def test_good_images_alone_say_their_overkill_and_what_ten_defects_would_tell():
    missing = "No defective image is evaluated."
    metrics = dict.fromkeys(METRIC_NAMES) | {
        "overkill_rate": {"value": 0.0, "n": 18, "low": 0.0, "high": 0.1853},
        "escape_rate": {"value": None, "n": 0, "reason": "there are no defective images"},
    }
    rows = [{"run": "pm", "metrics": metrics}]
    board = {"rows": rows, "n_images": 18, "n_defective": 0, "missing_kind": missing}
    assert summarize(board).sentence == (
        "No defective image is evaluated. pm calls 0 of 18 good parts defective (at most 18.5 %). "
        "With 10 defective images, of image labels alone, escapes can be measured too: none of 10 "
        "would mean at most 31 %."
    )
    # Without a good image there is nothing of the kind to say.
    assert summarize({**board, "n_defective": 18}).sentence == missing
