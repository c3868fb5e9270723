"""What is done with the truth while it is read: names, thresholds, sizes."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

from annotations import GOOD, UsageError
from annotations.image_headers import MAX_PIXELS
from converters.names import means_good

MAX_NAME_CHARACTERS: Final = 120


@dataclass(frozen=True, slots=True)
class ReadOptions:
    """What is done with the truth while it is read.

    Class names pass `map_class` first, then `ignore`, then `one_class`; then components are cut;
    then near ones are merged; then small ones are removed.

    Attributes:
        mask_threshold: pixels of binary masks are inside from this value on; None: half of the
            range (see `converters.masks.cut_mask`).
        min_area: regions of fewer pixels are removed; 0 keeps all.
        merge_distance: regions of one class whose nearest pixels lie at most this many pixels
            apart (Euclidean, between pixel centers) become one; 0 merges none.
        one_class: a name for all defects.
        map_class: new name by old; `good` removes a class.
        ignore: classes whose regions are neither defect nor background: written with
            `iscrowd = 1`, in no truth, and no defect in training and metrics. An image that holds
            nothing else is left out: nobody could say whether it is good.
        good: class names that mean good, beside those that `converters.names` knows.
        mask_values: class by value or color of every mask, in place of what the layout says;
            `ignore` and `background` are no classes.
        invert_masks: dark is inside; None: ask where most masks look inverted.
        bit_depth: of the values of images of 16 bits; None: what the set uses.
        max_pixels: larger images are refused.
    """

    mask_threshold: int | None = None
    min_area: int = 0
    merge_distance: float = 0.0
    one_class: str | None = None
    map_class: Mapping[str, str] = field(default_factory=dict)
    ignore: tuple[str, ...] = ()
    good: tuple[str, ...] = ()
    mask_values: Mapping[int | tuple[int, int, int], str] = field(default_factory=dict)
    invert_masks: bool | None = None
    bit_depth: int | None = None
    max_pixels: int = MAX_PIXELS

    def check(self) -> None:
        """Refuse what makes no sense.

        Raises:
            UsageError: a negative number, or a class name that cannot be one.
        """
        if (
            self.min_area < 0
            or not 0 <= self.merge_distance <= 10_000
            or (self.mask_threshold is not None and not 1 <= self.mask_threshold <= 65535)
        ):
            raise UsageError(
                "--min-area cannot be negative, --merge-distance must lie between 0 and 10000, "
                "and --mask-threshold between 1 and 65535."
            )
        if self.bit_depth is not None and not 8 <= self.bit_depth <= 16:
            raise UsageError(f"--bit-depth must lie between 8 and 16, got {self.bit_depth}.")
        if not 1 <= self.max_pixels <= MAX_PIXELS:
            raise UsageError(
                f"--max-pixels must lie between 1 and {MAX_PIXELS:,}, got {self.max_pixels}."
            )
        for name in (self.one_class, *self.map_class.values(), *self.mask_values.values()):
            if name is not None:
                why = fault_of_name(name)
                if why or (name == GOOD and name == self.one_class):
                    raise UsageError(f"A class cannot be called {name!r}{why and ': ' + why}.")

    def final_name(self, name: str) -> tuple[str, bool]:
        """The class name in the dataset, and whether its regions are to be ignored."""
        name = self.map_class.get(name, name)
        ignored = name in self.ignore
        if not ignored and means_good(name, self.good):
            name = GOOD
        if self.one_class is not None and name != GOOD and not ignored:
            name = self.one_class
        return name, ignored

    def to_json(self) -> dict[str, Any]:
        """What conversion.json holds of it."""
        return {
            "mask_threshold": self.mask_threshold,
            "min_area": self.min_area,
            "merge_distance": self.merge_distance,
            "one_class": self.one_class,
            "map_class": dict(self.map_class),
            "ignore": list(self.ignore),
            "good": list(self.good),
            "mask_values": {
                str(value) if isinstance(value, int) else ":".join(map(str, value)): name
                for value, name in self.mask_values.items()
            },
            "invert_masks": self.invert_masks,
            "bit_depth": self.bit_depth,
            "max_pixels": self.max_pixels,
        }

    def pickled(self) -> "ReadOptions":
        """The same with mappings that other processes can be given."""
        return replace(self, map_class=dict(self.map_class), mask_values=dict(self.mask_values))


def fault_of_name(name: str) -> str:
    """Why a text cannot be a class name; empty where it can.

    Class names become folders, keys and table cells.
    """
    if not name.strip() or len(name) > MAX_NAME_CHARACTERS:
        return f"1 to {MAX_NAME_CHARACTERS} characters are needed"
    if not name.isprintable():
        return "it holds a control character"
    if any(separator in name for separator in "/\\") or name in (".", ".."):
        return "it would be a path"
    return ""
