"""`Regions`: the defects of one image as boxes, masks, labels and scores; and pixel geometry.

Rules that hold everywhere: components are 8-connected; boxes are half-open, so that
`width = x2 - x1`; a region's area is counted in its mask; holes stay holes.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, cast

import cv2
import numpy as np
import numpy.typing as npt
from pycocotools import mask as coco_mask

BoolMask = npt.NDArray[np.bool_]
CocoRle = dict[str, Any]
"""A compressed COCO RLE: `{"size": [height, width], "counts": str}`."""

Chosen = npt.NDArray[np.bool_] | npt.NDArray[np.integer[Any]] | Sequence[int] | slice
"""What picks some of several regions."""

CONNECTIVITY: Final = 8


def encode_rle(mask: npt.NDArray[np.generic]) -> CocoRle:
    """Encode a mask, losslessly.

    Args:
        mask: (H, W), bool, or numbers of which every non-zero is inside.

    Returns:
        `{"size": [H, W], "counts": str}`, as JSON can hold it.

    Raises:
        ValueError: the mask is not two-dimensional.
    """
    array = np.asarray(mask)
    if array.ndim != 2:
        raise ValueError(f"A mask must be (H, W), got {array.shape}.")
    # `!= 0` keeps the memory order, so that asfortranarray copies once and never twice.
    rle = coco_mask.encode(np.asfortranarray(array != 0).view(np.uint8))
    return {"size": [int(n) for n in rle["size"]], "counts": rle["counts"].decode("ascii")}


def decode_rle(rle: CocoRle) -> BoolMask:
    """Decode a compressed RLE to bool (H, W)."""
    counts = rle["counts"]
    encoded = {**rle, "counts": counts.encode("ascii") if isinstance(counts, str) else counts}
    return cast(BoolMask, np.ascontiguousarray(coco_mask.decode(encoded)).view(np.bool_))


def rle_area(rle: CocoRle) -> int:
    """Number of pixels inside the mask."""
    return int(coco_mask.area(_bytes_counts(rle)))


def _bytes_counts(rle: CocoRle) -> CocoRle:
    counts = rle["counts"]
    return {**rle, "counts": counts.encode("ascii")} if isinstance(counts, str) else rle


def _encode_window(inside: BoolMask, *, top: int, left: int, image_hw: tuple[int, int]) -> CocoRle:
    """RLE of a cut-out at its place in the image, without drawing the image.

    Encoding the full frame for every component costs more than decoding the mask file.
    """
    height, width = image_hw
    inner_height = inside.shape[0]
    # One empty row below the cut-out ends every run at the foot of its column.
    padded = np.zeros((inside.shape[1], inner_height + 1), np.int8)
    padded[:, :inner_height] = inside.T
    steps = np.diff(padded.ravel(), prepend=np.int8(0))
    bounds = np.flatnonzero(steps)
    columns, rows = np.divmod(bounds, inner_height + 1)
    positions = (left + columns) * height + top + rows
    if inner_height == height:
        # Columns that are full from head to foot run on into the next one.
        joined = np.flatnonzero(positions[1:-1:2] == positions[2::2]) * 2 + 1
        positions = np.delete(positions, np.concatenate((joined, joined + 1)))
    counts = np.diff(positions, prepend=0, append=height * width).tolist()
    if counts[-1] == 0:
        counts.pop()
    packed = coco_mask.frPyObjects({"size": [height, width], "counts": counts}, height, width)
    return {"size": [height, width], "counts": packed["counts"].decode("ascii")}


def boxes_of_masks(masks: list[CocoRle]) -> npt.NDArray[np.float32]:
    """Smallest half-open boxes of masks: float32 (n, 4) x1, y1, x2, y2; zeros for an empty mask."""
    if not masks:
        return np.zeros((0, 4), np.float32)
    boxes_xywh = np.asarray(coco_mask.toBbox([_bytes_counts(rle) for rle in masks]), np.float32)
    boxes_xyxy = boxes_xywh.copy()
    boxes_xyxy[:, 2:] += boxes_xywh[:, :2]
    return boxes_xyxy


@dataclass(frozen=True, slots=True)
class Regions:
    """Defect regions of one image.

    Attributes:
        boxes_xyxy: float32 (n, 4), pixels, half-open.
        masks: n COCO RLEs of `image_hw`, or None where only boxes are known (a box detector).
        labels: int64 (n,), index into the dataset's class names.
        scores: float32 (n,) in predictions, None for truth.
        image_hw: height and width in pixels.

    Raises:
        ValueError: lengths that differ, a box that is not finite or has x2 < x1 or y2 < y1,
            a mask of another size, a negative label, or a score that is not finite.

    Example:
        >>> import defectune as dt
        >>> found = dt.load("out").truths["broken_large/000"]
        >>> found
        Regions(1 of a 64 x 64 image, with masks)
        >>> found[found.areas > 10_000]
        Regions(0 of a 64 x 64 image, with masks)
    """

    boxes_xyxy: npt.NDArray[np.float32]
    masks: tuple[CocoRle, ...] | None
    labels: npt.NDArray[np.int64]
    scores: npt.NDArray[np.float32] | None
    image_hw: tuple[int, int]

    def __post_init__(self) -> None:
        n = len(self.labels)
        if self.boxes_xyxy.shape != (n, 4) or self.boxes_xyxy.dtype != np.float32:
            raise ValueError(f"boxes_xyxy must be float32 ({n}, 4), got {self.boxes_xyxy.shape}.")
        if not np.isfinite(self.boxes_xyxy).all():
            raise ValueError("boxes_xyxy holds a number that is not finite.")
        if (self.boxes_xyxy[:, 2:] < self.boxes_xyxy[:, :2]).any():
            raise ValueError("boxes_xyxy holds a box whose end lies before its start.")
        if self.labels.ndim != 1 or (n and int(self.labels.min()) < 0):
            raise ValueError("labels must be one-dimensional and not negative.")
        if self.masks is not None:
            if len(self.masks) != n:
                raise ValueError(f"{n} labels but {len(self.masks)} masks.")
            for rle in self.masks:
                if tuple(rle["size"]) != tuple(self.image_hw):
                    raise ValueError(f"A mask of {rle['size']} in an image of {self.image_hw}.")
        if self.scores is not None and (
            self.scores.shape != (n,) or not np.isfinite(self.scores).all()
        ):
            raise ValueError(f"scores must be {n} finite numbers.")

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, chosen: Chosen) -> "Regions":
        """Some of the regions.

        Args:
            chosen: a boolean mask of all regions, places in the wanted order, or a slice.

        Raises:
            IndexError: a place that does not exist, or a boolean mask of another length.
            TypeError: one number, or something that chooses nothing.
        """
        if not isinstance(chosen, slice):
            array = np.asarray(chosen)
            if array.ndim != 1:
                raise TypeError(
                    "Regions are chosen by a boolean mask, a list of places or a slice, got "
                    f"{chosen!r}; one region n is [n : n + 1]."
                )
            # An empty list is an array of floats, which chooses nothing and is no index.
            chosen = array if len(array) else np.zeros(0, np.intp)
            if array.dtype == np.bool_ and len(array) != len(self):
                raise IndexError(f"A mask of {len(array)} values for {len(self)} regions.")
        places = np.arange(len(self))[chosen]
        return replace(
            self,
            boxes_xyxy=self.boxes_xyxy[places],
            masks=None if self.masks is None else tuple(self.masks[n] for n in places.tolist()),
            labels=self.labels[places],
            scores=None if self.scores is None else self.scores[places],
        )

    def __repr__(self) -> str:
        height, width = self.image_hw
        kind = "boxes alone" if self.masks is None else "with masks"
        scored = "" if self.scores is None else ", scored"
        return f"Regions({len(self)} of a {width} x {height} image, {kind}{scored})"

    def above(self, threshold: float) -> "Regions":
        """The scored regions at or above a threshold.

        Raises:
            ValueError: regions without scores.
        """
        if self.scores is None:
            raise ValueError("Only scored regions can be filtered by score.")
        return self[self.scores >= threshold]

    @classmethod
    def empty(cls, image_hw: tuple[int, int], *, scored: bool = False) -> "Regions":
        """No region at all."""
        return cls(
            boxes_xyxy=np.zeros((0, 4), np.float32),
            masks=(),
            labels=np.zeros(0, np.int64),
            scores=np.zeros(0, np.float32) if scored else None,
            image_hw=image_hw,
        )

    @property
    def areas(self) -> npt.NDArray[np.int64]:
        """Pixels per region, int64 (n,): of its mask, or of its box where there is no mask."""
        if self.masks is None:
            sides = np.maximum(self.boxes_xyxy[:, 2:] - self.boxes_xyxy[:, :2], 0)
            return cast(npt.NDArray[np.int64], np.rint(sides.prod(axis=1)).astype(np.int64))
        return np.array([rle_area(rle) for rle in self.masks], np.int64)

    def union_mask(self) -> BoolMask:
        """All regions together, bool (H, W); boxes are filled where there are no masks."""
        return self.class_index_mask() > 0

    def class_index_mask(self) -> npt.NDArray[np.uint8]:
        """uint8 (H, W): 0 = background, label + 1 inside; later regions lie on top.

        Raises:
            ValueError: a label above 254, which 8 bits cannot hold.
        """
        if len(self) and int(self.labels.max()) > 254:
            raise ValueError("An 8-bit class-index mask holds at most 255 classes.")
        canvas = np.zeros(self.image_hw, np.uint8)
        for index, label in enumerate(self.labels.tolist()):
            if self.masks is not None:
                canvas[decode_rle(self.masks[index])] = label + 1
            else:
                rows, columns = box_slices(self.boxes_xyxy[index], self.image_hw)
                canvas[rows, columns] = label + 1
        return canvas


def box_slices(box_xyxy: npt.NDArray[np.float32], image_hw: tuple[int, int]) -> tuple[slice, slice]:
    """Rows and columns of the pixels whose centers lie in a box, clipped to the image."""
    height, width = image_hw
    x1, y1, x2, y2 = (float(v) for v in box_xyxy)
    left, right = (int(np.clip(np.ceil(x - 0.5), 0, width)) for x in (x1, x2))
    top, bottom = (int(np.clip(np.ceil(y - 0.5), 0, height)) for y in (y1, y2))
    return slice(top, bottom), slice(left, right)


def _components(cut: npt.NDArray[np.uint8]) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    """Labels (h, w) from 1, and a row x, y, width, height, area for each label, 0 included."""
    _, hierarchy = cv2.findContours(cut, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE)
    # Outlines are several times faster than labels, and most masks hold one component.
    if hierarchy is not None and int((hierarchy[0, :, 3] < 0).sum()) == 1:
        height, width = cut.shape
        return cut, np.array([[0] * 5, [0, 0, width, height, cv2.countNonZero(cut)]])
    _, labels, stats, _ = cv2.connectedComponentsWithStats(
        cut, connectivity=CONNECTIVITY, ltype=cv2.CV_32S
    )
    return labels, stats


def _merged_components(
    cut: npt.NDArray[np.uint8], distance: float
) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    """As `_components`, with pieces no further apart than `distance` pixels as one."""
    # Two pieces a gap of d apart touch once each has grown by half of it.
    radius = math.ceil(distance / 2)
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius + 1, 2 * radius + 1))
    padded = cv2.copyMakeBorder(cut, radius, radius, radius, radius, cv2.BORDER_CONSTANT, value=0)
    count, grown = cv2.connectedComponents(
        cv2.dilate(padded, kernel), connectivity=CONNECTIVITY, ltype=cv2.CV_32S
    )
    height, width = cut.shape
    labels = np.where(cut > 0, grown[radius : radius + height, radius : radius + width], 0)
    # One pass over the pixels inside, however many pieces there are.
    ys, xs = np.nonzero(cut)
    of = labels[ys, xs]
    first, last = np.full((count, 2), max(height, width)), np.zeros((count, 2), np.int64)
    for axis, places in enumerate((xs, ys)):
        np.minimum.at(first[:, axis], of, places)
        np.maximum.at(last[:, axis], of, places + 1)
    stats = np.column_stack((first, last - first, np.bincount(of, minlength=count)))
    return labels, stats


def mask_to_regions(
    mask: npt.NDArray[np.generic],
    *,
    label: int | npt.NDArray[np.generic] = 0,
    pixel_scores: npt.NDArray[np.floating[Any]] | None = None,
    min_area: int = 1,
    seeds: npt.NDArray[np.bool_] | None = None,
    merge_distance: float = 0.0,
) -> Regions:
    """Cut a mask into 8-connected components, one region each, from top to bottom.

    The same function makes the truth from ground-truth masks and the predictions from a
    segmenter's probabilities.

    Args:
        mask: (H, W); every non-zero pixel is inside.
        label: the label of all components, or (H, W) whole numbers of which a component takes
            the most frequent (the lower one in a tie).
        pixel_scores: float (H, W); a region's score is the largest inside it.
        min_area: components of fewer pixels are left out.
        seeds: bool (H, W); components without any of it are left out. With a mask at a low
            threshold and seeds at a high one this is hysteresis (Canny 1986, section IX).
        merge_distance: in pixels; pieces with no wider gap between them are one region, whose mask
            has the pieces alone. `min_area` and `seeds` are of the region as a whole.

    Returns:
        Regions with masks, and with scores where `pixel_scores` is given.

    Raises:
        ValueError: an array that is not (H, W) or of another size than the mask.
    """
    array = np.asarray(mask)
    if array.ndim != 2:
        raise ValueError(f"A mask must be (H, W), got {array.shape}.")
    for other in (label, pixel_scores, seeds):
        if isinstance(other, np.ndarray) and other.shape != array.shape:
            raise ValueError(f"The mask is {array.shape}, but what goes with it {other.shape}.")
    image_hw = (int(array.shape[0]), int(array.shape[1]))
    if array.dtype != np.bool_:
        array = array != 0
    binary = np.ascontiguousarray(array).view(np.uint8)
    # A defect is small: labeling the whole frame costs three times what decoding it did.
    x0, y0, wide, high = cv2.boundingRect(binary)
    if not wide or not high:
        return Regions.empty(image_hw, scored=pixel_scores is not None)
    cut = np.ascontiguousarray(binary[y0 : y0 + high, x0 : x0 + wide])
    components, stats = (
        _components(cut) if merge_distance <= 0 else _merged_components(cut, merge_distance)
    )
    kept = None
    if seeds is not None:
        seen = np.ascontiguousarray(seeds[y0 : y0 + high, x0 : x0 + wide])
        kept = set(np.unique(components[seen & (cut > 0)]).tolist())
    boxes: list[tuple[int, int, int, int]] = []
    masks: list[CocoRle] = []
    labels: list[int] = []
    scores: list[float] = []
    for index in range(1, len(stats)):
        left, top, width, height, area = (int(v) for v in stats[index])
        if area < min_area or (kept is not None and index not in kept):
            continue
        inside = components[top : top + height, left : left + width] == index
        left, top = left + x0, top + y0
        window = np.s_[top : top + height, left : left + width]
        boxes.append((left, top, left + width, top + height))
        masks.append(_encode_window(inside, top=top, left=left, image_hw=image_hw))
        if isinstance(label, np.ndarray):
            values, counts = np.unique(label[window][inside], return_counts=True)
            labels.append(int(values[int(np.argmax(counts))]))
        else:
            labels.append(label)
        if pixel_scores is not None:
            scores.append(float(pixel_scores[window][inside].max()))
    return Regions(
        boxes_xyxy=np.array(boxes, np.float32).reshape(-1, 4),
        masks=tuple(masks),
        labels=np.array(labels, np.int64),
        scores=np.array(scores, np.float32) if pixel_scores is not None else None,
        image_hw=image_hw,
    )
