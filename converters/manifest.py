"""A digest of every file that a conversion writes, so that one changed byte is noticed.

`manifest.json` lists the SHA-256 of all files but the images, whose digests stand in
annotations/all.json and annotations/unlabelled.json. What later commands add (`runs/`, `report/`,
leaderboard.json) is not covered; `check RUN` covers runs.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from annotations import DefectuneError
from annotations.dataset import IMAGES_FOLDER
from annotations.errors import shortened
from annotations.files import read_json, write_json_atomic
from annotations.images import sha256_of
from annotations.run_files import ACCEPTANCE_FOLDER, LEADERBOARD_FILE, REPORT_FOLDER, RUNS_FOLDER
from annotations.unlabelled import UNLABELLED_FOLDER

MANIFEST: Final = "manifest.json"
FORMAT: Final = "defectune-manifest-1"
ADDED_LATER: Final = frozenset(
    {RUNS_FOLDER.name, REPORT_FOLDER, ACCEPTANCE_FOLDER, LEADERBOARD_FILE}
)
_NAMED: Final = 5


def write_manifest(folder: Path) -> None:
    """Write the digests of all files of a dataset that has just been written."""
    files = {name: sha256_of(folder / name) for name in _files(folder)}
    write_json_atomic(folder / MANIFEST, {"format": FORMAT, "sha256": files})


def manifest_problems(root: Path, known: Sequence[str] = ()) -> tuple[list[str], str]:
    """What differs from the manifest.

    Args:
        root: the dataset's folder.
        known: problems that were found before; files that they name are not named again.

    Returns:
        Problems, a sentence each; and how many files held, as a text.
    """
    path = root / MANIFEST
    try:
        value: Any = read_json(path, what="the digests of a converted dataset")
        listed = value["sha256"]
        if value["format"] != FORMAT or not isinstance(listed, dict):
            raise ValueError(f"format {value['format']!r}")
    except DefectuneError as error:
        return [str(error)], "none"
    except (KeyError, TypeError, ValueError) as error:
        return [
            f"{path} is damaged ({type(error).__name__}: {shortened(error)}). Convert again."
        ], "none"
    there = set(_files(root))
    missing = sorted(set(listed) - there)
    changed = [
        name for name in sorted(there & set(listed)) if sha256_of(root / name) != listed[name]
    ]
    added = sorted(there - set(listed))
    problems = []
    for names, what in (
        (missing, "files of the conversion are missing"),
        (changed, "files were changed after conversion (another SHA-256)"),
        (added, "files do not belong to the dataset and may be taken for labels by other programs"),
    ):
        names = [name for name in names if not any(str(root / name) in text for text in known)]
        if names:
            some = ", ".join(names[:_NAMED]) + (" …" if len(names) > _NAMED else "")
            problems.append(f"{root}: {len(names)} {what}: {some}. Convert again, or restore them.")
    held = len(there & set(listed)) - len(changed)
    return problems, f"{held} of {len(listed)}"


def _files(root: Path) -> list[str]:
    """Names of the files that a manifest covers, relative to the dataset."""
    images, unlabelled = root / IMAGES_FOLDER, root / UNLABELLED_FOLDER
    names = [
        path.relative_to(root).as_posix()
        for folder in root.iterdir()
        if folder.name not in ADDED_LATER
        and folder != unlabelled
        and folder.is_dir()
        and not folder.name.startswith(".")
        for path in folder.rglob("*")
        if not path.is_relative_to(images) and path.is_file()
    ]
    names += [
        path.name
        for path in root.iterdir()
        if path.is_file()
        and path.name not in (MANIFEST, *ADDED_LATER)
        and not path.name.startswith(".")
    ]
    return sorted(names)
