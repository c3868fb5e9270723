"""Folders of the user's that are called as our packages, and would be imported in their place."""

import importlib.util
import sys
from pathlib import Path
from typing import Final

PACKAGES: Final = (
    "annotations",
    "classify",
    "converters",
    "deployment",
    "detect",
    "evaluation",
    "inference",
    "report",
    "segment",
    "training",
)
HOME: Final = Path(__file__).resolve().parents[1]
"""The folder that holds our packages."""


def leave_current_folder() -> None:
    """Stop importing from the current folder, as `python -m` does and the installed command not."""
    here = Path.cwd()
    if here != HOME:
        sys.path[:] = [entry for entry in sys.path if entry and Path(entry).absolute() != here]


def require_own_packages() -> None:
    """Refuse to go on where another module would be imported for one of ours.

    Raises:
        ImportError: one line that names it. No error of ours, whose package may be hidden too.
    """
    for name in PACKAGES:
        try:
            spec = importlib.util.find_spec(name)
        except ValueError:  # made by hand, and in the way all the same
            spec = None
        origin = None if spec is None else spec.origin
        if origin is not None and Path(origin).resolve().parent == HOME / name:
            continue
        found = origin or f"a module called {name!r}"
        raise ImportError(
            f"defectune needs its own package {name!r}, and {found} is in the way: rename that, "
            "or start Python in another folder."
        )
