"""What a bundle's graph takes and answers, in words and numbers for programs without this library.

Stands in the graph's `metadata_props`, under the key `defectune`, and in bundle.json as `graph` of
each model. docs/graph.md explains every entry.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from annotations.errors import InputError
from annotations.prediction_files import FoldThresholds
from inference.base import Scorer

METADATA_KEY: Final = "defectune"
FORMAT: Final = "defectune-graph-1"
INPUT: Final = "images"
_SQUARE: Final = (
    "to side x side, the aspect not kept: OpenCV's INTER_AREA, but INTER_LINEAR where both sides "
    "grow"
)
_TILES: Final = "of `tiles` above 1, the image is cut into squares that overlap; see the page"
_RESIZE: Final[Mapping[str, str]] = {
    "boxes": "longer side to `side`, aspect kept, INTER_LINEAR; then centered, and padded with 114 "
    "to multiples of 32",
    "distance": _SQUARE,
    "patches": _SQUARE,
    "errors": _SQUARE,
    "types": _SQUARE,
    "masks": "to side x side, the aspect not kept: OpenCV's INTER_AREA, but INTER_LINEAR where the "
    f"shorter side is below `side`; {_TILES}",
    "fitted-masks": "longer side to `side`, aspect kept, both rounded to multiples of 32, 32 at "
    f"least: INTER_AREA where neither side grows, else INTER_LINEAR; {_TILES}",
}
_OUTPUTS: Final[Mapping[str, tuple[tuple[str, str], ...]]] = {
    "boxes": (
        (
            "(1, 4 + classes, n) or (1, n, 6)",
            "n candidates in pixels of the network's input: center x, center y, width, height, "
            "then a probability a class; or x1, y1, x2, y2, score, class of a network that "
            "suppresses by itself",
        ),
    ),
    "distance": (("(1, channels), one a stage", "pooled features of a stage"),),
    "patches": (("(1, channels, h, w)", "a patch's features at each place"),),
    "errors": (
        ("(1, side, side)", "error of reconstruction at each pixel"),
        ("(1,), one a further part", "a further part of the score, where the method has one"),
    ),
    "types": (("(1, classes)", "probabilities in the order of `names`, `good` first"),),
    "masks": (("(1, classes + 1, side, side)", "probabilities of each pixel, background first"),),
    "fitted-masks": (
        ("(1, classes + 1, h / s, w / s)", "probabilities of each place, background first"),
        ("(1,)", "logit of the image"),
    ),
}
_SCORE: Final[Mapping[str, str]] = {
    "boxes": "highest score after suppression (`recipe.suppression_iou`, within a class); 0 for no "
    "box",
    "distance": "distance of the features to those of good images, which arrays/ of the model hold",
    "patches": "largest distance of a patch to the nearest row of arrays/patches.npy",
    "errors": "mean of the highest 0.2 % of the unusual errors (arrays/usual_mean.npy and "
    "usual_deviation.npy, after a blur); with `recipe.scale`, the mean of score and parts, each "
    "divided by its scale",
    "types": "1 - probability of `good`",
    "masks": "0.999 quantile of 1 - background; with `recipe.score_stack`, its weighing of the "
    "map's statistics",
    "fitted-masks": "sigmoid of the logit",
}
_CALIBRATION: Final[Mapping[str, str]] = {
    "odds": "o = s / (1 - s), t = raw_threshold / (1 - raw_threshold): score = o / (o + t)",
    "ratio": "score = s / (s + raw_threshold)",
}


def graph_words(
    scorer: Scorer, thresholds: FoldThresholds, class_names: Sequence[str], cut: float
) -> dict[str, Any]:
    """Names, layouts and meaning of a graph's input and outputs, and what leads to a verdict.

    Args:
        scorer: whose network the graph is.
        thresholds: of the model.
        class_names: defect types by label.
        cut: calibrated scores from this on are defective.

    Raises:
        InputError: a kind of model that this page has no words for.
    """
    recipe = scorer.recipe()
    if scorer.kind not in _RESIZE:
        raise InputError(f"Models of the kind {scorer.kind} cannot be put into a bundle.")
    mean, deviation = _normalization(scorer.kind, recipe)
    free = scorer.free_sides
    side = int(recipe["image_size"])
    return {
        "format": FORMAT,
        "kind": scorer.kind,
        "input": {
            "name": INPUT,
            "type": "float32",
            "layout": "NCHW, channels red, green, blue",
            "shape": ["n", 3, "height" if free else side, "width" if free else side],
            "side": side,
            "resize": _RESIZE[scorer.kind],
            "normalization": "(value / 255 - mean) / deviation, a channel",
            "mean": mean,
            "deviation": deviation,
            "tiles": int(recipe.get("tiles", 1)),
            "views": int(recipe.get("views", 1)),
        },
        "outputs": [
            {"name": f"output_{number}", "type": "float32", "layout": layout, "meaning": meaning}
            for number, (layout, meaning) in enumerate(_OUTPUTS[scorer.kind])
        ],
        "names": list(recipe.get("names", class_names)),
        "raw_score": _SCORE[scorer.kind],
        "calibration": {
            "scale": thresholds.scale,
            "raw_threshold": thresholds.raw_threshold,
            "rule": _CALIBRATION[thresholds.scale],
        },
        "verdict": f"defective where the calibrated score is {cut!r} or more",
        "threshold": cut,
        "region_threshold": thresholds.region_threshold,
    }


def _normalization(kind: str, recipe: Mapping[str, Any]) -> tuple[list[float], list[float]]:
    if "mean" in recipe:
        return list(recipe["mean"]), list(recipe["deviation"])
    if kind == "masks":
        return [0.5] * 3, [0.5] * 3
    return [0.0] * 3, [1.0] * 3
