"""What the trainers share: weights, run folders, seeds, devices, thresholds."""

from annotations.run_files import fold_folder
from inference.thresholds import ThresholdAim
from training.configs import FamilyConfig, build_config
from training.device import resolve_device, seed_everything
from training.job import (
    FoldJob,
    Predictor,
    Reporter,
    SilentReporter,
    finished_folds,
    map_range,
    read_run_config,
    run_thresholds,
    stored_config,
    train_run,
)
from training.recipes import DEFAULT_RECIPE, read_recipe, recipe_names
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
