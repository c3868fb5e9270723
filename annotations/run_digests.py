"""Digests of a run's models and predictions, so that what belongs together is proved to.

meta.json, written last of all, holds the SHA-256 of every prediction file and of every model file,
and one of itself: a model that was exchanged, a score that was edited, a fold of another run are
noticed by `check RUN`. Logs, times and pictures of the training are not covered.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final

from annotations.dataset import Dataset
from annotations.errors import DefectuneError
from annotations.files import inside, read_json
from annotations.images import sha256_of
from annotations.prediction_files import read_thresholds
from annotations.run_files import CONFIG_FILE, TIMING_FILE, meta_path
from annotations.version_files import read_record, version_numbers

FILES_KEY: Final = "sha256"
SELF_KEY: Final = "digest"
MODEL_SUFFIXES: Final = (".safetensors", ".npz", ".json", ".pt")
_NO_MODEL: Final = frozenset({TIMING_FILE, "state.pt"})
"""Times, and what an interrupted training goes on from."""
_NAMED: Final = 5


def model_files(folder: Path) -> list[Path]:
    """The files of a fold's folder that are its model, and the run's settings."""
    settings = folder.parent / CONFIG_FILE
    return [settings] * settings.is_file() + sorted(
        path
        for path in folder.iterdir()
        if path.suffix in MODEL_SUFFIXES and path.name not in _NO_MODEL and path.is_file()
    )


def digests_of(run: Path, paths: Iterable[Path]) -> dict[str, str]:
    """SHA-256 by path relative to the run."""
    return {path.relative_to(run).as_posix(): sha256_of(path) for path in paths}


def sealed(meta: Mapping[str, Any]) -> dict[str, Any]:
    """A meta.json with the digest of all its other content."""
    return {**meta, SELF_KEY: _digest(meta)}


def _digest(meta: Mapping[str, Any]) -> str:
    content = {key: value for key, value in meta.items() if key != SELF_KEY}
    text = json.dumps(content, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def run_problems(run: Path, dataset: Dataset) -> tuple[list[str], list[tuple[str, str]]]:
    """What is wrong with a run, a sentence each; and what was looked at, as name and text.

    Args:
        run: its folder.
        dataset: that it was trained on.

    Raises:
        InputError: no finished predictions, or a meta.json that cannot be read.
    """
    path = meta_path(run)
    meta: Any = read_json(path, what="a run's predictions")
    folds = sorted(read_thresholds(run))
    problems: list[str] = []
    facts = [("run", run.name), ("finished folds", f"{len(folds)} of {len(dataset.split.folds)}")]
    if meta.get("split_digest") != dataset.split.digest:
        numbers = [
            number
            for number in version_numbers(dataset.root)
            if read_record(dataset.root, number)["split_digest"] == meta.get("split_digest")
        ]
        if numbers:
            facts.append(("trained on", f"version {numbers[0]} of the dataset"))
        else:
            problems.append(f"{path} belongs to another split than {dataset.root}. Train again.")
    listed = meta.get(FILES_KEY)
    if not isinstance(listed, dict) or not isinstance(meta.get(SELF_KEY), str):
        problems.append(f"{path} holds no digests of models and predictions. Train again.")
        return problems, facts
    if _digest(meta) != meta[SELF_KEY]:
        problems.append(f"{path} was changed after training (another SHA-256). Train again.")
    changed, missing = [], []
    for name, digest in listed.items():
        try:
            file = inside(run, str(name), source=path)
        except DefectuneError as error:
            problems.append(str(error))
            continue
        if not file.is_file():
            missing.append(str(name))
        elif sha256_of(file) != digest:
            changed.append(str(name))
    for names, what in ((missing, "are missing"), (changed, "were changed after training")):
        if names:
            some = ", ".join(names[:_NAMED]) + (" …" if len(names) > _NAMED else "")
            problems.append(f"{run}: {len(names)} files {what}: {some}. Train those folds again.")
    loose = sorted(
        path.relative_to(run).as_posix()
        for path in run.rglob("*")
        if path.is_file()
        and path.relative_to(run).as_posix() not in listed
        and path != meta_path(run)
    )
    if loose:
        some = ", ".join(loose[:_NAMED]) + (" …" if len(loose) > _NAMED else "")
        facts.append(("other files, not covered by digests", f"{len(loose)}: {some}"))
    whole = len(listed) - len(changed) - len(missing)
    facts.append(("models and predictions as trained", f"{whole} of {len(listed)} files"))
    return problems, facts
