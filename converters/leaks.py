"""Parts of new images, and parts on two sides that a new image shows to be one."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

from annotations import Dataset, InputError, Sample
from annotations.errors import DefectuneError
from annotations.placing import Leak, Sides, find_leaks, sides_of
from annotations.run_files import CONFIG_FILE, RUNS_FOLDER
from annotations.version_files import read_record, read_state, version_numbers
from annotations.yaml_files import parse_yaml
from converters.batches import Batch
from converters.groups import MOST_IMAGES, compile_pattern
from converters.new_reshots import KnownTextures, find_new_reshots

_NAMED: Final = 5


def joined_parts(
    old: Mapping[str, Sample],
    new: Mapping[str, Sample],
    batch: Batch,
    *,
    returned: Mapping[str, Mapping[str, Any]],
    known: KnownTextures,
    progress: Callable[[int, int], None] | None,
    notes: list[str],
) -> dict[str, str]:
    """The part of every image, old and new.

    A part keeps its name; where a new image joins several, the first name in order stands for all.

    Args:
        old: images of the dataset.
        new: new ones.
        batch: that they came in.
        returned: what versions say of new ones that were in the dataset before.
        known: textures of images that were looked at before.
        progress: called with images done and images in all.
        notes: gets how parts were told.

    Raises:
        ImageReadError: an image that cannot be read.
    """
    options = batch.read.options
    pattern = compile_pattern(options.group_by)
    source = {image.image_path: image for image in batch.read.images}

    def named(text: str) -> str | None:
        match = pattern.search(text) if pattern is not None else None
        if match is None:
            return None
        return next((g for g in match.groups() if g), match.group(0)) or None

    # A part that was joined with another goes by that one's name: its own leads there.
    alias = {name: s.group for i, s in old.items() if (name := named(i)) is not None}
    groups: dict[str, str] = {}
    for image_id, sample in new.items():
        image = source[sample.image_path]
        if image_id in returned:
            groups[image_id] = str(returned[image_id]["group"])
            continue
        own = image.group if pattern is None else named(image.relative)
        groups[image_id] = alias.get(own, own) if own else image_id
    find = options.find_groups
    everything = sorted((*old, *new))
    if find is None:
        find = pattern is None and len(everything) <= MOST_IMAGES
    pairs: list[tuple[str, str]] = []
    if find:
        of = {**old, **new}
        found = find_new_reshots(
            [of[i].image_path for i in everything],
            [of[i].sha256 for i in everything],
            np.array([i in new for i in everything], np.bool_),
            known,
            progress=progress,
        )
        pairs = [(everything[r.first], everything[r.second]) for r in found]
        if pairs:
            notes.append(f"{len(pairs)} pairs of new images and others show one part (texture)")
    return _joined({i: s.group for i, s in old.items()}, groups, pairs)


def _joined(
    old: Mapping[str, str], new: Mapping[str, str], pairs: Sequence[tuple[str, str]]
) -> dict[str, str]:
    group_of = {**old, **new}
    placed = set(old.values())
    parent = {name: name for name in group_of.values()}

    def root(name: str) -> str:
        while parent[name] != name:
            parent[name] = parent[parent[name]]
            name = parent[name]
        return name

    for first, second in pairs:
        # A name that is placed stands for one that is not.
        roots = sorted(
            {root(group_of[first]), root(group_of[second])}, key=lambda n: (n not in placed, n)
        )
        for other in roots[1:]:
            parent[other] = roots[0]
    return {image_id: root(name) for image_id, name in group_of.items()}


def require_no_late_leak(
    dataset: Dataset,
    sides: Sequence[Sides],
    old: Mapping[str, Sample],
    new: Mapping[str, Sample],
    *,
    leave_out: bool,
    notes: list[str],
) -> list[dict[str, Any]]:
    """Refuse parts on two sides that new images show to be one; or leave them out of training.

    Args:
        dataset: as it stands.
        sides: of its images; changed where images are left out.
        old: its images, with the parts as they are known now.
        new: the new ones.
        leave_out: leave training images out whose part is tested.
        notes: gets what was left out.

    Returns:
        What the version's record says of it.

    Raises:
        InputError: names images, runs and ways out.
    """
    leaks = find_leaks(sides, {i: s.group for i, s in old.items()})
    if not leaks:
        return []
    runs = _runs_with(dataset, leaks)
    told = []
    for leak in leaks:
        group = old[leak.tested[0]].group
        shown_by = sorted(i for i, s in new.items() if s.group == group)
        told.append({**leak.to_json(), "shown_by": shown_by, "runs": runs.get(leak.fold, [])})
    if leave_out:
        for leak in leaks:
            for image_id in leak.trained:
                sides[leak.fold][image_id] = "left_out"
        left = sorted({i for leak in leaks for i in leak.trained})
        hit = sorted({name for names in runs.values() for name in names})
        notes.append(
            f"{len(left)} images are left out of training from now on, where their part is tested: "
            f"{_some(left)}"
            + (f"; runs that trained on them as they were: {', '.join(hit)}" if hit else "")
        )
        return told
    first = told[0]
    sentences = [
        f"{_some(first['shown_by']) or 'A new image'} shows that {first['tested'][0]} and "
        f"{first['trained'][0]} are one part, and in fold {first['fold']} one is a test image and "
        "the other a training image."
    ]
    parts = {old[leak.tested[0]].group for leak in leaks}
    if len(parts) > 1:
        sentences.append(f"So it is with {len(parts) - 1} other parts.")
    hit = [f"{name} (fold {fold})" for fold, names in sorted(runs.items()) for name in names]
    sentences.append(
        f"Trained on the one and tested on the other: {_some(hit)}."
        if hit
        else "No run was trained under that split."
    )
    sentences.append(
        "Nothing was changed. Leave these images out of training (--leave-out): the dataset stays "
        "honest, and figures of those runs are marked; or remove one of the parts (--remove); or, "
        "where they are two parts that only look alike, name parts with --group-by or say "
        "--no-find-groups."
    )
    raise InputError(" ".join(sentences))


def _runs_with(dataset: Dataset, leaks: Sequence[Leak]) -> dict[int, list[str]]:
    """Runs that trained on one image of a leak and tested another, by fold."""
    folder = dataset.root / RUNS_FOLDER
    found: dict[int, list[str]] = {}
    known: dict[str, Sequence[Sides] | None] = {dataset.split.digest: sides_of(dataset.split)}
    configs = sorted(folder.glob(f"*/{CONFIG_FILE}")) if folder.is_dir() else []
    for path in configs:
        digest = _digest_of_run(path)
        if digest not in known:
            known[digest] = _sides_of_version(dataset.root, digest)
        sides = known[digest]
        for leak in leaks if sides is not None else ():
            if sides is None or leak.fold >= len(sides):
                continue
            fold = sides[leak.fold]
            hit = any(fold.get(i) == "test" for i in leak.tested) and any(
                fold.get(i) in ("train", "val") for i in leak.trained
            )
            names = found.setdefault(leak.fold, [])
            if hit and path.parent.name not in names:
                names.append(path.parent.name)
    return {fold: names for fold, names in found.items() if names}


def _digest_of_run(path: Path) -> str:
    try:
        value = parse_yaml(path.read_text(encoding="utf-8"), what=str(path))
        return str(value["split_digest"])
    except (DefectuneError, OSError, KeyError, TypeError, ValueError):
        # A run that cannot be read is the affair of `check RUN`.
        return ""


def _sides_of_version(root: Path, digest: str) -> Sequence[Sides] | None:
    for number in version_numbers(root):
        if read_record(root, number)["split_digest"] == digest:
            folds = read_state(root, number)["split"]["folds"]
            return [
                {i: side for side in ("train", "val", "test", "left_out") for i in fold[side]}
                for fold in folds
            ]
    return None


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:_NAMED]) + (" …" if len(names) > _NAMED else "")
