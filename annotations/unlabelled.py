"""Images of a dataset that nobody has labelled yet: `annotations/unlabelled.json`.

They have no type, no part and no side, so that nothing trains on them or counts them. They wait to
be predicted, and for a label.
"""

import os
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from annotations.errors import InputError, shortened
from annotations.files import inside, read_json

UNLABELLED_FILE: Final = Path("annotations") / "unlabelled.json"
UNLABELLED_FOLDER: Final = Path("unlabelled")
"""Where these images stand, linked or copied as the labelled ones are."""
FORMAT: Final = "defectune-unlabelled-1"


@dataclass(frozen=True, slots=True)
class UnlabelledImage:
    """An image without a label.

    Attributes:
        image_id: unique among the unlabelled ones: its path in the folder that it came from.
        image_path: the image file.
        image_hw: height and width in pixels.
        sha256: of the file's bytes, hexadecimal.
        source: name of the source, in a dataset of several; else empty.
    """

    image_id: str
    image_path: Path
    image_hw: tuple[int, int]
    sha256: str
    source: str = ""


@dataclass(frozen=True, slots=True)
class UnlabelledList:
    """All images that ever came without a label.

    Attributes:
        waiting: those that have none now, sorted by id.
        labelled: those that have one now. They are kept, so that they wait again where an older
            version of the labels is restored.
    """

    waiting: tuple[UnlabelledImage, ...] = ()
    labelled: tuple[UnlabelledImage, ...] = ()

    @property
    def every(self) -> tuple[UnlabelledImage, ...]:
        """Both."""
        return (*self.waiting, *self.labelled)

    def settled(
        self, labelled: Collection[str], *, more: Iterable[UnlabelledImage] = ()
    ) -> "UnlabelledList":
        """The list once images of these bytes have a label.

        Args:
            labelled: SHA-256 of all images with a label.
            more: images to take up.
        """
        every = sorted((*self.every, *more), key=lambda image: image.image_id)
        return UnlabelledList(
            tuple(image for image in every if image.sha256 not in labelled),
            tuple(image for image in every if image.sha256 in labelled),
        )

    def without(self, digests: Collection[str]) -> "UnlabelledList":
        """The list without images of these bytes."""
        return UnlabelledList(
            tuple(image for image in self.waiting if image.sha256 not in digests),
            tuple(image for image in self.labelled if image.sha256 not in digests),
        )

    def to_json(self, root: Path) -> dict[str, Any]:
        """What annotations/unlabelled.json holds of a dataset in `root`."""

        def entries(images: Iterable[UnlabelledImage]) -> list[dict[str, Any]]:
            return [
                {
                    "image_id": image.image_id,
                    "file_name": image.image_path.relative_to(root).as_posix(),
                    "width": image.image_hw[1],
                    "height": image.image_hw[0],
                    "sha256": image.sha256,
                    **({"source": image.source} if image.source else {}),
                }
                for image in images
            ]

        return {
            "format": FORMAT,
            "images": entries(self.waiting),
            "labelled_since": entries(self.labelled),
        }


def read_unlabelled(root: Path) -> UnlabelledList:
    """Read the list of a dataset; an empty one where there is none, as in older datasets.

    Raises:
        InputError: it is damaged, or names a file elsewhere than in the dataset's folder for them.
    """
    path = root / UNLABELLED_FILE
    if not os.path.lexists(path):
        return UnlabelledList()
    value: Any = read_json(path, what="the list of unlabelled images")
    try:
        if value["format"] != FORMAT:
            raise ValueError(f"format {value['format']!r}")
        found = UnlabelledList(
            tuple(_image(root, path, entry) for entry in value["images"]),
            tuple(_image(root, path, entry) for entry in value["labelled_since"]),
        )
        for what in ("image_id", "sha256", "image_path"):
            if len({getattr(image, what) for image in found.every}) != len(found.every):
                raise ValueError(f"two images have one {what}")
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise InputError(
            f"{path} is not the list of unlabelled images as it was written "
            f"({type(error).__name__}: {shortened(error)}). Restore it from a backup; or remove it "
            "and give the folder to `defectune update --unlabelled` again."
        ) from error
    return found


def _image(root: Path, path: Path, entry: Any) -> UnlabelledImage:
    name, digest = str(entry["file_name"]), str(entry["sha256"])
    place = inside(root, name, source=path, follow_links=False)
    if place.parent != root / UNLABELLED_FOLDER:
        raise ValueError(f"{name[:80]!r} is not in {UNLABELLED_FOLDER}/")
    hw = (int(entry["height"]), int(entry["width"]))
    if min(hw) < 1 or len(digest) != 64 or not entry["image_id"]:
        raise ValueError(f"{name[:80]!r} has no size, digest or id")
    return UnlabelledImage(
        str(entry["image_id"]), place, hw, digest, str(entry.get("source") or "")
    )
