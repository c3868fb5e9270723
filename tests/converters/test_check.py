"""`check` finds what was changed after conversion, and says in which file."""

import json

import numpy as np
import pytest

from annotations import InputError, load_dataset, write_png
from annotations.images import read_mask_raw
from annotations.version_files import TEXTURES_FILE
from converters import ConvertOptions, convert
from converters.check import check_dataset
from tests.drawn import drawn_dataset


@pytest.fixture
def root(tmp_path):
    return drawn_dataset(tmp_path)


def problems(root):
    return check_dataset(load_dataset(root)).problems


def test_a_fresh_dataset_is_whole(root):
    seen = []
    dataset = load_dataset(root)
    result = check_dataset(dataset, progress=lambda stage, total: seen.append((stage, total)))
    assert result.problems == ()
    assert dict(result.facts)["masks exact"] == "12 of 12"
    assert dict(result.facts)["of them compared with the source's masks"] == "12"
    assert ("images and labels", 22) in seen


def first(root, folder):
    return sorted(p for p in (root / folder).rglob("*") if p.is_file())[0]


def test_a_changed_image(root):
    dataset = load_dataset(root)
    path = dataset.samples[0].image_path.resolve()
    write_png(path, np.zeros((64, 64, 3), np.uint8))
    (problem,) = problems(root)
    assert "was changed after conversion" in problem
    path.write_bytes(b"")
    (problem,) = problems(root)
    assert "is empty (zero bytes)" in problem


def test_a_changed_label_and_a_changed_mask(root):
    label = next(p for p in sorted((root / "yolo/labels").glob("broken*")) if p.read_text())
    label.write_text(label.read_text().replace("0.", "0.1", 1))
    mask = first(root, "masks")
    pixels = np.asarray(read_mask_raw(mask)).copy()
    pixels[0, 0] ^= 1
    write_png(mask, pixels)
    found = problems(root)
    assert len(found) == 2
    assert str(label) in found[0] or str(label) in found[1]
    assert any(str(mask) in text for text in found)


def test_a_truth_that_was_edited_no_longer_matches_its_source(root):
    path = root / "annotations" / "all.json"
    document = json.loads(path.read_text())
    document["annotations"][0]["bbox"][2] += 1
    path.write_text(json.dumps(document))
    assert any("is not the box of its mask" in text for text in problems(root))
    document["annotations"].pop(0)
    document["images"][0]["defectune"]["label_strength"] = "image"
    path.write_text(json.dumps(document))
    found = problems(root)
    assert any("The class mask" in text for text in found)


def test_stale_and_foreign_files(root):
    (root / "yolo" / "labels" / "stranger.txt").write_text("0 0.5 0.5 1 1\n")
    (root / "yolo" / "labels.cache").write_text("not in a labels folder")
    (root / "timing.json").write_text("{}")
    (root / "more").mkdir()
    (root / "more" / "notes.txt").write_text("mine")
    (problem,) = problems(root)
    assert "4 files do not belong" in problem
    for name in ("stranger.txt", "yolo/labels.cache", "timing.json", "more/notes.txt"):
        assert name in problem


def test_lists_of_another_fold(root):
    (root / "yolo/fold-0/train.txt").write_text("./../images/nobody.png\n")
    (root / "annotations/fold-1/test.json").unlink()
    found = problems(root)
    assert len(found) == 2, found
    assert "train.txt lists 1 images" in found[1] or "train.txt lists 1 images" in found[0]


def test_a_group_on_two_sides_is_refused_when_read(root):
    path = root / "annotations" / "all.json"
    document = json.loads(path.read_text())
    ids = {image["defectune"]["image_id"]: image for image in document["images"]}
    split = json.loads((root / "split.json").read_text())["folds"][0]
    ids[split["test"][0]]["defectune"]["group"] = "one part"
    ids[split["train"][0]]["defectune"]["group"] = "one part"
    path.write_text(json.dumps(document))
    with pytest.raises(
        InputError, match=f"{split['train'][0]} is on the training side and {split['test'][0]}"
    ):
        load_dataset(root)


def test_a_part_that_was_shot_again_on_the_other_side(tmp_path):
    """Without groups, images of one part are dealt to both sides; the check sees it."""
    rng = np.random.default_rng(0)
    source = tmp_path / "source"
    for number in range(24):
        picture = rng.normal(128, 40, (64, 64))
        side = "train" if number < 12 else "test"
        write_png(source / side / "good" / f"{number:03d}.png", as_rgb(picture))
        if number == 0:
            again = picture * 0.7 + 30 + rng.normal(0, 2, picture.shape)
            write_png(source / "test" / "good" / "100.png", as_rgb(again))
    mask = np.zeros((64, 64), np.uint8)
    mask[5:9, 5:9] = 255
    for number in range(4):
        name = f"{number:03d}"
        write_png(source / "test/hole" / f"{name}.png", as_rgb(rng.normal(128, 40, (64, 64))))
        write_png(source / "ground_truth/hole" / f"{name}_mask.png", mask)
    convert(source, tmp_path / "leaky", ConvertOptions(folds=2, find_groups=False))
    (problem,) = problems(tmp_path / "leaky")
    assert "good/100 and train/good/000 seem to show one part" in problem
    assert not check_dataset(load_dataset(tmp_path / "leaky"), reshots=False).problems
    report = convert(source, tmp_path / "safe", ConvertOptions(folds=2))
    assert report.grouping.shared == [["good/100", "train/good/000"]]
    assert problems(tmp_path / "safe") == ()
    left_out = json.loads((tmp_path / "safe" / "split.json").read_text())["folds"]
    assert any("train/good/000" in fold["left_out"] for fold in left_out)


def as_rgb(picture):
    return np.repeat(np.clip(picture, 0, 255).astype(np.uint8)[..., None], 3, axis=2)


EDITS = {
    "a group": ("annotations/all.json", '"group": "', '"group": "x'),
    "a side": ("annotations/all.json", '"source_split": "train"', '"source_split": "test"'),
    "an area": ("annotations/all.json", '"area": ', '"area": 1'),
    "a class": ("annotations/fold-0/train.json", '"category_id": 1', '"category_id": 2'),
    "the seed": ("split.json", '"seed": 0', '"seed": 1'),
    "the report": ("conversion.json", '"images": 22', '"images": 23'),
    "the names in data.yaml": ("yolo/fold-0/data.yaml", "broken_large", "broken"),
    "a list": ("yolo/fold-0/train.txt", "../images", "../elsewhere/../images"),
}  # fmt: skip


@pytest.mark.parametrize("what", EDITS)
def test_every_edit_is_noticed(root, what):
    name, old, new = EDITS[what]
    path = root / name
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))
    assert any(name in problem or str(path) in problem for problem in problems(root))


def test_one_flipped_byte_in_any_file_is_noticed(root):
    dataset = load_dataset(root)
    # What only saves time is proved where it is read, and computed again.
    files = sorted(p for p in root.rglob("*") if p.is_file() and p.name != TEXTURES_FILE.name)
    rng = np.random.default_rng(0)
    for path in files:
        data = path.read_bytes()
        if not data:
            continue
        place = int(rng.integers(len(data)))
        changed = bytearray(data)
        changed[place] ^= 1
        path.write_bytes(bytes(changed))
        try:
            # What was read before the change stands for a change that still reads.
            assert check_dataset(dataset, reshots=False).problems, path
        finally:
            path.write_bytes(data)
    assert check_dataset(dataset, reshots=False).problems == ()


def test_a_missing_manifest_is_a_problem(root):
    (root / "manifest.json").unlink()
    (problem,) = problems(root)
    assert "manifest.json" in problem
