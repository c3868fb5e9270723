"""What the trainers share: weights, run folders, seeds, devices, thresholds."""

from typing import TYPE_CHECKING

from annotations.lazy import lazy_names

if TYPE_CHECKING:
    from annotations.run_files import fold_folder
    from inference.thresholds import ThresholdAim
    from training.configs import FamilyConfig, build_config
    from training.device import resolve_device, seed_everything
    from training.job import (
        FoldJob,
        Predictor,
        train_run,
    )
    from training.recipes import DEFAULT_RECIPE, read_recipe, recipe_names
    from training.reporter import Reporter, SilentReporter
    from training.stored_runs import (
        finished_folds,
        map_range,
        read_run_config,
        run_thresholds,
        stored_config,
    )
    from training.thresholds import (
        good_probability_thresholds,
        good_threshold,
        probability_thresholds,
    )
    from training.weights import (
        TORCHVISION_FILES,
        WeightsFile,
        efficientnet_lite0_state_dict,
        find_weights,
        load_into,
        load_state_dict,
        yolo_file,
    )

__all__ = [
    "DEFAULT_RECIPE",
    "TORCHVISION_FILES",
    "FamilyConfig",
    "FoldJob",
    "Predictor",
    "Reporter",
    "SilentReporter",
    "ThresholdAim",
    "WeightsFile",
    "build_config",
    "efficientnet_lite0_state_dict",
    "find_weights",
    "finished_folds",
    "fold_folder",
    "good_probability_thresholds",
    "good_threshold",
    "load_into",
    "load_state_dict",
    "map_range",
    "probability_thresholds",
    "read_recipe",
    "read_run_config",
    "recipe_names",
    "resolve_device",
    "run_thresholds",
    "seed_everything",
    "stored_config",
    "train_run",
    "yolo_file",
]

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "DEFAULT_RECIPE": "training.recipes",
        "FamilyConfig": "training.configs",
        "FoldJob": "training.job",
        "Predictor": "training.job",
        "Reporter": "training.reporter",
        "SilentReporter": "training.reporter",
        "TORCHVISION_FILES": "training.weights",
        "ThresholdAim": "inference.thresholds",
        "WeightsFile": "training.weights",
        "build_config": "training.configs",
        "efficientnet_lite0_state_dict": "training.weights",
        "find_weights": "training.weights",
        "finished_folds": "training.stored_runs",
        "fold_folder": "annotations.run_files",
        "good_probability_thresholds": "training.thresholds",
        "good_threshold": "training.thresholds",
        "load_into": "training.weights",
        "load_state_dict": "training.weights",
        "map_range": "training.stored_runs",
        "probability_thresholds": "training.thresholds",
        "read_recipe": "training.recipes",
        "read_run_config": "training.stored_runs",
        "recipe_names": "training.recipes",
        "resolve_device": "training.device",
        "run_thresholds": "training.stored_runs",
        "seed_everything": "training.device",
        "stored_config": "training.stored_runs",
        "train_run": "training.job",
        "yolo_file": "training.weights",
    },
)
