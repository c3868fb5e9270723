"""A bundle's graphs as networks: in ONNX Runtime, or in OpenVINO."""

import functools
import threading
from collections.abc import Mapping, Sequence
from typing import Any, Final, Protocol, cast

import numpy as np
import numpy.typing as npt

from annotations.errors import InputError, UsageError, install_extra, shortened
from deployment.graph_check import require_plain
from inference.base import Batch, Network

INPUT: Final = "images"
ONNX_RUNTIME: Final = "onnxruntime"
OPENVINO: Final = "openvino"
MOST_MEMORY: Final = 4 << 30
"""Bytes that the graphs of a process take together: a graph of some hundred bytes can ask for any
number."""
TRIAL_S: Final = 120.0
"""Seconds after which a graph that has not answered a black image is given up."""
_TRIAL_SIDE: Final = 32
"""Pixels, where a graph leaves the side free."""
_MOST_SIDE: Final = 16_384
_FATAL: Final = 4
"""Of ONNX Runtime's severities: what else it says is in its exceptions."""


CPU: Final = "cpu"
PROVIDERS: Final[Mapping[str, str]] = {
    CPU: "CPUExecutionProvider",
    "cuda": "CUDAExecutionProvider",
    "tensorrt": "TensorrtExecutionProvider",
    "openvino": "OpenVINOExecutionProvider",
}
"""ONNX Runtime's own names of what computes a graph."""
_IN_PLACE: Final = (
    "in place of onnxruntime (`pip uninstall onnxruntime` first: they share a folder)."
)
_ADVICE: Final[Mapping[str, str]] = {
    CPU: "Install it again: `pip install --force-reinstall onnxruntime`.",
    "cuda": f"`pip install onnxruntime-gpu` {_IN_PLACE} It needs NVIDIA's driver, CUDA and cuDNN.",
    "tensorrt": f"`pip install onnxruntime-gpu` {_IN_PLACE} It needs NVIDIA's driver, CUDA and "
    "TensorRT.",
    "openvino": f"`pip install onnxruntime-openvino` {_IN_PLACE}",
}


class OnnxNetwork:
    """A graph in ONNX Runtime."""

    def __init__(self, graph: bytes, *, threads: int = 0, provider: str = CPU) -> None:
        """Load a graph.

        Args:
            graph: a serialized ONNX model.
            threads: that compute one image; 0 is one a core.
            provider: what computes, a key of `PROVIDERS`.

        Raises:
            UsageError: the ONNX Runtime that is installed lacks the provider.
            InputError: ONNX Runtime is not installed, or cannot load the graph.
        """
        try:
            import onnxruntime
        except ImportError as error:
            raise InputError(
                "Opening a bundle needs ONNX Runtime, which is not installed. "
                f"{install_extra('bundle')}; for the runtime alone, `pip install onnxruntime`."
            ) from error
        require_provider(provider)
        require_plain(graph)
        try:
            # On the CPU, where memory is bounded.
            _try(graph, threads)
            self._session: Any = _session(graph, threads, provider=provider)
            if PROVIDERS[provider] not in self._session.get_providers():
                raise InputError(
                    f"ONNX Runtime has {PROVIDERS[provider]}, and could not start it: its driver "
                    f"or libraries are missing. {_ADVICE[provider]} Or compute on the CPU "
                    "(provider cpu)."
                )
        except InputError:
            raise
        except Exception as error:  # ONNX Runtime has classes of its own for each fault
            if "vailable memory" in str(error):
                raise InputError(
                    "A graph is refused: it asks for more memory than the "
                    f"{MOST_MEMORY / 2**30:g} GiB that the graphs of a process may take together. "
                    "No model of this program does, unless dozens of bundles are open at once."
                ) from error
            raise InputError(
                f"ONNX Runtime {onnxruntime.__version__} cannot load a graph of this bundle "
                f"({shortened(error, 160)}). Make the bundle again with this version."
            ) from error

    def __call__(self, batch: Batch) -> Sequence[npt.NDArray[np.float32]]:
        """Answer to float32 (n, 3, h, w)."""
        return cast(Sequence[npt.NDArray[np.float32]], self._session.run(None, {INPUT: batch}))


class OpenVinoNetwork:
    """A graph in OpenVINO, on the CPU, at full precision."""

    def __init__(self, graph: bytes, *, threads: int = 0, provider: str = CPU) -> None:
        """Compile a graph for this machine.

        Args:
            graph: a serialized ONNX model.
            threads: that compute one image; 0 leaves it to OpenVINO.
            provider: cpu alone; the bundle chose what runs it.

        Raises:
            UsageError: another provider.
            InputError: OpenVINO is not installed, or cannot read the graph.
        """
        if provider != CPU:
            raise UsageError(
                f"This bundle was made for OpenVINO itself and computes on the CPU: the provider "
                f"{shortened(provider, 40)!r} is ONNX Runtime's. Make it with --format onnx for it."
            )
        try:
            import openvino
        except ImportError as error:
            raise InputError(
                "This bundle was made for OpenVINO, which is not installed. "
                f"{install_extra('openvino')}; for the runtime alone, `pip install openvino`. Or "
                "make the bundle again with --format onnx."
            ) from error
        require_plain(graph)
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

    def __call__(self, graph: bytes, *, threads: int = 0, provider: str = CPU) -> Network:
        """Load a graph; see `OnnxNetwork`."""
        ...


ENGINES: Final[Mapping[str, Engine]] = {ONNX_RUNTIME: OnnxNetwork, OPENVINO: OpenVinoNetwork}


@functools.cache
def _bound_memory() -> None:
    """Have all graphs of this process share one arena of `MOST_MEMORY` bytes."""
    import onnxruntime

    where = onnxruntime.OrtMemoryInfo(
        "Cpu", onnxruntime.OrtAllocatorType.ORT_ARENA_ALLOCATOR, 0, onnxruntime.OrtMemType.DEFAULT
    )
    limit = onnxruntime.OrtArenaCfg({"max_mem": MOST_MEMORY})
    onnxruntime.create_and_register_allocator(where, limit)


def require_provider(provider: str) -> None:
    """Refuse what the installed ONNX Runtime cannot compute with.

    Raises:
        UsageError: an unknown provider, or one that is not in this build; says which build has it.
    """
    import onnxruntime

    if provider not in PROVIDERS:
        raise UsageError(
            f"A provider is one of {', '.join(PROVIDERS)}, got {shortened(provider, 40)!r}."
        )
    there = onnxruntime.get_available_providers()
    if PROVIDERS[provider] not in there:
        held = ", ".join(name for name, theirs in PROVIDERS.items() if theirs in there)
        raise UsageError(
            f"The ONNX Runtime {onnxruntime.__version__} that is installed here has no provider "
            f"{provider} (it has {held}). {_ADVICE[provider]}"
        )


def _session(graph: bytes, threads: int, *, as_written: bool = False, provider: str = CPU) -> Any:
    """A graph loaded; `as_written` without the steps that compute parts of it beforehand."""
    import onnxruntime

    _bound_memory()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = _FATAL
    options.add_session_config_entry("session.use_env_allocators", "1")
    if as_written:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    # What a provider cannot compute falls to the CPU; so does nothing that it can.
    wanted = list(dict.fromkeys((PROVIDERS[provider], PROVIDERS[CPU])))
    return onnxruntime.InferenceSession(graph, options, providers=wanted)


def _try(graph: bytes, threads: int) -> None:
    """Run a graph once as it is written, within bounds of memory and time.

    Loading it computes beforehand whatever depends on constants alone, outside the arena, and
    nothing ends that. What runs here in bounds does so there.

    Raises:
        Exception: of ONNX Runtime: more memory or time than allowed, or no graph.
    """
    import onnxruntime

    session = _session(graph, threads, as_written=True)
    batches = {
        one.name: np.zeros([_side(n, side) for n, side in enumerate(one.shape)], np.float32)
        for one in session.get_inputs()
    }
    options = onnxruntime.RunOptions()
    options.log_severity_level = _FATAL
    watchdog = threading.Timer(TRIAL_S, lambda: setattr(options, "terminate", True))
    watchdog.daemon = True
    watchdog.start()
    try:
        session.run(None, batches, options)
    finally:
        watchdog.cancel()


def _side(place: int, side: object) -> int:
    """One side of the trial's batch (n, 3, h, w), from what the graph declares."""
    if isinstance(side, int):
        if not 0 < side <= _MOST_SIDE:
            raise ValueError(f"it takes an input with a side of {side}")
        return side
    return _TRIAL_SIDE if place >= 2 else 1
