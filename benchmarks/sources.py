"""One drawn truth, written as each labeling tool writes it."""

import base64
import csv
import io
import json
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import scipy.io
from PIL import Image

HW = (24, 32)
BOX = (5, 6, 13, 16)
"""x1, y1, x2, y2, half-open."""


def picture(seed):
    return np.random.default_rng(seed).integers(0, 255, (*HW, 3)).astype(np.uint8)


def put(path, array):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(cv2.imencode(path.suffix, array)[1].tobytes())


def box_mask():
    mask = np.zeros(HW, bool)
    x1, y1, x2, y2 = BOX
    mask[y1:y2, x1:x2] = True
    return mask


def ring_mask():
    """A region with a hole, no rectangle."""
    mask = box_mask()
    mask[9:12, 8:10] = False
    mask[6, 5] = False
    return mask


CORNERS = [5.0, 6.0, 13.0, 6.0, 13.0, 16.0, 5.0, 16.0]
N_GOOD, N_BAD = 4, 4
NAMES = [f"p{n:02d}" for n in range(N_GOOD + N_BAD)]
BAD = NAMES[N_GOOD:]


def images(root: Path, folder="images", suffix=".png"):
    for n, name in enumerate(NAMES):
        put(root / folder / f"{name}{suffix}", picture(n))


def runs_by_columns(mask):
    flat = mask.T.ravel().astype(np.int8)
    edges = np.flatnonzero(np.diff(np.concatenate(([0], flat, [0]))))
    return [(int(a), int(b - a)) for a, b in edges.reshape(-1, 2)]


def png_bytes(mask, *, rgba=False):
    file = io.BytesIO()
    array = mask.astype(np.uint8) * 255
    if rgba:
        array = np.stack([array * 0 + 255] * 3 + [array], axis=2)
    Image.fromarray(array).save(file, "PNG")
    return file.getvalue()


def coco_file(segmentation, *, box=None, sizes=True):
    rows, marks = [], []
    for n, name in enumerate(NAMES):
        row = {"id": n + 1, "file_name": f"{name}.png"}
        if sizes:
            row |= {"height": HW[0], "width": HW[1]}
        rows.append(row)
        if name in BAD:
            x1, y1, x2, y2 = box or BOX
            marks.append(
                {
                    "id": n,
                    "image_id": n + 1,
                    "category_id": 1,
                    "bbox": [x1, y1, x2 - x1, y2 - y1],
                    "segmentation": segmentation,
                    "iscrowd": 0,
                }
            )
    return {"images": rows, "annotations": marks, "categories": [{"id": 1, "name": "scratch"}]}


def coco(segmentation):
    def write(root):
        images(root)
        path = root / "annotations" / "instances_default.json"
        path.parent.mkdir(parents=True)
        path.write_text(json.dumps(coco_file(segmentation())))

    return write


def plain_rle(mask):
    counts, end = [], 0
    for start, length in runs_by_columns(mask):
        counts += [start - end, length]
        end = start + length
    return {"size": list(HW), "counts": [*counts, HW[0] * HW[1] - end]}


def yolo(line):
    def write(root):
        images(root)
        (root / "labels").mkdir()
        for name in NAMES:
            (root / "labels" / f"{name}.txt").write_text(line if name in BAD else "")
        (root / "classes.txt").write_text("scratch\n")

    return write


def yolo_box():
    x1, y1, x2, y2 = BOX
    numbers = ((x1 + x2) / 2 / HW[1], (y1 + y2) / 2 / HW[0], (x2 - x1) / HW[1], (y2 - y1) / HW[0])
    return "0 " + " ".join(f"{v:.8f}" for v in numbers) + "\n"


def yolo_polygon():
    scaled = [v / (HW[1] if k % 2 == 0 else HW[0]) for k, v in enumerate(CORNERS)]
    return "0 " + " ".join(f"{v:.8f}" for v in scaled) + "\n"


def voc(root):
    images(root, "JPEGImages")
    x1, y1, x2, y2 = BOX
    for name in NAMES:
        inside = (
            f"<object><name>scratch</name><bndbox><xmin>{x1 + 1}</xmin><ymin>{y1 + 1}</ymin>"
            f"<xmax>{x2}</xmax><ymax>{y2}</ymax></bndbox></object>"
        )
        path = root / "Annotations" / f"{name}.xml"
        path.parent.mkdir(exist_ok=True)
        path.write_text(
            f"<annotation><filename>{name}.png</filename><size><width>{HW[1]}</width>"
            f"<height>{HW[0]}</height></size>{inside if name in BAD else ''}</annotation>"
        )


def labelme(shape):
    def write(root):
        images(root, ".")
        for name in NAMES:
            document = {
                "version": "5.4.1",
                "shapes": [{"label": "scratch", **shape()}] if name in BAD else [],
                "imagePath": f"{name}.png",
                "imageData": None,
                "imageHeight": HW[0],
                "imageWidth": HW[1],
            }
            (root / f"{name}.json").write_text(json.dumps(document))

    return write


def pairs_of(numbers):
    return [list(p) for p in zip(numbers[::2], numbers[1::2], strict=True)]


def labelme_mask():
    x1, y1, x2, y2 = BOX
    cut = ring_mask()[y1:y2, x1:x2]
    return {
        "shape_type": "mask",
        "points": [[x1, y1], [x2 - 1, y2 - 1]],
        "mask": base64.b64encode(png_bytes(cut)).decode(),
    }


def cvat(element):
    def write(root):
        images(root)
        rows = "".join(
            f'<image id="{n}" name="{name}.png" width="{HW[1]}" height="{HW[0]}">'
            f"{element() if name in BAD else ''}</image>"
            for n, name in enumerate(NAMES)
        )
        (root / "annotations.xml").write_text(
            f"<annotations><version>1.1</version>{rows}</annotations>"
        )

    return write


def cvat_mask():
    x1, y1, x2, y2 = BOX
    flat = ring_mask()[y1:y2, x1:x2].ravel()
    counts, inside, run = [], False, 0
    for value in flat.tolist():
        if value == inside:
            run += 1
        else:
            counts.append(run)
            inside, run = value, 1
    text = ", ".join(map(str, [*counts, run]))
    return (
        f'<mask label="scratch" rle="{text}" left="{x1}" top="{y1}" width="{x2 - x1}" '
        f'height="{y2 - y1}"/>'
    )


def label_map(root):
    images(root, "JPEGImages")
    (root / "labelmap.txt").write_text(
        "# label:color_rgb:parts:actions\nbackground:0,0,0::\nscratch:160,32,240::\n"
    )
    for name in NAMES:
        colors = np.zeros((*HW, 3), np.uint8)
        if name in BAD:
            colors[ring_mask()] = (240, 32, 160)  # OpenCV writes blue first
        put(root / "SegmentationClass" / f"{name}.png", colors)


def brush(mask):
    """Label Studio's stream, each run of equal values as a run."""
    values = np.zeros((mask.size, 4), np.uint8)
    values[mask.ravel()] = (255, 255, 255, 255)
    flat = values.ravel().tolist()
    bits = f"{len(flat):032b}" + f"{7:05b}" + "".join(f"{n - 1:04b}" for n in (3, 4, 8, 16))
    place = 0
    while place < len(flat):
        end = place
        while end < len(flat) and flat[end] == flat[place] and end - place < 1 << 16:
            end += 1
        bits += "1" + "11" + f"{end - place - 1:016b}" + f"{flat[place]:08b}"
        place = end
    bits += "0" * (-len(bits) % 8)
    return [int(bits[n : n + 8], 2) for n in range(0, len(bits), 8)]


def label_studio(value):
    def write(root):
        tasks = []
        for n, name in enumerate(NAMES):
            put(root / "images" / f"8f3a2c-{name}.png", picture(n))
            kind, content = value()
            result = {
                "original_width": HW[1],
                "original_height": HW[0],
                "type": kind,
                "value": {**content, kind: ["scratch"]},
            }
            tasks.append(
                {
                    "id": n,
                    "data": {"image": f"/data/upload/1/8f3a2c-{name}.png"},
                    "annotations": [{"result": [result] if name in BAD else []}],
                }
            )
        (root / "export.json").write_text(json.dumps(tasks))

    return write


def percent_box():
    x1, y1, x2, y2 = BOX
    return "rectanglelabels", {
        "x": x1 / HW[1] * 100,
        "y": y1 / HW[0] * 100,
        "width": (x2 - x1) / HW[1] * 100,
        "height": (y2 - y1) / HW[0] * 100,
        "rotation": 0,
    }


def percent_polygon():
    return "polygonlabels", {
        "points": [[x / HW[1] * 100, y / HW[0] * 100] for x, y in pairs_of(CORNERS)]
    }


def supervisely(entry):
    def write(root):
        images(root, "ds0/img")
        (root / "meta.json").write_text(json.dumps({"classes": []}))
        for name in NAMES:
            document = {
                "size": {"height": HW[0], "width": HW[1]},
                "objects": [{"classTitle": "scratch", **entry()}] if name in BAD else [],
            }
            path = root / "ds0" / "ann" / f"{name}.png.json"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps(document))

    return write


def supervisely_bitmap():
    x1, y1, x2, y2 = BOX
    data = zlib.compress(png_bytes(ring_mask()[y1:y2, x1:x2], rgba=True))
    return {
        "geometryType": "bitmap",
        "bitmap": {"data": base64.b64encode(data).decode(), "origin": [x1, y1]},
    }


def rle_table(root):
    images(root, "train_images")
    with (root / "train.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("ImageId", "ClassId", "EncodedPixels"))
        for name in NAMES:
            runs = runs_by_columns(ring_mask()) if name in BAD else []
            text = " ".join(f"{start + 1} {length}" for start, length in runs)
            writer.writerow((f"{name}.png", 1, text))


def deeppcb(root):
    x1, y1, x2, y2 = BOX
    for n in range(N_BAD):
        part = f"0004100{n}"
        put(root / "group00041" / "00041" / f"{part}_temp.jpg", picture(n))
        put(root / "group00041" / "00041" / f"{part}_test.jpg", picture(n + 9))
        label = root / "group00041" / "00041_not" / f"{part}.txt"
        label.parent.mkdir(exist_ok=True)
        label.write_text(f"{x1} {y1} {x2} {y2} 2\n")


def dagm(root):
    for side in ("Train", "Test"):
        for n, name in enumerate(NAMES):
            put(root / side / f"{name}.PNG", picture(n + (20 if side == "Test" else 0)))
            if name in BAD:
                mask = ring_mask().astype(np.uint8) * 255
                put(root / side / "Label" / f"{name}_label.PNG", mask)


def real_iad(root):
    document = {"meta": {"normal_class": "OK", "prefix": "nut/"}, "train": [], "test": []}
    for n, name in enumerate(NAMES):
        kind = "scratch" if name in BAD else "OK"
        put(root / "nut" / kind / f"{name}.jpg", picture(n))
        entry = {"category": "nut", "anomaly_class": kind, "image_path": f"{kind}/{name}.jpg"}
        entry["mask_path"] = None
        if name in BAD:
            put(root / "nut" / kind / f"{name}_m.png", ring_mask().astype(np.uint8) * 255)
            entry["mask_path"] = f"{kind}/{name}_m.png"
        document["test" if name in BAD or n < 2 else "train"].append(entry)
    (root / "nut.json").write_text(json.dumps(document))


def mvtec(root):
    for n, name in enumerate(NAMES):
        if name in BAD:
            put(root / "test" / "scratch" / f"{name}.png", picture(n))
            mask = ring_mask().astype(np.uint8) * 255
            put(root / "ground_truth" / "scratch" / f"{name}_mask.png", mask)
        else:
            put(root / ("test" if n < 2 else "train") / "good" / f"{name}.png", picture(n))


def pairs(root):
    images(root)
    for name in NAMES:
        mask = (ring_mask() & (name in BAD)).astype(np.uint8) * 255
        put(root / "masks" / f"{name}.png", mask)


def matlab(root):
    images(root)
    (root / "groundTruth").mkdir()
    for name in NAMES:
        inside = ring_mask() & (name in BAD)
        content = {"groundTruth": {"Segmentation": inside.astype(np.uint8) + 1}}
        scipy.io.savemat(root / "groundTruth" / f"{name}.mat", content)


def class_masks(root):
    images(root)
    (root / "classes.txt").write_text("scratch\ndent\n")
    for name in NAMES:
        put(root / "masks" / f"{name}.png", (ring_mask() & (name in BAD)).astype(np.uint8))


@dataclass(frozen=True)
class Source:
    """A format, what can stand in it, and how the drawn truth is written in it."""

    layout: str
    kind: str
    write: Callable[[Path], None]
    holes: bool = False


SOURCES = [
    Source("mvtec", "masks", mvtec, holes=True),
    Source("pairs", "masks", pairs, holes=True),
    Source("pairs", "MATLAB", matlab, holes=True),
    Source("class-masks", "masks", class_masks, holes=True),
    Source("class-masks", "colors", label_map, holes=True),
    Source("coco", "polygons", coco(lambda: [CORNERS])),
    Source("coco", "boxes", coco(list)),
    Source("coco", "RLE", coco(lambda: plain_rle(ring_mask())), holes=True),
    Source("yolo", "boxes", yolo(yolo_box())),
    Source("yolo", "polygons", yolo(yolo_polygon())),
    Source("voc", "boxes", voc),
    Source("labelme", "boxes", labelme(lambda: {
        "shape_type": "rectangle", "points": [[5, 6], [13, 16]]})),
    Source("labelme", "polygons", labelme(lambda: {
        "shape_type": "polygon", "points": pairs_of(CORNERS)})),
    Source("labelme", "masks", labelme(labelme_mask), holes=True),
    Source("cvat", "boxes", cvat(
        lambda: '<box label="scratch" xtl="5" ytl="6" xbr="13" ybr="16"/>')),
    Source("cvat", "polygons", cvat(
        lambda: '<polygon label="scratch" points="5,6;13,6;13,16;5,16"/>')),
    Source("cvat", "masks", cvat(cvat_mask), holes=True),
    Source("label-studio", "boxes", label_studio(percent_box)),
    Source("label-studio", "polygons", label_studio(percent_polygon)),
    Source("label-studio", "brush", label_studio(
        lambda: ("brushlabels", {"rle": brush(ring_mask())})), holes=True),
    Source("supervisely", "boxes", supervisely(lambda: {
        "geometryType": "rectangle", "points": {"exterior": [[5, 6], [12, 15]], "interior": []}})),
    Source("supervisely", "polygons", supervisely(lambda: {
        "geometryType": "polygon", "points": {"exterior": pairs_of(CORNERS), "interior": []}})),
    Source("supervisely", "bitmaps", supervisely(supervisely_bitmap), holes=True),
    Source("rle-table", "RLE", rle_table, holes=True),
    Source("deeppcb", "boxes", deeppcb),
    Source("dagm", "masks", dagm, holes=True),
    Source("real-iad", "masks", real_iad, holes=True),
]  # fmt: skip
