"""Which program this is: its version, and a digest of its code."""

import functools
import hashlib
from importlib.metadata import version

from defectune.shadowing import HOME, PACKAGES


@functools.cache
def program_digest() -> str:
    """SHA-256 over the names and contents of the program's Python files and recipes.

    Two installations with one digest run the same code; a version number alone does not say so
    while the program is being changed.
    """
    whole = hashlib.sha256()
    for package in (*PACKAGES, "defectune"):
        for path in sorted((HOME / package).rglob("*")):
            if path.suffix in (".py", ".yaml") and path.is_file():
                whole.update(path.relative_to(HOME).as_posix().encode() + b"\0")
                whole.update(hashlib.sha256(path.read_bytes()).digest())
    return whole.hexdigest()


def program_version() -> str:
    """The version with the beginning of the code's digest: `0.2.0+3f0c9a7d21be`."""
    return f"{version('defectune')}+{program_digest()[:12]}"
