"""Scores of changed images, each kept the moment it is known, so that a killed call goes on."""

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from annotations import Dataset, InputError, StoredPredictions
from annotations.files import own_folder
from annotations.locks import refuse_link
from annotations.run_files import STRESS_FOLDER
from defectune.library.decoding import decoded

if TYPE_CHECKING:
    from evaluation.stress import Change
    from training import Reporter

ROUNDING: Final = 1e-6
"""Scores that differ by less are the same: another number of threads adds in another order."""
Changes = tuple["Change", ...]
Wanted = Mapping[str, Sequence[Changes]]
"""What is to be scored, by image id."""


def cell_name(changes: Changes) -> str:
    """Name of a cell in the file; empty for the unchanged image."""
    return "+".join(str(change) for change in changes)


@dataclass
class KeptScores:
    """Calibrated scores by image id and cell, in a file of a line each.

    Attributes:
        path: the file.
        known: what it holds.
    """

    path: Path
    known: dict[tuple[str, str], float]

    @classmethod
    def open(cls, run: Path, key: str) -> "KeptScores":
        """Read what earlier calls with the same key left.

        Args:
            run: its folder.
            key: digest of all that decides a score, beside the image and its changes.

        Raises:
            InputError: a link where the file or its folder should be.
        """
        path = own_folder(run, STRESS_FOLDER) / f"{key[:16]}.jsonl"
        refuse_link(path)
        known: dict[tuple[str, str], float] = {}
        whole = b""
        if path.is_file():
            held = path.read_bytes()
            # A killed call may have left half a line; it and all behind it go.
            for line in held.splitlines(keepends=True):
                try:
                    image_id, cell, score = json.loads(line)
                    if not line.endswith(b"\n"):
                        break
                    known[str(image_id), str(cell)] = float(score)
                except (ValueError, TypeError):
                    break
                whole += line
            if whole != held:
                with path.open("r+b") as file:
                    file.truncate(len(whole))
        return cls(path, known)

    def missing(self, wanted: Wanted) -> dict[str, list[Changes]]:
        """What of `wanted` is not known."""
        left = {
            image_id: [one for one in cells if (image_id, cell_name(one)) not in self.known]
            for image_id, cells in wanted.items()
        }
        return {image_id: cells for image_id, cells in left.items() if cells}

    def of(self, changes: Changes, ids: Sequence[str]) -> dict[str, float]:
        """Scores of some images in a cell.

        Raises:
            KeyError: one is not known.
        """
        return {image_id: self.known[image_id, cell_name(changes)] for image_id in ids}


def measure(
    data: Dataset,
    stored: StoredPredictions,
    kept: KeptScores,
    wanted: Wanted,
    *,
    seed: int,
    device: str,
    what: str,
    reporter: "Reporter",
) -> None:
    """Score what is not known yet, each image by the model of the fold that it tests.

    Images are decoded once for all their changes. Before anything else, the unchanged image must
    give the stored score.

    Args:
        data: the dataset.
        stored: its run's predictions.
        kept: taken from, and added to.
        wanted: what is to be scored.
        seed: of what is drawn.
        device: to compute on.
        what: name of the progress bar.
        reporter: shows it.

    Raises:
        InputError: the model is gone, or does not say what it said in training.
        ImageReadError: an image cannot be read.
    """
    from defectune.families import open_predictor
    from evaluation.stress import changed

    missing = kept.missing({image_id: ((), *cells) for image_id, cells in wanted.items()})
    total = sum(map(len, missing.values()))
    if not total:
        return
    advance = _with_time_left(reporter.track(what, total), total)
    by_fold: dict[int, list[str]] = {}
    for image_id in missing:
        by_fold.setdefault(stored.fold_of[image_id], []).append(image_id)
    with kept.path.open("a", encoding="utf-8", newline="\n") as file:
        for fold in sorted(by_fold):
            predictor = open_predictor(stored.run, fold, device=device)
            thresholds = stored.folds[fold]
            paths = [data.by_id[image_id].image_path for image_id in by_fold[fold]]
            for image_id, (_, image_rgb) in zip(by_fold[fold], decoded(paths, None), strict=True):
                if isinstance(image_rgb, Exception):
                    raise image_rgb
                for changes in missing[image_id]:
                    shown = changed(image_rgb, changes, image_id=image_id, seed=seed)
                    raw = predictor.predict(image_id, shown).image_score
                    score = float(thresholds.calibrate(raw))
                    if not changes:
                        _require_as_stored(stored, image_id, score)
                    kept.known[image_id, cell_name(changes)] = score
                    file.write(json.dumps([image_id, cell_name(changes), score]) + "\n")
                    file.flush()
                    advance()


def _require_as_stored(stored: StoredPredictions, image_id: str, score: float) -> None:
    said = float(stored.image_scores[image_id])
    if abs(said - score) > ROUNDING or (said >= 0.5) != (score >= 0.5):
        raise InputError(
            f"Unchanged, {image_id} scores {score!r}, and {said!r} was stored by the training of "
            f"{stored.run}: what changes would do to the verdicts cannot be told from that. Use "
            "the device that it was trained on (--device), with the same version of the program, "
            "or train again."
        )


def _with_time_left(advance: Callable[[str], None], total: int) -> Callable[[], None]:
    began, done = 0.0, 0

    def step() -> None:
        nonlocal began, done
        done += 1
        # Not from the call on: opening the first model takes as long as many images.
        began = began or time.monotonic()
        if done == 1:
            advance("")
            return
        left = (time.monotonic() - began) / (done - 1) * (total - done)
        advance(f"about {left / 60:.0f} min left" if left >= 90 else f"about {left:.0f} s left")

    return step
