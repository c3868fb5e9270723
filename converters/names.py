"""What folder, file and class names mean: good, a side of the split, images, labels.

Names are read as whole words, so that `valve` is no validation side and `not_ok` is not good.
"""

import re
from collections.abc import Iterable
from functools import lru_cache
from typing import Final

from annotations import GOOD

_WORD: Final = re.compile(r"[^\W\d_]+|\d+")
_CAMEL: Final = re.compile(r"(?<=[a-z])(?=[A-Z])")
_SIDE: Final = re.compile(r"^(train|training|val|valid|validation|test|testing)\d*$")
_SIDE_NAME: Final = {"training": "train", "valid": "val", "validation": "val", "testing": "test"}

GOOD_WORDS: Final = frozenset(
    {GOOD, "ok", "okay", "normal", "free", "pass", "passed", "healthy", "intact", "defectless"}
    | {"defectfree", "undamaged", "nodefect", "nondefective", "faultless", "flawless"}
)
"""A class or folder whose last word is one of these holds good images."""
GOOD_PHRASES: Final = frozenset(
    {
        "no defect",
        "no defects",
        "defect free",
        "non defective",
        "not defective",
        "without defect",
        "i o",
    }
    | {"without defects", "no anomaly", "non anomalous", "no fault", "not damaged", "no damage"}
)
_NEGATIONS: Final = frozenset({"not", "no", "n", "non", "un", "never", "bad", "ng", "in"})
_FILLERS: Final = frozenset(
    {"image", "images", "img", "imgs", "part", "parts", "sample", "samples", "set", "piece"}
    | {"pieces", "product", "products", "item", "items", "data", "test", "train", "class"}
)
_VIEWS: Final = frozenset({"front", "back", "rear", "top", "bottom", "left", "right", "view"})
"""What a folder of good images may say of the camera: `ok_front`."""
IMAGE_FOLDERS: Final = frozenset(
    {"images", "imgs", "image", "img", "input", "inputs", "data", "jpegimages", "pictures"}
    | {"photos", "frames", "rgb", "default", "obj_train_data", "obj_valid_data"}
)
MASK_FOLDERS: Final = frozenset(
    {"masks", "mask", "labels", "label", "ground_truth", "gt", "annotations", "groundtruth"}
    | {"ground truth", "annotation", "segmentation", "segmentations", "seg", "anns", "ann"}
)
LABEL_FOLDERS: Final = MASK_FOLDERS | {"txt", "xml", "xmls", "json", "jsons", "annots", "bbox"}
_SIDE_FILLERS: Final = _FILLERS | IMAGE_FOLDERS | MASK_FOLDERS | {
    "split", "dataset", "folder", "public", "annotated", "labelled", "labeled", "only",
}  # fmt: skip


def words_of(name: str) -> list[str]:
    """The words of a name, in lower case: `MT_Free` is mt, free; `train2017` is train, 2017."""
    return [word.casefold() for word in _WORD.findall(_CAMEL.sub(" ", name))]


@lru_cache(maxsize=4096)
def means_good(name: str, also: tuple[str, ...] = ()) -> bool:
    """True for a class or folder name that means a good image.

    Args:
        name: `good`, `OK`, `MT_Free`, `no defect`; but not `not_ok`, `abnormal` or `Good Weld`.
        also: names that a person gave; as a whole, or the last words of `name`.
    """
    words = [word for word in words_of(name) if not word.isdecimal()]
    given = words_of(name)
    for other in also:
        if other.casefold() == name.casefold():
            return True
        wanted = words_of(other)
        if wanted and given[-len(wanted) :] == wanted and not _NEGATIONS & {*given}:
            return True
    while len(words) > 1 and words[-1] in _FILLERS | _VIEWS:
        words.pop()
    # A phrase may follow a set's own prefix: `MT_no_defect`.
    if any(" ".join(words[start:]) in GOOD_PHRASES for start in range(min(len(words), 3))):
        return bool(words) and (words[0] not in _NEGATIONS or " ".join(words) in GOOD_PHRASES)
    return bool(words) and words[-1] in GOOD_WORDS and not _NEGATIONS & {*words}


def side_of_folders(names: Iterable[str]) -> str:
    """The side that folder names speak of: `train`, `val`, `test`, or empty.

    A folder speaks of a side where that is all that it says: `train`, `train2017`,
    `test_images`; but not `testpin`, `valve` or `test_pin_bent`.
    """
    for name in names:
        words = [word for word in words_of(name) if not word.isdecimal()]
        sides = [word for word in words if _SIDE.match(word)]
        if len(sides) == 1 and all(word in _SIDE_FILLERS or word in sides for word in words):
            return side_of_word(sides[0])
    return ""


def side_of_file(stem: str) -> str:
    """The side that a label file's name speaks of in a word of its own: instances_train2017."""
    sides = {side_of_word(word) for word in words_of(stem)} - {""}
    return sides.pop() if len(sides) == 1 else ""


def side_of_word(word: str) -> str:
    """`train`, `val` or `test` for a word that means one, with digits or without; else empty."""
    match = _SIDE.match(word.casefold())
    return _SIDE_NAME.get(match[1], match[1]) if match else ""


def is_image_folder(name: str) -> bool:
    """True for a folder that by its name holds images, of whatever side or class."""
    return name.casefold() in IMAGE_FOLDERS


def is_label_folder(name: str) -> bool:
    """True for a folder that by its name holds labels or masks."""
    return name.casefold() in LABEL_FOLDERS
