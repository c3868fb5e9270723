"""`Sample`: one image and what is known about it."""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

GOOD: Final = "good"
"""The `defect_type` of an image without defects."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One image of a dataset.

    Attributes:
        image_id: unique, stable and readable, `broken_large/000` or `train/good/000`.
        image_path: the image file.
        mask_path: the ground-truth mask as it was delivered; None for good images.
        defect_type: `good` or the class of the defect.
        image_hw: height and width in pixels.
        sha256: of the image file's bytes, hexadecimal.
        group: images of one physical part share it; they never stand on two sides of a split.
        source_split: `train` or `test` (or `val`) as the source had it.
        source: name of the source that the image came from, in a dataset made of several, or the
            camera or line that a list names; else empty.
        date: when it was taken, as a list says it; else empty.

    Raises:
        ValueError: an empty id, type or group, a size below one pixel, or a malformed digest.

    Example:
        >>> import defectune as dt
        >>> dt.load("out").by_id["broken_large/000"]
        Sample('broken_large/000': broken_large, 64 x 64 pixels, test)
    """

    image_id: str
    image_path: Path
    mask_path: Path | None
    defect_type: str
    image_hw: tuple[int, int]
    sha256: str
    group: str
    source_split: str
    source: str = ""
    date: str = ""

    def __post_init__(self) -> None:
        for name in ("image_id", "defect_type", "group", "source_split"):
            if not getattr(self, name):
                raise ValueError(f"Sample.{name} is empty.")
        if len(self.image_hw) != 2 or min(self.image_hw) < 1:
            raise ValueError(f"Sample.image_hw must be two positive numbers, got {self.image_hw}.")
        if len(self.sha256) != 64:
            raise ValueError(f"Sample.sha256 must be 64 hexadecimal digits, got {self.sha256!r}.")
        if self.defect_type == GOOD and self.mask_path is not None:
            raise ValueError(f"{self.image_id} is good and yet has the mask {self.mask_path}.")

    def __repr__(self) -> str:
        height, width = self.image_hw
        return (
            f"Sample({self.image_id!r}: {self.defect_type}, {width} x {height} pixels, "
            f"{self.source_split})"
        )

    def _repr_png_(self) -> bytes | None:
        # Not at the top: images are read with OpenCV, and this file needs no library.
        from annotations.images import encode_png, read_image_rgb

        return encode_png(read_image_rgb(self.image_path)) if self.image_path.is_file() else None

    @property
    def is_defective(self) -> bool:
        """True for every `defect_type` but `good`."""
        return self.defect_type != GOOD

    @property
    def origin(self) -> str:
        """What figures are told apart by: the source, or the source's own side where it is one."""
        return self.source or self.source_split

    @property
    def stem(self) -> str:
        """`image_id` as one file name, unique where `image_id` is: `broken_large__000`."""
        return safe_name(self.image_id)


def by_group(samples: Iterable[Sample]) -> dict[str, list[Sample]]:
    """Images by their part."""
    groups: dict[str, list[Sample]] = defaultdict(list)
    for sample in samples:
        groups[sample.group].append(sample)
    return groups


def safe_name(text: str) -> str:
    """Turn an id into a file name, reversibly and without a path in it.

    `/` becomes `__`; `_` next to it, other separators and what file systems refuse are
    percent-encoded, so that two ids never share a name.
    """
    parts = []
    for part in text.split("/"):
        encoded = "".join(
            character if character.isalnum() or character in "-. +()" else _escape(character, part)
            for character in part
        )
        if encoded.startswith("."):
            encoded = "%2E" + encoded[1:]
        parts.append(encoded)
    return "__".join(parts)


def _escape(character: str, part: str) -> str:
    if character == "_" and "__" not in part and part[:1] != "_" and part[-1:] != "_":
        return "_"
    return "".join(f"%{byte:02X}" for byte in character.encode("utf-8"))
