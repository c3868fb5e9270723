"""The baseline classifiers: what can be learnt from good images, and from few defects."""

from classify.config import METHOD_CONFIGS, ClassifyConfig, config_class
from classify.methods import all_methods, method_named
from classify.train import load_classifier, train_classifier

__all__ = [
    "METHOD_CONFIGS",
    "ClassifyConfig",
    "all_methods",
    "config_class",
    "load_classifier",
    "method_named",
    "train_classifier",
]
