"""Curves and sheets of training in the report."""

import json
from dataclasses import replace

import numpy as np
import pytest

from annotations import read_predictions
from annotations.images import read_image_rgb, write_png
from classify import ClassifyConfig, train_classifier
from converters import ConvertOptions
from report.plots import confusion_by_type
from report.training_records import read_log, write_sheets, write_training_curves
from tests.drawn import drawn_dataset
from training import SilentReporter

OPTIONS = {"weights": "none", "image_size": 64, "batch_size": 4, "device": "cpu", "epochs": 2}


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    from annotations import load_dataset

    root = drawn_dataset(tmp_path_factory.mktemp("drawn"), ConvertOptions(folds=2))
    dataset = load_dataset(root)
    config = ClassifyConfig(method="supervised", oversample="injection", **OPTIONS)
    run = train_classifier(dataset, config, name="a<b>", folds=[0], reporter=SilentReporter())
    return dataset, read_predictions(run, dataset)


def test_rows_of_one_epoch_may_hold_parts_of_the_columns(tmp_path):
    path = tmp_path / "metrics.csv"
    path.write_text(
        "epoch,step,train_loss,val_loss\n0,1,2.5,\n0,1,,3.5\n1,2,nan,\n1,2,,oops\nx,3,1,1\n"
    )
    assert read_log(path) == {"train_loss": ([0.0], [2.5]), "val_loss": ([0.0], [3.5])}
    path.write_text("  epoch,  train/box_loss\n1,  0.5\n2,  0.25\n")
    assert read_log(path) == {"train/box_loss": ([1.0, 2.0], [0.5, 0.25])}
    path.write_bytes(b"\xff\xfe\x00")
    assert read_log(path) == {}
    assert read_log(tmp_path / "missing.csv") == {}


def test_a_run_has_its_curve_and_its_sheet(trained, tmp_path):
    _, run = trained
    (plot,) = write_training_curves([run], tmp_path)
    assert plot.title == "Training of a<b>"
    assert "training loss, validation loss" in plot.text
    assert (tmp_path / plot.file).read_text(encoding="utf-8").lstrip().startswith("<?xml")
    (sheet,) = write_sheets([run], tmp_path)
    assert sheet.picture == "sheets/1-injected.jpg"
    assert sheet.title == "a<b>, fold 0"
    assert read_image_rgb(tmp_path / sheet.picture).ndim == 3


def test_a_sheet_says_how_many_were_made_and_a_damaged_one_is_left_out(trained, tmp_path):
    _, run = trained
    folder = tmp_path / "run" / "fold-0"
    write_png(folder / "deepsmote.png", np.zeros((8, 24, 3), np.uint8))
    (folder / "deepsmote.json").write_text(json.dumps({"made": {"chip": 3, "dent": 1}}))
    (folder / "injected.png").write_bytes(b"no picture")
    (sheet,) = write_sheets([replace(run, run=tmp_path / "run")], tmp_path / "report")
    assert sheet.text.endswith("3 of chip made, 1 of dent made")
    (folder / "deepsmote.json").write_text("[")
    (sheet,) = write_sheets([replace(run, run=tmp_path / "run")], tmp_path / "report")
    assert sheet.text.endswith("the other image.")
    assert write_training_curves([replace(run, run=tmp_path / "run")], tmp_path / "report") == []


def test_types_that_a_classifier_names_are_counted(trained):
    dataset, run = trained
    columns, rows = confusion_by_type(dataset, run)
    ids = [i for i in dataset.split.test_ids if i in run.image_scores]

    def said_of(image_id):
        if run.image_scores[image_id] < 0.5:
            return "good"
        kind = run.predicted_types[image_id]
        return "no type" if kind == "good" else kind

    said = {i: said_of(i) for i in ids}
    assert columns == [c for c in ("good", "no type", *dataset.class_names)
                       if c != "no type" or "no type" in said.values()]  # fmt: skip
    for kind, counts in rows:
        for column, count in zip(columns, counts, strict=True):
            of_kind = [i for i in ids if dataset.by_id[i].defect_type == kind]
            assert count == sum(said[i] == column for i in of_kind)
    good = dict(rows)["good"]
    overkill = [i for i in ids if not dataset.by_id[i].is_defective and run.image_scores[i] >= 0.5]
    # The table and overkill count the same images.
    assert sum(good[1:]) == len(overkill)
