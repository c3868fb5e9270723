"""What `evaluate` and `convert` print of much, on 80 columns."""

import io
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

import defectune.console
import defectune.summaries
from annotations import Dataset, Split
from defectune.board_table import without_common_part
from defectune.summaries import show_conversion, show_leaderboard
from evaluation import METRIC_NAMES, Leaderboard, Row
from evaluation.metric import Metric


@pytest.fixture
def screen(monkeypatch):
    file = io.StringIO()
    console = Console(file=file, force_terminal=True, width=80, highlight=False, soft_wrap=True,
                      color_system=None)  # fmt: skip
    monkeypatch.setattr(defectune.console, "out", console)
    monkeypatch.setattr(defectune.summaries, "out", console)
    return file


NAMES = ("efficientnet", "knn", "patch-memory", "unet", "hybrid", "gan", "autoencoder", "yolo")


def board(names, **metrics):
    rows = []
    for number, name in enumerate(names):
        value = 0.9 - number / 100
        got = dict.fromkeys(METRIC_NAMES) | {
            "escape_rate": Metric(number / 24, 24, 0.0, 0.25),
            "overkill_rate": Metric(0.125, 8, 0.003, 0.527),
            "balanced_accuracy": Metric(value, 32, 0.7, 0.95),
            # The order of AUROC is the other way: it must not choose.
            "image_auroc": Metric(0.8 + number / 100, 32, 0.75, 0.99),
            "pixel_ap": Metric(value, 32, 0.6, 0.9),
        }
        rows.append(Row(name, "classify", "x", got | metrics, {}))
    return Leaderboard("0" * 64, "kfold", None, 32, 24, tuple(reversed(rows)), 32)


def shown(screen, names, **metrics):
    show_leaderboard(board(names, **metrics), {"dataset": "out"})
    text = screen.getvalue()
    assert max(map(len, text.splitlines())) <= 80
    return text


def cells(text):
    lines = [line for line in text.splitlines() if "│" in line or "┃" in line]
    return [[cell.strip() for cell in line.replace("┃", "│").split("│")[1:-1]] for line in lines]


def test_eight_models_are_rows_best_first_without_their_common_part(screen):
    text = shown(screen, [f"bottle-{name}-256" for name in NAMES])
    found = cells(text)
    assert found == [
        ["", "escapes", "overkill", "balanced", "AUROC", "pixel AP"],
        *(
            [name, f"{n} of 24 [0.0–25.0 %]", "1 of 8", f"{90 - n}.0 %", f"{0.8 + n / 100:.3f}",
             f"{0.9 - n / 100:.3f}"]
            for n, name in enumerate(NAMES)
        ),
    ]  # fmt: skip
    words = " ".join(text.split())
    assert (
        "Best first. Every name is shortened: bottle-…-256. More metrics: --all, and the report."
        in words
    )


def test_long_names_leave_no_room_for_intervals_and_detectors_show_their_boxes(screen):
    names = [f"{name}-at-448"[:20] for name in NAMES[:-1]] + ["yolo-nano-pretrained-x"]
    found = cells(shown(screen, names, pixel_ap=None, box_map50=Metric(None, 3, reason="none")))
    assert found[0] == ["", "escapes", "overkill", "balanced", "AUROC", "mAP50"]
    assert found[1] == ["efficientnet-at-448", "0 of 24", "1 of 8", "90.0 %", "0.800", "n/a"]
    assert found[-1][0] == "yolo-nano-pretrained-x"


def test_names_too_long_for_one_block_are_never_cut(screen):
    names = [f"{name}{'x' * 50}" for name in NAMES]
    found = cells(shown(screen, names))
    assert [row[0] for row in found if row[0]][:8] == names
    assert all(row[0] in ("", *names) for row in found)


def test_three_models_stand_in_columns(screen):
    assert "image_auroc" in {row[0] for row in cells(shown(screen, NAMES[:3]))}


def test_all_shows_every_metric_of_eight_models(screen):
    show_leaderboard(board(NAMES), {"dataset": "out"}, everything=True)
    assert "overkill_rate" in {row[0] for row in cells(screen.getvalue())}


@given(st.lists(st.text("ab-_ .", min_size=1, max_size=9), min_size=1, max_size=5, unique=True))
def test_what_is_left_away_is_said_and_gives_the_name_again(names):
    short, words = without_common_part(names)
    assert all(short)
    begin, _, end = words.removeprefix("Every name is shortened: ").removesuffix(".").partition("…")
    assert [f"{begin}{name}{end}" for name in short] == names


def converted(tmp_path, n_folders):
    counts = {f"part-{n:02d}/good": 10 + n for n in range(n_folders)}
    value = {
        "source": "data", "layout": "mvtec", "images": sum(counts.values()),
        "images_by_folder": counts, "masks": 3, "components": 4,
        "label_strengths": {"masks": 3}, "components_by_type": {"crack": 4},
        "round_trip": {"exact": 3}, "empty_masks": [], "ambiguous_pixels": {}, "counts": {},
        "left_out": {}, "leftovers": {"n_images": 0, "labels": []}, "notes": [],
        "parts": {"groups_of_several_images": 0, "images_in_them": 0, "told_by": "texture"},
        "duplicates": {}, "skipped": {}, "options": {"group_by": None},
        "placed": {"link": 3}, "warnings": [],
    }  # fmt: skip
    (tmp_path / "conversion.json").write_text(json.dumps(value))
    split = Split("kfold", 0, (), "f" * 64, ())
    return Dataset(tmp_path, ("crack",), (), {}, split)


@pytest.mark.parametrize("n_folders", [5, 6, 50, 2000])
def test_a_conversion_of_any_number_of_folders_is_twenty_lines(tmp_path, screen, n_folders):
    show_conversion(converted(tmp_path, n_folders), {})
    rows = cells(screen.getvalue())[1:]
    assert len(rows) <= 20
    listed = [row for row in rows if "part-" in row[0] or "more folders" in row[0]]
    assert len(listed) == 5
    assert sum(int(row[1]) for row in listed) == sum(10 + n for n in range(n_folders))
    if n_folders > 5:
        assert listed[0] == [f"part-{n_folders - 1:02d}/good", str(9 + n_folders)]
        assert listed[-1][0] == f"{n_folders - 4} more folders"
    last = " ".join(screen.getvalue().split())
    assert last.endswith(f"Next: defectune train {tmp_path}")
