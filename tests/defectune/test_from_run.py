"""`train --from RUN`: each fold begins with that fold's old weights, and none judges itself."""

import shutil

import numpy as np
import pytest

import defectune as dt
from annotations import UsageError, read_image_rgb, write_png
from annotations.files import read_json
from annotations.later import read_predictions
from annotations.run_files import CLASSIFIER_FILE, SEGMENTER_WEIGHTS_FILE, fold_folder
from converters import ConvertOptions
from converters.synthetic import SyntheticConfig, draw_category
from segment.hybrid.starting import SHARES_FILE
from tests.drawn import drawn_dataset
from training import load_state_dict, read_run_config
from training.array_files import load_arrays
from training.parts import deal_groups

SMALL = {"weights": "none", "image_size": 64, "device": "cpu", "progress": False}
HEADS = {
    "method": "hybrid", "encoder": "resnet18", "image_size": 64, "epochs": 1, "width": 8,
    "views": 2, "heads": 2, "fewest_images": 8, "device": "cpu",
}  # fmt: skip
SUPERVISED = {"method": "supervised", "model": "resnet18"}


def train(root, name, epochs=1, **options):
    given = {**SMALL, **SUPERVISED, **options}
    if "from_run" in options:
        given.pop("weights")
    return dt.train(root, "classify", epochs=epochs, name=name, **given)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A dataset of two folds with the run `old` of a supervised classifier."""
    folder = tmp_path_factory.mktemp("from")
    root = drawn_dataset(folder)
    train(root, "old")
    return folder


@pytest.fixture
def root(made, tmp_path):
    shutil.copytree(made, tmp_path / "copy", symlinks=True)
    return tmp_path / "copy" / "dataset"


def test_a_fold_begins_with_its_old_weights(root):
    """With no epoch to learn in, the new run is the old one."""
    old = read_predictions(root / "runs" / "old", dt.load(root))
    run = train(root, "new", epochs=0, from_run="old")
    data = dt.load(root)
    assert read_predictions(run.path, data).raw_scores == old.raw_scores
    for fold in range(2):
        before, after = (
            load_arrays(fold_folder(root / "runs" / name, fold) / CLASSIFIER_FILE)
            for name in ("old", "new")
        )
        assert before.keys() == after.keys()
        for key, value in before.items():
            np.testing.assert_array_equal(value, after[key])
    said = read_run_config(run.path)["from"]
    assert said["run"] == "old"
    assert len(said["digest"]) == 64
    (row,) = dt.evaluate(root, run, progress=False).rows
    assert row.notes == (f"Each fold began with the weights of old ({said['digest'][:12]}…).",)
    # The same call goes on; another beginning is another run.
    train(root, "new", epochs=0, from_run="old")
    with pytest.raises(dt.DefectuneError, match=r"other settings \(.*from"):
        train(root, "new", epochs=0)


def test_new_images_are_learned_and_a_default_name_says_from_what(root, tmp_path):
    draw_category(
        tmp_path / "new",
        SyntheticConfig(n_train_good=2, n_test_good=2, n_per_type=2, image_hw=(64, 64), seed=7),
    )
    dt.update(
        root, tmp_path / "new" / "drawn_bottle", prefix="w", find_groups=False, progress=False
    )
    run = train(root, None, from_run="old", fold=0)
    assert run.name == "classify-resnet18-supervised-from-old"
    assert run.folds == (0,)


def test_what_does_not_fit_is_refused(root):
    with pytest.raises(UsageError, match=r"does not begin with weights.*are supervised"):
        dt.train(
            root, "classify", method="patch-memory", model="resnet18", from_run="old",
            image_size=64, progress=False,
        )  # fmt: skip
    with pytest.raises(UsageError, match="both say"):
        dt.train(root, "classify", from_run="old", weights="none", progress=False)
    with pytest.raises(UsageError, match="the run itself"):
        train(root, "old", from_run="old")
    with pytest.raises(dt.DefectuneError, match=r"its network is resnet18, and .* is resnet34"):
        train(root, "x", from_run="old", model="resnet34")
    with pytest.raises(dt.DefectuneError, match=r"its family is classify, .* is segment"):
        dt.train(root, "segment", method="unet", from_run="old", name="x", progress=False)
    with pytest.raises(dt.DefectuneError, match="no run 'none'"):
        train(root, "x", from_run="none")
    first = dt.load(root).class_names[0]
    dt.update(root, rename_class={first: "other"}, progress=False)
    with pytest.raises(
        dt.DefectuneError, match=f"it knows {first}, .* the dataset has other, which"
    ):
        train(root, "x", from_run="old")
    assert not (root / "runs" / "x").exists()


def test_a_model_that_learned_from_what_tests_it_is_refused(root, tmp_path):
    """A new photograph shows that a tested and a trained part are one."""
    data = dt.load(root)
    fold = data.split.folds[0]
    kind = data.class_names[0]
    tested = next(i for i in fold.test if data.by_id[i].defect_type == kind)
    trained = next(i for i in fold.train if data.by_id[i].defect_type == kind)
    for name, image_id in (("a", tested), ("b", trained)):
        image = read_image_rgb(data.by_id[image_id].image_path).copy()
        image[0, 0] ^= 1
        write_png(tmp_path / "shot" / kind / "part_1" / f"{name}.png", image)
    dt.update(
        root, tmp_path / "shot", layout="class-folders", prefix="again", group_by="part_1",
        find_groups=True, leave_out=True, progress=False,
    )  # fmt: skip
    now = dt.load(root)
    assert now.by_id[tested].group == now.by_id[trained].group
    with pytest.raises(
        dt.DefectuneError, match=r"fold 0 learned from the parts of \d+ images that are test"
    ) as caught:
        train(root, "new", from_run="old")
    assert tested in str(caught.value)
    assert not (root / "runs" / "new").exists()


@pytest.mark.parametrize(
    ("method", "settings"), [("unet", {"epochs": 1}), ("hybrid", {"epochs": 1})]
)
def test_segmenters_begin_with_their_old_weights(root, method, settings):
    kind = {"method": method, "encoder": "resnet18", **settings}
    dt.train(root, "segment", name="a", fold=0, **SMALL, **kind)
    run = dt.train(
        root, "segment", name="b", fold=0, from_run="a", **(SMALL | {"weights": None}), **kind,
        learning_rate=1e-12,
    )  # fmt: skip
    assert run.folds == (0,)
    old, new = (
        load_state_dict(fold_folder(root / "runs" / name, 0) / SEGMENTER_WEIGHTS_FILE)
        for name in ("a", "b")
    )
    assert old.keys() == new.keys()
    for key, value in old.items():
        # Steps are too small to be seen; what batches are normalized with follows the images.
        if value.is_floating_point() and "running" not in key:
            np.testing.assert_allclose(new[key], value, atol=1e-5, err_msg=key)


def test_old_shares_stay_and_new_parts_are_dealt_around_them():
    kinds, groups = ["chip"] * 6, list("abcdef")
    kept = {"a": 2, "b": 2, "c": 0}
    shares = deal_groups(kinds, groups, 3, kept).tolist()
    assert shares[:3] == [2, 2, 0]
    assert sorted(shares) == [0, 0, 1, 1, 2, 2]
    assert deal_groups(kinds, groups, 3).tolist() == deal_groups(kinds, groups, 3, {}).tolist()


def bridged_to_two_heads(root, tmp_path):
    """Update with a photograph of two trained parts that different heads were held out from."""
    data = dt.load(root)
    shares = read_json(fold_folder(root / "runs" / "a", 0) / SHARES_FILE, what="")
    train_ids = [i for i in data.split.folds[0].train if data.by_id[i].is_defective]
    first = train_ids[0]
    kind = data.by_id[first].defect_type
    second = next(
        i for i in train_ids if shares[i] != shares[first] and data.by_id[i].defect_type == kind
    )
    for name, image_id in (("a", first), ("b", second)):
        image = read_image_rgb(data.by_id[image_id].image_path).copy()
        image[0, 0] ^= 1
        write_png(tmp_path / "shot" / kind / "part_1" / f"{name}.png", image)
    done = dt.update(
        root, tmp_path / "shot", layout="class-folders", prefix="again", group_by="part_1",
        find_groups=True, progress=False,
    )  # fmt: skip
    assert done.changed
    now = dt.load(root)
    assert now.by_id[first].group == now.by_id[second].group
    return first, second


def test_a_head_that_learned_what_it_would_judge_is_refused(tmp_path):
    """Both parts are of the training side; yet each was learned by a head that is to judge it."""
    config = SyntheticConfig(n_train_good=6, n_test_good=4, n_per_type=8, image_hw=(64, 64))
    root = drawn_dataset(tmp_path, ConvertOptions(folds=2, find_groups=False), config)
    dt.train(root, "segment", name="a", fold=0, **HEADS, weights="none", progress=False)
    first, second = bridged_to_two_heads(root, tmp_path)
    with pytest.raises(
        dt.DefectuneError, match=r"fold 0 learned from the parts of \d+ images that are held-out"
    ) as caught:
        dt.train(root, "segment", name="b", fold=0, **HEADS, from_run="a", progress=False)
    assert "of 4 images" in str(caught.value)
    assert all(image_id in str(caught.value) for image_id in (first, second))
    assert not (fold_folder(root / "runs" / "b", 0) / SEGMENTER_WEIGHTS_FILE).exists()
    # Without it, the new part is one head's.
    dt.train(root, "segment", name="c", fold=0, **HEADS, weights="none", progress=False)
    shares = read_json(fold_folder(root / "runs" / "c", 0) / SHARES_FILE, what="")
    assert shares[first] == shares[second]


def test_a_run_that_began_with_another_is_not_refit(root, tmp_path):
    run = train(root, "new", epochs=0, from_run="old")
    with pytest.raises(
        dt.DefectuneError, match=r"runs/new began with the weights of old, .*Bundle the folds'"
    ):
        dt.bundle(run, tmp_path / "line", models="refit", progress=False)
    assert not (tmp_path / "line").exists()
    assert not (run.path / "refit").exists()
