"""A graph with 8-bit numbers, their ranges chosen on images. The runtime never imports this."""

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from annotations.errors import InputError, shortened
from annotations.prediction_files import FoldThresholds
from deployment.networks import INPUT
from inference.base import Batch, ImageRgb, Network, Scorer

OPERATORS: Final = ("Conv", "Gemm", "MatMul")
"""What takes the time. A detector's boxes and scores are joined in one tensor after the last of
them, which no single range of 256 values could hold."""
_TINY: Final = 1e-9
MOST_BATCHES: Final = 64
"""As the network sees them, which with tiles and views is several an image."""


class _Recorder:
    """A network that keeps what it is asked."""

    def __init__(self, network: Network) -> None:
        self._network = network
        self.batches: list[Batch] = []

    def __call__(self, batch: Batch) -> Sequence[npt.NDArray[np.float32]]:
        if len(self.batches) < MOST_BATCHES:
            self.batches.append(np.array(batch))
        return self._network(batch)


def quantized(graph: bytes, scorer: Scorer, images: Sequence[ImageRgb]) -> bytes:
    """Static quantisation by ONNX Runtime: weights a channel, activations a tensor, both 8 bits.

    Args:
        graph: a serialised ONNX model, the scorer's.
        scorer: shows the images to its network as it does in use: tiles and views too.
        images: uint8 (H, W, 3), of the training side.

    Raises:
        InputError: no images, or ONNX Runtime refuses the graph.
    """
    if not images:
        raise InputError("--int8 needs training images to choose ranges on, and there are none.")
    recorder, plain = _Recorder(scorer.network), scorer.network
    scorer.network = recorder
    try:
        for image_rgb in images:
            if len(recorder.batches) >= MOST_BATCHES:
                break
            scorer.predict("", image_rgb)
    finally:
        scorer.network = plain
    try:
        return _by_onnxruntime(graph, recorder.batches)
    except Exception as error:  # ONNX Runtime and onnx raise many kinds
        raise InputError(
            f"ONNX Runtime cannot make 8-bit numbers of this model ({shortened(error, 160)}). Make "
            "the bundle without --int8."
        ) from error


def moved_threshold(
    thresholds: FoldThresholds, before: Sequence[float], after: Sequence[float]
) -> float:
    """The threshold on scores that moved, so that it lies among them where it lay before.

    The sorted scores before and after are the knots of a piecewise linear function, on the scale of
    odds or of ratios; beyond them it goes on by a constant step.

    Args:
        thresholds: of the scores before.
        before: raw scores of n images.
        after: raw scores of the same images.

    Returns:
        The raw threshold; that of `thresholds` where there is no image.
    """
    if not len(before):
        return thresholds.raw_threshold
    odds = thresholds.scale == "odds"

    def scaled(values: Sequence[float]) -> npt.NDArray[np.float64]:
        high = 1 - _TINY if odds else np.inf
        clipped = np.clip(np.asarray(values, np.float64), _TINY, high)
        return np.sort(np.log(clipped / (1 - clipped)) if odds else np.log(clipped))

    x, y = scaled(before), scaled(after)
    place = float(scaled([thresholds.raw_threshold])[0])
    moved = float(np.interp(place, x, y)) + min(place - x[0], 0) + max(place - x[-1], 0)
    return float(1 / (1 + np.exp(-moved)) if odds else np.exp(moved))


def _by_onnxruntime(graph: bytes, batches: Sequence[Batch]) -> bytes:
    from onnxruntime.quantization import (
        CalibrationDataReader,
        QuantFormat,
        QuantType,
        quantize_static,
    )
    from onnxruntime.quantization.shape_inference import quant_pre_process

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        left = iter(batches)

        def get_next(self) -> dict[str, Batch] | None:
            batch = next(self.left, None)
            return None if batch is None else {INPUT: batch}

    with tempfile.TemporaryDirectory() as name:
        given, prepared, made = (Path(name) / f"{part}.onnx" for part in ("a", "b", "c"))
        given.write_bytes(graph)
        # Folds batch normalisation into convolutions first, as it would at run time.
        quant_pre_process(str(given), str(prepared), skip_symbolic_shape=True)
        quantize_static(
            str(prepared),
            str(made),
            Reader(),
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=list(OPERATORS),
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
        )
        return made.read_bytes()
