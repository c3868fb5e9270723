"""Images without a label in a dataset: kept for prediction, and in no fold and no number."""

import hashlib
import json
import shutil
from dataclasses import replace
from pathlib import Path
from unittest.mock import patch

import cv2
import numpy as np
import pytest

from annotations import ImageReadError, InputError, OutputExistsError, UsageError, load_dataset
from annotations.dataset import COCO_ALL, SPLIT_FILE, load_version
from annotations.unlabelled import UNLABELLED_FILE, UNLABELLED_FOLDER
from annotations.version_files import current_version, read_record
from converters import ConvertOptions, convert, convert_several
from converters.check import check_dataset
from converters.exporting import export_dataset
from converters.moving import roll_forward
from converters.synthetic import SyntheticConfig, draw_category
from converters.update_options import UpdateOptions
from converters.updating import update

CONFIG = SyntheticConfig(n_train_good=9, n_test_good=6, n_per_type=6, image_hw=(48, 48))
OPTIONS = ConvertOptions(folds=2, find_groups=False)


@pytest.fixture(scope="session")
def drawn(tmp_path_factory) -> Path:
    return draw_category(tmp_path_factory.mktemp("drawn"), CONFIG)


@pytest.fixture
def waiting(tmp_path) -> Path:
    """Five images that nobody labelled: two of the same bytes, two of one name."""
    folder = tmp_path / "waiting"
    for number, name in enumerate(("monday/a.png", "tuesday/a.png", "b.JPG", "c.png")):
        put(folder / name, number)
    shutil.copyfile(folder / "c.png", folder / "d.png")
    return folder


def put(path: Path, seed: int, dtype=np.uint8) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, np.iinfo(dtype).max, (48, 48, 3), dtype)
    ok, data = cv2.imencode(path.suffix.lower(), pixels)
    assert ok
    path.write_bytes(data.tobytes())
    return path


def ids_of(root: Path) -> list[str]:
    return [image.image_id for image in load_dataset(root).unlabelled]


def asked(folder: Path, **more) -> UpdateOptions:
    return UpdateOptions(convert=replace(OPTIONS, unlabelled=folder), **more)


def digests(folder: Path) -> dict[str, str]:
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def labelled_as_scratch(images: list[Path], source: Path) -> Path:
    """A source that labels images, with a mask each."""
    for path in images:
        name = f"late_{path.parent.name}_{path.name}"
        place, mask = source / "test" / "scratch", source / "ground_truth" / "scratch"
        place.mkdir(parents=True, exist_ok=True)
        mask.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, place / name)
        pixels = np.zeros((48, 48), np.uint8)
        pixels[5:9, 7:12] = 255
        cv2.imwrite(str(mask / f"{Path(name).stem}_mask.png"), pixels)
    return source


def test_convert_keeps_them_apart_from_all_that_is_counted(tmp_path, drawn, waiting):
    plain = tmp_path / "plain"
    convert(drawn, plain, OPTIONS)
    shutil.copyfile(drawn / "test" / "good" / "000.png", waiting / "known.png")
    out = tmp_path / "out"
    report = convert(drawn, out, replace(OPTIONS, unlabelled=waiting))
    assert report.n_unlabelled == 4
    assert report.notes[-3:] == [
        "unlabelled images added: 4",
        "unlabelled images in the folder twice, and taken once: 1",
        "unlabelled images left out, since the dataset has them with a label: 1",
    ]
    dataset = load_dataset(out)
    assert [image.image_id for image in dataset.unlabelled] == [
        "b.JPG", "c.png", "monday/a.png", "tuesday/a.png",
    ]  # fmt: skip
    for image in dataset.unlabelled:
        assert image.image_path.parent == out / UNLABELLED_FOLDER
        assert image.image_path.is_symlink()
        assert image.sha256 == hashlib.sha256(image.image_path.read_bytes()).hexdigest()
        assert image.image_hw == (48, 48)
    assert "4 more without a label" in repr(dataset)
    # All that others read is what it is without them, to the last byte.
    other = digests(plain)
    there = {k: v for k, v in digests(out).items() if not k.startswith("unlabelled/")}
    assert {name for name in there if there[name] != other.get(name)} == {
        UNLABELLED_FILE.as_posix(), "conversion.json", "manifest.json",
    }  # fmt: skip
    assert load_dataset(plain).unlabelled == ()
    assert "more without a label" not in repr(load_dataset(plain))
    export_dataset(dataset, tmp_path / "exported", "coco")
    assert not [p for p in (tmp_path / "exported").rglob("*") if p.stem in ("a", "b", "c")]


def test_check_proves_them(tmp_path, drawn, waiting):
    out = tmp_path / "out"
    convert(drawn, out, replace(OPTIONS, unlabelled=waiting, copy_images=True))
    result = check_dataset(load_dataset(out), reshots=False)
    assert result.problems == ()
    assert ("unlabelled images, for prediction alone", "4") in result.facts
    put(out / UNLABELLED_FOLDER / "b.jpg", 99)
    (out / UNLABELLED_FOLDER / "c.png").unlink()
    put(out / UNLABELLED_FOLDER / "stray.png", 98)
    problems = check_dataset(load_dataset(out), reshots=False).problems
    assert len(problems) == 3
    assert "b.jpg was changed since it came" in problems[0]
    assert "c.png" in problems[1]
    assert "1 files in" in problems[2]
    assert "such as stray.png" in problems[2]


def test_update_without_a_source_makes_no_version(tmp_path, drawn, waiting):
    out = tmp_path / "out"
    convert(drawn, out, OPTIONS)
    before = digests(out)
    assert update(out, None, asked(waiting, dry_run=True)).changed
    assert digests(out) == before
    done = update(out, None, asked(waiting, prefix="week-2"))
    assert (done.changed, done.version, done.record) == (True, None, {})
    assert done.notes[0] == "unlabelled images added: 4"
    assert ids_of(out)[0] == "week-2/b.JPG"
    after = digests(out)
    assert after[COCO_ALL.as_posix()] == before[COCO_ALL.as_posix()]
    assert after[SPLIT_FILE.as_posix()] == before[SPLIT_FILE.as_posix()]
    again = update(out, None, asked(waiting, prefix="week-3"))
    assert not again.changed
    assert "unlabelled images there already: 5" in again.notes
    assert check_dataset(load_dataset(out), reshots=False).problems == ()


def test_another_photograph_of_an_old_name_gets_its_digest(tmp_path, drawn, waiting):
    out = tmp_path / "out"
    convert(drawn, out, replace(OPTIONS, unlabelled=waiting))
    new = put(tmp_path / "later" / "c.png", 50)
    update(out, None, asked(new.parent))
    digest = hashlib.sha256(new.read_bytes()).hexdigest()
    assert f"c-{digest[:12]}.png" in ids_of(out)
    assert "c.png" in ids_of(out)
    assert check_dataset(load_dataset(out), reshots=False).problems == ()


def test_a_label_takes_an_image_off_the_list_and_restoring_puts_it_back(tmp_path, drawn, waiting):
    out = tmp_path / "out"
    convert(drawn, out, replace(OPTIONS, unlabelled=waiting))
    source = labelled_as_scratch([waiting / "b.JPG", waiting / "monday/a.png"], tmp_path / "late")
    more = put(tmp_path / "more" / "e.png", 60)
    done = update(out, source, asked(more.parent))
    assert "2 of the unlabelled images have labels now" in done.notes
    assert read_record(out, 2)["unlabelled"] == {"came": 1, "labelled": 2}
    dataset = load_dataset(out)
    assert ids_of(out) == ["c.png", "e.png", "tuesday/a.png"]
    shas = {sample.sha256 for sample in dataset.samples}
    assert not shas & {image.sha256 for image in dataset.unlabelled}
    assert check_dataset(dataset, reshots=False).problems == ()
    assert len(load_version(out, 1).unlabelled) == 5
    # The label comes again with nothing new: no version, and nothing is counted twice.
    assert not update(out, source, asked(waiting)).changed
    update(out, None, UpdateOptions(restore=1))
    assert len(ids_of(out)) == 5
    assert check_dataset(load_dataset(out), reshots=False).problems == ()


def test_removed_is_removed_from_the_list_too(tmp_path, drawn, waiting):
    out = tmp_path / "out"
    convert(drawn, out, replace(OPTIONS, unlabelled=waiting))
    update(out, labelled_as_scratch([waiting / "b.JPG"], tmp_path / "late"), UpdateOptions(OPTIONS))
    labelled = next(i for i in load_dataset(out).by_id if "late_" in i)
    listed = tmp_path / "remove.txt"
    path = out / UNLABELLED_FOLDER / "monday__a.png"
    listed.write_text(f"c.png\n{labelled}\n{path}\n")
    done = update(out, None, UpdateOptions(OPTIONS, remove=listed))
    assert "2 images without a label were taken off the list" in done.notes
    assert ids_of(out) == ["tuesday/a.png"]
    assert [p.name for p in (out / UNLABELLED_FOLDER).iterdir()] == ["tuesday__a.png"]
    listed.write_text("tuesday/a.png\n")
    version = current_version(out)
    assert update(out, None, UpdateOptions(OPTIONS, remove=listed)).changed
    assert (ids_of(out), current_version(out)) == ([], version)
    assert check_dataset(load_dataset(out), reshots=False).problems == ()


def test_a_killed_update_is_finished_or_has_done_nothing(tmp_path, drawn, waiting):
    out = tmp_path / "out"
    convert(drawn, out, OPTIONS)
    before = digests(out)
    with (
        patch("converters.versions.finish", side_effect=KeyboardInterrupt),
        pytest.raises(KeyboardInterrupt),
    ):
        update(out, None, asked(waiting))
    assert {k: v for k, v in digests(out).items() if not k.startswith(".")} == before
    with (
        patch("converters.moving.roll_forward", side_effect=KeyboardInterrupt),
        pytest.raises(KeyboardInterrupt),
    ):
        update(out, None, asked(waiting))
    with pytest.raises(InputError, match="An update of"):
        load_dataset(out)
    assert roll_forward(out)
    assert len(ids_of(out)) == 4
    assert check_dataset(load_dataset(out), reshots=False).problems == ()


def test_images_of_16_bits_stand_there_as_labelled_ones_do(tmp_path, drawn):
    deep = put(tmp_path / "deep" / "x.png", 7, np.uint16)
    out = tmp_path / "out"
    convert(drawn, out, replace(OPTIONS, unlabelled=deep.parent))
    image = load_dataset(out).unlabelled[0]
    assert cv2.imread(str(image.image_path), cv2.IMREAD_UNCHANGED).dtype == np.uint8
    assert check_dataset(load_dataset(out), reshots=False).problems == ()
    assert not update(out, None, asked(deep.parent)).changed


def test_several_sources_tell_whose_they_are(tmp_path, drawn, waiting):
    two = draw_category(tmp_path / "line_2", replace(CONFIG, seed=5))
    out = tmp_path / "out"
    convert_several([drawn, two], out, replace(OPTIONS, unlabelled=waiting))
    assert {image.source for image in load_dataset(out).unlabelled} == {"waiting"}


@pytest.mark.parametrize("spoiled", ["broken", "empty", "missing", "a file", "the dataset"])
def test_bad_folders_are_refused_and_nothing_changes(tmp_path, drawn, spoiled):
    out, folder = tmp_path / "out", tmp_path / "folder"
    convert(drawn, out, OPTIONS)
    before = digests(out)
    folder.mkdir()
    expected, message = InputError, "holds no image"
    if spoiled == "broken":
        (folder / "a.png").write_bytes(b"\x89PNG\r\n\x1a\nno more")
        expected, message = ImageReadError, r"a\.png"
    elif spoiled == "missing":
        folder, message = tmp_path / "none", "should be a folder"
    elif spoiled == "a file":
        folder, message = put(folder / "a.png", 1), "should be a folder"
    elif spoiled == "the dataset":
        folder, message = out, "lie in each other"
    with pytest.raises(expected, match=message):
        update(out, None, asked(folder))
    assert digests(out) == before
    if spoiled != "the dataset":
        with pytest.raises(expected, match=message):
            convert(drawn, tmp_path / "other", replace(OPTIONS, unlabelled=folder))
        assert not (tmp_path / "other").exists()


def test_a_folder_in_the_source_would_be_read_as_a_class(tmp_path, drawn, waiting):
    source = tmp_path / "source"
    shutil.copytree(drawn, source)
    shutil.copytree(waiting, source / "test" / "waiting")
    inside = source / "test" / "waiting"
    with pytest.raises(UsageError, match="lies in the source"):
        convert(source, tmp_path / "out", replace(OPTIONS, unlabelled=inside))
    convert(drawn, tmp_path / "out", OPTIONS)
    with pytest.raises(UsageError, match="lies in the source"):
        update(tmp_path / "out", source, asked(inside))
    with pytest.raises(OutputExistsError, match="lies inside"):
        convert(drawn, waiting / "out", replace(OPTIONS, unlabelled=waiting))


def test_what_predict_wrote_is_passed_over(tmp_path, drawn, waiting):
    shutil.copytree(waiting, waiting / "verdicts" / "overlays")
    put(waiting / "verdicts" / "overlays" / "a.png", 70)
    (waiting / "verdicts" / "predictions.json").write_text("{}")
    report = convert(drawn, tmp_path / "out", replace(OPTIONS, unlabelled=waiting))
    assert report.n_unlabelled == 4
    assert "unlabelled images passed over, written by an earlier call of predict: 6" in report.notes


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("file_name", "split.json"),
        ("file_name", "unlabelled/../split.json"),
        ("file_name", "/etc/passwd"),
        ("sha256", "0"),
        ("height", 0),
        ("image_id", ""),
        ("image_id", "b.JPG"),
    ],
)
def test_a_damaged_list_is_refused(tmp_path, drawn, waiting, key, value):
    out = tmp_path / "out"
    convert(drawn, out, replace(OPTIONS, unlabelled=waiting))
    document = json.loads((out / UNLABELLED_FILE).read_text())
    document["images"][1][key] = value
    (out / UNLABELLED_FILE).write_text(json.dumps(document))
    with pytest.raises(InputError, match=r"unlabelled\.json"):
        load_dataset(out)
