"""The baseline classifiers: what can be learnt from good images, and from few defects."""

from classify.config import ClassifyConfig
from classify.methods import all_methods, method_named
from classify.train import load_classifier, train_classifier

__all__ = ["ClassifyConfig", "all_methods", "load_classifier", "method_named", "train_classifier"]
