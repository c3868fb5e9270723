"""Broken and hostile input by the thousand: it is converted, or refused in one paragraph.

    uv run --frozen python -m benchmarks.fuzz 10000

Every round draws a small source of some layout, spoils it (bytes of images, masks and label
files, values in JSON, names and links in the tree) and converts it. It must end in success or in
an error of ours, within seconds, within 1 GB, and with nothing written outside of OUT. Writes
results/fuzz.md.
"""

import argparse
import copy
import datetime
import json
import os
import random
import re
import resource
import shutil
import signal
import tempfile
import time
import traceback
import zipfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from PIL import Image

from annotations import DefectuneError, check_split, load_dataset
from benchmarks.sources import SOURCES
from converters import ConvertOptions, FindOptions, ReadOptions, convert

RESULTS = Path(__file__).parent / "results" / "fuzz.md"
SECONDS = 30
Rng = random.Random


def picture(rng: Rng, path: Path) -> None:
    """A small image in some form."""
    path.parent.mkdir(parents=True, exist_ok=True)
    array = np.frombuffer(rng.randbytes(12 * 10 * 3), np.uint8).reshape(12, 10, 3)
    image = Image.fromarray(array)
    if path.suffix == ".jpg" and rng.random() < 0.3:
        exif = image.getexif()
        exif[0x0112] = rng.randint(1, 8)
        image.save(path, exif=exif)
    elif path.suffix == ".png" and rng.random() < 0.2:
        image.convert("P").save(path)
    elif path.suffix == ".tif":
        image.save(path, compression=rng.choice(["raw", "tiff_lzw", "tiff_deflate"]))
    else:
        image.save(path)


def mask(rng: Rng, path: Path, top: int = 255) -> None:
    """A small mask in some form."""
    path.parent.mkdir(parents=True, exist_ok=True)
    array = np.zeros((12, 10), np.uint8)
    array[2 : rng.randint(3, 9), 3 : rng.randint(4, 9)] = top
    if rng.random() < 0.2:
        array[0, 0] = rng.randint(0, 255)
    form = rng.choice(["L", "1", "I;16", "RGB", "RGBA", "P"])
    if form == "I;16":
        cv2.imwrite(str(path), array.astype(np.uint16) * rng.choice([1, 257]))
    else:
        image = Image.fromarray(array)
        image.convert(form).save(path) if path.suffix != ".jpg" else image.save(path)


def mvtec(rng: Rng, root: Path) -> None:
    """MVTec's folders."""
    end = rng.choice([".png", ".jpg", ".bmp", ".tif"])
    for n in range(3):
        picture(rng, root / f"train/good/{n}{end}")
    picture(rng, root / f"test/good/0{end}")
    for n in range(3):
        picture(rng, root / f"test/hole/{n}{end}")
        mask(rng, root / f"ground_truth/hole/{n}_mask.png")


def pairs(rng: Rng, root: Path) -> None:
    """Images and masks side by side."""
    for n in range(5):
        picture(rng, root / f"kos{n}/Part0.jpg")
        mask(rng, root / f"kos{n}/Part0_label.{rng.choice(['bmp', 'png'])}", 255 * (n < 2))


def coco(rng: Rng, root: Path) -> None:
    """COCO labels."""
    images, annotations = [], []
    for n in range(5):
        picture(rng, root / f"images/{n}.png")
        images.append({"id": n, "file_name": f"{n}.png", "width": 10, "height": 12})
        shape: Any = rng.choice(
            [
                [[1, 1, 8, 1, 8, 9, 1, 9]],
                {"size": [12, 10], "counts": [30, 20, 70]},
                {"size": [12, 10], "counts": "N6`2"},
                [],
            ]
        )
        if n < 3:
            annotations.append(
                {"id": n, "image_id": n, "category_id": 1, "bbox": [1, 1, 7, 8],
                 "segmentation": shape, "iscrowd": int(rng.random() < 0.1), "area": 56}
            )  # fmt: skip
    document = {"images": images, "annotations": annotations}
    document["categories"] = [{"id": 1, "name": "dent"}]
    (root / "labels.json").write_text(json.dumps(document))


def yolo(rng: Rng, root: Path) -> None:
    """YOLO labels."""
    for n in range(5):
        picture(rng, root / f"images/{n}.jpg")
        (root / "labels").mkdir(exist_ok=True)
        line = rng.choice(["0 0.5 0.5 0.4 0.4", "1 0.1 0.1 0.8 0.1 0.8 0.9", "0 .5 .5 1 1"])
        (root / f"labels/{n}.txt").write_text(line + "\n" if n < 3 else "")
    (root / "data.yaml").write_text("train: images\nnames: [dent, hole]\n")


def visa(rng: Rng, root: Path) -> None:
    """VisA's CSV; the object's folder is `root` itself."""
    rows = ["image,label,mask"]
    for n in range(5):
        kind = "Anomaly" if n < 2 else "Normal"
        picture(rng, root / f"Data/Images/{kind}/{n}.jpg")
        place = f"{root.name}/Data/Images/{kind}/{n}.jpg"
        if n < 2:
            mask(rng, root / f"Data/Masks/Anomaly/{n}.png", 1)
            rows.append(f"{place},chip,{root.name}/Data/Masks/Anomaly/{n}.png")
        else:
            rows.append(f"{place},normal,")
    (root / "image_anno.csv").write_text("\n".join(rows))


def voc(rng: Rng, root: Path) -> None:
    """VOC boxes."""
    (root / "Annotations").mkdir(parents=True)
    for n in range(5):
        picture(rng, root / f"JPEGImages/{n}.jpg")
        box = "<bndbox><xmin>1</xmin><ymin>2</ymin><xmax>6</xmax><ymax>7</ymax></bndbox>"
        entry = f"<object><name>dent</name>{box}</object>" if n < 3 else ""
        text = f"<annotation><filename>{n}.jpg</filename>{entry}</annotation>"
        (root / f"Annotations/{n}.xml").write_text(text)


def class_masks(rng: Rng, root: Path) -> None:
    """Class numbers in masks."""
    for n in range(5):
        picture(rng, root / f"images/{n}.jpg")
        mask(rng, root / f"masks/{n}.png", n % 3)
    (root / "classes.txt").write_text("dent\nhole\n")


def any_source(rng: Rng, root: Path) -> None:
    """One of the sources that the tests hold to one drawn truth."""
    root.mkdir()
    rng.choice(SOURCES).write(root)


LAYOUTS: list[Callable[[Rng, Path], None]] = [
    mvtec, pairs, coco, yolo, visa, voc, class_masks, *[any_source] * 13
]  # fmt: skip
NUMBER = re.compile(r"-?\d+(\.\d+)?")
VALUES: list[Any] = [
    None, -1, 0, 1e308, 10**30, "", "../../x", "/etc/passwd", "\x00", "a" * 5000, [], {}, True,
    [[]], [1], {"size": [1, 1], "counts": "0"}, "NaN", float("inf"), "ü\u202e", [[0] * 6], -5.5,
]  # fmt: skip


def spoil_bytes(rng: Rng, path: Path) -> None:
    """Flip, cut, repeat, insert or blank bytes."""
    data = bytearray(path.read_bytes())
    for _ in range(rng.randint(1, 6)):
        way = rng.randrange(5)
        if not data:
            break
        at = rng.randrange(len(data))
        if way == 0:
            data[at] = rng.randrange(256)
        elif way == 1:
            del data[at:]
        elif way == 2:
            data[at:at] = rng.randbytes(rng.randint(1, 20))
        elif way == 3:
            piece = data[at : at + rng.randint(1, 30)]
            data[at:at] = piece * rng.randint(1, 9)
        else:
            data[at : at + 4] = rng.choice([b"\xff" * 4, b"\x00" * 4, b"\x7f\xff\xff\xff"])
    path.write_bytes(bytes(data))


def spoil_json(rng: Rng, path: Path) -> None:
    """Replace or remove some value of a document."""
    value = json.loads(path.read_text())
    for _ in range(rng.randint(1, 3)):
        holder, key = value, None
        while True:
            keys = list(holder) if isinstance(holder, dict) else list(range(len(holder)))
            if not keys:
                break
            key = rng.choice(keys)
            if isinstance(holder[key], dict | list) and rng.random() < 0.85:
                holder = holder[key]
                continue
            break
        if key is None or not holder:
            continue
        if rng.random() < 0.3:
            del holder[key]
        else:
            holder[key] = copy.deepcopy(rng.choice(VALUES))
    path.write_text(json.dumps(value))


def spoil_text(rng: Rng, path: Path) -> None:
    """Replace some number of a text by something else."""
    text = path.read_text(encoding="utf-8", errors="replace")
    numbers = list(NUMBER.finditer(text))
    for match in rng.sample(numbers, min(len(numbers), rng.randint(1, 3))):
        new = str(rng.choice([*VALUES, "nan", "1e999", "99999999999", "0x10", "&lt;", "1,5"]))
        text = text[: match.start()] + new + text[match.end() :]
    path.write_text(text, encoding="utf-8", errors="replace")


def packed(rng: Rng, source: Path) -> Path:
    """The source as a zip, sometimes with a spoiled byte."""
    path = source.with_suffix(".zip")
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for one in sorted(source.rglob("*")):
            if one.is_file() and not one.is_symlink():
                archive.write(one, one.relative_to(source.parent).as_posix())
    if rng.random() < 0.5:
        spoil_bytes(rng, path)
    return path


def spoil_tree(rng: Rng, root: Path, files: list[Path]) -> None:
    """Remove, rename, move, swap, link, or turn into a folder."""
    path, other = rng.choice(files), rng.choice(files)
    way = rng.randrange(8)
    if way == 0:
        path.unlink()
    elif way == 1:
        path.rename(
            path.with_name(rng.choice(["x y ü.png", "a%2e.jpg", "-r.png", "CON.png", "_mask"]))
        )
    elif way == 2:
        shutil.copy(path, other)
    elif way == 3:
        path.unlink()
        path.mkdir()
    elif way == 4:
        (path.parent / "loop").symlink_to(root)
    elif way == 5:
        path.unlink()
        path.symlink_to(
            rng.choice([path, Path("/etc/passwd"), root / "nowhere", Path("/dev/null")])
        )
    elif way == 6:
        shutil.rmtree(path.parent)
    else:
        path.rename(path.with_suffix(rng.choice([".png", ".txt", ".PNG", ""])))


def spoil(rng: Rng, root: Path) -> None:
    """Spoil one to three things."""
    for _ in range(rng.randint(1, 3)):
        files = sorted(p for p in root.rglob("*") if p.is_file() and not p.is_symlink())
        if not files:
            return
        labels = [p for p in files if p.suffix in (".json", ".txt", ".csv", ".yaml", ".xml")]
        path = rng.choice(labels if labels and rng.random() < 0.5 else files)
        way = rng.random()
        try:
            if way < 0.25:
                spoil_tree(rng, root, files)
            elif path.suffix == ".json" and way < 0.8:
                spoil_json(rng, path)
            elif path in labels and way < 0.7:
                spoil_text(rng, path)
            else:
                spoil_bytes(rng, path)
        except (OSError, ValueError, UnicodeDecodeError, shutil.Error):
            continue


def one_round(seed: int, folder: Path) -> str:
    """Draw, spoil, convert; returns how it ended.

    Raises:
        Exception: whatever was not an error of ours; that is what is looked for.
    """
    rng = random.Random(seed)
    source, out = folder / "thing", folder / "out"
    rng.choice(LAYOUTS)(rng, source)
    spoil(rng, source)
    protocol = rng.choice(["official", "kfold", "holdout"])
    if rng.random() < 0.05:
        source = packed(rng, source)
    values: dict[int | tuple[int, int, int], str] = {1: "dent", 255: "ignore", (255, 0, 0): "hole"}
    options = ConvertOptions(
        protocol=protocol,  # type: ignore[arg-type]
        folds=2,
        find=FindOptions(no_mask_is_good=rng.random() < 0.1),
        read=ReadOptions(mask_values=values if rng.random() < 0.05 else {}),
        allow_leftovers=rng.random() < 0.5,
        find_groups=False,
        workers=1,
    )
    before = sorted(p.name for p in folder.iterdir())
    try:
        convert(source, out, options)
    except DefectuneError as error:
        if not str(error).strip():
            raise ValueError("An error without a word.") from error
        if sorted(p.name for p in folder.iterdir()) != before:
            raise ValueError("A refused conversion left something behind.") from error
        return type(error).__name__
    dataset = load_dataset(out)
    check_split(dataset.split, dataset.samples, source=out)
    if sorted(p.name for p in folder.iterdir()) != sorted([*before, "out"]):
        raise ValueError("Something was written outside of OUT.")
    return "converted"


def rounds_of(
    one: Callable[[int, Path], str], rounds: int, first: int, say: Callable[[str], None]
) -> tuple[Counter[str], list[str]]:
    """Many rounds, each in a folder of its own and within `SECONDS`.

    Args:
        one: a round, of a seed in a folder; returns how it ended.
        rounds: how many.
        first: seed.
        say: called with what went wrong, a line each.

    Returns:
        How they ended, and what went wrong.
    """

    def too_long(*_: object) -> None:
        raise TimeoutError(f"more than {SECONDS} s")

    if hasattr(signal, "SIGALRM"):
        signal.signal(signal.SIGALRM, too_long)
    ends: Counter[str] = Counter()
    wrong: list[str] = []
    for seed in range(first, first + rounds):
        with tempfile.TemporaryDirectory() as folder:
            if hasattr(signal, "SIGALRM"):
                signal.alarm(SECONDS)
            try:
                ends[one(seed, Path(folder))] += 1
            except Exception as error:
                ends["wrong"] += 1
                last = traceback.extract_tb(error.__traceback__)[-1]
                wrong.append(
                    f"seed {seed}: {type(error).__name__}: {str(error)[:200]} "
                    f"({Path(last.filename).name}:{last.lineno})"
                )
                say(wrong[-1])
            finally:
                if hasattr(signal, "SIGALRM"):
                    signal.alarm(0)
    return ends, wrong


def run(rounds: int, first: int, say: Callable[[str], None]) -> tuple[Counter[str], list[str]]:
    """Many rounds; returns how they ended, and what went wrong."""
    return rounds_of(one_round, rounds, first, say)


def main() -> None:
    """Run and write the results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("rounds", type=int)
    parser.add_argument("--first", type=int, default=0)
    options = parser.parse_args()
    cv2.setLogLevel(0) if hasattr(cv2, "setLogLevel") else None
    begin = time.perf_counter()
    ends, wrong = run(options.rounds, options.first, lambda text: print(text, flush=True))
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    lines = [
        "# Broken and hostile input\n",
        f"{datetime.date.today()}, {os.uname().sysname}. Command: "
        f"`python -m benchmarks.fuzz {options.rounds}`.\n",
        f"{options.rounds:,} rounds over 7 layouts and {len(SOURCES)} kinds of sources in "
        f"{time.perf_counter() - begin:.0f} s, at most {memory:.0f} MB.\n",
        "| ended in | rounds |",
        "| --- | --- |",
        *(f"| {name} | {count} |" for name, count in sorted(ends.items())),
        "",
        f"Tracebacks, hangs, writes outside of OUT: {len(wrong)}.",
        "",
    ]
    RESULTS.write_text("\n".join(lines))
    print("\n".join(lines))


if __name__ == "__main__":
    main()
