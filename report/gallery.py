"""The gallery's data: one plain picture an image, thumbnails, small heat maps, and vectors.

Verdicts are not drawn into pictures. The page derives them from scores and threshold, so that
caption, alternative text, counts and filters cannot contradict each other.

    data/index.js        scores, types, folds and counts of regions of all images
    data/chunk-N.js      vectors of CHUNK images each, loaded when they are looked at
    thumbs/N.jpg         300 pixels
    full/N.jpg           1,600 pixels, only where the page cannot show the dataset's own file
    heat/N-R.js          heat map of run R, 256 pixels, transparent where good images score too

All three kinds of scripts hold one call with JSON in ASCII, since a page opened from disk may load
scripts and not fetch files.
"""

import json
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

import numpy as np
import numpy.typing as npt

from annotations import (
    Dataset,
    ImageReadError,
    Regions,
    Sample,
    StoredPredictions,
    decode_rle,
)
from annotations.files import write_text_atomic
from annotations.image_headers import read_image_header
from annotations.images import read_image_rgb
from evaluation import match_image
from inference.matching import FALSE_ALARM, NOT_JUDGED, PARTIAL, region_states
from report.dates import read_date
from report.head import Head, head_json
from report.heat import visible_range, write_heat
from report.named import named_type
from report.pictures import write_jpeg
from report.similar import balanced, describe, neighbors, positions
from report.vectors import found_vectors, truth_vectors

CHUNK: Final = 50
THUMBNAIL_PIXELS: Final = 300
FULL_PIXELS: Final = 1600
HEAT_PIXELS: Final = 256
_SHOWN_BY_BROWSERS: Final = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".webp"})
_WORKERS: Final = 2
_AHEAD: Final = 8


@dataclass(frozen=True, slots=True)
class Gallery:
    """What was written.

    Attributes:
        n_images: images.
        n_gone: images that cannot be read; a placeholder stands for each.
        notes: why an image or a heat map cannot be shown, by image id.
    """

    n_images: int
    n_gone: int
    notes: dict[str, str]


def write_gallery(
    dataset: Dataset,
    runs: Sequence[StoredPredictions],
    folder: Path,
    *,
    shown_at: Path,
    ids: Sequence[str] | None = None,
    progress: Callable[[], None] | None = None,
    head: Head | None = None,
) -> Gallery:
    """Write pictures and data of the test images.

    Args:
        dataset: with the truth.
        runs: predictions to show.
        folder: where to.
        shown_at: where `folder` will stand in the end: links to the dataset's images start there.
        ids: of the images; None for all test images.
        progress: called after every image.
        head: what the page's head says of each run; None for nothing.
    """
    samples = dataset.select(dataset.split.test_ids if ids is None else ids)
    # Read from some maps, and every image asks for it.
    ranges = [visible_range(dataset, run) for run in runs]
    lines: list[dict[str, Any]] = []
    chunk: list[dict[str, Any]] = []

    def flush() -> None:
        if chunk:
            number = (len(lines) - 1) // CHUNK
            _write_call(folder / f"data/chunk-{number}.js", "defectuneChunk", [number, chunk])
            chunk.clear()

    def work(number: int) -> tuple[dict[str, Any], dict[str, Any]]:
        return _image(dataset, samples[number], number, runs, ranges, folder, shown_at)

    for line, vectors in _in_order(work, len(samples)):
        lines.append(line)
        chunk.append(vectors)
        if len(chunk) == CHUNK:
            flush()
        if progress is not None:
            progress()
    flush()
    _write_index(dataset, runs, ranges, lines, folder, head or Head())
    n_gone = sum(line["gone"] for line in lines)
    return Gallery(len(lines), n_gone, {line["id"]: line["note"] for line in lines if line["note"]})


def _in_order(work: Callable[[int], Any], n: int) -> Iterator[Any]:
    """Results of work(0), work(1), … from a few threads: OpenCV works without Python's lock."""
    with ThreadPoolExecutor(_WORKERS) as pool:
        waiting: list[Future[Any]] = []
        for number in range(n):
            waiting.append(pool.submit(work, number))
            # Few at a time, so that memory does not grow with the number of images.
            if len(waiting) > _AHEAD:
                yield waiting.pop(0).result()
        for future in waiting:
            yield future.result()


def _image(
    dataset: Dataset,
    sample: Sample,
    number: int,
    runs: Sequence[StoredPredictions],
    ranges: Sequence[tuple[float, float]],
    folder: Path,
    shown_at: Path,
) -> tuple[dict[str, Any], dict[str, Any]]:
    note, full = "", ""
    image_rgb = None
    try:
        image_rgb = read_image_rgb(sample.image_path, bit_depth=dataset.bit_depth)
        if image_rgb.shape[:2] != sample.image_hw:
            raise ImageReadError(f"{sample.image_path} has another size than when converted.")
        write_jpeg(folder / f"thumbs/{number}.jpg", image_rgb, THUMBNAIL_PIXELS, 80)
        full = _own_file(dataset, sample, shown_at)
        if not full:
            full = f"full/{number}.jpg"
            write_jpeg(folder / full, image_rgb, FULL_PIXELS, 85)
    except ImageReadError as error:
        note = str(error)
    truth, ignored = dataset.truths[sample.image_id], dataset.ignored.get(sample.image_id)
    scores: list[float | None] = []
    regions: list[list[int] | None] = []
    shown: list[dict[str, Any] | None] = []
    maps: list[npt.NDArray[np.floating[Any]]] = []
    fold = -1
    for place, run in enumerate(runs):
        score = run.image_scores.get(sample.image_id)
        scores.append(None if score is None else float(score))
        if score is None:
            regions.append(None)
            shown.append(None)
            continue
        fold = run.fold_of[sample.image_id]
        drawn: dict[str, Any] = {"heat": ""}
        found = run.found_regions(sample.image_id)
        if found is None:
            regions.append(None)
        else:
            match = match_image(dataset, sample.image_id, found)
            hits = int(match.found_truth.sum())
            states = region_states(truth, found, match)
            alarms, partial, unjudged = (
                int((states == state).sum()) for state in (FALSE_ALARM, PARTIAL, NOT_JUDGED)
            )
            missed = len(match.found_truth) - hits
            regions.append([missed, alarms, hits, len(found), partial, unjudged])
            drawn["found"] = found_vectors(found, states)
            drawn["hit"] = match.found_truth.astype(int).tolist()
        if sample.image_id in run.map_ranges:
            try:
                pixels = run.pixel_scores(sample.image_id)
                if pixels is not None:
                    drawn["heat"] = name = f"{number}-{place}"
                    path = folder / f"heat/{name}.js"
                    maps.append(write_heat(path, name, pixels, ranges[place], HEAT_PIXELS))
            except ImageReadError as error:
                note = note or str(error)
        shown.append(drawn)
    height, width = sample.image_hw
    area = _largest_area(truth)
    line = {
        "id": sample.image_id,
        "type": sample.defect_type,
        "fold": fold,
        "note": note,
        "gone": not full,
        "scores": scores,
        "regions": regions,
        "source": sample.origin,
        "part": sample.group,
        "date": read_date(sample.date),
        "size": None if area is None else float(f"{area / (height * width):.3g}"),
        "area": area,
        "named": [named_type(dataset, run, sample.image_id) for run in runs],
        "look": describe(image_rgb, maps) if image_rgb is not None and full else None,
    }
    vectors = {"full": full, "size": [width, height], "truth": truth_vectors(truth), "runs": shown}
    if ignored is not None and len(ignored):
        vectors["ignored"] = truth_vectors(ignored)
    return line, vectors


def _largest_area(truth: Regions) -> float | None:
    """Pixels of the largest true region; None where no region is known."""
    if not len(truth):
        return None
    if truth.masks is None:
        boxes = truth.boxes_xyxy
        areas = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    else:
        areas = np.array([decode_rle(rle).sum() for rle in truth.masks])
    return round(float(areas.max()), 1)


def _own_file(dataset: Dataset, sample: Sample, shown_at: Path) -> str:
    """Address of the dataset's own file, where a browser shows it unchanged; else empty."""
    root = dataset.root.absolute()
    path, start = sample.image_path.absolute(), shown_at.absolute()
    if not (path.is_relative_to(root) and start.is_relative_to(root)):
        return ""
    if path.suffix.lower() not in _SHOWN_BY_BROWSERS or read_image_header(path).bits != 8:
        return ""
    return quote(Path(os.path.relpath(path, start)).as_posix())


def _write_index(
    dataset: Dataset,
    runs: Sequence[StoredPredictions],
    ranges: Sequence[tuple[float, float]],
    lines: Sequence[dict[str, Any]],
    folder: Path,
    head: Head,
) -> None:
    types = sorted({line["type"] for line in lines})
    looks = balanced([line["look"] for line in lines])
    known = [line["look"] is not None for line in lines]
    value = {
        "chunk": CHUNK,
        "runs": [
            {
                "name": run.name,
                "given": run.name in head.given,
                "range": list(score_range) if run.map_ranges else None,
                "limits": {
                    str(fold): limits.region_threshold
                    for fold, limits in run.folds.items()
                    if run.regions is not None
                },
            }
            for run, score_range in zip(runs, ranges, strict=True)
        ],
        "types": types,
        "classes": list(dataset.class_names),
        "sources": (sources := sorted({line["source"] for line in lines})),
        "source": [sources.index(line["source"]) for line in lines],
        "dates": [line["date"] for line in lines] if any(line["date"] for line in lines) else [],
        "size": [line["size"] for line in lines],
        "area": [line["area"] for line in lines],
        "similar": neighbors(looks, [line["part"] for line in lines], known),
        "place": positions(looks, known),
        "named": [[line["named"][place] for line in lines] for place in range(len(runs))],
        **head_json(head, dataset, [run.name for run in runs], lines),
        "ids": [line["id"] for line in lines],
        "type": [types.index(line["type"]) for line in lines],
        "bad": [int(line["type"] != "good") for line in lines],
        "fold": [line["fold"] for line in lines],
        "gone": [number for number, line in enumerate(lines) if line["gone"]],
        "notes": {str(n): line["note"] for n, line in enumerate(lines) if line["note"]},
        # In full: the page must give the verdict of the evaluation, also for 0.49999.
        "scores": [[line["scores"][place] for line in lines] for place in range(len(runs))],
        "regions": [[line["regions"][place] for line in lines] for place in range(len(runs))],
    }
    _write_call(folder / "data/index.js", "defectuneIndex", [value])


def _write_call(path: Path, name: str, arguments: Sequence[Any]) -> None:
    texts = (json.dumps(value, separators=(",", ":"), ensure_ascii=True) for value in arguments)
    write_text_atomic(path, f"{name}({','.join(texts)});\n")
