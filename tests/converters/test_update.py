"""A dataset that grows: exact labels, no image that moves, whole or not at all."""

import contextlib
import hashlib
import json
import shutil
from dataclasses import replace
from pathlib import Path
from unittest.mock import patch

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from annotations import InputError, OutputExistsError, UsageError, load_dataset
from annotations.dataset import load_version
from annotations.locks import hold_lock
from annotations.placing import find_leaks, sides_of
from annotations.samples import safe_name
from annotations.version_files import (
    READY_FOLDER,
    TEXTURES_FILE,
    chain_problems,
    read_record,
    state_path,
)
from converters import ConvertOptions, FindOptions, convert, new_reshots
from converters.check import check_dataset
from converters.comparing import compare_versions, label_of
from converters.moving import UPDATE_LOCK
from converters.new_reshots import KnownTextures, layers_of
from converters.reshots import Reshot, textures_of, zooms_of
from converters.synthetic import SyntheticConfig, draw_category
from converters.update_options import UpdateOptions
from converters.updating import update

CONFIG = SyntheticConfig(n_train_good=9, n_test_good=6, n_per_type=6, image_hw=(48, 48))
OPTIONS = ConvertOptions(folds=2, find_groups=False)


@pytest.fixture(scope="session")
def drawn(tmp_path_factory) -> Path:
    return draw_category(tmp_path_factory.mktemp("drawn"), CONFIG)


def tree(folder: Path) -> dict[str, str]:
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def part_of(drawn: Path, target: Path, share: slice) -> Path:
    """A batch of a drawn category: some images of every folder, with their masks."""
    for folder in sorted((drawn).glob("*/*")):
        if folder.parent.name == "ground_truth":
            continue
        for path in sorted(folder.glob("*.png"))[share]:
            put(drawn, path, target)
    return target


def put(drawn: Path, path: Path, target: Path) -> None:
    for one in (path, mask_of(drawn, path)):
        if one.is_file():
            place = target / one.relative_to(drawn)
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(one, place)


def mask_of(drawn: Path, path: Path) -> Path:
    return drawn / "ground_truth" / path.parent.name / f"{path.stem}_mask.png"


@pytest.fixture
def grown(tmp_path, drawn) -> Path:
    """A dataset of a first batch; the second waits beside it."""
    convert(part_of(drawn, tmp_path / "one", slice(0, 4)), tmp_path / "out", OPTIONS)
    part_of(drawn, tmp_path / "two", slice(4, None))
    return tmp_path / "out"


def labels_by_bytes(root: Path) -> dict[str, object]:
    dataset = load_dataset(root)
    return {s.sha256: label_of(dataset, s.image_id) for s in dataset.samples}


def require_honest(root: Path) -> None:
    """No part on two sides, every file proved, the versions chained."""
    dataset = load_dataset(root)
    assert not find_leaks(sides_of(dataset.split), {s.image_id: s.group for s in dataset.samples})
    assert check_dataset(dataset, reshots=False).problems == ()
    assert chain_problems(root) == []


def relabel(batch: Path, name: str, old: str, new: str) -> None:
    """Move an image of a batch to another class."""
    for one, other in (
        (f"test/{old}/{name}.png", f"test/{new}/{name}x.png"),
        (f"ground_truth/{old}/{name}_mask.png", f"ground_truth/{new}/{name}x_mask.png"),
    ):
        (batch / other).parent.mkdir(parents=True, exist_ok=True)
        (batch / one).rename(batch / other)


def test_a_second_batch_gives_the_labels_of_a_conversion_of_both(tmp_path, drawn, grown):
    before = sides_of(load_dataset(grown).split)
    done = update(grown, tmp_path / "two", UpdateOptions(by="anna", message="week 2"))
    convert(drawn, tmp_path / "whole", OPTIONS)
    assert labels_by_bytes(grown) == labels_by_bytes(tmp_path / "whole")
    after = sides_of(load_dataset(grown).split)
    for old, new in zip(before, after, strict=True):
        assert {i: new[i] for i in old} == old
    assert done.version is not None
    assert done.version == load_dataset(grown).version
    assert done.version.number == 2
    assert sum(done.counts["added"].values()) == 33 - len(before[0]) == len(done.ids["added"])
    record = read_record(grown, 2)
    assert (record["by"], record["message"]) == ("anna", "week 2")
    assert record["previous"] == read_record(grown, 1)["digest"]
    assert record["split_digest"] == load_dataset(grown).split.digest
    require_honest(grown)


def test_new_parts_are_dealt_evenly_by_type(tmp_path, grown):
    update(grown, tmp_path / "two")
    dataset = load_dataset(grown)
    for kind in dataset.class_names:
        counts = [
            sum(s.defect_type == kind for s in dataset.select(fold.test))
            for fold in dataset.split.folds
        ]
        assert max(counts) - min(counts) <= 1, (kind, counts)
        assert sum(counts) == 6


def test_the_same_again_is_no_version(tmp_path, grown):
    update(grown, tmp_path / "two")
    before = tree(grown)
    again = update(grown, tmp_path / "two")
    assert not again.changed
    assert again.version is not None
    assert again.version.number == 2
    assert tree(grown) == before


def test_a_dry_run_changes_nothing_and_says_what_would_be(tmp_path, grown):
    before = tree(grown)
    would = update(grown, tmp_path / "two", UpdateOptions(dry_run=True))
    assert tree(grown) == before
    did = update(grown, tmp_path / "two")
    assert (would.counts, would.ids, dict(would.placed)) == (did.counts, did.ids, dict(did.placed))
    assert would.record["split_digest"] == did.record["split_digest"]


def test_a_corrected_label_is_replaced_in_place(tmp_path, drawn, grown):
    fixed = tmp_path / "fixed"
    put(drawn, drawn / "test" / "broken_large" / "001.png", fixed)
    relabel(fixed, "001", "broken_large", "contamination")
    before = load_dataset(grown)
    done = update(grown, fixed)
    after = load_dataset(grown)
    assert done.ids["relabelled"] == ["broken_large/001"]
    assert after.by_id["broken_large/001"].defect_type == "contamination"
    assert after.split.folds == before.split.folds
    assert not (grown / "masks" / "broken_large" / "broken_large__001.png").exists()
    mask = cv2.imread(str(grown / "masks" / "contamination" / "broken_large__001.png"), -1)
    source = cv2.imread(str(mask_of(drawn, drawn / "test" / "broken_large" / "001.png")), -1)
    assert np.array_equal(mask, (source > 0) * 3)
    found = compare_versions(grown, 1, 2)
    assert list(found.relabelled) == ["broken_large/001"]
    old, new = found.relabelled["broken_large/001"]
    assert old.replace("broken_large", "contamination") == new
    assert not found.moved
    require_honest(grown)


def test_removed_images_are_kept_once_and_come_back(tmp_path, grown):
    listed = tmp_path / "gone.txt"
    listed.write_text("broken_small/002\n\ntrain/good/001\n", encoding="utf-8")
    first = load_dataset(grown)
    update(grown, options=UpdateOptions(remove=listed))
    assert "broken_small/002" not in load_dataset(grown).by_id
    kept = sorted(p.stem for p in (grown / "versions" / "images").iterdir())
    assert kept == sorted(first.by_id[i].sha256 for i in ("broken_small/002", "train/good/001"))
    require_honest(grown)
    old = load_version(grown, 1)
    assert all(s.image_path.is_file() for s in old.samples)
    done = update(grown, options=UpdateOptions(restore=1))
    assert done.version is not None
    assert done.version.number == 3
    now = load_dataset(grown)
    assert (now.split, now.samples) == (first.split, first.samples)
    assert labels_by_bytes(grown) == {s.sha256: label_of(first, s.image_id) for s in first.samples}
    assert not list((grown / "versions" / "images").iterdir())
    require_honest(grown)


def test_an_image_that_comes_back_from_the_source_has_its_old_sides(tmp_path, grown):
    listed = tmp_path / "gone.txt"
    listed.write_text("broken_small/002\n", encoding="utf-8")
    first = load_dataset(grown)
    update(grown, options=UpdateOptions(remove=listed))
    done = update(grown, tmp_path / "one")
    assert done.ids["added"] == ["broken_small/002"]
    assert load_dataset(grown).split == first.split
    require_honest(grown)


def test_a_class_gets_a_new_name_or_is_merged(tmp_path, grown):
    update(grown, options=UpdateOptions(rename={"broken_small": "chip"}))
    dataset = load_dataset(grown)
    assert dataset.class_names == ("broken_large", "chip", "contamination")
    assert dataset.by_id["broken_small/000"].defect_type == "chip"
    assert (grown / "masks" / "chip" / "broken_small__000.png").is_file()
    require_honest(grown)
    done = update(grown, options=UpdateOptions(rename={"chip": "broken_large"}))
    dataset = load_dataset(grown)
    assert dataset.class_names == ("broken_large", "chip", "contamination")
    assert dataset.truths["broken_small/000"].labels.tolist() == [0] * len(
        dataset.truths["broken_small/000"]
    )
    assert any("chip was merged into broken_large" in note for note in done.notes)
    require_honest(grown)
    again = update(grown, options=UpdateOptions(rename={"chip": "broken_large"}))
    assert not again.changed


def test_a_new_class_is_appended(tmp_path, drawn, grown):
    extra = tmp_path / "extra"
    put(drawn, drawn / "test" / "broken_large" / "005.png", extra)
    relabel(extra, "005", "broken_large", "a_new_one")
    update(grown, extra)
    dataset = load_dataset(grown)
    assert dataset.class_names == ("broken_large", "broken_small", "contamination", "a_new_one")
    assert set(dataset.truths["a_new_one/005x"].labels.tolist()) == {3}
    require_honest(grown)


class Killed(BaseException):
    """Not an error: the process is gone."""


@pytest.mark.parametrize(
    "at", [0, 3, 12, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31, 40, 55, 70, 10**6]
)
def test_killed_anywhere_and_called_again_is_the_same(tmp_path, grown, monkeypatch, at):
    listed = tmp_path / "gone.txt"
    listed.write_text("broken_small/002\ntrain/good/001\n", encoding="utf-8")
    options = UpdateOptions(remove=listed, by="b")
    whole = tmp_path / "whole"
    shutil.copytree(grown, whole, symlinks=True)
    update(whole, tmp_path / "two", options)
    steps = 0
    real = Path.replace

    def replace_or_die(self, target):
        nonlocal steps
        steps += 1
        if steps == at + 1:
            raise Killed
        return real(self, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", replace_or_die)
        with contextlib.suppress(Killed):
            update(grown, tmp_path / "two", options)
    # All moments are met: before it counts, while it is moved, and after.
    assert (steps == at + 1) == (at < 10**6)
    if (grown / READY_FOLDER).exists():
        with pytest.raises(InputError, match="defectune update"):
            load_dataset(grown)
    else:
        load_dataset(grown)
    update(grown, tmp_path / "two", options)
    assert load_dataset(grown).split == load_dataset(whole).split
    assert labels_by_bytes(grown) == labels_by_bytes(whole)
    same = {"annotations", "masks", "yolo"}
    one, other = (
        {name: d for name, d in tree(root).items() if name.split("/")[0] in same}
        for root in (grown, whole)
    )
    assert one == other
    assert load_dataset(grown).version.number == 2
    assert not list(grown.glob(".update-*"))
    require_honest(grown)


def test_two_at_once_are_locked(tmp_path, grown):
    def refused(who: str) -> Exception:
        return AssertionError(who)

    with (
        hold_lock(grown / UPDATE_LOCK, refused),
        pytest.raises(OutputExistsError, match=r"is being updated .*one at a time"),
    ):
        update(grown, tmp_path / "two")


def test_one_file_with_two_labels_in_a_batch(tmp_path, drawn, grown):
    batch = tmp_path / "batch"
    put(drawn, drawn / "test" / "broken_large" / "005.png", batch)
    for folder, suffix in (("test", ""), ("ground_truth", "_mask")):
        (batch / folder / "contamination").mkdir(parents=True)
        shutil.copyfile(
            batch / folder / "broken_large" / f"005{suffix}.png",
            batch / folder / "contamination" / f"777{suffix}.png",
        )
    before = tree(grown)
    with pytest.raises(InputError, match=r"with two labels: .*005\.png and .*777\.png"):
        update(grown, batch)
    assert tree(grown) == before


@pytest.mark.parametrize(("size", "says"), [(40, "another size"), (48, "other pixels")])
def test_another_image_under_an_old_name(tmp_path, grown, size, says):
    batch = tmp_path / "batch" / "train" / "good"
    batch.mkdir(parents=True)
    pixels = np.random.default_rng(1).integers(0, 255, (size, size, 3), np.uint8)
    cv2.imwrite(str(batch / "000.png"), pixels)
    with pytest.raises(InputError, match=says):
        update(grown, tmp_path / "batch")
    done = update(grown, tmp_path / "batch", UpdateOptions(prefix="week2"))
    assert done.ids["added"] == ["week2/train/good/000"]
    require_honest(grown)


def test_the_same_picture_in_another_file_is_matched_by_name(tmp_path, drawn, grown):
    batch = tmp_path / "batch"
    put(drawn, drawn / "test" / "broken_large" / "001.png", batch)
    path = batch / "test" / "broken_large" / "001.png"
    cv2.imwrite(str(path), cv2.imread(str(path)), [cv2.IMWRITE_PNG_COMPRESSION, 0])
    mask = batch / "ground_truth" / "broken_large" / "001_mask.png"
    pixels = cv2.imread(str(mask), -1)
    pixels[:4, :4] = 255
    cv2.imwrite(str(mask), pixels)
    done = update(grown, batch)
    assert done.ids["relabelled"] == ["broken_large/001"]
    assert any("matched by name" in note for note in done.notes)
    assert read_record(grown, 2)["matched_by_name"] == ["broken_large/001"]
    require_honest(grown)


def test_the_last_of_a_side_stays(tmp_path, grown):
    dataset = load_dataset(grown)
    fold = dataset.split.folds[0]
    good = [s.image_id for s in dataset.select(fold.test) if not s.is_defective]
    listed = tmp_path / "gone.txt"
    listed.write_text("\n".join(good), encoding="utf-8")
    with pytest.raises(InputError, match="the last good test image of fold 0"):
        update(grown, options=UpdateOptions(remove=listed))


def test_a_whole_type_may_go_and_keeps_its_number(tmp_path, grown):
    dataset = load_dataset(grown)
    chips = [s.image_id for s in dataset.samples if s.defect_type == "broken_small"]
    listed = tmp_path / "gone.txt"
    listed.write_text("\n".join(chips), encoding="utf-8")
    done = update(grown, options=UpdateOptions(remove=listed))
    assert "no image of broken_small is left; the class keeps its number" in done.notes
    assert load_dataset(grown).class_names == dataset.class_names
    require_honest(grown)


def test_a_version_that_was_deleted_by_hand(tmp_path, grown):
    update(grown, tmp_path / "two")
    state_path(grown, 1).unlink()
    (grown / "versions" / "0001.json").unlink()
    problems = check_dataset(load_dataset(grown), reshots=False).problems
    assert any("version 1 was deleted" in problem for problem in problems)
    with pytest.raises(InputError, match=r"Version 1 of .* was deleted"):
        compare_versions(grown, 1, 2)
    update(grown, options=UpdateOptions(rename={"broken_small": "chip"}))
    assert load_dataset(grown).version.number == 3


def test_the_newest_version_that_was_deleted_by_hand(tmp_path, grown):
    update(grown, tmp_path / "two")
    update(grown, options=UpdateOptions(rename={"broken_small": "chip"}))
    state_path(grown, 3).unlink()
    (grown / "versions" / "0003.json").unlink()
    with pytest.raises(InputError, match="--restore 2"):
        update(grown, tmp_path / "two")
    update(grown, options=UpdateOptions(restore=2))
    assert load_dataset(grown).class_names == ("broken_large", "broken_small", "contamination")
    assert chain_problems(grown) == []


def test_a_changed_record_does_not_chain(tmp_path, grown):
    update(grown, tmp_path / "two")
    path = grown / "versions" / "0001.json"
    record = json.loads(path.read_text())
    record["by"] = "somebody"
    path.write_text(json.dumps(record))
    assert any("is not the record of version 1" in problem for problem in chain_problems(grown))


def test_a_source_that_overlaps_with_the_dataset(grown):
    for source in (grown, grown / "yolo", grown.parent):
        with pytest.raises(InputError, match="lie in each other"):
            update(grown, source)


def test_nothing_to_do_is_a_wrong_call(grown):
    with pytest.raises(UsageError, match="give SRC"):
        update(grown)


def test_classes_are_never_matched_by_number(tmp_path, drawn, grown):
    batch = tmp_path / "batch"
    (batch / "images").mkdir(parents=True)
    (batch / "labels").mkdir()
    shutil.copyfile(drawn / "test" / "broken_large" / "005.png", batch / "images" / "n.png")
    (batch / "labels" / "n.txt").write_text("0 0.5 0.5 0.25 0.25\n")
    with pytest.raises(InputError, match="Numbers are not matched"):
        update(grown, batch, UpdateOptions(convert=ConvertOptions(layout="yolo")))


@pytest.mark.parametrize("to", ["train", "test", "folds"])
def test_new_parts_go_where_they_are_sent(tmp_path, grown, to):
    done = update(grown, tmp_path / "two", UpdateOptions(to=to))
    sides = sides_of(load_dataset(grown).split)
    for image_id in done.ids["added"]:
        there = [fold[image_id] for fold in sides]
        if to == "train":
            assert set(there) <= {"train", "val"}
        else:
            assert there.count("test") == 1
            others = {side for side in there if side != "test"}
            assert others <= ({"left_out"} if to == "test" else {"train", "val"})
    require_honest(grown)


def coco(folder: Path, entries: dict[str, tuple[np.ndarray, str]]) -> Path:
    """A COCO source: by file name, pixels and type; defects are a box of their own."""
    folder.mkdir(parents=True, exist_ok=True)
    kinds = sorted({kind for _, kind in entries.values()} | {"chip", "dent"} - {"good"})
    kinds = [kind for kind in kinds if kind != "good"]
    images, rows = [], []
    for number, (name, (pixels, kind)) in enumerate(entries.items(), start=1):
        cv2.imwrite(str(folder / name), pixels)
        height, width = pixels.shape[:2]
        images.append({"id": number, "file_name": name, "width": width, "height": height})
        if kind != "good":
            corner = 1 + kinds.index(kind)
            outline = [corner, 1, corner + 4, 1, corner + 4, 6, corner, 6]
            rows.append(
                {"id": number, "image_id": number, "category_id": kinds.index(kind) + 1,
                 "segmentation": [outline], "bbox": [corner, 1, 4, 5]}
            )  # fmt: skip
    document = {
        "images": images,
        "annotations": rows,
        "categories": [{"id": n, "name": kind} for n, kind in enumerate(kinds, start=1)],
    }
    (folder / "labels.json").write_text(json.dumps(document))
    return folder


def noise(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 255, (16, 16, 3), np.uint8)


READ = ConvertOptions(
    folds=2,
    layout="coco",
    group_by=r"(part\d+)",
    find=FindOptions(no_mask_is_good=True),
)


@pytest.fixture
def parts(tmp_path) -> Path:
    """Twelve parts, told by their names: four good, four chipped, four dented."""
    entries = {f"part{n}-a.png": (noise(n), ("good", "chip", "dent")[n % 3]) for n in range(12)}
    convert(coco(tmp_path / "source", entries), tmp_path / "out", READ)
    return tmp_path / "out"


def test_a_new_photograph_of_a_known_part_goes_where_its_part_is(tmp_path, parts):
    before = sides_of(load_dataset(parts).split)
    new = {f"part{n}-b.png": (noise(100 + n), ("good", "chip", "dent")[n % 3]) for n in range(12)}
    options = UpdateOptions(convert=replace(READ, group_by=None))
    done = update(parts, coco(tmp_path / "two", new), options)
    assert len(done.ids["added"]) == 12
    dataset = load_dataset(parts)
    for old, fold in zip(before, sides_of(dataset.split), strict=True):
        for n in range(12):
            assert fold[f"part{n}-b"] == fold[f"part{n}-a"] == old[f"part{n}-a"]
    require_honest(parts)


@pytest.fixture
def bridged(tmp_path, parts, monkeypatch) -> tuple[Path, Path, list[str]]:
    """A new image that the search finds to show a part of fold 0 and one of fold 1."""
    dataset = load_dataset(parts)
    tested = [fold.test[0] for fold in dataset.split.folds]
    source = coco(tmp_path / "two", {"bridge.png": (noise(200), "chip")})

    def find(paths, digests, new, known, progress=None):
        stems = [path.stem for path in paths]
        return [
            Reshot(*sorted((stems.index("bridge"), stems.index(safe_name(one)))), 0.9)
            for one in tested
        ]

    monkeypatch.setattr("converters.leaks.find_new_reshots", find)
    run = parts / "runs" / "first"
    run.mkdir(parents=True)
    (run / "config.yaml").write_text(f"split_digest: {dataset.split.digest}\n")
    other = parts / "runs" / "other"
    other.mkdir()
    (other / "config.yaml").write_text(f"split_digest: {'0' * 64}\n")
    return parts, source, tested


BRIDGE = replace(READ, group_by=None, find_groups=True)


def test_a_late_leak_is_refused_with_images_and_runs(bridged):
    root, source, tested = bridged
    before = tree(root)
    with pytest.raises(InputError) as caught:
        update(root, source, UpdateOptions(convert=BRIDGE))
    text = str(caught.value)
    assert f"bridge shows that {tested[0]} and {tested[1]} are one part" in text
    assert "Trained on the one and tested on the other: first (fold 0), first (fold 1)." in text
    assert "other" not in text.partition("Trained on")[2].partition("Nothing")[0].replace(
        "the other", ""
    )
    assert all(way in text for way in ("--leave-out", "--remove", "--group-by"))
    assert tree(root) == before


def test_a_late_leak_is_left_out_of_training(bridged):
    root, source, tested = bridged
    before = sides_of(load_dataset(root).split)
    update(root, source, UpdateOptions(convert=BRIDGE, leave_out=True))
    dataset = load_dataset(root)
    sides = sides_of(dataset.split)
    assert [fold["bridge"] for fold in sides] == ["test", "left_out"]
    for number, fold in enumerate(sides):
        assert fold[tested[number]] == "test"
        assert fold[tested[1 - number]] == "left_out"
        rest = set(before[number]) - set(tested)
        assert {i: fold[i] for i in rest} == {i: before[number][i] for i in rest}
    leaks = read_record(root, 2)["late_leaks"]
    assert [(leak["fold"], leak["tested"], leak["trained"]) for leak in leaks] == [
        (0, [tested[0]], [tested[1]]),
        (1, [tested[1]], [tested[0]]),
    ]
    assert all(leak["runs"] == ["first"] and leak["shown_by"] == ["bridge"] for leak in leaks)
    require_honest(root)


def test_a_dataset_is_whole_after_an_update_that_kept_textures(drawn, tmp_path):
    base = part_of(drawn, tmp_path / "base", slice(0, 4))
    root = tmp_path / "out"
    convert(base, root, ConvertOptions(folds=2, find_groups=True))
    more = part_of(drawn, tmp_path / "more", slice(4, 6))
    done = update(root, more, UpdateOptions(convert=ConvertOptions(find_groups=True)))
    assert done.changed
    assert (root / TEXTURES_FILE).is_file()
    assert check_dataset(load_dataset(root)).problems == ()
    assert str(TEXTURES_FILE) not in (root / "manifest.json").read_text()
    # docs/grow.md says that it may be removed.
    (root / TEXTURES_FILE).unlink()
    assert check_dataset(load_dataset(root)).problems == ()


def test_the_first_update_reads_textures_of_new_images_only(drawn, tmp_path):
    base = part_of(drawn, tmp_path / "base", slice(0, 4))
    more = part_of(drawn, tmp_path / "more", slice(4, 6))
    root = tmp_path / "out"
    convert(base, root, ConvertOptions(folds=2, find_groups=True))
    there = {sample.sha256 for sample in load_dataset(root).samples}
    known = KnownTextures.open(root / TEXTURES_FILE, layers_of(len(there)))
    assert set(known.of) == there
    sample = load_dataset(root).samples[0]
    expected = np.stack(textures_of(sample.image_path, zooms_of(0))).astype("<f2")
    np.testing.assert_array_equal(known.of[sample.sha256], expected)
    with patch.object(new_reshots, "textures_of", wraps=textures_of) as reading:
        done = update(root, more, UpdateOptions(convert=ConvertOptions(find_groups=True)))
    assert reading.call_count == len(done.ids["added"]) > 0


def test_no_textures_are_kept_where_none_are_compared(drawn, tmp_path):
    convert(drawn, tmp_path / "out", ConvertOptions(folds=2, find_groups=False))
    assert not (tmp_path / "out" / TEXTURES_FILE).exists()


KINDS = ("good", "chip", "dent")
steps = st.lists(
    st.tuples(
        st.dictionaries(st.integers(0, 25), st.sampled_from(KINDS), max_size=4),
        st.lists(st.integers(0, 25), max_size=2, unique=True),
    ),
    min_size=1,
    max_size=4,
)


@settings(max_examples=25)
@given(steps=steps)
def test_any_updates_equal_a_conversion_of_what_is_left(tmp_path_factory, steps):
    """Images 2n and 2n + 1 show one part."""
    folder = tmp_path_factory.mktemp("drawn")

    def entry(n: int, kind: str) -> tuple[str, tuple[np.ndarray, str]]:
        return f"part{n // 2}-{n}.png", (noise(n), kind)

    now = {n: KINDS[n % 3] for n in range(14)}
    root = folder / "out"
    convert(coco(folder / "first", dict(entry(*one) for one in now.items())), root, READ)
    sides = sides_of(load_dataset(root).split)
    for number, (given_now, gone) in enumerate(steps):
        gone = [n for n in gone if n in now]
        listed = folder / f"{number}.txt"
        listed.write_text("\n".join(Path(entry(n, "")[0]).stem for n in gone))
        batch = coco(folder / f"s{number}", dict(entry(*one) for one in given_now.items()))
        try:
            update(
                root,
                batch if given_now else None,
                UpdateOptions(convert=replace(READ, group_by=None), remove=listed),
            )
        except InputError as error:
            assert "would take the last" in str(error)  # noqa: PT017
            continue
        now |= given_now
        now = {n: kind for n, kind in now.items() if n not in gone}
        after = sides_of(load_dataset(root).split)
        for old, new in zip(sides, after, strict=True):
            both = set(old) & set(new)
            assert {i: old[i] for i in both} == {i: new[i] for i in both}
            old.update(new)
    convert(coco(folder / "last", dict(entry(*one) for one in now.items())), folder / "whole", READ)
    assert labels_by_bytes(root) == labels_by_bytes(folder / "whole")
    require_honest(root)
