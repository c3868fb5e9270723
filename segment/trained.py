"""Where trained weights stand."""

from pathlib import Path

from annotations import InputError
from annotations.run_files import SEGMENTER_WEIGHTS_FILE
from training import fold_folder


def trained_weights(run: Path, fold: int) -> Path:
    """Where the weights of one fold stand.

    Raises:
        InputError: they are missing.
    """
    path = fold_folder(run, fold) / SEGMENTER_WEIGHTS_FILE
    if not path.is_file():
        raise InputError(f"The trained weights {path} are missing. Train this fold again.")
    return path
