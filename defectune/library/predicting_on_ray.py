"""`predict` on Ray: a task a part of the images; the caller puts the parts together in order."""

import io
import os
import re
import socket
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, TYPE_CHECKING, Final

from annotations import InputError, UsageError
from annotations.files import write_text_atomic
from annotations.images import sha256_of
from annotations.run_files import meta_path
from converters.pool import usable_cores
from defectune.library.deciding import predict_part
from defectune.library.environment import quiet_environment, use_threads
from defectune.library.kept_results import BEGUN_FILE
from defectune.library.recipe import PredictOptions, Recipe, bundle_recipe, open_model
from defectune.library.shards import Part, kept, rows_of, take
from defectune.ray_tasks import Needs, enter, ray_tasks, shared, unseen

if TYPE_CHECKING:
    from training import Predictor

_OTHERS: Final = "the run or bundle, the images and the output"
_opened: "dict[Model, Predictor]" = {}
"""Of a worker: the model that its last task used."""


@dataclass(frozen=True, slots=True)
class Model:
    """What a worker opens once, and all its tasks use.

    Attributes:
        path: of the run or bundle.
        fold: for a run.
        digest: of the bundle, or of the run's meta.json, which holds those of its models.
        device: that it computes on.
        threads: with so many.
    """

    path: Path
    fold: str
    digest: str
    device: str
    threads: int


def predict_on_ray(
    parts: Iterator[Part],
    recipe: Recipe,
    options: PredictOptions,
    address: str,
    file: IO[str],
    on_row: Callable[[Mapping[str, str]], None],
) -> None:
    """Append a line for each image of all parts to `file`, in order; see `predict_part`.

    A task computes with as many threads as one process here would, since sums of floating point
    hang on it.

    Args:
        parts: a task each, but for those that are kept already.
        recipe: what decides.
        options: how to predict.
        address: see `ray_tasks.require_answer`.
        file: of the call's results.
        on_row: gets every row.

    Raises:
        UsageError: no node has the cores of a task.
        InputError: a node does not see a file that is here.
    """
    threads = _threads(recipe)
    on_gpu = options.device.startswith("cuda") or options.device.isdecimal()
    if on_gpu and options.device not in ("cuda", "cuda:0", "0"):
        raise UsageError(
            f"--on ray gives each task a GPU of its own; say --device cuda, got {options.device}."
        )
    device = "cuda:0" if on_gpu else "cpu" if options.device == "auto" else options.device
    digest = recipe.bundle or sha256_of(meta_path(recipe.run))
    model = Model(recipe.run.absolute(), str(recipe.fold), digest, device, threads)
    there = replace(options, device=device)
    needs = Needs(
        cpus=threads,
        gpus=int(on_gpu),
        what="a task of predict",
        remedy="OMP_NUM_THREADS sets the cores of a task; last digits of scores hang on it.",
    )
    waiting: deque[tuple[Part, bool]] = deque()

    def calls() -> Iterator[tuple[Path, Model, Recipe, PredictOptions, Part]]:
        here = Path.cwd()
        for part in parts:
            done = kept(part, recipe.bit_depth) is not None
            waiting.append((part, done))
            if not done:
                yield here, model, recipe, there, part

    with ray_tasks(_predict_there, needs, address) as tasks:
        for node in tasks.in_order(calls()):
            while waiting[0][1]:
                before = waiting.popleft()[0]
                take(before, rows_of(before), file, on_row)
            part, _ = waiting.popleft()
            rows = kept(part, recipe.bit_depth)
            if rows is None:
                raise InputError(
                    f"The node {node} cannot read images that can be read here, of those from "
                    f"{part.paths[0]} to {part.paths[-1]}. {shared(_OTHERS)}"
                )
            take(part, rows, file, on_row)
        for part, _ in waiting:
            take(part, rows_of(part), file, on_row)


def _threads(recipe: Recipe) -> int:
    """With how many threads one process here would compute."""
    if not recipe.bundle:
        import torch

        return torch.get_num_threads()
    said = os.environ.get("OMP_NUM_THREADS", "")
    return int(said) if re.fullmatch("[1-9][0-9]{0,3}", said) else usable_cores()


def _predict_there(
    here: Path, model: Model, recipe: Recipe, options: PredictOptions, part: Part
) -> str:
    """In a task: write a part's file, whole or not at all; the name of the node."""
    quiet_environment()
    use_threads(model.threads)
    enter(here)
    _require_seen(model.path)
    _require_seen(part.folder / BEGUN_FILE)
    if not part.file.is_file():
        predictor = _predictor(model, recipe, options)
        lines = io.StringIO()
        predict_part(predictor, recipe, part, lines, lambda _row: None)
        # A call that has ended in the meantime has no such folder any more.
        _require_seen(part.folder / BEGUN_FILE)
        write_text_atomic(part.file, lines.getvalue())
    return socket.gethostname()


def _require_seen(path: Path) -> None:
    if (why := unseen(path, _OTHERS)) is not None:
        raise InputError(why)


def _predictor(model: Model, recipe: Recipe, options: PredictOptions) -> "Predictor":
    if model not in _opened:
        _opened.clear()
        if recipe.bundle:
            there, predictor = bundle_recipe(model.path, options, threads=model.threads)
            digest = there.bundle
        else:
            predictor = open_model(recipe, options)
            digest = sha256_of(meta_path(model.path))
        if digest != model.digest:
            raise InputError(
                f"The node {socket.gethostname()} sees another {model.path} than the caller. "
                f"{shared(_OTHERS)}"
            )
        _opened[model] = predictor
    return _opened[model]
