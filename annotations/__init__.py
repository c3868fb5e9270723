"""What a label is: samples, regions, predictions, the frozen split, and their files."""

from annotations.dataset import Dataset, coco_document, load_dataset
from annotations.errors import (
    DefectuneError,
    ImageReadError,
    InputError,
    LayoutError,
    OutputExistsError,
    ProtocolError,
    SplitMismatchError,
    TrainingError,
    UsageError,
    WeightsNotFoundError,
)
from annotations.image_headers import read_image_hw
from annotations.images import read_image_rgb, read_mask_raw, write_png
from annotations.later import read_predictions
from annotations.prediction import Prediction
from annotations.prediction_files import FoldThresholds
from annotations.prediction_writer import PredictionWriter
from annotations.protocols import Shots, make_split, read_custom_split
from annotations.regions import (
    Regions,
    box_slices,
    boxes_of_masks,
    decode_rle,
    encode_rle,
    mask_to_regions,
    rle_area,
)
from annotations.samples import GOOD, Sample
from annotations.split import (
    PROTOCOLS,
    Fold,
    Split,
    check_split,
    read_split,
    require_defects_in_training,
    select_folds,
    write_split,
)
from annotations.store import StoredPredictions, run_folders
from annotations.strength import STRENGTHS, LabelStrength, label_strength

__all__ = [
    "GOOD",
    "PROTOCOLS",
    "STRENGTHS",
    "Dataset",
    "DefectuneError",
    "Fold",
    "FoldThresholds",
    "ImageReadError",
    "InputError",
    "LabelStrength",
    "LayoutError",
    "OutputExistsError",
    "Prediction",
    "PredictionWriter",
    "ProtocolError",
    "Regions",
    "Sample",
    "Shots",
    "Split",
    "SplitMismatchError",
    "StoredPredictions",
    "TrainingError",
    "UsageError",
    "WeightsNotFoundError",
    "box_slices",
    "boxes_of_masks",
    "check_split",
    "coco_document",
    "decode_rle",
    "encode_rle",
    "label_strength",
    "load_dataset",
    "make_split",
    "mask_to_regions",
    "read_custom_split",
    "read_image_hw",
    "read_image_rgb",
    "read_mask_raw",
    "read_predictions",
    "read_split",
    "require_defects_in_training",
    "rle_area",
    "run_folders",
    "select_folds",
    "write_png",
    "write_split",
]
