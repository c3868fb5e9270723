"""Making a bundle of a finished run. Needs torch and onnx; the runtime never imports this file."""

import io
import json
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch

from annotations.errors import DefectuneError, InputError, shortened
from annotations.files import read_json
from annotations.prediction_files import THRESHOLD, FoldThresholds
from annotations.run_files import LEADERBOARD_FILE
from deployment.archive import (
    BUNDLE,
    CARD,
    FORMAT,
    GRAPH,
    array_name,
    graph_name,
    pack_array,
    to_json,
    write_archive,
)
from deployment.card import model_card
from deployment.graph_words import METADATA_KEY, graph_words
from deployment.networks import ENGINES, INPUT, ONNX_RUNTIME
from deployment.runtime import SCORERS
from inference.base import Network, Scorer
from inference.joined import JoinedMasks
from training import map_range, read_run_config, run_thresholds
from training.torch_network import TorchNetwork

OPSET: Final = 17
CLOSE: Final = 1e-3
"""Largest difference between a graph's answer to noise and its network's, as a part of the
answer's largest value; rounding makes a few millionths."""


@dataclass(frozen=True, slots=True)
class MadeBundle:
    """What `make_bundle` wrote.

    Attributes:
        path: the file.
        digest: SHA-256 of its manifest.
        folds: whose models it holds.
        bytes: its size.
        refitted: its one model was trained on the test images too.
    """

    path: Path
    digest: str
    folds: tuple[int, ...]
    bytes: int
    refitted: bool


@dataclass(frozen=True, slots=True)
class BundleOptions:
    """How a bundle is made.

    Attributes:
        refitted: the folder of a training on all images, whose one model is taken.
        engine: what runs the graphs, a key of `ENGINES`.
        threshold: calibrated scores from this on are defective.
        chosen_by: who chose it, as a text; empty for training.
    """

    refitted: Path | None = None
    engine: str = ONNX_RUNTIME
    threshold: float = THRESHOLD
    chosen_by: str = ""


def make_bundle(
    run: Path,
    path: Path,
    folds: Sequence[int],
    open_model: Callable[[int], Any],
    options: BundleOptions,
    *,
    say: Callable[[str], None] = lambda _text: None,
) -> MadeBundle:
    """Write models of a run into one file.

    Args:
        run: its folder.
        path: the file to write; one that is there is replaced.
        folds: finished ones, ascending; of several, calibrated scores are averaged.
        open_model: opens a fold's predictor on the CPU.
        options: how to make it.
        say: for progress.

    Raises:
        InputError: a model that cannot be exported.
    """
    settings = read_run_config(run)
    settings["bit_depth"]
    members: dict[str, bytes] = {}
    names = settings["class_names"]
    models = []
    for fold in folds:
        whose = "Refit" if options.refitted else f"Fold {fold}"
        say(f"{whose}: making its graph")
        scorer = open_model(fold)
        if not isinstance(scorer, Scorer) or scorer.kind not in SCORERS:
            raise InputError(
                f"{run.name} is a run of {settings['family']}, {type(scorer).__name__}, and its "
                "models cannot be put into a bundle."
            )
        thresholds = run_thresholds(options.refitted or run, fold)
        entry = {"fold": fold, "scorer": scorer.kind, "recipe": scorer.recipe()}
        entry["thresholds"] = thresholds.to_json()
        if isinstance(scorer, JoinedMasks):
            entry["parts"] = [
                {"scorer": part.kind, "recipe": part.recipe()}
                | _add(members, part, member.thresholds, names, options)
                for part, member in zip(scorer.parts, scorer.members, strict=True)
            ]
        else:
            entry |= _add(members, scorer, thresholds, names, options)
        models.append(entry)
    document = {
        "format": FORMAT,
        "run": run.resolve().name,
        "family": settings["family"],
        "split_digest": settings["split_digest"],
        "class_names": names,
        "bit_depth": settings["bit_depth"],
        "threshold": options.threshold,
        "threshold_chosen_by": options.chosen_by,
        "engine": options.engine,
        "precision": "fp32",
        "map_range": list(map_range(run)),
        "refitted": options.refitted is not None,
        "models": models,
    }
    members[BUNDLE] = to_json(document)
    card = model_card(run.resolve().name, settings, document, leaderboard_row(run), _versions())
    members[CARD] = card.encode("utf-8")
    digest = write_archive(path, members)
    refitted = options.refitted is not None
    return MadeBundle(path, digest, tuple(folds), path.stat().st_size, refitted)


def _add(
    members: dict[str, bytes],
    scorer: Scorer,
    thresholds: FoldThresholds,
    class_names: Sequence[str],
    options: BundleOptions,
) -> dict[str, Any]:
    """Add a scorer's graph and arrays to a bundle's members; what says where they are."""
    number = sum(name.endswith(GRAPH) for name in members)
    # Proved by the engine that will run it.
    graph = graph_of(scorer, options.engine)
    words = graph_words(scorer, thresholds, class_names, options.threshold)
    members[graph_name(number)] = with_words(graph, words)
    arrays = dict(sorted(scorer.arrays().items()))
    members |= {array_name(number, name): pack_array(a) for name, a in arrays.items()}
    return {"number": number, "arrays": list(arrays), "graph": words}


def leaderboard_row(run: Path) -> Mapping[str, Any] | None:
    """What leaderboard.json says of a run; None where it says nothing of it under its split."""
    place = run.resolve().parent.parent / LEADERBOARD_FILE
    if not place.is_file():
        return None
    board = read_json(place, what="the leaderboard")
    try:
        if board["split_digest"] != read_run_config(run)["split_digest"]:
            return None
        name = run.resolve().name
        return next((row for row in board["rows"] if row["run"] == name), None)
    except (KeyError, TypeError) as error:
        raise InputError(
            f"{place} is damaged ({shortened(error)}). Call `defectune evaluate` again."
        ) from error


def graph_of(scorer: Scorer, engine: str = ONNX_RUNTIME) -> bytes:
    """A scorer's torch network as a serialized ONNX graph, proved on noise.

    Args:
        scorer: of a trained model.
        engine: that will run it, a key of `ENGINES`.

    Raises:
        InputError: it has no torch network, cannot be exported, or the graph answers otherwise.
    """
    network = scorer.network
    if not isinstance(network, TorchNetwork):
        raise InputError("Only a model that was trained here can be exported.")
    height, width = scorer.example_hw
    example = _noise(height, width)
    n_outputs = len(network(example))
    outputs = [f"output_{number}" for number in range(n_outputs)]
    free = {0: "n"} | ({2: "height", 3: "width"} if scorer.free_sides else {})
    buffer = io.BytesIO()
    try:
        with warnings.catch_warnings(), torch.inference_mode():
            # Tracing warns of every shape that it takes for a constant.
            warnings.simplefilter("ignore")
            torch.onnx.export(
                network.module,
                (torch.from_numpy(example),),
                buffer,  # type: ignore[arg-type]
                input_names=[INPUT],
                output_names=outputs,
                dynamic_axes={INPUT: free},
                opset_version=OPSET,
                dynamo=False,
            )
    except DefectuneError:
        raise
    except Exception as error:  # torch raises many kinds
        raise InputError(
            f"This model has a layer that ONNX cannot hold ({shortened(error, 200)}). Train with "
            "another network, or predict from the run itself."
        ) from error
    graph = buffer.getvalue()
    sizes = [(height, width)]
    if scorer.free_sides:
        sizes += [(height, 2 * width), (height + 32, width)]
    loaded = ENGINES[engine](graph)
    for hw in sizes:
        _require_equal(network, loaded, _noise(*hw))
    return graph


def _noise(height: int, width: int) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    rng = np.random.default_rng(0)
    return rng.uniform(0, 1, (1, 3, height, width)).astype(np.float32)


def _require_equal(
    network: TorchNetwork,
    graph: Network,
    batch: np.ndarray[tuple[int, ...], np.dtype[np.float32]],
) -> None:
    for expected, got in zip(network(batch), graph(batch), strict=True):
        if expected.shape != got.shape:
            raise InputError(
                f"The graph answers {got.shape} where the model answers {expected.shape}, to an "
                f"image of {batch.shape[2:]}. Predict from the run itself."
            )
        scale = max(float(np.abs(expected).max()), 1e-6)
        away = float(np.abs(expected - got).max()) / scale
        if not away <= CLOSE:
            raise InputError(
                f"The graph's answer differs from the model's by {away:.2g} of its largest value; "
                f"{CLOSE:g} is allowed. Predict from the run itself."
            )


def _versions() -> dict[str, str]:
    from importlib.metadata import PackageNotFoundError, version

    found = {}
    for name in ("defectune", "torch", "ultralytics", "onnx", "onnxruntime", "openvino", "numpy",
                 "opencv-python"):  # fmt: skip
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "not installed"
    return found


def with_words(graph: bytes, words: Mapping[str, Any]) -> bytes:
    """A graph with its words in `metadata_props`; needs onnx.

    Args:
        graph: a serialized ONNX model.
        words: see `graph_words`.
    """
    import onnx

    model = onnx.load_from_string(graph)
    text = json.dumps(words, sort_keys=True, ensure_ascii=False)
    onnx.helper.set_model_props(model, {METADATA_KEY: text})
    return bytes(model.SerializeToString())
