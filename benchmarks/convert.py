"""How fast are masks converted, against decoding them and against other converters?

    uv run --frozen --group peers python benchmarks/convert.py BOTTLE [--many 100000]

BOTTLE is MVTec's category; its 63 masks of 900×900 are taken several times over. One core,
medians of 5, all in one run. Ours reads image headers, hashes, masks, components, boxes, RLE, and
writes COCO and YOLO labels; a peer does what it can of it, and nothing that ours does not.
Writes results/convert.md.
"""

import argparse
import contextlib
import datetime
import io
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
import cv2
import numpy as np

from benchmarks.bottle import machine
from converters.facts import regions_of
from converters.layouts.source import BinaryMasks, SourceImage
from converters.pool import read_all
from converters.read_options import ReadOptions
from converters.yolo import yolo_lines

RESULTS = Path(__file__).parent / "results" / "convert.md"
REPEATS = 4


def pairs_of(bottle: Path) -> list[tuple[Path, Path]]:
    """Images and masks, several times over."""
    found = []
    for mask in sorted((bottle / "ground_truth").rglob("*_mask.png")):
        stem = mask.stem.removesuffix("_mask")
        (image,) = (bottle / "test" / mask.parent.name).glob(f"{stem}.*")
        found.append((image, mask))
    return found * REPEATS


def ours(pairs: list[tuple[Path, Path]], folder: Path) -> int:
    """Read everything, write COCO and YOLO labels."""
    images = [
        SourceImage(f"{n:06d}", image, "defect", "test", f"{n}", BinaryMasks((mask,), "defect"))
        for n, (image, mask) in enumerate(pairs)
    ]
    annotations: list[dict[str, Any]] = []
    entries = []
    for number, facts in enumerate(read_all(images, ReadOptions())):
        regions = regions_of(facts, ("defect",), ignored=False)
        height, width = facts.image_hw
        entries.append({"id": number, "file_name": f"{number}", "height": height, "width": width})
        for box, rle, area in zip(
            regions.boxes_xyxy.tolist(), regions.masks or (), regions.areas.tolist(), strict=True
        ):
            x1, y1, x2, y2 = box
            annotations.append(
                {"id": len(annotations), "image_id": number, "category_id": 1, "iscrowd": 0,
                 "bbox": [x1, y1, x2 - x1, y2 - y1], "segmentation": rle, "area": area}
            )  # fmt: skip
        (folder / f"{number:06d}.txt").write_text(yolo_lines(regions))
    categories = [{"id": 1, "name": "defect"}]
    document = {"images": entries, "annotations": annotations, "categories": categories}
    (folder / "coco.json").write_text(json.dumps(document))
    return len(annotations)


def decoding(pairs: list[tuple[Path, Path]], folder: Path) -> int:
    """OpenCV decodes the masks, and nothing else."""
    del folder
    for _, mask in pairs:
        cv2.imdecode(np.fromfile(mask, np.uint8), cv2.IMREAD_UNCHANGED)
    return 0


def with_ultralytics(pairs: list[tuple[Path, Path]], folder: Path) -> int:
    """Its mask converter: polygons of outer outlines, as YOLO-seg labels."""
    from detect.ultralytics_setup import import_ultralytics

    import_ultralytics()
    from ultralytics.data.converter import convert_segment_masks_to_yolo_seg

    masks = folder / "masks"
    masks.mkdir()
    for number, (_, mask) in enumerate(pairs):
        # It takes 255 for a class of its own, so that 0 and 255 must be told to it as 256 classes.
        (masks / f"{number:06d}.png").symlink_to(mask)
    (folder / "labels").mkdir()
    with contextlib.redirect_stdout(io.StringIO()):
        convert_segment_masks_to_yolo_seg(str(masks), str(folder / "labels"), classes=255)
    return 0


def with_supervision(pairs: list[tuple[Path, Path]], folder: Path) -> int:
    """Masks to detections, written as COCO."""
    import supervision

    images, annotations = [], {}
    for number, (image, mask) in enumerate(pairs):
        pixels = cv2.imread(str(mask), cv2.IMREAD_UNCHANGED)
        n, labels = cv2.connectedComponents(pixels)
        stack = (
            np.stack([labels == k for k in range(1, n)]) if n > 1 else np.zeros((0, *pixels.shape))
        )
        path = folder / f"{number:06d}{image.suffix}"
        path.symlink_to(image)
        images.append(str(path))
        annotations[str(path)] = supervision.Detections(
            xyxy=supervision.mask_to_xyxy(stack),
            mask=stack.astype(bool),
            class_id=np.zeros(len(stack), int),
        )
    dataset = supervision.DetectionDataset(["defect"], images, annotations)
    dataset.as_coco(annotations_path=str(folder / "coco.json"))
    return sum(map(len, annotations.values()))


def with_datumaro(pairs: list[tuple[Path, Path]], folder: Path) -> int:
    """Masks to items, written as COCO instances without images."""
    import datumaro

    items = []
    for number, (image, mask) in enumerate(pairs):
        pixels = cv2.imread(str(mask), cv2.IMREAD_UNCHANGED)
        n, labels = cv2.connectedComponents(pixels)
        found = [datumaro.Mask(image=labels == k, label=0, id=k, group=k) for k in range(1, n)]
        media = datumaro.Image.from_file(path=str(image), size=pixels.shape)
        items.append(datumaro.DatasetItem(f"{number:06d}", annotations=found, media=media))
    dataset = datumaro.Dataset.from_iterable(items, categories=["defect"])
    dataset.export(str(folder / "out"), "coco_instances", save_media=False)
    return sum(len(item.annotations) for item in items)


def measure(
    work: Callable[[list[tuple[Path, Path]], Path], int], pairs: list[tuple[Path, Path]]
) -> float:
    """Seconds a mask, median of 5, after one round that does not count."""
    seconds = []
    for _ in range(6):
        with tempfile.TemporaryDirectory() as folder:
            begin = time.perf_counter()
            work(pairs, Path(folder))
            seconds.append(time.perf_counter() - begin)
    return float(np.median(seconds[1:])) / len(pairs)


def stream(bottle: Path, n: int) -> float:
    """Peak memory in MB of reading n masks one after the other, counted and not kept."""
    pairs = pairs_of(bottle)
    images = [
        SourceImage(f"{k}", *pairs[k % len(pairs)][:1], "defect", "test", f"{k}",
                    BinaryMasks((pairs[k % len(pairs)][1],), "defect"))
        for k in range(n)
    ]  # fmt: skip
    for facts in read_all(images, ReadOptions()):
        if not facts.exact:
            raise SystemExit("A mask did not come back.")
    # Not getrusage: its figure begins with that of the process that started this one.
    status = Path("/proc/self/status")
    if status.is_file():
        (line,) = [t for t in status.read_text().splitlines() if t.startswith("VmHWM")]
        return int(line.split()[1]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> None:
    """Measure and write the results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("bottle", type=Path)
    parser.add_argument("--many", type=int, default=100_000)
    parser.add_argument("--stream", type=int)
    options = parser.parse_args()
    cv2.setNumThreads(1)
    if options.stream:
        print(stream(options.bottle, options.stream))
        return
    pairs = pairs_of(options.bottle)
    rows = {}
    for name, work in (
        ("OpenCV, decoding alone", decoding),
        ("defectune", ours),
        ("ultralytics, YOLO-seg (holes filled)", with_ultralytics),
        ("supervision, COCO", with_supervision),
        ("datumaro, COCO", with_datumaro),
    ):
        rows[name] = measure(work, pairs)
        print(name, f"{1000 * rows[name]:.2f} ms", flush=True)
    # In a process of its own, which loads no peer.
    command = [sys.executable, __file__, str(options.bottle), "--stream", str(options.many)]
    begin = time.perf_counter()
    memory = float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    streamed = time.perf_counter() - begin
    mine, bare = rows["defectune"], rows["OpenCV, decoding alone"]
    lines = [
        "# Converting masks\n",
        f"{datetime.date.today()}, {machine()}. Command: the head of benchmarks/convert.py.\n",
        f"{len(pairs)} masks of 900×900, one core, medians of 5.\n",
        "| what | a mask | against decoding | against defectune |",
        "| --- | --- | --- | --- |",
        *(
            f"| {name} | {1000 * value:.2f} ms | {value / bare:.2f} | {value / mine:.2f} |"
            for name, value in rows.items()
        ),
        "",
        f"{options.many:,} masks read and proved one after the other: {streamed:.0f} s, at most "
        f"{memory:.0f} MB.",
        "",
    ]
    RESULTS.write_text("\n".join(lines))
    print("\n".join(lines))


if __name__ == "__main__":
    main()
