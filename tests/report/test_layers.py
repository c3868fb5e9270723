"""Layers of the viewer."""

import re
from xml.etree import ElementTree

import cv2
import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from annotations import Regions, mask_to_regions
from annotations.images import read_image_rgb
from report.layers import MOST_REGIONS, boxes_svg, masks_svg, outline_path, truth_svg, write_layers

HOSTILE = "<img src=x onerror=alert(1)>"


@given(arrays(bool, (9, 11), elements=st.booleans()))
def test_an_outline_filled_again_is_the_mask(mask):
    contours = [
        np.floor(np.array(part.split(), float).reshape(-1, 1, 2)).astype(np.int32)
        for part in re.findall(r"M([^Z]*)Z", outline_path(mask))
    ]
    again = np.zeros(mask.shape, np.uint8)
    # Holes' outlines run on the mask's own pixels, so that outlines are drawn after filling.
    cv2.fillPoly(again, contours, 1)
    cv2.drawContours(again, contours, -1, 1, 1)
    assert ((again > 0) == mask).all()


def found_in(mask: np.ndarray) -> Regions:
    truth = mask_to_regions(mask, label=0)
    return Regions(
        boxes_xyxy=truth.boxes_xyxy,
        masks=truth.masks,
        labels=truth.labels,
        scores=np.linspace(0.2, 0.9, len(truth)).astype(np.float32),
        image_hw=truth.image_hw,
    )


def test_layers_are_well_formed_and_names_are_text():
    mask = np.zeros((40, 60), bool)
    mask[5:15, 10:30] = True
    mask[30, 50] = True
    found = found_in(mask)
    for text in (truth_svg(found), masks_svg(found), boxes_svg(found, [HOSTILE])):
        root = ElementTree.fromstring(text)  # noqa: S314 - ours
        assert root.get("viewBox") == "0 0 60 40"
    root = ElementTree.fromstring(boxes_svg(found, [HOSTILE]))  # noqa: S314
    texts = [e.text for e in root.iter("{http://www.w3.org/2000/svg}text")]
    assert texts == [f"{HOSTILE} 0.20", f"{HOSTILE} 0.90"]
    rects = list(root.iter("{http://www.w3.org/2000/svg}rect"))
    assert {(r.get("x"), r.get("y"), r.get("width"), r.get("height")) for r in rects} == {
        ("10", "5", "20", "10"),
        ("50", "30", "1", "1"),
    }


def test_only_what_there_is_is_written(tmp_path):
    assert write_layers(tmp_path, "a", found=None, class_names=[]) == {}
    nothing = found_in(np.zeros((8, 8), bool))
    made = write_layers(tmp_path, "a", found=nothing, class_names=["dent"])
    assert made == {"boxes": "layers/a-boxes.svg"}
    scores = np.linspace(0, 1, 64).reshape(8, 8)
    made = write_layers(tmp_path, "b", found=None, class_names=[], pixel_scores=scores)
    heat = read_image_rgb(tmp_path / made["heat"])
    assert heat[7, 7].sum() > heat[0, 0].sum()


def test_of_very_many_regions_the_highest_are_drawn(tmp_path):
    mask = np.zeros((80, 80), bool)
    mask[::3, ::3] = True
    found = found_in(mask)
    assert len(found) > MOST_REGIONS
    made = write_layers(tmp_path, "a", found=found, class_names=["dent"])
    text = (tmp_path / made["boxes"]).read_text(encoding="utf-8")
    assert text.count("<rect") == MOST_REGIONS
    assert "0.90" in text
    assert "0.20" not in text
