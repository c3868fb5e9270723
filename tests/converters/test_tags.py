"""Tags that a report saved, brought into the dataset: no label changes."""

import csv
import json

import pytest

from annotations import InputError, UsageError, load_dataset
from annotations.placing import sides_of
from converters.comparing import label_of
from converters.tags import HEADER
from converters.update_options import UpdateOptions
from converters.updating import update
from tests.drawn import drawn_dataset

REGION = {"kind": "prediction", "run": "detect", "index": 2, "box_xyxy": [1, 2.5, 30, 40]}


def saved(of, path, tagged=(), of_regions=(), **changed):
    version = of.version
    value = {
        "format": "defectune-tags",
        "format_version": 1,
        "dataset": of.root.name,
        "split_digest": of.split.digest,
        "data_version": None if version is None else version.number,
        "data_digest": None if version is None else version.digest,
        "best": "detect",
        "images": [{"image_id": i, "tags": list(tags)} for i, tags in tagged],
        "regions": [{"image_id": i, "region": r, "tag": t} for i, r, t in of_regions],
    }
    path.write_text(json.dumps(value | changed), encoding="utf-8")
    return UpdateOptions(tags=path)


def rows_of(path):
    return list(csv.reader(path.read_text(encoding="utf-8").splitlines()))


def test_ignored_images_are_trained_on_no_more_and_all_else_is_a_worklist(tmp_path):
    root = drawn_dataset(tmp_path)
    before = load_dataset(root)
    options = saved(
        before,
        tmp_path / "tags.json",
        [("broken_small/001", ["ignore", "look again"]), ("good/000", ["wrong label"])],
        [("broken_small/001", REGION, "ignore")],
    )
    done = update(root, options=options)
    after = load_dataset(root)
    assert done.changed
    assert after.version is not None
    assert after.version.number == 2
    assert done.record["ignored"] == ["broken_small/001"]
    for old, new in zip(sides_of(before.split), sides_of(after.split), strict=True):
        was = old.pop("broken_small/001")
        assert new.pop("broken_small/001") == (was if was == "test" else "left_out")
        assert old == new
    labels = {i: label_of(before, i) for i in before.by_id}
    assert {i: label_of(after, i) for i in after.by_id} == labels
    small, good = before.by_id["broken_small/001"], before.by_id["good/000"]
    assert rows_of(tmp_path / "tags-worklist.csv") == [
        list(HEADER),
        [small.image_id, str(small.image_path), "broken_small", "look again", *[""] * 6],
        [good.image_id, str(good.image_path), "good", "wrong label", *[""] * 6],
        [
            small.image_id, str(small.image_path), "broken_small", "ignore",
            "prediction 2", "detect", "1", "2.5", "30", "40",
        ],
    ]  # fmt: skip
    said = " ".join(done.notes)
    assert "1 ignore, 1 look again, 1 wrong label; no label was changed" in said
    assert "ignored images left out of training from now on: 1; where" in said
    # The same file is of the version before: its tags are not applied twice.
    with pytest.raises(InputError, match=r"'dataset', split \w+; .*'dataset' at version 2, split"):
        update(root, options=options)


def test_a_worklist_alone_makes_no_version_and_a_dry_run_writes_nothing(tmp_path):
    root = drawn_dataset(tmp_path)
    options = saved(load_dataset(root), tmp_path / "t.json", [("good/001", ["missed defect"])])
    dry = UpdateOptions(tags=options.tags, dry_run=True)
    assert "1 missed defect" in " ".join(update(root, options=dry).notes)
    assert not (tmp_path / "t-worklist.csv").exists()
    for _ in range(2):
        assert not update(root, options=options).changed
    assert load_dataset(root).version is None
    assert [row[3] for row in rows_of(tmp_path / "t-worklist.csv")] == ["tag", "missed defect"]
    (tmp_path / "t-worklist.csv").write_text("done: good/001\n", encoding="utf-8")
    with pytest.raises(InputError, match="somebody may work with it"):
        update(root, options=options)
    assert (tmp_path / "t-worklist.csv").read_text(encoding="utf-8") == "done: good/001\n"


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"split_digest": "0" * 64}, "make a report of what is there now"),
        ({"data_digest": "1" * 64, "data_version": 4}, "'dataset' at version 4, split"),
        ({"dataset": "bolts", "split_digest": None}, "from a report of 'bolts', split None"),
        ({"format": "coco"}, "with format 'defectune-tags'"),
        ({"format_version": 2}, "format version 2"),
        ({"images": [{"image_id": "good/999", "tags": ["ignore"]}]}, "image 'good/999', which"),
        ({"images": [{"image_id": "good/001", "tags": ["bad"]}]}, "one of wrong label, missed"),
        ({"images": [{"image_id": "good/001", "tags": "ignore"}]}, "a list of tags"),
        ({"images": {"good/001": []}}, "images should be a list of objects"),
        ({"regions": [{"image_id": "good/001", "tag": "ignore"}]}, "box_xyxy of four numbers"),
    ],
)
def test_another_dataset_and_damaged_files_are_refused_by_name(tmp_path, changed, says):
    root = drawn_dataset(tmp_path)
    options = saved(load_dataset(root), tmp_path / "tags.json", **changed)
    with pytest.raises(InputError, match=says) as caught:
        update(root, options=options)
    assert "tags.json" in str(caught.value)
    assert load_dataset(root).version is None


def test_the_last_training_image_of_a_kind_is_not_ignored(tmp_path):
    root = drawn_dataset(tmp_path)
    dataset = load_dataset(root)
    good = [s.image_id for s in dataset.samples if not s.is_defective]
    options = saved(dataset, tmp_path / "tags.json", [(i, ["ignore"]) for i in good])
    with pytest.raises(InputError, match="to be removed or ignored would take the last good train"):
        update(root, options=options)
    with pytest.raises(UsageError, match="tags and unlabelled images come after it"):
        update(root, options=UpdateOptions(tags=options.tags, restore=1))
