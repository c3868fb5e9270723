"""Runs of an earlier version of a dataset, read for the version that there is now.

A test image that the run has predicted keeps its prediction. A test image that came later is
predicted by every finished model of the run that learned from no image of its part: the fold's own
model where the part is known, all of them where it is new. Such predictions stand beside the run's
own, which are never touched:

    later/NNNN.jsonl     a line an image and model, of what version NNNN asked for
    later/maps/*.png     maps of the models that give the regions

Where an update found that a tested and a trained part are one, no model may predict the images of
that part. They keep the run's predictions, or get those of the fold's model, and are named: metrics
are given with and without them.

The image's score is the mean of the models' calibrated scores. Regions, map and type are those of
the model of the fold that tests the image, or else of the first that may predict it.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from annotations.dataset import Dataset, load_version
from annotations.errors import InputError, SplitMismatchError, shortened
from annotations.files import own_folder, read_json
from annotations.images import write_png
from annotations.locks import refuse_link
from annotations.prediction import Prediction
from annotations.prediction_files import FoldThresholds, map_levels
from annotations.prediction_writer import coco_results
from annotations.regions import Regions
from annotations.run_files import LATER_FOLDER, MAPS_FOLDER, meta_path
from annotations.samples import Sample
from annotations.scores import CalibratedScore, RawScore
from annotations.store import StoredPredictions, read_as_trained, regions_of_results
from annotations.version_files import read_record, version_numbers

_NAMED: Final = 5


def version_of_run(run: Path, dataset: Dataset) -> int | None:
    """Number of the version that a run was trained on; None where that is the dataset as it is.

    Raises:
        InputError: the run has no predictions, or a version's record is damaged.
        SplitMismatchError: no version up to the dataset's own has the run's split.
    """
    path = meta_path(run)
    if dataset.version is None or not path.is_file():
        return None
    meta: Any = read_json(path, what="a run's predictions")
    try:
        digest = str(meta["split_digest"])
        names = meta.get("class_names")
    except (KeyError, TypeError, AttributeError):
        # Reading it says what is wrong.
        return None
    numbers = [n for n in version_numbers(dataset.root) if n <= dataset.version.number]
    records = {n: read_record(dataset.root, n) for n in numbers}
    same = [n for n in numbers if records[n]["split_digest"] == digest]
    # Classes alone may have changed since; the first version with the run's own is meant.
    same = [n for n in same if names is None or records[n]["classes"] == names] or same
    if not same:
        if digest == dataset.split.digest:
            return None
        raise SplitMismatchError(
            f"The run {run} was made under the split {digest[:12]}…, which no version of "
            f"{dataset.root} has, up to version {dataset.version.number}: the two were not "
            "evaluated on the same images. Train again on this dataset."
        )
    first = same[0]
    merges = any(records[n]["renamed"] for n in numbers if n > first)
    return first if digest != dataset.split.digest or merges else None


@dataclass(frozen=True)
class Catching:
    """What an old run says of a newer version, and what it has to say yet.

    Attributes:
        run: its folder.
        dataset: as it is now.
        trained_on: number of the version that the run was trained on.
        stored: its own predictions, of the images as they were then.
        class_numbers: today's number of every class that the run knows.
        kept: test images whose predictions hold.
        models: of every other test image, the folds whose models predict it; regions come from
            the first.
        leaks: test images for which no model is left that has not learned from their part, and of
            which no update says so.
        late_leaks: such images as an update of this dataset told of. They are among `kept` and
            `models` too.
    """

    run: Path
    dataset: Dataset
    trained_on: int
    stored: StoredPredictions
    class_numbers: tuple[int, ...]
    kept: tuple[str, ...]
    models: Mapping[str, tuple[int, ...]]
    leaks: tuple[str, ...]
    late_leaks: tuple[str, ...] = ()

    @property
    def path(self) -> Path:
        """Where what the current version asks for is kept."""
        number = self.dataset.version.number if self.dataset.version else 1
        return self.run / LATER_FOLDER / f"{number:04d}.jsonl"

    def require_no_leak(self) -> None:
        """Refuse images that every model may have learned from.

        Raises:
            InputError: names them.
        """
        if self.leaks:
            raise InputError(
                f"The run {self.run} cannot be evaluated on this version of {self.dataset.root}: "
                f"{len(self.leaks)} test images show parts that its models learned from in version "
                f"{self.trained_on}: {', '.join(self.leaks[:_NAMED])}"
                f"{' …' if len(self.leaks) > _NAMED else ''}. Train again on this version, or name "
                "the other runs."
            )

    def require_no_late_leak(self) -> None:
        """Refuse images of parts that turned out to be tested and learned from.

        Raises:
            InputError: names them.
        """
        if self.late_leaks:
            raise InputError(
                f"{len(self.late_leaks)} test images show parts that the models of {self.run} "
                f"learned from, as an update of {self.dataset.root} found: "
                f"{', '.join(self.late_leaks[:_NAMED])}"
                f"{' …' if len(self.late_leaks) > _NAMED else ''}. Train again on this version. "
                "`defectune evaluate` gives this run's metrics with and without them."
            )

    @property
    def notes(self) -> list[str]:
        """What a reader of the metrics must know, a sentence."""
        late = set(self.late_leaks)
        honest = [folds for image_id, folds in self.models.items() if image_id not in late]
        single = sum(len(folds) == 1 for folds in honest)
        several = len(honest) - single
        said = [f"{len(self.kept)} test images keep their predictions"]
        if single:
            said.append(f"{single} that came later are predicted by the one model that may")
        if several:
            said.append(
                f"{several} whose part is new to all by the mean of up to "
                f"{max(map(len, honest))} models' calibrated scores (regions of the "
                "fold's own model)"
            )
        if late:
            said.append(
                f"{len(late)} show parts that its models learned from, as an update found later"
            )
        return [f"Trained on version {self.trained_on}: {'; '.join(said)}."]


def catching(run: Path, dataset: Dataset) -> Catching | None:
    """What a run of an earlier version has to say yet; None for a run of the dataset as it is.

    Raises:
        InputError: predictions or versions that are damaged.
        SplitMismatchError: a run of no version of this dataset.
    """
    number = version_of_run(run, dataset)
    if number is None:
        return None
    old = load_version(dataset.root, number)
    stored = read_as_trained(run, old)
    now, then = dataset.by_id, old.by_id
    parts = {fold: old.split.folds[fold] for fold in sorted(stored.folds)}
    learned = {n: learned_from(old, dataset, (*p.train, *p.val)) for n, p in parts.items()}
    told = _told_late(dataset, number)
    kept: list[str] = []
    models: dict[str, tuple[int, ...]] = {}
    leaks: list[str] = []
    late: list[str] = []
    for own, fold in enumerate(dataset.split.folds):
        if own not in learned:
            # Of a fold that was not trained nothing is asked.
            continue
        for image_id in fold.test:
            sample = now[image_id]
            may = [n for n, known in learned.items() if not known.holds(sample)]
            if not may and sample.group in told:
                # By the fold's own model, as before it was known; and marked.
                late.append(image_id)
                may = [own]
            if (
                image_id in stored.image_scores
                and then[image_id].sha256 == sample.sha256
                and stored.fold_of[image_id] in may
            ):
                kept.append(image_id)
            elif may:
                models[image_id] = tuple(sorted(may, key=lambda n, own=own: (n != own, n)))  # type: ignore[misc]
            else:
                leaks.append(image_id)
    return Catching(
        run,
        dataset,
        number,
        stored,
        _class_numbers(dataset, number),
        tuple(kept),
        models,
        tuple(leaks),
        tuple(late),
    )


def _told_late(dataset: Dataset, first: int) -> frozenset[str]:
    """Parts, as they are known today, that updates after a version found on two sides."""
    last = dataset.version.number if dataset.version else first
    named = {
        image_id
        for version in range(first + 1, last + 1)
        for leak in read_record(dataset.root, version)["late_leaks"]
        for image_id in (*leak["tested"], *leak["trained"], *leak["shown_by"])
    }
    return frozenset(dataset.by_id[i].group for i in named if i in dataset.by_id)


@dataclass(frozen=True, slots=True)
class Learned:
    """Parts and files that a model learned from."""

    groups: frozenset[str]
    files: frozenset[str]

    def holds(self, sample: Sample) -> bool:
        """Whether the model learned from an image's part, or from the image."""
        return sample.group in self.groups or sample.sha256 in self.files


def learned_from(old: Dataset, dataset: Dataset, ids: Sequence[str]) -> Learned:
    """What a model learned from, parts being those that are known today.

    Args:
        old: the version that it was trained on.
        dataset: as it is today.
        ids: of the old version, that it learned from.
    """
    samples = old.select(ids)
    # Parts were joined since: the images that stay tell which.
    later: dict[str, set[str]] = {}
    for sample in old.samples:
        if sample.image_id in dataset.by_id:
            later.setdefault(sample.group, set()).add(dataset.by_id[sample.image_id].group)
    groups = {sample.group for sample in samples}
    return Learned(
        frozenset(groups.union(*(later.get(name, set()) for name in groups))),
        frozenset(sample.sha256 for sample in samples),
    )


def _class_numbers(dataset: Dataset, first: int) -> tuple[int, ...]:
    """Today's number of every class of an old version: another one where classes were merged."""
    before = [str(name) for name in read_record(dataset.root, first)["classes"]]
    numbers = list(range(len(before)))
    last = dataset.version.number if dataset.version else first
    for version in range(first + 1, last + 1):
        record = read_record(dataset.root, version)
        for name, new in record["renamed"].items():
            if name in before and new in before:
                merged, into = before.index(name), before.index(new)
                numbers = [into if n == merged else n for n in numbers]
        before = [str(name) for name in record["classes"]]
    return tuple(numbers)


Cell = tuple[str, str, int]
"""An image's id, its SHA-256, and the fold whose model predicted it."""


@dataclass
class Later:
    """Predictions that were made after the training, in a file for each version.

    Attributes:
        run: the run's folder.
        rows: what the files hold, by cell; the newest word counts.
    """

    run: Path
    rows: dict[Cell, dict[str, Any]]

    @classmethod
    def open(cls, run: Path) -> "Later":
        """Read what there is; half a line, which a killed call left, is none."""
        rows: dict[Cell, dict[str, Any]] = {}
        folder = run / LATER_FOLDER
        for path in sorted(folder.glob("*.jsonl")) if folder.is_dir() else ():
            for line in path.read_bytes().splitlines(keepends=True):
                try:
                    row = json.loads(line)
                    if line.endswith(b"\n"):
                        rows[str(row["image_id"]), str(row["sha256"]), int(row["fold"])] = row
                except (ValueError, KeyError, TypeError):
                    # It is predicted again.
                    continue
        return cls(run, rows)

    def missing(self, plan: Catching) -> list[tuple[str, int]]:
        """Images and folds that are to be predicted yet, by fold and image."""
        left = []
        for image_id, folds in plan.models.items():
            sample = plan.dataset.by_id[image_id]
            for place, fold in enumerate(folds):
                row = self.rows.get((image_id, sample.sha256, fold))
                if row is None or (place == 0 and not row.get("whole")):
                    left.append((image_id, fold))
        return sorted(left, key=lambda one: (one[1], one[0]))

    def add(
        self,
        path: Path,
        sample: Sample,
        fold: int,
        thresholds: FoldThresholds,
        prediction: Prediction,
        *,
        whole: bool,
    ) -> None:
        """Keep a prediction, at once.

        Args:
            path: file to add it to.
            sample: the image.
            fold: whose model predicted it.
            thresholds: of that fold.
            prediction: with the model's own score.
            whole: keep its regions, its map and its type too.
        """
        refuse_link(path)
        row: dict[str, Any] = {
            "image_id": sample.image_id,
            "sha256": sample.sha256,
            "fold": fold,
            "raw_score": float(prediction.image_score),
            "image_score": float(thresholds.calibrate(prediction.image_score)),
            "whole": whole,
        }
        if whole:
            row["predicted_type"] = prediction.predicted_type or ""
            row["regions"] = (
                None if prediction.regions is None else coco_results(prediction.regions, 0)
            )
            row["map"] = None
            if prediction.pixel_scores is not None:
                levels, ends = map_levels(prediction.pixel_scores)
                place = _map_file(self.run, sample, fold)
                own_folder(self.run, LATER_FOLDER, MAPS_FOLDER)
                write_png(place, levels, compression=1)
                row["map"] = list(ends)
        with path.open("a+b") as file:
            if file.tell():
                file.seek(-1, 2)
                # Behind half a line that a killed call left.
                if file.read(1) != b"\n":
                    file.write(b"\n")
            file.write((json.dumps(row) + "\n").encode())
        self.rows[sample.image_id, sample.sha256, fold] = row


def _map_file(run: Path, sample: Sample, fold: int) -> Path:
    name = f"{sample.stem}.{sample.sha256[:12]}.{fold}.png"
    return run / LATER_FOLDER / MAPS_FOLDER / name


def read_predictions(
    run: Path, dataset: Dataset, *, with_late_leaks: bool = False
) -> StoredPredictions:
    """Read a run's predictions and check them against the dataset.

    Of a run of an earlier version, what it says of the test images that there are now.

    Args:
        run: its folder.
        dataset: with the truth.
        with_late_leaks: take test images too whose part the run's models learned from as an
            update found later; `StoredPredictions.late_leaks` names them.

    Raises:
        InputError: no predictions, malformed ones, unknown images, unknown classes; test images
            that an old run has not predicted yet, or that its models learned from.
        SplitMismatchError: the run was made under another split.
    """
    plan = catching(run, dataset)
    if plan is None:
        return read_as_trained(run, dataset)
    plan.require_no_leak()
    if not with_late_leaks:
        plan.require_no_late_leak()
    return _caught_up(plan)


def _caught_up(plan: Catching) -> StoredPredictions:
    later = Later.open(plan.run)
    missing = {image_id for image_id, _ in later.missing(plan)}
    if missing:
        raise InputError(
            f"The run {plan.run} is of version {plan.trained_on} of {plan.dataset.root}, and has "
            f"not yet predicted {len(missing)} test images that came later, such as "
            f"{min(missing)}. `defectune evaluate {plan.dataset.root} {plan.run.name}` does, "
            "without training."
        )
    old, now = plan.stored, plan.dataset.by_id
    names = plan.dataset.class_names
    scores = {i: old.image_scores[i] for i in plan.kept}
    raw = {i: old.raw_scores[i] for i in plan.kept}
    fold_of = {i: old.fold_of[i] for i in plan.kept}
    ranges = {i: old.map_ranges[i] for i in plan.kept if i in old.map_ranges}
    regions = None if old.regions is None else {i: old.regions[i] for i in plan.kept}
    types = {i: _named_now(plan, old.predicted_types[i]) for i in plan.kept
             if i in old.predicted_types}  # fmt: skip
    map_files: dict[str, Path] = {}
    for image_id, folds in plan.models.items():
        sample = now[image_id]
        rows = [later.rows[image_id, sample.sha256, fold] for fold in folds]
        try:
            given = [float(row["image_score"]) for row in rows]
            scores[image_id] = CalibratedScore(sum(given) / len(given))
            raw[image_id] = RawScore(float(rows[0]["raw_score"]))
            fold_of[image_id] = folds[0]
            if regions is not None:
                regions[image_id] = regions_of_results(rows[0]["regions"], sample.image_hw)
            if rows[0]["map"] is not None:
                low, high = rows[0]["map"]
                ranges[image_id] = (float(low), float(high))
                map_files[image_id] = _map_file(plan.run, sample, folds[0])
            if rows[0]["predicted_type"]:
                types[image_id] = _named_now(plan, str(rows[0]["predicted_type"]))
        except (KeyError, TypeError, ValueError, IndexError) as error:
            raise InputError(
                f"What {plan.run / LATER_FOLDER} keeps of {image_id} is damaged "
                f"({type(error).__name__}: {shortened(error)}). Remove that folder and evaluate "
                "again."
            ) from error
    if regions is not None:
        regions = {i: _renumbered(found, plan.class_numbers) for i, found in regions.items()}
        highest = max((int(f.labels.max()) for f in regions.values() if len(f)), default=0)
        if highest >= len(names):
            raise InputError(f"{plan.run} has a region of the unknown class {highest + 1}.")
    validation = {
        (fold, image_id): score
        for (fold, image_id), score in old.validation_scores.items()
        if image_id in now
    }
    about = dict(old.about)
    about["notes"] = [*about.get("notes", ()), *plan.notes]
    return replace(
        old,
        about=about,
        image_scores=scores,
        raw_scores=raw,
        fold_of=fold_of,
        regions=regions,
        map_ranges=ranges,
        stems={sample.image_id: sample.stem for sample in plan.dataset.samples},
        validation_scores=validation,
        predicted_types=types,
        added=plan.models,
        map_files=map_files,
        late_leaks=plan.late_leaks,
    )


def _named_now(plan: Catching, name: str) -> str:
    """Today's name of a type that the run names as it was called when it was trained."""
    before: list[str] = read_record(plan.dataset.root, plan.trained_on)["classes"]
    if name not in before:
        return name
    return plan.dataset.class_names[plan.class_numbers[before.index(name)]]


def _renumbered(regions: Regions, numbers: Sequence[int]) -> Regions:
    if not len(regions) or tuple(numbers) == tuple(range(len(numbers))):
        return regions
    labels = regions.labels.copy()
    for number, now in enumerate(numbers):
        labels[regions.labels == number] = now
    return replace(regions, labels=labels)
