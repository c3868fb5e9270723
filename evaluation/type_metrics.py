"""Is the type right? For families that name one for the whole image."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from evaluation.intervals import Floats, Weights, with_interval
from evaluation.metric import Metric, undefined

Texts = npt.NDArray[np.str_]


def type_counts(types: Texts, predicted: Texts, names: Sequence[str]) -> npt.NDArray[np.int64]:
    """Confusion of types.

    Args:
        types: text (n,), what is true.
        predicted: text (n,), what was said.
        names: k names, of `good` and the defect types.

    Returns:
        int64 (k, k): how many of a true type, by row, were called what, by column.

    Raises:
        ValueError: a type that is not among the names, or arrays of different lengths.
    """
    if types.shape != predicted.shape:
        raise ValueError(f"{len(types)} images and {len(predicted)} predicted types.")
    place = {name: number for number, name in enumerate(names)}
    counts = np.zeros((len(names), len(names)), np.int64)
    for true, said in zip(types.tolist(), predicted.tolist(), strict=True):
        if true not in place or said not in place:
            raise ValueError(f"{true!r} or {said!r} is not one of the types {', '.join(names)}.")
        counts[place[true], place[said]] += 1
    return counts


def balanced_accuracy(counts: npt.NDArray[Any]) -> float | None:
    """Mean over the true types of the part that was called so (Brodersen et al., The balanced
    accuracy and its posterior distribution, ICPR 2010, for more than two classes).

    Args:
        counts: (k, k) of `type_counts`; types without any image are left out.

    Returns:
        From 0 to 1; None without any image.
    """
    totals = counts.sum(axis=1)
    present = totals > 0
    if not present.any():
        return None
    return float((np.diag(counts)[present] / totals[present]).mean())


def type_metrics(
    types: Texts, predicted: Texts, names: Sequence[str], weights: Weights
) -> tuple[dict[str, Metric], dict[str, Floats]]:
    """Balanced accuracy of types, `type_accuracy`, with its interval.

    Args:
        types: text (n,).
        predicted: text (n,).
        names: of `good` and the defect types.
        weights: int64 (r, n), how often each image was drawn.

    Returns:
        The metric, and its resampled values, float (r,), where it is defined.
    """
    value = balanced_accuracy(type_counts(types, predicted, names))
    if value is None:
        return {"type_accuracy": undefined("there are no images")}, {}
    right = types == predicted
    shares = []
    for name in sorted(set(types.tolist())):
        inside = types == name
        total = weights[:, inside].sum(axis=1).astype(np.float64)
        hits = weights[:, inside & right].sum(axis=1)
        shares.append(np.divide(hits, total, out=np.full(len(total), np.nan), where=total > 0))
    drawn = np.stack(shares).mean(axis=0) if len(weights) else np.zeros(0)
    return {"type_accuracy": with_interval(Metric(value, len(types)), drawn)}, {
        "type_accuracy": drawn
    }
