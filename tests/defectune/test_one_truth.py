"""What is evaluated is what is shown is what is predicted: the whole chain, through the commands.

The drawn images hold regions of four pixels, and each defective one a region that is to be
ignored; the operating point is chosen by costs.
"""

import csv
import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from annotations import encode_rle, load_dataset, read_predictions, rle_area
from annotations.prediction_writer import coco_results
from converters.synthetic import draw_category
from defectune.cli import app
from report.overlay import draw_overlay
from tests.drawn import SMALL
from tests.line import CliRunner

SHARED = ("--weights", "none", "--device", "cpu", "--fold", "all")
TRAIN = {
    "boxes": ("detect", "--image-size", "32", "--epochs", "1", "--set", "batch_size=4",
              "--set", "views=2", "--set", "tiles=2", "--set", "max_detections=20"),
    "masks": ("segment", "--method", "unet", "--model", "tu-test_resnet", "--image-size", "32",
              "--epochs", "1", "--set", "batch_size=4", "--set", "views=2", "--set", "tiles=2",
              "--set", "min_area_fraction=0.004"),
    "hybrid": ("segment", "--recipe", "hybrid", "--model", "resnet18", "--image-size", "64",
               "--epochs", "1", "--set", "views=2", "--set", "width=8",
               "--set", "fewest_images=8"),
    "pretrained": ("classify", "--model", "resnet18", "--image-size", "64"),
    "patches": ("classify", "--method", "patch-memory", "--model", "resnet18",
                "--image-size", "64"),
    "knn": ("classify", "--method", "knn", "--model", "resnet18", "--image-size", "64"),
    "finetuned": ("classify", "--method", "finetuned", "--model", "test_resnet",
                  "--image-size", "64", "--epochs", "1"),
    "supervised": ("classify", "--method", "supervised", "--model", "test_resnet",
                   "--image-size", "64", "--epochs", "1"),
    "gan": ("classify", "--method", "gan", "--image-size", "64", "--epochs", "1"),
    "autoencoder": ("classify", "--method", "autoencoder", "--image-size", "64", "--epochs", "1"),
}  # fmt: skip


def invoke(*arguments):
    done = CliRunner().invoke(app, [str(a) for a in arguments])
    assert done.exit_code == 0, (done.output, done.exception)
    return done.output


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    folder = draw_category(tmp_path_factory.mktemp("source"), SMALL)
    for path in sorted((folder / "ground_truth").rglob("*.png")):
        mask = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
        mask[2:4, 2:4] = 255
        cv2.imwrite(str(path), mask)
    return folder


@pytest.fixture(scope="module")
def root(tmp_path_factory, source):
    """Converted, trained, evaluated with costs."""
    root = tmp_path_factory.mktemp("out") / "dataset"
    invoke("convert", source, root, "--folds", 2, "--no-find-groups")
    path = root / "annotations" / "all.json"
    document = json.loads(path.read_text())
    away = np.zeros((64, 64), bool)
    away[40:, 40:] = True
    rle = encode_rle(away)
    for image in document["images"]:
        if "good" not in image["defectune"]["image_id"]:
            document["annotations"].append(
                {
                    "id": len(document["annotations"]) + 1,
                    "image_id": image["id"],
                    "category_id": 1,
                    "segmentation": rle,
                    "area": int(away.sum()),
                    "bbox": [40, 40, 24, 24],
                    "iscrowd": 1,
                }
            )
    path.write_text(json.dumps(document))
    for name, (family, *options) in TRAIN.items():
        invoke("train", family, root, "--name", name, *options, *SHARED)
    invoke("evaluate", root, "--cost-escape", 10, "--cost-overkill", 1)
    return root


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("fold", [0, 1])
@pytest.mark.parametrize("name", TRAIN)
def test_predict_gives_the_stored_predictions(root, tmp_path, name, fold):
    dataset = load_dataset(root)
    stored = read_predictions(root / "runs" / name, dataset)
    samples = dataset.select(dataset.split.folds[fold].test)
    places = [sample.image_path for sample in samples]
    call = (root / "runs" / name, *places, "--fold", fold, "--device", "cpu", "--maps")
    invoke("predict", *call, "--overlays", "all", "--output", tmp_path / "new")
    with (tmp_path / "new" / "images.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    results = json.loads((tmp_path / "new" / "regions.json").read_text())
    meta = json.loads((tmp_path / "new" / "predictions.json").read_text())
    assert meta["fold_thresholds"] == stored.folds[fold].to_json()
    assert meta["threshold"] == 0.5
    for number, (sample, row) in enumerate(zip(samples, rows, strict=True), start=1):
        image_id = sample.image_id
        assert float(row["image_score"]) == stored.image_scores[image_id]
        assert row["verdict"] == stored.verdict(image_id)
        found = stored.found_regions(image_id)
        mine = [result for result in results if result["image_id"] == number]
        assert mine == ([] if found is None else coco_results(found, number))
        if image_id not in stored.map_ranges:
            continue
        kept = meta["map_files"][row["image"]]
        assert tuple(kept["range"]) == stored.map_ranges[image_id]
        there = root / "runs" / name / "predictions" / "maps" / f"{sample.stem}.png"
        again, before = (
            cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
            for path in (tmp_path / "new" / kept["file"], there)
        )
        assert (again == before).all()
        # The picture too: the same range of colors as the report's and the overlays'.
        drawn = draw_overlay(
            cv2.cvtColor(cv2.imread(row["image"]), cv2.COLOR_BGR2RGB),
            prediction=found,
            pixel_scores=stored.pixel_scores(image_id),
            score_range=stored.score_range,
            image_score=stored.image_scores[image_id],
            class_names=dataset.class_names,
            name=Path(row["image"]).name,
        )
        picture = cv2.imread(str(tmp_path / "new" / row["overlay"]))[:, :, ::-1].astype(int)
        assert np.abs(picture - drawn).max() <= 2


def test_the_least_area_of_training_is_in_force(root):
    """Else the test above would hold for a run that never left a region out."""
    dataset = load_dataset(root)
    stored = read_predictions(root / "runs" / "masks", dataset)
    areas = [rle_area(rle) for regions in stored.regions.values() for rle in regions.masks]
    for thresholds in stored.folds.values():
        assert thresholds.min_area_fraction >= 0.004
    assert len(areas) > 5
    assert min(areas) >= 17


def test_report_reads_the_leaderboard_and_never_writes_it(root):
    path = root / "leaderboard.json"
    before = path.read_bytes()
    board = json.loads(before)
    assert board["operating_point"]["rule"].startswith("lowest cost")
    assert {row["run"] for row in board["rows"]} == set(TRAIN)
    invoke("report", root, "masks", "pretrained")
    assert path.read_bytes() == before
    page = (root / "report" / "index.html").read_text()
    assert "an escape costs 10" in page
    # A row that is missing, or that speaks of other predictions, is evaluated for the report alone.
    row = next(r for r in board["rows"] if r["run"] == "pretrained")
    for rows in (
        [r for r in board["rows"] if r is not row],
        [r | {"predictions": "0" * 64} if r is row else r for r in board["rows"]],
    ):
        changed = json.dumps(board | {"rows": rows})
        path.write_text(changed)
        try:
            invoke("report", root)
            assert path.read_text() == changed
        finally:
            path.write_bytes(before)
        page = (root / "report" / "index.html").read_text()
        assert "pretrained: evaluated for this report alone" in page


def test_a_region_on_ignored_pixels_is_no_false_alarm_in_pictures(root, monkeypatch):
    import defectune.overlays
    from evaluation import evidence

    seen = []
    real = evidence.match_regions

    def spy(truth, found, ignored=None):
        seen.append(ignored is not None)
        return real(truth, found, ignored)

    monkeypatch.setattr(evidence, "match_regions", spy)
    invoke("report", root, "masks")
    assert seen.count(True) == 12
    assert seen.count(False) == 4
    seen.clear()
    invoke("overlay", root / "runs" / "masks", "--output", root / "pictures")
    assert seen.count(True) == 12
    assert defectune.overlays.overlay is not None


def test_the_operating_point_is_what_predict_uses_when_asked(root, source, tmp_path):
    board = json.loads((root / "leaderboard.json").read_text())
    points = {row["run"]: row["thresholds"] for row in board["operating_point"]["runs"]}
    places = source / "test"
    for number, (options, limit, by) in enumerate(
        (
            ((), 0.5, "training"),
            (("--threshold", "0.9"), 0.9, "--threshold"),
            (("--operating-point", "--fold", "1"), points["pretrained"]["1"], "leaderboard.json"),
        )
    ):
        folder = tmp_path / str(number)
        call = (f"{root}/pretrained", places, "--device", "cpu", "--output", folder)
        invoke("predict", *call, *options, "--overlays", "all")
        meta = json.loads((folder / "predictions.json").read_text())
        assert meta["threshold"] == limit
        assert by in meta["threshold_chosen_by"]
        with (folder / "images.csv").open(newline="") as file:
            rows = list(csv.DictReader(file))
        assert len(rows) == 16
        assert all(
            (row["verdict"] == "defective") == (float(row["image_score"]) >= limit) for row in rows
        )
        # 000.png stands in four folders.
        assert len({row["overlay"] for row in rows}) == 16


def test_an_older_run_says_that_its_least_area_is_not_known(root, tmp_path):
    run, path = root / "runs" / "masks", root / "runs" / "masks" / "predictions" / "meta.json"
    before = path.read_text()
    meta = json.loads(before)
    del meta["folds"]["0"]["min_area_fraction"]
    image = load_dataset(root).samples[0].image_path
    for text, old in ((before, False), (json.dumps(meta), True)):
        path.write_text(text)
        try:
            said = invoke("predict", run, image, "--output", tmp_path / str(old))
        finally:
            path.write_text(before)
        assert ("kept the least area" in " ".join(said.split())) == old
