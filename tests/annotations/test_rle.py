"""Run lengths: the text is read as pycocotools wrote it, and what does not fill is refused."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from pycocotools import mask as coco_mask

from annotations import InputError, encode_rle, load_dataset
from annotations.rle import check_rle, counts_of_text, rle_of_counts
from tests.drawn import drawn_dataset

MASKS = hnp.arrays(bool, st.tuples(st.integers(1, 20), st.integers(1, 20)))


@given(MASKS)
def test_text_to_runs_and_back(mask):
    rle = encode_rle(mask)
    counts = counts_of_text(rle["counts"])
    flat = np.concatenate([np.full(n, place % 2, bool) for place, n in enumerate(counts)])
    assert (mask == flat.reshape(mask.shape[::-1]).T).all()
    assert rle_of_counts(counts, mask.shape) == rle
    assert rle_of_counts([0, 0, *counts], mask.shape) == rle
    check_rle(rle)
    with pytest.raises(ValueError, match="do not sum up"):
        check_rle({"size": [mask.shape[0] + 1, mask.shape[1]], "counts": rle["counts"]})


@pytest.mark.parametrize("text", ["o", "ooooooooo1", "0\x7f", "é", "0000-"])
def test_texts_that_are_none(text):
    with pytest.raises(ValueError, match=r".+"):
        check_rle({"size": [2, 2], "counts": text})


def test_a_tampered_dataset_is_refused_before_it_is_decoded(tmp_path):
    root = drawn_dataset(tmp_path)
    path = root / "annotations" / "all.json"
    document = json.loads(path.read_text())
    height, width = 4096, 4096
    long = coco_mask.frPyObjects(
        {"size": [height, width], "counts": [7, height * width - 7]}, height, width
    )
    document["annotations"][0]["segmentation"]["counts"] = long["counts"].decode()
    path.write_text(json.dumps(document))
    with pytest.raises(InputError, match="do not sum up"):
        load_dataset(root)
