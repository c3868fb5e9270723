"""Runs of an earlier version of a dataset, evaluated on the newer one without training."""

import json
import shutil

import pytest
from sklearn.metrics import roc_auc_score

import defectune as dt
from annotations import read_image_rgb, write_png
from annotations.files import read_json
from annotations.later import catching, read_predictions
from converters.reshots import Reshot
from converters.synthetic import SyntheticConfig, draw_category
from defectune.cli import app
from tests.defectune.predicted import digests
from tests.drawn import drawn_dataset
from tests.line import CliRunner

NEW = SyntheticConfig(n_train_good=2, n_test_good=4, n_per_type=2, image_hw=(64, 64), seed=7)


def train(root, name="old", **options):
    return dt.train(
        root, "classify", method="patch-memory", model="resnet18", weights="none", image_size=64,
        device="cpu", name=name, progress=False, **options,
    )  # fmt: skip


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A dataset of two folds with the run `old`, and new images in `new`."""
    folder = tmp_path_factory.mktemp("later")
    root = drawn_dataset(folder)
    train(root)
    draw_category(folder / "new", NEW)
    return folder


@pytest.fixture
def grown(made, tmp_path):
    """The same, updated: what the run said before, and the dataset."""
    shutil.copytree(made, tmp_path / "copy", symlinks=True)
    root = tmp_path / "copy" / "dataset"
    before = read_predictions(root / "runs" / "old", dt.load(root))
    dt.update(
        root, made / "new" / "drawn_bottle", prefix="week-2", find_groups=False, progress=False
    )
    return root, before


def test_an_old_run_meets_new_images_without_training(grown):
    root, before = grown
    data, run = dt.load(root), root / "runs" / "old"
    own = digests(run)
    new = sorted(set(data.split.test_ids) - set(before.image_scores))
    assert len(new) == 4 + 2 * len(data.class_names)
    with pytest.raises(dt.DefectuneError, match=f"not yet predicted {len(new)} test images"):
        read_predictions(run, data)
    board = dt.evaluate(root, progress=False)
    assert board.n_images == len(data.split.test_ids)
    assert (board.rows[0].run, len(board.rows[0].notes)) == ("old", 1)
    said = board.rows[0].notes[0]
    assert said.startswith(
        f"Trained on version 1: {len(before.image_scores)} test images keep their predictions; "
        f"{len(new)} whose part is new to all by the mean of up to 2 models'"
    )
    stored = read_predictions(run, data)
    for image_id, score in before.image_scores.items():
        assert stored.image_scores[image_id] == score
    # Their parts are new to both models: the mean of both, each on its own calibrated scale.
    lines = [json.loads(line) for line in (run / "later/0002.jsonl").read_text().splitlines()]
    assert len(lines) == 2 * len(new)
    for image_id in new:
        scores = [line["image_score"] for line in lines if line["image_id"] == image_id]
        assert stored.image_scores[image_id] == sum(scores) / 2
        tested = next(n for n, f in enumerate(data.split.folds) if image_id in f.test)
        assert stored.fold_of[image_id] == tested
        assert stored.added[image_id] == (tested, 1 - tested)
        maps = stored.pixel_scores(image_id)
        assert maps is not None
        assert maps.shape == (64, 64)
    # Nothing of the run's own was touched, and nothing is predicted twice.
    after = digests(run)
    assert {name: after[name] for name in own} == own
    (run / "later/0002.jsonl").write_bytes((run / "later/0002.jsonl").read_bytes()[:-20])
    with pytest.raises(dt.DefectuneError, match="not yet predicted 1 test images"):
        read_predictions(run, data)
    again = dt.evaluate(root, progress=False)
    assert again.to_json() == board.to_json()
    assert read_json(root / "leaderboard.json", what="")["rows"][0]["run"] == "old"
    assert dt.report(root, progress=False).is_file()


def test_a_new_photograph_of_a_known_part_has_one_model(made, tmp_path):
    shutil.copytree(made, tmp_path / "copy", symlinks=True)
    root = tmp_path / "copy" / "dataset"
    data = dt.load(root)
    known = data.split.folds[1].test[0]
    # The same bytes but one pixel: the texture says that it is the same part.
    image = read_image_rgb(data.by_id[known].image_path).copy()
    image[0, 0] ^= 1
    kind = data.by_id[known].defect_type
    source = tmp_path / "shot"
    write_png(source / kind / "again.png", image)
    assert kind != "good"
    dt.update(
        root, source, layout="class-folders", prefix="again", find_groups=True, progress=False
    )
    now = dt.load(root)
    (new,) = set(now.by_id) - set(data.by_id)
    assert now.by_id[new].group == now.by_id[known].group
    plan = catching(root / "runs" / "old", now)
    assert plan is not None
    assert plan.models == {new: (1,)}
    dt.evaluate(root, progress=False)
    stored = read_predictions(root / "runs" / "old", now)
    assert stored.added == {new: (1,)}


def test_corrected_labels_count_and_merged_classes_are_one(grown):
    root, _ = grown
    names = list(dt.load(root).class_names)
    dt.update(root, rename_class={names[0]: names[1]}, progress=False)
    data = dt.load(root)
    plan = catching(root / "runs" / "old", data)
    assert plan is not None
    assert plan.class_numbers[:2] == (1, 1)
    board = dt.evaluate(root, progress=False)
    assert names[0] not in board.rows[0].by_type
    assert names[1] in board.rows[0].by_type


def test_removed_images_are_not_asked_for(grown, tmp_path):
    root, before = grown
    gone = sorted(before.image_scores)[0]
    (tmp_path / "list").write_text(gone)
    dt.update(root, remove=tmp_path / "list", progress=False)
    board = dt.evaluate(root, progress=False)
    assert gone not in dt.load(root).by_id
    n_new = 4 + 2 * len(dt.load(root).class_names)
    assert board.n_images == len(before.image_scores) + n_new - 1


def test_a_leak_is_refused_with_its_images(grown):
    root, before = grown
    data = dt.load(root)
    plan = catching(root / "runs" / "old", data)
    assert plan is not None
    assert plan.leaks == ()
    # As if a test image's part were one that fold 0 and fold 1 both learned from.
    from dataclasses import replace

    learned = [next(iter(set(f.train) & set(before.stems))) for f in data.split.folds]
    image_id = data.split.folds[0].test[0]
    samples = tuple(
        replace(s, group=data.by_id[image_id].group) if s.image_id in learned else s
        for s in data.samples
    )
    joined = replace(data, samples=samples)
    plan = catching(root / "runs" / "old", joined)
    assert plan is not None
    assert image_id in plan.leaks
    with pytest.raises(dt.DefectuneError, match="learned from in version 1"):
        read_predictions(root / "runs" / "old", joined)


def test_old_and_new_meet_on_the_same_images(grown):
    root, _ = grown
    train(root, "new")
    done = CliRunner().invoke(
        app, ["evaluate", str(root), "new", "--baseline", "old", "--no-regression", "0.01"]
    )
    first = done.output.splitlines()
    at = next(n for n, line in enumerate(first) if "Not shown that new loses at most 1 %" in line)
    assert done.exit_code == 1
    assert any("new against old: of" in line for line in first[at : at + 4])
    board = read_json(root / "leaderboard.json", what="")
    assert {row["run"] for row in board["rows"]} == {"old", "new"}
    (against,) = board["baseline"]["runs"]
    assert (board["baseline"]["run"], against["run"], against["held"]) == ("old", "new", False)
    kinds = [*against["by_type"].values(), against["good"]]
    assert sum(kind["n"] for kind in kinds) == board["n_images"]
    page = dt.report(root, progress=False)
    assert "new against old: of" in page.read_text()
    assert dt.evaluate(root, baseline="old", progress=False).against[0].held
    with pytest.raises(dt.DefectuneError, match="is the baseline, and there is no other run"):
        dt.evaluate(root, "old", baseline="old", progress=False)
    with pytest.raises(dt.DefectuneError, match="name it with"):
        dt.evaluate(root, no_regression=0.01, progress=False)


def test_an_operating_point_of_an_old_run_is_taken_after_an_update(grown, tmp_path):
    root, _ = grown
    with pytest.raises(dt.DefectuneError, match="no operating point was chosen"):
        dt.predict(
            root / "old", root / "yolo/images", output=tmp_path / "p", operating_point=True,
            progress=False,
        )  # fmt: skip
    dt.evaluate(root, max_escape=0.5, progress=False)
    board = read_json(root / "leaderboard.json", what="")
    (point,) = board["operating_point"]["runs"]
    dt.predict(
        root / "old", root / "yolo/images", output=tmp_path / "p", operating_point=True,
        progress=False,
    )  # fmt: skip
    summary = read_json(tmp_path / "p" / "predictions.json", what="")
    assert summary["threshold"] == point["thresholds"]["0"]
    # What counts test images wants a leaderboard of the images that there are now.
    first = sorted(dt.load(root).by_id)[0]
    (tmp_path / "list").write_text(first)
    dt.update(root, remove=tmp_path / "list", progress=False)
    with pytest.raises(dt.DefectuneError, match="another split or version of the dataset"):
        dt.accept(root, "old", operating_point=True, progress=False)


def test_stress_leaves_out_images_that_several_models_score(grown):
    root, before = grown
    dt.evaluate(root, progress=False)
    said = []
    made = dt.stress(
        root, "old", kinds=["exposure"], steps=2, draws=1, device="cpu", progress=Told(said)
    )
    document = read_json(made.document, what="")
    assert document["n_test_images"] == document["n_images"] == len(before.image_scores)
    n = len(dt.load(root).split.test_ids) - len(before.image_scores)
    assert document["unchanged"]["largest_difference"] == 0
    assert f"old: {n} test images are left out: they came after the run was trained" in said[0]


def test_stress_says_where_no_image_is_left(grown):
    from dataclasses import replace

    from defectune.library.stressing import _by_one_model

    root, _ = grown
    dt.evaluate(root, progress=False)
    stored = read_predictions(root / "runs" / "old", dt.load(root))
    only = {i: stored.image_scores[i] for i in stored.added}
    with pytest.raises(dt.DefectuneError, match=f"All {len(only)} test images"):
        _by_one_model(replace(stored, image_scores=only), Told([]))


@pytest.fixture
def bridged(made, tmp_path, monkeypatch):
    """The dataset with a new image that shows a part of fold 0 and one of fold 1 to be one."""
    shutil.copytree(made, tmp_path / "copy", symlinks=True)
    root = tmp_path / "copy" / "dataset"
    data = dt.load(root)
    chosen = [next(i for i in fold.test if data.by_id[i].is_defective) for fold in data.split.folds]
    kind = data.by_id[chosen[0]].defect_type
    places = [data.by_id[i].image_path.resolve() for i in chosen]
    shown = tmp_path / "shown" / kind / "bridge.png"
    write_png(shown, read_image_rgb(data.by_id[chosen[0]].image_path)[::-1].copy())

    def find(paths, digests, new, known, progress=None):
        at = [path.resolve() for path in paths]
        return [
            Reshot(*sorted((at.index(shown.resolve()), at.index(place))), 0.9) for place in places
        ]

    monkeypatch.setattr("converters.leaks.find_new_reshots", find)
    dt.update(
        root, shown.parent.parent, layout="class-folders", find_groups=True, leave_out=True,
        progress=False,
    )  # fmt: skip
    (bridge,) = set(dt.load(root).by_id) - set(data.by_id)
    return root, sorted([*chosen, bridge])


def test_late_leaks_are_priced(bridged):
    root, leaked = bridged
    data, run = dt.load(root), root / "runs" / "old"
    plan = catching(run, data)
    assert plan is not None
    assert (plan.leaks, sorted(plan.late_leaks)) == ((), leaked)
    board = dt.evaluate(root, progress=False)
    (row,) = board.rows
    assert sorted(row.late_leaks) == leaked
    stored = read_predictions(run, data, with_late_leaks=True)
    for ids, figures in (
        (data.split.test_ids, row.metrics),
        (sorted(set(data.split.test_ids) - set(leaked)), row.without_late_leaks),
    ):
        bad = [data.by_id[i].is_defective for i in ids]
        scores = [stored.image_scores[i] for i in ids]
        assert figures["image_auroc"].value == pytest.approx(roc_auc_score(bad, scores), abs=1e-12)
        missed = sum(b and s < 0.5 for b, s in zip(bad, scores, strict=True))
        assert (figures["escape_rate"].value, figures["escape_rate"].n) == (
            missed / sum(bad),
            sum(bad),
        )
        assert figures["pixel_ap"].value is not None
    said = [line for line in board.differences if line.startswith("old learned from parts")]
    assert len(said) == 1
    assert "that 3 test images show" in said[0]
    assert all(image_id in said[0] for image_id in leaked)
    kept = read_json(root / "leaderboard.json", what="")["rows"][0]
    assert sorted(kept["late_leaks"]) == leaked
    assert kept["without_late_leaks"]["escape_rate"]["n"] == row.metrics["escape_rate"].n - 3
    assert dt.report(root, progress=False).is_file()
    assert said[0][:60] in (root / "report" / "index.html").read_text()
    done = CliRunner().invoke(app, ["evaluate", str(root)])
    assert "With and without images of parts learned from" in done.output
    assert "old, without" in done.output


def test_nothing_is_proved_with_late_leaks(bridged):
    root, _ = bridged
    dt.evaluate(root, progress=False)
    with pytest.raises(dt.DefectuneError, match="3 test images show parts that the models of"):
        dt.accept(root, "old", progress=False)
    train(root, "new")
    (fresh,) = [row for row in dt.evaluate(root, progress=False).rows if row.run == "new"]
    assert (fresh.late_leaks, fresh.without_late_leaks) == ((), {})
    with pytest.raises(dt.DefectuneError, match="old learned from parts that 3 test images show"):
        dt.evaluate(root, "old", baseline="new", no_regression=0.5, progress=False)
    # The other way round the old run's figures can only be too good.
    assert dt.evaluate(root, "new", baseline="old", no_regression=0.9, progress=False).against


def test_stress_measures_no_run_with_late_leaks(bridged):
    root, leaked = bridged
    with pytest.raises(
        dt.DefectuneError, match="3 test images show parts that the models of"
    ) as caught:
        dt.stress(root, "old", kinds=["exposure"], steps=2, draws=1, device="cpu", progress=False)
    assert all(image_id in str(caught.value) for image_id in leaked)
    assert "Train again on this version" in str(caught.value)
    assert not (root / "runs" / "old" / "stress.json").exists()
    assert not (root / "runs" / "old" / "stress").exists()


class Told:
    """A reporter that keeps what it was told."""

    def __init__(self, said):
        self.said = said

    def say(self, text):
        self.said.append(text)

    def track(self, _what, _total):
        return lambda _note: None
