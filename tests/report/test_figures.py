"""A figure of images, truth and runs."""

import io

import pytest

from annotations import InputError, read_predictions
from report import figure
from tests.report.test_report import build


def test_a_figure_has_a_row_an_image_and_a_column_a_run(tmp_path):
    dataset, run = build(tmp_path)
    stored = read_predictions(run, dataset)
    ids = list(dataset.split.test_ids[:2])
    drawn = figure(dataset, ids, [stored])
    titles = [axis.get_title() for axis in drawn.axes]
    assert titles[0] == f"{ids[0]}: truth"
    assert titles[1] == f"<b>run: {stored.verdict(ids[0])} {stored.image_scores[ids[0]]:.3f}"
    assert len(titles) == 4
    assert all(len(axis.get_images()) == 1 for axis in drawn.axes)
    data = io.BytesIO()
    drawn.savefig(data, format="png")
    assert data.getvalue().startswith(b"\x89PNG")


def test_a_figure_of_nothing_or_of_a_stranger_is_refused(tmp_path):
    dataset, _ = build(tmp_path)
    with pytest.raises(InputError, match="at least one image"):
        figure(dataset, [])
    with pytest.raises(InputError, match="no image 'x/1'"):
        figure(dataset, ["x/1"])
