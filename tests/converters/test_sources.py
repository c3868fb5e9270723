"""Every source says the same of one drawn truth, pixel for pixel."""

import numpy as np
import pytest

from annotations import InputError, load_dataset
from benchmarks.sources import BAD, BOX, HW, NAMES, SOURCES, Source, box_mask, ring_mask
from converters import ConvertOptions, FindOptions, convert

DOCUMENT = "docs/sources.md"


def name_of(source: Source) -> str:
    return f"{source.layout}-{source.kind}"


def converted(source, root, out, **options):
    root.mkdir(exist_ok=True)
    source.write(root)
    report = convert(root, out, ConvertOptions(folds=2, protocol="kfold", **options))
    return load_dataset(out), report


@pytest.mark.parametrize("source", SOURCES, ids=name_of)
def test_the_drawn_truth_comes_back_pixel_for_pixel(tmp_path, source):
    dataset, report = converted(source, tmp_path / "source", tmp_path / "out")
    assert report.layout.startswith(f"{source.layout}: "), report.layout
    wanted = ring_mask() if source.holes else box_mask()
    defective = [s for s in dataset.samples if s.is_defective]
    assert len(defective) >= len(BAD)
    assert len(dataset.samples) - len(defective) >= len(NAMES) - len(BAD)
    for sample in defective:
        truth = dataset.truths[sample.image_id]
        assert np.array_equal(truth.union_mask(), wanted)
        assert truth.image_hw == HW
        assert truth.boxes_xyxy.tolist() == [[float(v) for v in BOX]]
    assert not report.leftovers.images
    assert not report.leftovers.labels


def test_the_documented_table_is_what_the_tests_measure(repo_root):
    text = (repo_root / DOCUMENT).read_text(encoding="utf-8")
    # The page's first table; another one is of the columns of lists.
    table = text[text.index("\n| `") :].lstrip("\n").partition("\n\n")[0]
    rows = [line for line in table.splitlines() if line.startswith("| `")]
    listed = {tuple(cell.strip() for cell in row.strip("|").split("|")[:2]) for row in rows}
    assert listed == {(f"`{source.layout}`", source.kind) for source in SOURCES}
    for row in rows:
        cells = [cell.strip() for cell in row.strip("|").split("|")]
        holes = next(s.holes for s in SOURCES if (f"`{s.layout}`", s.kind) == tuple(cells[:2]))
        assert cells[2] == "exact"
        assert (cells[3] == "kept") == holes


STRAY_IMAGE = [s for s in SOURCES if s.layout not in ("yolo", "deeppcb", "dagm", "pairs")]


@pytest.mark.parametrize("source", STRAY_IMAGE, ids=name_of)
def test_an_image_without_a_label_is_not_lost_quietly(tmp_path, source):
    from benchmarks.sources import picture, put

    root = tmp_path / "source"
    root.mkdir()
    source.write(root)
    put(root / "more" / "stray.png", picture(99))
    if source.layout == "class-masks" and source.kind == "masks":
        with pytest.raises(InputError, match=r"stray.png has no mask"):
            convert(root, tmp_path / "out", ConvertOptions(folds=2))
        return
    with pytest.raises(InputError, match=r"1 of \d+ images .*stray.png.*--allow-leftovers"):
        convert(root, tmp_path / "out", ConvertOptions(folds=2))
    report = convert(root, tmp_path / "out", ConvertOptions(folds=2, allow_leftovers=True))
    assert report.leftovers.images == ["more/stray.png"]


@pytest.mark.parametrize(
    "layout", ["coco", "labelme", "label-studio", "cvat", "voc", "supervisely", "class-masks"]
)
def test_unlabeled_images_are_good_where_a_person_says_so(tmp_path, layout):
    from benchmarks.sources import picture, put

    source = next(s for s in SOURCES if s.layout == layout)
    root = tmp_path / "source"
    root.mkdir()
    source.write(root)
    put(root / "more" / "stray.png", picture(99))
    options = ConvertOptions(folds=2, find=FindOptions(no_mask_is_good=True))
    convert(root, tmp_path / "out", options)
    assert load_dataset(tmp_path / "out").by_id["more/stray"].defect_type == "good"


@pytest.mark.parametrize("source", SOURCES, ids=name_of)
def test_a_label_that_belongs_to_nothing_is_an_error(tmp_path, source):
    root = tmp_path / "source"
    root.mkdir()
    source.write(root)
    label = root / "more" / "stray.txt"
    label.parent.mkdir()
    label.write_text("0 0.5 0.5 0.25 0.25\n")
    if source.layout == "deeppcb":
        label = label.rename(label.with_suffix(".json"))
        label.write_text('{"shapes": []}')
    with pytest.raises(InputError, match=r"1 label files .*stray\.(txt|json)"):
        convert(root, tmp_path / "out", ConvertOptions(folds=2))
    report = convert(root, tmp_path / "out", ConvertOptions(folds=2, allow_leftovers=True))
    assert len(report.leftovers.labels) == 1
