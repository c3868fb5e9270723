"""A bundle's graphs as networks: in ONNX Runtime, or in OpenVINO."""

from collections.abc import Mapping, Sequence
from typing import Any, Final, Protocol, cast

import numpy as np
import numpy.typing as npt

from annotations.errors import InputError, shortened
from annotations.scoring.base import Batch, Network

INPUT: Final = "images"
ONNX_RUNTIME: Final = "onnxruntime"
OPENVINO: Final = "openvino"
_OUTSIDE: Final = b"\n\x08location"
"""How a graph names a file of weights beside it; a bundle's graphs hold their weights."""


class OnnxNetwork:
    """A graph in ONNX Runtime, on the CPU."""

    def __init__(self, graph: bytes, *, threads: int = 0) -> None:
        """Load a graph.

        Args:
            graph: a serialised ONNX model.
            threads: that compute one image; 0 is one a core.

        Raises:
            InputError: ONNX Runtime is not installed, or cannot load the graph.
        """
        try:
            import onnxruntime
        except ImportError as error:
            raise InputError(
                "Opening a bundle needs ONNX Runtime: `pip install onnxruntime`, or install "
                "defectune with the extra `bundle`."
            ) from error
        _require_whole(graph)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 3
        try:
            self._session: Any = onnxruntime.InferenceSession(
                graph, options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # ONNX Runtime has classes of its own for each fault
            raise InputError(
                f"ONNX Runtime {onnxruntime.__version__} cannot load a graph of this bundle "
                f"({shortened(error, 160)}). Make the bundle again with this version."
            ) from error

    def __call__(self, batch: Batch) -> Sequence[npt.NDArray[np.float32]]:
        """Answer to float32 (n, 3, h, w)."""
        return cast(Sequence[npt.NDArray[np.float32]], self._session.run(None, {INPUT: batch}))


class OpenVinoNetwork:
    """A graph in OpenVINO, on the CPU, at full precision."""

    def __init__(self, graph: bytes, *, threads: int = 0) -> None:
        """Compile a graph for this machine.

        Args:
            graph: a serialised ONNX model.
            threads: that compute one image; 0 leaves it to OpenVINO.

        Raises:
            InputError: OpenVINO is not installed, or cannot read the graph.
        """
        try:
            import openvino
        except ImportError as error:
            raise InputError(
                "This bundle was made for OpenVINO: `pip install openvino`, or make it again with "
                "--format onnx."
            ) from error
        _require_whole(graph)
        # Left to itself it computes in bfloat16 where the processor can, and scores change.
        config: dict[str, Any] = {"INFERENCE_PRECISION_HINT": "f32", "PERFORMANCE_HINT": "LATENCY"}
        if threads:
            config["INFERENCE_NUM_THREADS"] = threads
        try:
            core = openvino.Core()
            self._compiled: Any = core.compile_model(core.read_model(graph), "CPU", config)
        except Exception as error:  # OpenVINO raises RuntimeError and classes of its own
            raise InputError(
                f"OpenVINO {openvino.__version__} cannot load a graph of this bundle "
                f"({shortened(error, 160)}). Make the bundle again with --format onnx."
            ) from error
        self._outputs = [f"output_{number}" for number in range(len(self._compiled.outputs))]

    def __call__(self, batch: Batch) -> Sequence[npt.NDArray[np.float32]]:
        """Answer to float32 (n, 3, h, w)."""
        answer = self._compiled({INPUT: batch})
        return [np.asarray(answer[name], np.float32) for name in self._outputs]


class Engine(Protocol):
    """Makes a network of a graph."""

    def __call__(self, graph: bytes, *, threads: int = 0) -> Network:
        """Load a graph; see `OnnxNetwork`."""
        ...


ENGINES: Final[Mapping[str, Engine]] = {ONNX_RUNTIME: OnnxNetwork, OPENVINO: OpenVinoNetwork}


def _require_whole(graph: bytes) -> None:
    if _OUTSIDE in graph:
        raise InputError("The graph names files beside it, which no bundle's does. Refused.")
