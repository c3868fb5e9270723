"""The baseline classifiers: what can be learned from good images, and from few defects."""

from typing import TYPE_CHECKING

from annotations.lazy import lazy_names

if TYPE_CHECKING:
    from classify.config import ClassifyConfig, config_class
    from classify.methods import all_methods, method_named
    from classify.train import load_classifier, train_classifier

__all__ = [
    "ClassifyConfig",
    "all_methods",
    "config_class",
    "load_classifier",
    "method_named",
    "train_classifier",
]

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "ClassifyConfig": "classify.config",
        "all_methods": "classify.methods",
        "config_class": "classify.config",
        "load_classifier": "classify.train",
        "method_named": "classify.methods",
        "train_classifier": "classify.train",
    },
)
