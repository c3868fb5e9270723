"""What is written in another format is read back the same, and what is lost is measured."""

import json

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image, UnidentifiedImageError
from pycocotools import mask as coco_mask

from annotations import OutputExistsError, UsageError, decode_rle, load_dataset, mask_to_regions
from converters import ConvertOptions, convert
from converters.exporting import FORMATS, export_dataset
from converters.polygons import outlines, polygon_of_component
from tests.drawn import drawn_dataset


@given(hnp.arrays(bool, st.tuples(st.integers(1, 16), st.integers(1, 16))))
def test_one_polygon_gives_every_pixel_back_holes_too(mask):
    height, width = mask.shape
    for rle in mask_to_regions(mask).masks or ():
        component = decode_rle(rle)
        ring = polygon_of_component(component)
        flat = [float(v) for point in ring for v in point]
        back = coco_mask.merge(coco_mask.frPyObjects([flat], height, width))
        assert (coco_mask.decode(back).astype(bool) == component).all()
        xs, ys = flat[0::2], flat[1::2]
        rows, columns = np.nonzero(component)
        assert (min(xs), min(ys)) == (columns.min(), rows.min())
        assert (max(xs), max(ys)) == (columns.max() + 1, rows.max() + 1)


@given(hnp.arrays(bool, st.tuples(st.integers(1, 9), st.integers(1, 9))))
def test_outlines_close_and_run_along_pixel_edges(mask):
    rings = outlines(mask)
    length = 0
    for ring in rings:
        for (x0, y0), (x1, y1) in zip(ring, [*ring[1:], ring[0]], strict=True):
            assert (x0 == x1) != (y0 == y1)
            length += abs(x0 - x1) + abs(y0 - y1)
    padded = np.pad(mask, 1)
    edges = (padded[1:] != padded[:-1]).sum() + (padded[:, 1:] != padded[:, :-1]).sum()
    assert length == edges


def test_a_hole_is_bridged_and_not_filled():
    mask = np.ones((5, 5), bool)
    mask[2, 2] = False
    ring = polygon_of_component(mask)
    assert len(ring) == 4 + 4 + 3
    x, y = zip(*ring, strict=True)
    area = sum(a * d - b * c for a, b, c, d in zip(x, y, x[1:] + x[:1], y[1:] + y[:1], strict=True))
    assert abs(area) / 2 == 24


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    root = tmp_path_factory.mktemp("drawn")
    return load_dataset(drawn_dataset(root))


def read_back(folder, out):
    options = ConvertOptions(protocol="official", find_groups=False)
    return convert(folder, out, options), load_dataset(out)


@pytest.mark.parametrize("format_", FORMATS)
def test_any_to_any(tmp_path, dataset, format_):
    report = export_dataset(dataset, tmp_path / "there", format_)
    assert report.n_images == len(dataset.samples)
    assert json.loads((tmp_path / "there" / "export.json").read_text()) == report.to_json()
    _, back = read_back(tmp_path / "there", tmp_path / "back")
    assert back.class_names == dataset.class_names
    assert {s.image_id: (s.defect_type, s.source_split, s.sha256) for s in back.samples} == {
        s.image_id: (s.defect_type, s.source_split, s.sha256) for s in dataset.samples
    }
    for image_id, truth in dataset.truths.items():
        found = back.truths[image_id]
        assert found.labels.tolist() == truth.labels.tolist()
        assert np.allclose(found.boxes_xyxy, truth.boxes_xyxy, atol=1e-4)
        if format_ not in ("yolo", "voc"):
            assert found.masks == truth.masks
    if format_ in ("coco-polygons", "yolo-seg", "masks"):
        assert set(report.iou.values()) == {1.0}
    if format_ in ("yolo", "voc"):
        assert report.box_error < 1e-6
    # And on from there: what was read back is written the same.
    again = export_dataset(back, tmp_path / "again", format_)
    assert again.iou == report.iou


def test_losses_are_told(tmp_path):
    import shutil

    from annotations import write_png
    from converters.synthetic import draw_category
    from tests.drawn import SMALL

    source = draw_category(tmp_path / "source", SMALL)
    mask = source / "ground_truth/broken_small/000_mask.png"
    write_png(mask, np.zeros((64, 64), np.uint8))
    convert(source, tmp_path / "out", ConvertOptions(folds=2))
    dataset = load_dataset(tmp_path / "out")
    report = export_dataset(dataset, tmp_path / "yolo", "yolo")
    assert any("1 defective images have an image label alone" in note for note in report.notes)
    assert any("masks are left out" in note for note in report.notes)
    with pytest.raises(OutputExistsError):
        export_dataset(dataset, tmp_path / "yolo", "yolo")
    with pytest.raises(UsageError, match="Unknown format"):
        export_dataset(dataset, tmp_path / "x", "labelme")
    shutil.rmtree(tmp_path / "yolo")


def test_groups_and_empty_masks_survive_coco(tmp_path, dataset):
    export_dataset(dataset, tmp_path / "there", "coco")
    path = tmp_path / "there" / "annotations" / "instances_test.json"
    document = json.loads(path.read_text())
    first = document["images"][0]
    document["annotations"] = [a for a in document["annotations"] if a["image_id"] != first["id"]]
    first["defectune"]["group"] = document["images"][1]["defectune"]["group"] = "one part"
    path.write_text(json.dumps(document))
    _, back = read_back(tmp_path / "there", tmp_path / "back")
    one, other = (back.by_id[i["defectune"]["image_id"]] for i in document["images"][:2])
    assert one.group == other.group == "one part"
    assert one.defect_type == first["defectune"]["defect_type"] != "good"
    assert not len(back.truths[one.image_id])


# ---- real libraries read what was written ---------------------------------------------------


def test_supervision_reads_coco_and_yolo(tmp_path, dataset):
    supervision = pytest.importorskip("supervision")
    export_dataset(dataset, tmp_path / "coco", "coco")
    path = tmp_path / "coco" / "annotations" / "instances_test.json"
    found = supervision.DetectionDataset.from_coco(str(tmp_path / "coco/images"), str(path))
    assert found.classes == list(dataset.class_names)
    compare_detections(found, dataset, tmp_path / "coco" / "images")
    (tmp_path / "flat").mkdir()
    export_dataset(dataset, tmp_path / "yolo", "yolo")
    for folder in ("images", "labels"):
        for file in (tmp_path / "yolo" / folder).rglob("*.*"):
            name = "__".join(file.relative_to(tmp_path / "yolo" / folder).parts)
            (tmp_path / "flat" / folder).mkdir(exist_ok=True)
            (tmp_path / "flat" / folder / name).write_bytes(file.read_bytes())
    found = supervision.DetectionDataset.from_yolo(
        str(tmp_path / "flat/images"),
        str(tmp_path / "flat/labels"),
        str(tmp_path / "yolo/data.yaml"),
    )
    total = sum(len(detections) for _, _, detections in found)
    assert total == sum(len(t) for t in dataset.truths.values())


def test_the_converted_folder_itself_is_read_by_others(tmp_path):
    """What `convert --copy` leaves: annotations/all.json, its images beside it."""
    supervision = pytest.importorskip("supervision")
    from converters.synthetic import draw_category
    from tests.drawn import SMALL

    source = draw_category(tmp_path / "source", SMALL)
    out = tmp_path / "out"
    convert(source, out, ConvertOptions(folds=2, copy_images=True))
    dataset = load_dataset(out)
    found = supervision.DetectionDataset.from_coco(str(out), str(out / "annotations/all.json"))
    counts = {path.removeprefix(f"{out}/"): len(d) for path, _, d in found}
    assert counts == {
        s.image_path.relative_to(out).as_posix(): len(dataset.truths[s.image_id])
        for s in dataset.samples
    }


def compare_detections(found, dataset, images):
    seen = 0
    for path, _, detections in found:
        image_id = path.removeprefix(f"{images}/").rpartition(".")[0]
        truth = dataset.truths[image_id]
        seen += 1
        assert len(detections) == len(truth)
        if len(truth):
            assert np.allclose(np.sort(detections.xyxy, 0), np.sort(truth.boxes_xyxy, 0), atol=1)
    assert seen == sum(s.source_split == "test" for s in dataset.samples)


def test_datumaro_reads_coco_with_the_same_boxes(tmp_path, dataset):
    datumaro = pytest.importorskip("datumaro")
    export_dataset(dataset, tmp_path / "coco", "coco")
    path = tmp_path / "coco" / "annotations" / "instances_test.json"
    found = datumaro.Dataset.import_from(str(path), "coco_instances")
    # datumaro makes a mask and a box of each annotation.
    kind = datumaro.AnnotationType.mask
    areas = {
        item.id: sorted(int(a.get_area()) for a in item.annotations if a.type == kind)
        for item in found
    }
    boxes = {
        item.id: sorted(tuple(a.get_bbox()) for a in item.annotations if a.type != kind)
        for item in found
    }
    for image_id, rows in boxes.items():
        truth = dataset.truths[image_id].boxes_xyxy.tolist()
        assert rows == sorted((x1, y1, x2 - x1, y2 - y1) for x1, y1, x2, y2 in truth)
    expected = {
        image_id: sorted(truth.areas.astype(int).tolist())
        for image_id, truth in dataset.truths.items()
        if dataset.by_id[image_id].source_split == "test"
    }
    assert areas == expected


def test_pycocotools_reads_every_file(tmp_path, dataset):
    import contextlib
    import io

    from pycocotools.coco import COCO

    for format_ in ("coco", "coco-polygons"):
        export_dataset(dataset, tmp_path / format_, format_)
        with contextlib.redirect_stdout(io.StringIO()):
            coco = COCO(str(tmp_path / format_ / "annotations" / "instances_test.json"))
        for annotation in coco.anns.values():
            assert coco.annToMask(annotation).sum() == annotation["area"]


@pytest.mark.parametrize("format_", ["yolo", "yolo-seg"])
def test_ultralytics_reads_labels(tmp_path, dataset, format_):
    from detect.ultralytics_setup import import_ultralytics

    import_ultralytics()
    (tmp_path / "no.png").write_bytes(b"no image")
    with pytest.raises(UnidentifiedImageError):
        Image.open(tmp_path / "no.png")
    from ultralytics.data.utils import verify_image_label

    export_dataset(dataset, tmp_path / "there", format_)
    for image in (tmp_path / "there" / "images").rglob("*.png"):
        relative = image.relative_to(tmp_path / "there" / "images")
        label = (tmp_path / "there" / "labels" / relative).with_suffix(".txt")
        arguments = (str(image), str(label), "", False, len(dataset.class_names), 0, 0, False)
        found = verify_image_label(arguments)
        truth = dataset.truths[relative.with_suffix("").as_posix()]
        rows = found[1]
        assert found[-1] == ""
        assert len(rows) == len(truth)
        if not len(truth):
            continue
        height, width = truth.image_hw
        center, size = rows[:, 1:3] * [width, height], rows[:, 3:5] * [width, height]
        boxes = np.concatenate((center - size / 2, center + size / 2), 1)
        assert np.allclose(np.sort(boxes, 0), np.sort(truth.boxes_xyxy, 0), atol=1e-3)


def test_opencv_paints_the_outline_too_and_no_more(dataset):
    """What a filler that paints its outline makes of it: the region, and up to one pixel more."""
    for truth in dataset.truths.values():
        for rle in truth.masks or ():
            mask = decode_rle(rle)
            ring = np.array(polygon_of_component(mask), np.int32)
            canvas = np.zeros(mask.shape, np.uint8)
            cv2.fillPoly(canvas, [ring], 1)
            grown = cv2.dilate(mask.astype(np.uint8), np.ones((3, 3), np.uint8))
            assert (canvas[mask] == 1).all()
            assert (grown[canvas == 1] == 1).all()
