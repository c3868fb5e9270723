"""Defect injection: real defects of the training side, changed and pasted into good images.

In the line of cut-and-paste augmentation (Dwibedi et al. 2017, "Cut, Paste and Learn"; Ghiasi et
al. 2021, "Simple Copy-Paste"), with what an inspection line adds: the geometry of the part says
where a defect can be, and good images are plenty. Exact masks come out, and boxes follow from
them. Whoever calls gives images of the training side only; `DefectInjector.parents` names them.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np
import numpy.typing as npt

from annotations import Regions, mask_to_regions
from annotations.regions import CONNECTIVITY
from training.drawn_defects import draw_defect
from training.geometry import PartGeometry, estimate_geometry

ImageRgb = npt.NDArray[np.uint8]
ClassMask = npt.NDArray[np.uint8]

TRIES: Final = 20
ON_PART: Final = 0.8
"""Part of a pasted defect that must lie on the part."""
KEPT: Final = 0.6
"""Part of a defect's area that must survive the edges of the image."""


@dataclass(frozen=True, slots=True)
class LabeledImage:
    """An image with its class-index mask.

    Attributes:
        image_id: of the sample it comes from.
        image_rgb: uint8 (H, W, 3).
        class_mask: uint8 (H, W), 0 = background, label + 1 inside a defect.
    """

    image_id: str
    image_rgb: ImageRgb
    class_mask: ClassMask


def class_mask_regions(class_mask: ClassMask) -> Regions:
    """Regions of a class-index mask uint8 (H, W): one for each component of a type."""
    hw = (int(class_mask.shape[0]), int(class_mask.shape[1]))
    parts = [
        mask_to_regions(class_mask == value, label=value - 1)
        for value in np.unique(class_mask[class_mask > 0]).tolist()
    ]
    if not parts:
        return Regions.empty(hw)
    return Regions(
        boxes_xyxy=np.concatenate([part.boxes_xyxy for part in parts]),
        masks=tuple(rle for part in parts for rle in part.masks or ()),
        labels=np.concatenate([part.labels for part in parts]),
        scores=None,
        image_hw=hw,
    )


@dataclass(frozen=True, slots=True)
class Injected:
    """A good image with defects put into it.

    Attributes:
        image_rgb: uint8 (H, W, 3).
        class_mask: uint8 (H, W), exactly what was put in.
        parents: ids of the good image, then of the images that defects were cut from.
    """

    image_rgb: ImageRgb
    class_mask: ClassMask
    parents: tuple[str, ...]

    def regions(self) -> Regions:
        """What was put in, one region for each component of a type."""
        return class_mask_regions(self.class_mask)


@dataclass(frozen=True, slots=True)
class _CutOut:
    source: LabeledImage
    label: int
    inside: npt.NDArray[np.uint8]
    window: tuple[slice, slice]


class DefectInjector:
    """Makes defective images out of good ones.

    Args:
        defective: images with defects, of the training side.
        good: good images, of the training side.
        n_classes: without the background.
        max_defects: largest number of defects put into one image.

    Raises:
        ValueError: there is no good image, or an image and a mask of different sizes.
    """

    def __init__(
        self,
        defective: Sequence[LabeledImage],
        good: Sequence[LabeledImage],
        *,
        n_classes: int,
        max_defects: int = 2,
    ) -> None:
        if not good:
            raise ValueError("Injection needs at least one good image.")
        for image in (*defective, *good):
            if image.image_rgb.shape[:2] != image.class_mask.shape:
                raise ValueError(f"{image.image_id}: image and mask differ in size.")
        self._good = tuple(good)
        self._n_classes = n_classes
        self._max_defects = max_defects
        self._cut_outs = _cut_outs(defective)
        self.geometry: PartGeometry = estimate_geometry([image.image_rgb for image in good])

    @property
    def parents(self) -> frozenset[str]:
        """Ids of all images that anything can come from."""
        cut = {c.source.image_id for cuts in self._cut_outs.values() for c in cuts}
        return frozenset(cut | {image.image_id for image in self._good})

    def make(self, rng: np.random.Generator) -> Injected:
        """One new image; the same state of `rng` gives the same one."""
        base = self._good[int(rng.integers(len(self._good)))]
        image = base.image_rgb.astype(np.float32)
        mask = np.zeros(image.shape[:2], np.uint8)
        on_part = self.geometry.foreground_of(base.image_rgb)
        parents = [base.image_id]
        for _ in range(int(rng.integers(1, self._max_defects + 1))):
            label = int(rng.integers(self._n_classes))
            cut_outs = self._cut_outs.get(label, [])
            if not cut_outs:
                image, inside = draw_defect(image, on_part & (mask == 0), rng)
                mask[inside] = label + 1
                continue
            cut_out = cut_outs[int(rng.integers(len(cut_outs)))]
            if self._paste(image, mask, on_part, cut_out, rng):
                parents.append(cut_out.source.image_id)
        rounded = np.clip(np.rint(image), 0, 255).astype(np.uint8)
        return Injected(rounded, mask, tuple(parents))

    def _paste(
        self,
        image: npt.NDArray[np.float32],
        mask: ClassMask,
        on_part: npt.NDArray[np.bool_],
        cut_out: _CutOut,
        rng: np.random.Generator,
    ) -> bool:
        """Put one cut-out in, in place; False when no place was found."""
        target_hw = (image.shape[0], image.shape[1])
        for _ in range(TRIES):
            matrix = self._placement(cut_out, target_hw, rng)
            expected = cut_out.inside.sum() * abs(float(np.linalg.det(matrix[:, :2])))
            map_x, map_y, region = _warp_maps(cut_out, matrix, target_hw, rng)
            rows, columns = region
            if rows.stop - rows.start < 2 or columns.stop - columns.start < 2:
                continue
            warped = cv2.remap(cut_out.inside.astype(np.float32), map_x, map_y, cv2.INTER_LINEAR)
            inside = np.asarray(warped >= 0.5)
            if inside.sum() < max(1.0, KEPT * expected):
                continue
            if on_part[region][inside].mean() < ON_PART or mask[region][inside].any():
                continue
            source = cut_out.source.image_rgb.astype(np.float32)
            patch = cv2.remap(
                source, map_x, map_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101
            )
            image[region] = _blend(image[region], np.asarray(patch), inside, rng)
            mask[region][inside] = cut_out.label + 1
            return True
        return False

    def _placement(
        self, cut_out: _CutOut, target_hw: tuple[int, int], rng: np.random.Generator
    ) -> npt.NDArray[np.float64]:
        """Affine matrix (2, 3) from source to target pixels.

        An aligned part keeps its defects at their place: turned around the center where the part
        is rotational, mirrored where it is mirrored, else nearly as they were. On other parts a
        defect may be anywhere on the part, at any angle.
        """
        geometry = self.geometry
        rows, columns = cut_out.window
        middle = np.array([(columns.start + columns.stop) / 2, (rows.start + rows.stop) / 2])
        source_hw = np.array(cut_out.inside.shape, np.float64)
        fit = np.array(target_hw, np.float64)[::-1] / source_hw[::-1]
        destination = middle * fit
        center = np.array(target_hw, np.float64)[::-1] / 2
        scale = rng.uniform(0.75, 1.3)
        flip = 1.0
        if geometry.rotational:
            angle = rng.uniform(0, 2 * np.pi)
            turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
            destination = center + turn @ (destination - center) * rng.uniform(0.97, 1.03)
        elif geometry.aligned:
            angle = rng.uniform(-0.2, 0.2)
            destination = destination + rng.uniform(-0.04, 0.04, 2) * 2 * center
        else:
            angle = rng.uniform(0, 2 * np.pi)
            destination = rng.uniform(0, 2, 2) * center
        mirrored = geometry.mirrored or geometry.rotational or not geometry.aligned
        if mirrored and rng.random() < 0.5:
            flip = -1.0
            if geometry.aligned and not geometry.rotational:
                destination = np.array([2 * center[0] - destination[0], destination[1]])
        turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        if flip < 0 and geometry.rotational:
            # Mirrored at the ray from the center, so that the rim stays the rim.
            ray = middle * fit - center
            bearing = np.arctan2(ray[1], ray[0])
            cos, sin = np.cos(2 * bearing), np.sin(2 * bearing)
            linear = turn @ np.array([[cos, sin], [sin, -cos]])
        else:
            linear = turn @ np.diag([flip, 1.0])
        linear = linear @ np.diag(fit) * scale
        return np.column_stack((linear, destination - linear @ middle))


def _warp_maps(
    cut_out: _CutOut,
    matrix: npt.NDArray[np.float64],
    target_hw: tuple[int, int],
    rng: np.random.Generator,
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32], tuple[slice, slice]]:
    """For every pixel of a window of the target, where it comes from in the source."""
    rows, columns = cut_out.window
    corners = np.array(
        [(x, y, 1) for x in (columns.start, columns.stop) for y in (rows.start, rows.stop)],
        np.float64,
    )
    placed = corners @ matrix.T
    side = float(np.ptp(placed, axis=0).max())
    margin = 6 + 0.1 * side
    height, width = target_hw
    x1, y1 = np.floor(placed.min(axis=0) - margin).astype(int)
    x2, y2 = np.ceil(placed.max(axis=0) + margin).astype(int)
    x1, x2 = (int(np.clip(v, 0, width)) for v in (x1, x2))
    y1, y2 = (int(np.clip(v, 0, height)) for v in (y1, y2))
    region = (slice(y1, y2), slice(x1, x2))
    inverse = cv2.invertAffineTransform(matrix)
    ys, xs = np.mgrid[y1:y2, x1:x2].astype(np.float32)
    # Elastic: a coarse random grid, smoothly enlarged; 6 % of the defect's size at most.
    if xs.size:
        for coordinate in (xs, ys):
            coarse = rng.uniform(-0.06, 0.06, (4, 4)).astype(np.float32) * side
            coordinate += cv2.resize(
                coarse, (xs.shape[1], xs.shape[0]), interpolation=cv2.INTER_CUBIC
            )
    map_x = inverse[0, 0] * xs + inverse[0, 1] * ys + inverse[0, 2]
    map_y = inverse[1, 0] * xs + inverse[1, 1] * ys + inverse[1, 2]
    return map_x.astype(np.float32), map_y.astype(np.float32), region


def _cut_outs(defective: Sequence[LabeledImage]) -> dict[int, list[_CutOut]]:
    found: dict[int, list[_CutOut]] = {}
    for image in defective:
        for value in np.unique(image.class_mask[image.class_mask > 0]).tolist():
            binary = (image.class_mask == value).astype(np.uint8)
            count, components, stats, _ = cv2.connectedComponentsWithStats(
                binary, connectivity=CONNECTIVITY, ltype=cv2.CV_32S
            )
            for index in range(1, count):
                left, top, width, height, _area = (int(v) for v in stats[index])
                window = (slice(top, top + height), slice(left, left + width))
                inside = (components == index).astype(np.uint8)
                cut_out = _CutOut(image, value - 1, inside, window)
                found.setdefault(value - 1, []).append(cut_out)
    return found


def _blend(
    base: npt.NDArray[np.float32],
    patch: npt.NDArray[np.float32],
    inside: npt.NDArray[np.bool_],
    rng: np.random.Generator,
) -> npt.NDArray[np.float32]:
    """Paste with a soft rim, the patch's light brought to that of its new surroundings.

    One in four is Poisson-blended (Pérez et al. 2003) where that is possible: gradients are kept
    and the rim vanishes, but so does part of a defect's own brightness.
    """
    binary = inside.astype(np.uint8)
    near = cv2.dilate(binary, np.ones((3, 3), np.uint8))
    ring = (cv2.dilate(near, np.ones((7, 7), np.uint8)) > 0) & (near == 0)
    shift = np.zeros(3, np.float32)
    if ring.any():
        shift = np.clip(np.median(base[ring] - patch[ring], axis=0), -40, 40).astype(np.float32)
    light = patch * np.float32(rng.uniform(0.92, 1.08)) + shift
    poisson = rng.random() < 0.25
    rim = near[0].any() or near[-1].any() or near[:, 0].any() or near[:, -1].any()
    if poisson and not rim:
        ys, xs = np.nonzero(near)
        middle = (int(xs.min() + xs.max() + 1) // 2, int(ys.min() + ys.max() + 1) // 2)
        try:
            cloned = cv2.seamlessClone(
                np.clip(light, 0, 255).astype(np.uint8),
                np.clip(base, 0, 255).astype(np.uint8),
                near * 255,
                middle,
                cv2.NORMAL_CLONE,
            )
            return np.asarray(cloned, np.float32)
        except cv2.error:
            pass
    alpha = cv2.GaussianBlur(near.astype(np.float32), (0, 0), 1.0)
    alpha = np.maximum(alpha, binary)[..., None]
    return np.asarray(base * (1 - alpha) + light * alpha, np.float32)
