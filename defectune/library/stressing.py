"""The operating window: light, optics and position in steps, until verdicts flip."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

from annotations import Dataset, InputError, StoredPredictions, UsageError
from annotations.errors import OutputExistsError
from annotations.files import refuse_links_in, write_bytes_atomic, write_json_atomic
from annotations.locks import LOCK_FILE, hold_lock
from annotations.prediction_files import THRESHOLD
from annotations.run_files import CONFIG_FILE, STRESS_FILE, STRESS_FOLDER, STRESS_PAGE
from defectune.library.arguments import Place, as_dataset, as_path, checked, several
from defectune.library.counting import out_of_fold, require_labels_unchanged
from defectune.library.options import Option
from defectune.library.progress import shown
from defectune.library.run import Run
from defectune.library.stress_cells import Changes, KeptScores, measure
from defectune.program import program_digest, program_version
from defectune.runs import find_run

if TYPE_CHECKING:
    from evaluation.acceptance import Photograph
    from evaluation.stress import Cell
    from training import Reporter

USUAL_PAIR: Final = ("exposure", "focus-blur")
FORMAT: Final = "defectune-stress-1"
_MEASURED: Final = "How much is measured"
_LIBRARIES: Final = ("albumentations", "opencv-python-headless", "numpy")


@dataclass(frozen=True)
class Stressed:
    """An operating window that was measured.

    Attributes:
        page: the HTML.
        document: the JSON beside it.
        window: rows of `change`, `unit`, `low` and `high`.
        check: share of flipped verdicts under two changes at once, drawn from inside the window
            and not used to state it; see docs/files.md.
    """

    page: Path
    document: Path
    window: tuple[Mapping[str, Any], ...]
    check: Mapping[str, Any]


@checked
def stress(
    dataset: Annotated[Dataset | Place, Option(metavar="OUT")],
    run: Annotated[Run | Place, Option(metavar="RUN")],
    *,
    max_flips: float = 0.01,
    kinds: Annotated[str | Sequence[str], Option(_MEASURED, "KIND")] = (),
    pairs: Annotated[str | Sequence[str], Option(_MEASURED, "KIND+KIND")] = (),
    steps: Annotated[int, Option(_MEASURED, least=2)] = 6,
    images: Annotated[int, Option(_MEASURED, least=0)] = 0,
    draws: Annotated[int, Option(_MEASURED, least=1)] = 4,
    seed: Annotated[int, Option(least=0)] = 0,
    device: str = "auto",
    progress: "bool | Reporter" = True,
) -> Stressed:
    """Measure how far light, optics and position may go until verdicts flip.

    Test images are changed in steps, in units that can be measured on a line, and judged again,
    each by the model that has not seen its part. Scores are kept as they come: the same call goes
    on after a kill, and one with other kinds, steps or images measures only what is new.

    Args:
        dataset: A converted dataset, or its folder.
        run: A run of it, its folder or name.
        max_flips: Share of the verdicts that may flip inside the window.
        kinds: Changes to try; all if not given: shift, rotation, scale, exposure, white-balance,
            uneven-light, vignetting, dust, focus-blur, motion-blur, noise, gamma, jpeg. Can be
            repeated.
        pairs: Two changes to try together at the ends of their windows; exposure+focus-blur if
            not given. Can be repeated.
        steps: Steps of each kind, shared by both directions where it has two.
        images: Test images to take, defect types in proportion; 0 takes all.
        draws: Pairs of changes that are drawn for each image to narrow the window, and as many
            more to check it.
        seed: Draws images, noise, places of dust and pairs.
        device: Device to compute on: auto, cpu or cuda:0. Unchanged images must get the scores
            that training stored.
        progress: True for bars or lines, False for nothing, or a reporter of your own.

    Returns:
        The window, and where the page and its JSON are, in the run's folder.

    Raises:
        UsageError: an argument of a wrong type or out of its range, or an unknown kind.
        DefectuneError: no such run, one without a model or that was changed after training, or
            a model that does not say of unchanged images what it said in training.

    Example:
        >>> import defectune as dt
        >>> made = dt.stress("out", "quick", kinds=["exposure", "jpeg"], progress=False)
        >>> [row["change"] for row in made.window]
        ['exposure', 'jpeg']
        >>> made.page.as_posix()
        'out/runs/quick/stress.html'
    """
    from evaluation.stress import KINDS, kind_named

    if not 0 <= max_flips < 1:
        raise UsageError(f"--max-flips must be at least 0 and below 1, got {max_flips}.")
    named = {kind_named(str(name)).name for name in several(kinds)}
    chosen = [kind for kind in KINDS if not named or kind.name in named]
    tried = _pairs([str(one) for one in several(pairs)], {kind.name for kind in chosen})
    with shown(progress) as reporter:
        data = as_dataset(dataset)
        place = run.path if isinstance(run, Run) else as_path(run, what="run")
        if place.is_file():
            raise UsageError(f"{place} is a file. Give the run; a bundle has no test images.")
        require_labels_unchanged(data)
        folder = find_run(place, data.root)
        if not (folder / CONFIG_FILE).is_file():
            raise InputError(
                f"{folder} holds predictions that were made elsewhere: it has no model to show "
                "changed images to."
            )
        stored = out_of_fold(folder, data)
        refuse_links_in(folder / STRESS_FOLDER)
        with hold_lock(folder / STRESS_FOLDER / LOCK_FILE, partial(_being_stressed, folder)):
            settings = {
                "kinds": [kind.name for kind in chosen],
                "pairs": ["+".join(pair) for pair in tried],
                "steps": steps,
                "images": images,
                "draws": draws,
                "seed": seed,
                "device": device,
            }
            work = _Work(data, _by_one_model(stored, reporter), seed, device, images, reporter)
            return _stress(work, settings, chosen, tried, max_flips)


def _by_one_model(stored: StoredPredictions, reporter: "Reporter") -> StoredPredictions:
    """Leave out images whose score is the mean of several models: no one model gives it again.

    They came to the dataset after the run was trained (see `annotations.later`).

    Raises:
        InputError: no image is left.
    """
    several = [i for i, folds in stored.added.items() if len(folds) > 1]
    if not several:
        return stored
    scores = {i: s for i, s in stored.image_scores.items() if i not in {*several}}
    if not scores:
        raise InputError(
            f"All {len(several)} test images that {stored.run} is evaluated on came after it was "
            "trained and are scored by several of its models together. Stress a run that was "
            "trained on this version."
        )
    reporter.say(
        f"{stored.name}: {len(several)} test images are left out: they came after the run was "
        "trained, and several of its models score them together"
    )
    return replace(stored, image_scores=scores)


def _being_stressed(folder: Path, who: str) -> OutputExistsError:
    return OutputExistsError(f"Another call{who} measures {folder}. Wait for it, or end it.")


def _pairs(texts: Sequence[str], chosen: set[str]) -> list[tuple[str, str]]:
    from evaluation.stress import kind_named

    if not texts:
        return [USUAL_PAIR] if set(USUAL_PAIR) <= chosen else []
    found = []
    for text in texts:
        first, plus, second = text.partition("+")
        if not plus or first == second:
            raise UsageError(
                f"--pairs takes two kinds of change, such as exposure+focus-blur, got {text!r}."
            )
        pair = kind_named(first).name, kind_named(second).name
        if not set(pair) <= chosen:
            missing = " and ".join(sorted(set(pair) - chosen))
            raise UsageError(f"--pairs {text} needs {missing} among the --kinds, to know its ends.")
        found.append(pair)
    return found


class _Work:
    """Images of a call, and scores as they are needed."""

    def __init__(
        self,
        data: Dataset,
        stored: StoredPredictions,
        seed: int,
        device: str,
        images: int,
        reporter: "Reporter",
    ) -> None:
        from evaluation.stress import in_proportion

        self.data, self.stored, self.seed, self.device = data, stored, seed, device
        self.reporter = reporter
        every = in_proportion(_photographs(data, stored), seed)
        self.photographs = every[: images or len(every)]
        self.n_all = len(every)
        self.ids = [one.image_id for one in self.photographs]
        self.kept = KeptScores.open(stored.run, _key(stored, seed, device))

    def score(self, wanted: Mapping[str, Sequence[Changes]], what: str) -> None:
        """Have cells scored, by image id."""
        measure(
            self.data, self.stored, self.kept, wanted,
            seed=self.seed, device=self.device, what=what, reporter=self.reporter,
        )  # fmt: skip

    def cell(self, changes: Changes) -> "Cell":
        """What a cell of all images counts to."""
        from evaluation.stress import cell_figures

        return cell_figures(self.photographs, self.kept.of(changes, self.ids), changes)


def _photographs(data: Dataset, stored: StoredPredictions) -> "list[Photograph]":
    from evaluation.acceptance import Photograph

    return [
        Photograph(
            image_id=image_id,
            part=data.by_id[image_id].group,
            defect_type=data.by_id[image_id].defect_type,
            size="",
            source=data.by_id[image_id].origin,
            fold=stored.fold_of[image_id],
            score=float(score),
            threshold=float(THRESHOLD),
        )
        for image_id, score in stored.image_scores.items()
    ]


def _key(stored: StoredPredictions, seed: int, device: str) -> str:
    """Digest of all that decides a score, beside the image and its changes."""
    from importlib.metadata import PackageNotFoundError, version

    from evaluation import predictions_digest

    libraries = {}
    for name in _LIBRARIES:
        try:
            libraries[name] = version(name)
        except PackageNotFoundError:
            libraries[name] = ""
    # The digest of the predictions covers that of every model file, by meta.json.
    facts = [predictions_digest(stored.run), program_digest(), libraries, seed, device]
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def _stress(
    work: _Work,
    settings: Mapping[str, Any],
    chosen: Sequence[Any],
    tried: Sequence[tuple[str, str]],
    max_flips: float,
) -> Stressed:
    from evaluation import predictions_digest
    from evaluation.stress import Change, window_of
    from evaluation.stress.combined import Window, corners, drawn_pairs, flips_of

    name = work.stored.name
    values = {kind.name: kind.steps(int(settings["steps"])) for kind in chosen}
    singles = tuple((Change(kind, v),) for kind, steps in values.items() for v in steps)
    work.score(dict.fromkeys(work.ids, singles), f"{name}: single changes")
    cells = {changes[0]: work.cell(changes) for changes in singles}
    window = Window(
        {
            kind.name: window_of(
                kind, {v: cells[Change(kind.name, v)].share for v in values[kind.name]}, max_flips
            )
            for kind in chosen
        }
    )
    alone = window
    narrowing = []
    draws = int(settings["draws"])
    for part in (1.0, 0.75, 0.5, 0.25, 0.0):
        window = alone.narrowed(part)
        pairs = drawn_pairs(window, work.ids, draws=draws, seed=work.seed, purpose="narrow")
        work.score(pairs, f"{name}: two changes at once")
        flips, n = flips_of(work.photographs, work.kept.known, pairs)
        narrowing.append({"part": part, "flips": flips, "n": n})
        if flips <= max_flips * n:
            break
    pairs = drawn_pairs(window, work.ids, draws=draws, seed=work.seed, purpose="check")
    work.score(pairs, f"{name}: check of the window")
    flips, n = flips_of(work.photographs, work.kept.known, pairs)
    from evaluation.acceptance import BoundedRate

    check = BoundedRate(flips, n, 0.95, "no kind of change leaves room to draw from").to_json()
    at_ends = {pair: corners(alone, pair) for pair in tried}
    every = tuple(cell for cells in at_ends.values() for cell in cells)
    work.score(dict.fromkeys(work.ids, every), f"{name}: pairs at their ends")
    unchanged = work.cell(())
    differences = [
        abs(float(work.stored.image_scores[i]) - work.kept.known[i, ""]) for i in work.ids
    ]
    document: dict[str, Any] = {
        "format": FORMAT,
        "made_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "run": name,
        "family": str(work.stored.about.get("family", "")),
        "model": str(work.stored.about.get("model", "")),
        "split": work.data.split.digest,
        "predictions": predictions_digest(work.stored.run),
        "program": program_version(),
        "settings": dict(settings),
        "max_flips": max_flips,
        "n_images": len(work.ids),
        "n_test_images": work.n_all,
        "unchanged": {
            "largest_difference": max(differences),
            "escape": unchanged.escape.to_json(),
            "overkill": unchanged.overkill.to_json(),
        },
        "window": [
            {
                "change": kind.name,
                "unit": kind.unit,
                "low": window.ends[kind.name][0],
                "high": window.ends[kind.name][1],
                "alone_low": alone.ends[kind.name][0],
                "alone_high": alone.ends[kind.name][1],
                "tried_low": min(*values[kind.name], kind.unchanged),
                "tried_high": max(*values[kind.name], kind.unchanged),
                "unchanged": kind.unchanged,
                "meaning": kind.words,
            }
            for kind in chosen
        ],
        "narrowing": narrowing,
        "check": check,
        "cells": [cells[changes[0]].to_json() for changes in singles],
        "pairs": [
            {"kinds": list(pair), "cells": [work.cell(c).to_json() for c in at_ends[pair]]}
            for pair in tried
        ],
    }
    return _write(work, document)


def _write(work: _Work, document: Mapping[str, Any]) -> Stressed:
    from annotations import read_image_rgb
    from evaluation.stress import changed, kind_named
    from evaluation.stress.combined import first_to_flip
    from report.stress import Flipped, stress_page

    shown = []
    for change, image_id in first_to_flip(document["cells"]):
        before = read_image_rgb(work.data.by_id[image_id].image_path)
        after = changed(before, [change], image_id=image_id, seed=work.seed)
        score = work.kept.known[image_id, str(change)]
        shown.append(
            Flipped(
                image_id=image_id,
                defect_type=work.data.by_id[image_id].defect_type,
                change=f"{change.kind} {change.value:g} {kind_named(change.kind).unit}",
                score_before=float(work.stored.image_scores[image_id]),
                score_after=score,
                before=before,
                after=after,
            )
        )
    page = stress_page(work.data.root.absolute().name, document, shown)
    folder = work.stored.run
    write_bytes_atomic(folder / STRESS_PAGE, page)
    # Last, since accept takes the window from it.
    write_json_atomic(folder / STRESS_FILE, document)
    return Stressed(
        folder / STRESS_PAGE,
        folder / STRESS_FILE,
        tuple(document["window"]),
        document["check"],
    )
