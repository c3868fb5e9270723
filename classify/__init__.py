"""The baseline classifiers: what can be learnt from good images, and from few defects."""

from classify.config import ClassifyConfig
from classify.methods import method_named, methods
from classify.train import load_classifier, train_classifier

__all__ = ["ClassifyConfig", "load_classifier", "method_named", "methods", "train_classifier"]
