"""The project speaks of itself, not of the machine on which it was written."""

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

# In pieces, so that this file does not find itself.
FORBIDDEN = [
    "/work/" + "main",
    "/work/" + "shared",
    "/root/" + ".",
]
# Where packages come from is each user's own setting; only the lock has to name it.
REGISTRY_WORDS = ["pypi.org/" + "simple", "index" + "-url"]
LOCK_HOSTS = {"pypi.org", "files.pythonhosted.org"}


def project_files() -> list[Path]:
    try:
        listing = subprocess.run(
            ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True
        ).stdout
        names = [ROOT / name for name in listing.split("\0") if name]
    except (OSError, subprocess.CalledProcessError):  # an unpacked archive, or no git
        names = [
            path
            for path in ROOT.rglob("*")
            if not any(part in {".venv", ".git", "__pycache__"} for part in path.parts)
            and not any(part.endswith("_cache") for part in path.parts)
        ]
    return [path for path in names if path.is_file()]


@pytest.mark.parametrize("word", FORBIDDEN + REGISTRY_WORDS)
def test_no_file_says(word: str) -> None:
    lock = ROOT / "uv.lock"
    found = [
        str(path.relative_to(ROOT))
        for path in project_files()
        if not (path == lock and word in REGISTRY_WORDS)
        and word in path.read_text(encoding="utf-8", errors="replace")
    ]
    assert not found, f"{word!r} stands in {', '.join(found)}"


def test_the_lock_names_only_the_public_index() -> None:
    lock = (ROOT / "uv.lock").read_text(encoding="utf-8")
    assert set(re.findall(r"https?://([^/\"]+)", lock)) <= LOCK_HOSTS
