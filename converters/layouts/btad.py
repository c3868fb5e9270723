"""Reading BTAD, one product at a time (Mishra et al., VT-ADL, ISIE 2021).

The folders are MVTec AD's with other names; a mask has its image's own stem (product 01 and 02
with `.png`, product 03 with `.bmp`):

    train/ok/0000.bmp
    test/ok/0000.bmp
    test/ko/0000.bmp
    ground_truth/ko/0000.png
"""

from pathlib import Path
from typing import Final

from annotations import LayoutError
from converters.layouts.mvtec import FolderNames, find_folders, not_this_layout
from converters.layouts.source import FindOptions, Found

BTAD: Final = FolderNames("BTAD", good="ok")


def recognise(source: Path, options: FindOptions) -> str | None:
    """Say why a folder looks like this layout; None where it does not."""
    del options
    if (source / "train" / BTAD.good).is_dir() and (source / BTAD.test).is_dir():
        return f"it holds train/{BTAD.good} and {BTAD.test}"
    return None


def find(source: Path, options: FindOptions) -> Found:
    """Find the images and masks of one product.

    Raises:
        LayoutError: no BTAD layout.
        InputError: as `converters.layouts.mvtec.find`.
    """
    if recognise(source, options) is None:
        raise LayoutError(not_this_layout(source, BTAD))
    return find_folders(source, BTAD)
