"""The baselines: features of a pretrained network and their distance to the good images."""

from classify.config import ClassifyConfig
from classify.train import DistancePredictor, load_distance_predictor, train_classifier

__all__ = ["ClassifyConfig", "DistancePredictor", "load_distance_predictor", "train_classifier"]
