"""What every segmenter's predictor shares: from class probabilities to regions and scores."""

import math
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple, Self, TypedDict, Unpack

import cv2
import numpy as np
import numpy.typing as npt

from annotations import FoldThresholds, Prediction, mask_to_regions
from annotations.scores import RawScore
from inference.base import Arrays, Batch, ImageRgb, Network, Scorer
from inference.images import (
    fitted_hw,
    half_normalized,
    normalized,
    resize_image,
    resize_to,
)
from inference.score_stack import ScoreStack, map_statistics
from inference.tiling import cut_tile, join_tiles, resize_for_tiles, tile_windows
from inference.views import map_back, view_of

TILES_AT_ONCE: Final = 8


class Look(NamedTuple):
    """What a network sees in one image.

    Attributes:
        probabilities: float32 (C + 1, h, w) at a size of its own; channel 0 is the background.
        image_score: of the whole image, from 0 to 1, not calibrated.
    """

    probabilities: npt.NDArray[np.float32]
    image_score: float

    @property
    def defect(self) -> npt.NDArray[np.float32]:
        """Probability of any defect, float32 (h, w)."""
        return np.asarray(1 - self.probabilities[0], np.float32)


class MaskSettings(TypedDict):
    """What every `SegmentPredictor` is made with; see there."""

    image_size: int
    views: int
    tiles: int
    region_threshold: float
    min_area_fraction: float


class SegmentPredictor(Scorer):
    """Looks at one image at a time and answers at the image's own size.

    Attributes:
        region_threshold: cuts probabilities into regions.
        min_area_fraction: smaller regions, as parts of the image, are left out.
        low_fraction: see `FoldThresholds`; so for the next.
        merge_fraction: of the image's longer side.
        held_out_scores: by image id, scores of validation images that a part of the model was
            fitted to, from fits without them.
    """

    def __init__(
        self,
        network: Network,
        *,
        image_size: int,
        views: int,
        tiles: int,
        region_threshold: float,
        min_area_fraction: float,
    ) -> None:
        """Take a network and all that decides; training sets thresholds once they are chosen.

        Args:
            network: from normalized images to probabilities.
            image_size: side of the squares that it looks at, pixels; of a network that looks at
                any sides, the longer one.
            views: copies of an image for test-time augmentation, turned and mirrored.
            tiles: along an image's longer side.
            region_threshold: cuts probabilities into regions.
            min_area_fraction: smaller regions, as parts of the image, are left out.
        """
        self.network = network
        self._size, self._views, self._tiles = image_size, views, tiles
        self.region_threshold = region_threshold
        self.min_area_fraction = min_area_fraction
        self.low_fraction = 1.0
        self.merge_fraction = 0.0
        self.held_out_scores: dict[str, float] = {}

    @property
    def example_hw(self) -> tuple[int, int]:
        """A square of the size."""
        return self._size, self._size

    def recipe(self) -> dict[str, Any]:
        """Settings; arrays there are none."""
        return {
            "image_size": self._size,
            "views": self._views,
            "tiles": self._tiles,
            "region_threshold": self.region_threshold,
            "min_area_fraction": self.min_area_fraction,
            "low_fraction": self.low_fraction,
            "merge_fraction": self.merge_fraction,
            **self._own_recipe(),
        }

    @classmethod
    def build(cls, recipe: Mapping[str, Any], arrays: Arrays, network: Network) -> Self:
        """Make it again."""
        del arrays
        return cls(
            network,
            image_size=int(recipe["image_size"]),
            views=int(recipe["views"]),
            tiles=int(recipe["tiles"]),
            region_threshold=float(recipe["region_threshold"]),
            min_area_fraction=float(recipe["min_area_fraction"]),
            **cls._own_settings(recipe),
        ).group_by(recipe)

    def _own_recipe(self) -> dict[str, Any]:
        """What a kind of predictor has beside what all have."""
        return {}

    @classmethod
    def _own_settings(cls, recipe: Mapping[str, Any]) -> dict[str, Any]:
        """The same, from a recipe, as keywords."""
        del recipe
        return {}

    def group_by(self, rule: FoldThresholds | Mapping[str, Any]) -> Self:
        """Take what makes one region of several pieces from a fold's thresholds or a recipe."""
        if not isinstance(rule, FoldThresholds):
            self.low_fraction = float(rule["low_fraction"])
            self.merge_fraction = float(rule["merge_fraction"])
            return self
        self.low_fraction, self.merge_fraction = rule.low_fraction, rule.merge_fraction
        return self

    @abstractmethod
    def look(self, image_rgb: npt.NDArray[np.uint8]) -> Look:
        """See one image, uint8 (H, W, 3)."""

    def predict(self, image_id: str, image_rgb: npt.NDArray[np.uint8]) -> Prediction:
        """Regions and score map of one image, uint8 (H, W, 3)."""
        return self.prediction(
            image_id, self.look(image_rgb), (image_rgb.shape[0], image_rgb.shape[1])
        )

    def prediction(
        self,
        image_id: str,
        seen: Look,
        image_hw: tuple[int, int],
        *,
        region_threshold: float | None = None,
        min_area_fraction: float | None = None,
        low_fraction: float | None = None,
        merge_fraction: float | None = None,
    ) -> Prediction:
        """Regions and score map at the image's own height and width, by the predictor's own
        thresholds unless others are given."""
        height, width = image_hw
        cut = self.region_threshold if region_threshold is None else region_threshold
        least = self.min_area_fraction if min_area_fraction is None else min_area_fraction
        low = self.low_fraction if low_fraction is None else low_fraction
        merged = self.merge_fraction if merge_fraction is None else merge_fraction
        scores = np.clip(
            cv2.resize(seen.defect, (width, height), interpolation=cv2.INTER_LINEAR), 0.0, 1.0
        ).astype(np.float32)
        types = cv2.resize(
            seen.probabilities[1:].argmax(axis=0).astype(np.uint8),
            (width, height),
            interpolation=cv2.INTER_NEAREST,
        )
        regions = mask_to_regions(
            scores >= low * cut,
            label=np.asarray(types),
            pixel_scores=scores,
            min_area=max(1, math.ceil(least * height * width)),
            seeds=scores >= cut if low < 1 else None,
            merge_distance=merged * max(height, width),
        )
        return Prediction(
            image_id=image_id,
            image_score=RawScore(seen.image_score),
            regions=regions,
            pixel_scores=scores,
        )


class MaskScorer(SegmentPredictor):
    """A network from squares to class probabilities.

    The network answers float32 (n, 3, S, S) with probabilities float32 (n, C + 1, S, S).

    Attributes:
        stack: weighs the map's statistics for the image's score; without it a quantile is taken.
    """

    kind = "masks"

    def __init__(
        self,
        network: Network,
        *,
        stack: ScoreStack | None = None,
        **settings: Unpack[MaskSettings],
    ) -> None:
        """Take a network and all that decides; for `stack` see the class."""
        super().__init__(network, **settings)
        self.stack = stack

    def _own_recipe(self) -> dict[str, Any]:
        return {"score_stack": None if self.stack is None else self.stack.to_json()}

    @classmethod
    def _own_settings(cls, recipe: Mapping[str, Any]) -> dict[str, Any]:
        stack = recipe["score_stack"]
        return {"stack": None if stack is None else ScoreStack.from_json(stack)}

    def probabilities(self, image_rgb: ImageRgb) -> npt.NDArray[np.float32]:
        """Class probabilities float32 (C + 1, h, w) at the size that the network looks at."""
        size = self._size
        if self._tiles == 1:
            return self._infer([resize_image(image_rgb, size)])[0]
        resized = resize_for_tiles(image_rgb, size, self._tiles)
        hw = (resized.shape[0], resized.shape[1])
        windows = tile_windows(hw, size)
        cut = [cut_tile(resized, window, size, reflect=True) for window in windows]
        parts: list[npt.NDArray[np.float32]] = []
        for start in range(0, len(cut), TILES_AT_ONCE):
            parts += self._infer(cut[start : start + TILES_AT_ONCE])
        return join_tiles(parts, windows, hw)

    def _infer(self, squares: list[ImageRgb]) -> list[npt.NDArray[np.float32]]:
        total: npt.NDArray[np.float32] | None = None
        for number in range(self._views):
            batch: Batch = np.stack([half_normalized(view_of(one, number)) for one in squares])
            answer = self.network(batch)[0]
            straight = np.stack([map_back(one, number) for one in answer])
            total = straight if total is None else total + straight
        return [] if total is None else list(total / np.float32(self._views))

    def look(self, image_rgb: ImageRgb) -> Look:
        """Probabilities at the network's size, and the score of the map at that size."""
        probabilities = self.probabilities(image_rgb)
        return Look(probabilities, self.image_score(np.asarray(1 - probabilities[0], np.float32)))

    def image_score(self, scores: npt.NDArray[np.float32]) -> float:
        """Of a map (H, W): by the stack, else its 99.9 % quantile, since the largest alone would
        let one pixel decide."""
        if self.stack is not None:
            return self.stack.score(map_statistics(scores))
        return float(np.clip(np.quantile(scores, 0.999), 0.0, 1.0))


class FittedMaskScorer(SegmentPredictor):
    """A network from images of any sides, multiples of 32, to class probabilities and a logit.

    The network answers float32 (1, 3, h, w) with probabilities float32 (1, C + 1, h / s, w / s),
    and with the image's logit (1,). Of tiles, the image's score is the largest one.
    """

    kind = "fitted-masks"
    free_sides = True

    def __init__(
        self,
        network: Network,
        *,
        mean: Sequence[float],
        deviation: Sequence[float],
        **settings: Unpack[MaskSettings],
    ) -> None:
        """Take a network and all that decides; images are normalized with `mean` and `deviation`,
        by channel."""
        super().__init__(network, **settings)
        self._mean, self._deviation = tuple(mean), tuple(deviation)

    def _own_recipe(self) -> dict[str, Any]:
        return {"mean": list(self._mean), "deviation": list(self._deviation)}

    @classmethod
    def _own_settings(cls, recipe: Mapping[str, Any]) -> dict[str, Any]:
        return {key: [float(v) for v in recipe[key]] for key in ("mean", "deviation")}

    def look(self, image_rgb: ImageRgb) -> Look:
        """Probabilities at the map's stride; of tiles, the image's score is the largest one."""
        size = self._size
        if self._tiles == 1:
            hw = fitted_hw((image_rgb.shape[0], image_rgb.shape[1]), size)
            return Look(*self._see(resize_to(image_rgb, hw)))
        resized = resize_for_tiles(image_rgb, size, self._tiles)
        hw = (resized.shape[0], resized.shape[1])
        windows = tile_windows(hw, size)
        parts, scores = [], []
        for window in windows:
            maps, score = self._see(cut_tile(resized, window, size, reflect=True))
            scores.append(score)
            rows, columns = (np.arange(size) * side // size for side in maps.shape[1:])
            parts.append(maps[:, rows][:, :, columns])
        return Look(join_tiles(parts, windows, hw), max(scores))

    def _see(self, image_rgb: ImageRgb) -> tuple[npt.NDArray[np.float32], float]:
        """Mean over the views of class probabilities float32 (C + 1, h, w), and of the score."""
        total: npt.NDArray[np.float32] | None = None
        logits = 0.0
        for number in range(self._views):
            view = np.ascontiguousarray(view_of(image_rgb, number))
            maps, logit = self.network(normalized(view, self._mean, self._deviation)[None])
            straight = map_back(maps[0], number)
            total = straight if total is None else total + straight
            logits += float(logit[0])
        if total is None:
            raise ValueError("An image has to be looked at once.")
        score = 1 / (1 + math.exp(-max(-700.0, logits / self._views)))
        return np.asarray(total / np.float32(self._views), np.float32), score
