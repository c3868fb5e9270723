"""Metrics of whole images from bare arrays, as a leaderboard has them."""

import numpy as np

from evaluation.image_metrics import ImageScores, score_metrics
from evaluation.intervals import resample_weights


def image_metrics(scores, is_defective, groups, *, threshold, seed=0):
    """All metrics about whole images, drawn anew with `seed`; see `score_metrics`."""
    images = ImageScores(scores, is_defective, groups, is_defective.astype(np.str_))
    weights = resample_weights(images.strata, groups, seed=seed)
    return score_metrics(images, weights, threshold=threshold)[0]
