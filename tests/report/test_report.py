"""Overlays and the report: readable, offline, and safe against hostile names."""

import json
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import ImageDraw

from annotations import (
    Dataset,
    FoldThresholds,
    OutputExistsError,
    Prediction,
    PredictionWriter,
    Regions,
    load_dataset,
    mask_to_regions,
    read_image_rgb,
    read_predictions,
)
from evaluation import evaluate_runs
from report import draw_overlay, write_report
from report.labels import Places
from report.overlay import enlargement, letter_size
from report.palette import TYPE_COLORS_RGB
from tests.drawn import drawn_dataset

HOSTILE = "<img src=x onerror=alert(1)>"


def scored(mask):
    return mask_to_regions(mask, pixel_scores=np.full(mask.shape, 0.8))


@pytest.mark.parametrize("hw", [(64, 64), (70, 300), (1200, 900)])
def test_an_overlay_is_as_large_as_the_image_plus_a_banner(hw):
    image = np.full((*hw, 3), 90, np.uint8)
    mask = np.zeros(hw, bool)
    mask[10:30, 12:40] = True
    before = image.copy()
    k = enlargement(hw)
    plain = draw_overlay(image, truth=mask_to_regions(mask))
    assert plain.shape == (hw[0] * k, hw[1] * k, 3)
    assert (image == before).all()
    # The outline of the truth lies outside it: no pixel of the defect is changed.
    large = image.repeat(k, axis=0).repeat(k, axis=1)
    changed = (plain != large).any(axis=2)
    assert not changed[10 * k : 30 * k, 12 * k : 40 * k].any()
    assert changed[10 * k - 6 : 10 * k, 12 * k : 40 * k].any(axis=0).all()
    both = draw_overlay(
        image,
        truth=mask_to_regions(mask),
        prediction=scored(mask),
        pixel_scores=mask * 0.5,
        image_score=0.7,
        class_names=["Kratzer ä"],
    )
    assert both.shape[1] == plain.shape[1]
    assert both.shape[0] > plain.shape[0]


def test_good_and_defective_differ_by_word_and_color():
    image = np.zeros((64, 200, 3), np.uint8)
    good, bad = (draw_overlay(image, image_score=score) for score in (0.499, 0.5))
    assert (good[0, 0] != bad[0, 0]).any()


@pytest.mark.parametrize("hw", [(64, 64), (256, 256), (900, 1200)])
def test_the_banner_says_truth_and_name_in_letters_that_are_read(hw, monkeypatch):
    said = []
    draw = ImageDraw.ImageDraw.text

    def text(self, place, words, **options):
        said.append((words, options["font"].size))
        return draw(self, place, words, **options)

    monkeypatch.setattr(ImageDraw.ImageDraw, "text", text)
    image, long = np.full((*hw, 3), 90, np.uint8), "camera-1/" * 40 + "the-end-007"
    for score, kind, word in (
        (0.2, "scratch", "ESCAPE, truth: scratch"),
        (0.8, "scratch", "correct, truth: scratch"),
        (0.8, "good", "OVERKILL, truth: good"),
        (0.2, "good", "correct, truth: good"),
    ):
        said.clear()
        drawn = draw_overlay(image, image_score=score, truth_type=kind, name=long)
        (first, size), (second, _), (third, _) = said
        assert first.startswith("DEFECTIVE  0.800 >= 0.50" if score > 0.5 else "GOOD  0.200 < 0.50")
        assert second == word
        assert third.startswith("…")
        assert third.endswith("the-end-007")
        assert size == letter_size((hw[0] * enlargement(hw), hw[1] * enlargement(hw))) >= 14
        assert drawn.shape[0] == hw[0] * enlargement(hw) + 3 * round(1.6 * size)
    said.clear()
    assert draw_overlay(image, truth_type="scratch", name=long).shape[0] == image.shape[0] * max(
        1, enlargement(hw)
    )
    assert said == []


def test_boxes_without_masks_and_the_border_are_drawn():
    image = np.zeros((64, 64, 3), np.uint8)
    regions = Regions(
        np.array([[0, 0, 64, 64], [60.4, 3.2, 64, 9]], np.float32),
        None,
        np.array([0, 1]),
        np.array([0.5, 0.6], np.float32),
        (64, 64),
    )
    drawn = draw_overlay(image, prediction=regions)
    # Enlarged four times; the box that fills the image leaves its label no place but below.
    assert tuple(drawn[255, 200]) == TYPE_COLORS_RGB[0]
    assert drawn.shape[0] > 256
    assert drawn.shape[1] == 256
    assert draw_overlay(image, truth=regions).any()


def test_wrong_arrays_are_refused():
    with pytest.raises(ValueError, match="uint8"):
        draw_overlay(np.zeros((4, 4), np.uint8))
    with pytest.raises(ValueError, match="map"):
        draw_overlay(np.zeros((64, 64, 3), np.uint8), pixel_scores=np.zeros((3, 3)))


def disjoint(a, b):
    return a[2] <= b[0] or b[2] <= a[0] or a[3] <= b[1] or b[3] <= a[1]


@given(st.data())
def test_no_label_is_cut_nor_lies_on_a_defect_or_on_another(data):
    height, width = data.draw(st.integers(40, 1200)), data.draw(st.integers(40, 1200))
    taken = np.zeros((height, width), bool)
    boxes = []
    for _ in range(data.draw(st.integers(1, 8))):
        x, y = data.draw(st.integers(0, width - 2)), data.draw(st.integers(0, height - 2))
        box = (x, y, data.draw(st.integers(x + 1, width)), data.draw(st.integers(y + 1, height)))
        boxes.append(box)
        taken[box[1] : box[3], box[0] : box[2]] = True
    places = Places(taken)
    wide, high = data.draw(st.integers(5, 200)), data.draw(st.integers(5, 40))
    found = [f for box in boxes if (f := places.take(box, wide, high, 2)) is not None]
    for number, label in enumerate(found):
        assert label[0] >= 0
        assert label[1] >= 0
        assert label[2] <= width
        assert label[3] <= height
        assert all(disjoint(label, box) for box in boxes)
        assert all(disjoint(label, other) for other in found[:number])


@pytest.mark.parametrize("hw", [(32, 32), (40, 900), (900, 40), (64, 2000), (1500, 2000)])
def test_labels_of_long_names_are_whole_or_shortened_and_never_widen_the_image(hw):
    image = np.full((*hw, 3), 90, np.uint8)
    mask = np.zeros(hw, bool)
    mask[4:20, 4:20] = True
    drawn = draw_overlay(image, prediction=scored(mask), image_score=0.7, class_names=["W" * 200])
    k = enlargement(hw)
    assert drawn.shape[1] >= hw[1] * k
    assert drawn.shape[1] <= max(hw[1] * k, 500)
    # Defects' own pixels lie where they lay, below the banner.
    banner = round(1.6 * letter_size((hw[0] * k, hw[1] * k)))
    assert (drawn[banner + 12 * k, 12 * k] != 90).any()


class Page(HTMLParser):
    """Collects tags, links and text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.links: list[str] = []
        self.words: list[str] = []
        self.attributes: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += [name for name, _ in attrs]
        self.links += [value for name, value in attrs if name in ("src", "href")]

    def handle_data(self, data):
        self.words.append(data)


def build(tmp_path: Path, *, wrong: str = "") -> tuple[Dataset, Path]:
    loaded = load_dataset(drawn_dataset(tmp_path))
    names = (HOSTILE, *loaded.class_names[1:])
    dataset = Dataset(loaded.root, names, loaded.samples, loaded.truths, loaded.split)
    run = dataset.root / "runs" / "<b>run"
    for number, fold in enumerate(dataset.split.folds):
        thresholds = FoldThresholds(0.5, "odds", 0.5, "test")
        about = {"family": "segment", "model": HOSTILE}
        with PredictionWriter(run, dataset, number, thresholds, about) as writer:
            for image_id in fold.test:
                truth = dataset.truths[image_id]
                right = bool(len(truth)) == (image_id != wrong)
                mask = truth.union_mask()
                writer.write(Prediction(image_id, 0.9 if right else 0.2, scored(mask), mask * 0.8))
    return dataset, run


def test_the_report_opens_from_disk_and_shows_hostile_names_as_text(tmp_path):
    dataset, run = build(tmp_path, wrong="broken_small/002")
    stored = read_predictions(run, dataset)
    board = evaluate_runs(dataset, [run]).to_json()
    page = write_report(dataset, [stored], board, dataset.root / "report")
    text = page.read_text(encoding="utf-8")
    parsed = Page(text)
    assert "onerror" not in parsed.attributes
    assert any(HOSTILE in word for word in parsed.words)
    assert any("<b>run" in word for word in parsed.words)
    # The name of SVG's elements is no address that anything is fetched from.
    assert "http://" not in text.replace("http://www.w3.org/2000/svg", "")
    assert "https://" not in text
    assert parsed.tags.count("script") == 1
    for link in parsed.links:
        assert (page.parent / unquote(link)).is_file()
    assert len(list((page.parent / "plots").iterdir())) == 6
    index = called(page.parent / "data" / "index.js")[0]
    assert index["ids"] == list(dataset.split.test_ids)
    assert index["scores"] == [[stored.image_scores[i] for i in index["ids"]]]
    assert index["classes"][0] == HOSTILE
    number, images = called(page.parent / "data" / "chunk-0.js")
    assert number == 0
    assert len(images) == len(index["ids"])
    for image, image_id in zip(images, index["ids"], strict=True):
        # The dataset's own file: the report lies beside it.
        assert (page.parent / unquote(image["full"])).samefile(dataset.by_id[image_id].image_path)
        assert len(image["truth"]) == len(dataset.truths[image_id])
    assert not (page.parent / "full").exists()


def called(path: Path) -> list:
    """Arguments of the one call that a data file holds."""
    text = path.read_text(encoding="ascii")
    return json.loads("[" + text[text.index("(") + 1 : text.rindex(");")] + "]")


def test_an_earlier_report_is_replaced_and_a_foreign_folder_is_not(tmp_path):
    dataset, run = build(tmp_path)
    stored = read_predictions(run, dataset)
    board = evaluate_runs(dataset, [run]).to_json()
    folder = dataset.root / "report"
    write_report(dataset, [stored], board, folder)
    (folder / "old.txt").write_text("x")
    write_report(dataset, [stored], board, folder)
    assert not (folder / "old.txt").exists()
    (folder / "report.json").unlink()
    (folder / "mine.txt").write_text("mine")
    with pytest.raises(OutputExistsError, match="not a report"):
        write_report(dataset, [stored], board, folder)
    assert (folder / "mine.txt").read_text() == "mine"


def test_a_missing_image_is_named_and_the_report_is_made(tmp_path):
    dataset, run = build(tmp_path)
    gone = dataset.by_id["good/001"].image_path
    gone.unlink()
    stored = read_predictions(run, dataset)
    board = evaluate_runs(dataset, [run]).to_json()
    page = write_report(dataset, [stored], board, dataset.root / "report")
    index = called(page.parent / "data" / "index.js")[0]
    place = index["ids"].index("good/001")
    assert index["gone"] == [place]
    assert gone.name in index["notes"][str(place)]
    assert "1 of 16 images cannot be read" in page.read_text(encoding="utf-8")


def test_misses_and_false_alarms_are_named():
    from evaluation import match_regions

    image = np.full((200, 200, 3), 90, np.uint8)
    true, other = np.zeros((200, 200), bool), np.zeros((200, 200), bool)
    true[20:40, 60:80] = True
    other[120:150, 60:90] = True
    truth, found = mask_to_regions(true), scored(other)
    match = match_regions(truth, found)
    plain = draw_overlay(image, truth=truth, prediction=found)
    named = draw_overlay(image, truth=truth, prediction=found, match=match)
    k = enlargement((200, 200))
    assert named.shape == plain.shape == (200 * k, 200 * k, 3)
    changed = (plain != named).any(axis=2)
    # A word above the missed defect, and a longer one above the false alarm; over neither of them.
    assert changed[: 20 * k].any()
    assert changed[100 * k : 120 * k].any()
    assert not changed[20 * k : 40 * k].any()
    assert not changed[120 * k :].any()
    hit = match_regions(truth, scored(true))
    both = (draw_overlay(image, truth=truth, prediction=scored(true), match=m) for m in (hit, None))
    assert np.array_equal(*both)


def test_overlays_of_a_run(tmp_path):
    from annotations import InputError, UsageError
    from defectune.library.progress import BarReporter
    from defectune.overlays import overlay

    dataset, run = build(tmp_path, wrong="broken_small/002")
    with BarReporter() as reporter:
        overlay(run, [], tmp_path / "all", only="all", progress=reporter)
        overlay(run, ["good/"], tmp_path / "good", only="all", progress=reporter)
        overlay(run, [], tmp_path / "wrong", only="wrong", progress=reporter)
        with pytest.raises(InputError, match="no image called nobody"):
            overlay(run, ["nobody"], tmp_path / "x", only="all", progress=reporter)
        with pytest.raises(UsageError, match="all or wrong"):
            overlay(run, [], tmp_path / "x", only="bad", progress=reporter)
        with pytest.raises(OutputExistsError):
            overlay(run, [], tmp_path / "all", only="all", progress=reporter)
    names = {p.stem for p in (tmp_path / "all").iterdir()}
    assert names == {dataset.by_id[i].stem for i in dataset.split.test_ids}
    assert all(p.stem.startswith("good__") for p in (tmp_path / "good").iterdir())
    assert "broken_small__002" in {p.stem for p in (tmp_path / "wrong").iterdir()}
    one = dataset.by_id["good/001"]
    picture = read_image_rgb(tmp_path / "all" / f"{one.stem}.png")
    assert picture.shape[1] == one.image_hw[1] * enlargement(one.image_hw)
