"""Does a dataset that grew by a calendar end as one that was converted at once?

    uv run --frozen python benchmarks/calendar_growth.py bottle=SOURCE magnetic_tile=SOURCE

SOURCE is a folder in MVTec's layout. Its images are dealt to five weeks in the order of a drawn
calendar; the first week is converted, the others are updates. One in twenty defective images comes
with the label of another type, and is corrected a week later. Checked after every week: no image
changed its side in any fold, and no part lies on two. At the end: every image's type and pixels are
those of a conversion of the final state. Writes results/calendar.md.
"""

import argparse
import datetime
import hashlib
import shutil
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np

from annotations import Dataset, load_dataset
from annotations.placing import sides_of
from benchmarks.bottle import machine
from benchmarks.tables import markdown
from converters import ConvertOptions, convert
from converters.update_options import UpdateOptions
from converters.updating import update

RESULTS = Path(__file__).parent / "results" / "calendar.md"
WEEKS = 5
WRONG = 0.05


class Photo(NamedTuple):
    """An image of the source: its file, its type, its mask."""

    path: Path
    kind: str
    mask: Path | None
    trains: bool

    @property
    def name(self) -> str:
        """Unique among all."""
        return f"{'train' if self.trains else 'test'}_{self.kind}_{self.path.stem}"


def photos(source: Path) -> list[Photo]:
    """All images of a source in MVTec's layout."""
    found = [Photo(p, "good", None, True) for p in sorted((source / "train/good").iterdir())]
    for folder in sorted((source / "test").iterdir()):
        for path in sorted(folder.iterdir()):
            masks = source / "ground_truth" / folder.name
            mask = next(masks.glob(f"{path.stem}_mask.*"), None) if masks.is_dir() else None
            found.append(Photo(path, folder.name, mask, False))
    return found


def write_batch(folder: Path, batch: list[tuple[Photo, str]]) -> Path:
    """A source of some images, each with the type that it is given."""
    for photo, kind in batch:
        place = folder / ("train" if photo.trains else "test") / kind
        place.mkdir(parents=True, exist_ok=True)
        shutil.copy(photo.path, place / f"{photo.name}{photo.path.suffix}")
        if photo.mask is not None:
            masks = folder / "ground_truth" / kind
            masks.mkdir(parents=True, exist_ok=True)
            shutil.copy(photo.mask, masks / f"{photo.name}_mask{photo.mask.suffix}")
    return folder


def labels(dataset: Dataset) -> dict[str, tuple[str, str]]:
    """Type, and digest of the class mask, by the bytes of each image."""
    names = dataset.class_names
    found = {}
    for sample in dataset.samples:
        mask = dataset.truths[sample.image_id].class_index_mask()
        # By name: the order of classes is that in which they came.
        named = [np.packbits(mask == names.index(n) + 1).tobytes() for n in sorted(names)]
        digest = hashlib.sha256(b"".join(named)).hexdigest()
        found[sample.sha256] = (sample.defect_type, digest)
    return found


def require_honest(dataset: Dataset) -> None:
    """Raise where a part lies on two sides of a fold."""
    for number, fold in enumerate(dataset.split.folds):
        learned = {s.group for s in dataset.select([*fold.train, *fold.val])}
        both = learned & {s.group for s in dataset.select(fold.test)}
        if both:
            raise SystemExit(f"Fold {number}: parts on two sides: {sorted(both)[:5]}")


def grow(source: Path, folder: Path) -> list[str]:
    """Grow one set, and check it; the row of the table."""
    rng = np.random.default_rng(0)
    everything = photos(source)
    order = rng.permutation(len(everything))
    week_of = np.empty(len(everything), int)
    week_of[order] = np.arange(len(order)) * WEEKS // len(order)
    kinds = sorted({p.kind for p in everything} - {"good"})
    bad = [n for n, p in enumerate(everything) if p.kind != "good" and week_of[n] < WEEKS - 1]
    wrong = set(rng.permutation(bad)[: max(1, round(WRONG * len(bad)))].tolist())
    options = ConvertOptions(folds=3)
    root, moved, left_out, seconds = folder / "grown", 0, 0, 0.0
    before: list[dict[str, str]] = []
    for week in range(WEEKS):
        batch = []
        for number, photo in enumerate(everything):
            if week_of[number] == week:
                other = kinds[(kinds.index(photo.kind) + 1) % len(kinds)] if number in wrong else ""
                batch.append((photo, other or photo.kind))
            elif number in wrong and week_of[number] == week - 1:
                batch.append((photo, photo.kind))
        place = write_batch(folder / f"week-{week}", batch)
        began = time.process_time()
        if week == 0:
            convert(place, root, options)
        else:
            update(root, place, UpdateOptions(convert=options, leave_out=True))
            seconds += time.process_time() - began
        dataset = load_dataset(root)
        require_honest(dataset)
        sides = sides_of(dataset.split)
        for old, new in zip(before, sides, strict=False):
            moved += sum(new[i] != side for i, side in old.items() if new[i] != "left_out")
            left_out += sum(new[i] == "left_out" != side for i, side in old.items())
        before = [dict(one) for one in sides]
    whole = folder / "whole"
    began = time.process_time()
    convert(write_batch(folder / "all", [(p, p.kind) for p in everything]), whole, options)
    took = time.process_time() - began
    grown, once = labels(load_dataset(root)), labels(load_dataset(whole))
    different = sum(grown.get(key) != value for key, value in once.items())
    different += len(grown.keys() - once.keys())
    return [
        f"{len(once)}", f"{len(wrong)}", f"{moved}", f"{left_out}", f"{different}",
        f"{seconds / (WEEKS - 1):.1f} s", f"{took:.1f} s",
    ]  # fmt: skip


def main() -> None:
    """Grow all sets, and write the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", nargs="+", metavar="NAME=SOURCE")
    rows = [
        [
            "data", "images", "labels corrected", "images that moved",
            "left out of training by a late leak", "labels unlike a conversion's",
            "work of an update", "of a conversion",
        ]
    ]  # fmt: skip
    for text in parser.parse_args().data:
        name, _, source = text.partition("=")
        with tempfile.TemporaryDirectory() as folder:
            rows.append([name, *grow(Path(source), Path(folder))])
    today = datetime.datetime.now(tz=datetime.UTC).date()
    RESULTS.write_text(
        f"# A dataset that grew by a calendar\n\n{today}, {machine()}, beside other work. Five "
        "weeks in a drawn order, one defective image in twenty with a wrong type until a week "
        "later. Images, moves and leaks are counted over all folds and weeks. Made by\n\n"
        "    uv run --frozen python benchmarks/calendar_growth.py bottle=SOURCE "
        f"magnetic_tile=SOURCE\n\n{markdown(rows)}\n",
        encoding="utf-8",
    )


if __name__ == "__main__":
    main()
