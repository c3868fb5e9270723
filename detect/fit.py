"""The training loop of the detector: ultralytics', with seeds and a saved state of our own.

ultralytics keeps weights and optimizer in half precision, so that what goes on from its own
checkpoint ends elsewhere. Here everything that the next epoch depends on is kept as it is, in one
file that is moved into place whole, and every epoch draws its random numbers from the seed and its
own number: an interrupted training ends with the weights of an undisturbed one.
"""

import contextlib
import copy
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
import yaml

from annotations import InputError, TrainingError
from annotations.errors import shortened
from annotations.files import remove_tree, write_bytes_atomic, write_text_atomic
from detect import lite0
from detect.config import DetectConfig
from detect.data import write_data
from detect.network import (
    Architecture,
    State,
    architecture_of,
    half_state,
    load_detector,
    open_detector,
    read_checkpoint,
    save_detector,
    single_scale,
)
from detect.ultralytics_setup import import_ultralytics
from training import FoldJob, fold_folder, resolve_device, seed_everything
from training.device import is_out_of_memory
from training.job import DATA_FOLDER
from training.weights import read_state

STATE_FILE: Final = "state.pt"
WORK_FOLDER: Final = "ultralytics"


class _Keeper:
    """What is kept after every epoch, and given back to a training that goes on."""

    def __init__(self, job: FoldJob, config: DetectConfig, before: dict[str, Any] | None) -> None:
        self._job, self._config, self._before = job, config, before
        self._path = job.folder / STATE_FILE
        self.best: dict[str, torch.Tensor] = dict(before["best"]) if before else {}
        self.architecture: Architecture | None = None
        self._shown = 0
        self._threads = torch.get_num_threads()
        self._advance = job.reporter.track(
            f"{job.folder.parent.name}: fold {job.fold}", config.epochs
        )

    def go_on(self, trainer: Any) -> None:
        """After ultralytics has built everything, and before its first epoch."""
        # Our weights are written after every epoch; its last validation decides nothing.
        trainer.final_eval = lambda: None
        # ultralytics takes all cores but one, whatever the process was given.
        torch.set_num_threads(self._threads)
        self.architecture = architecture_of(trainer.ema.ema)
        self._prove_that_it_opens(trainer)
        if self._before is None:
            return
        try:
            _restore(trainer, self._before)
        except Exception as error:  # torch raises many kinds
            raise _damaged(self._path, error) from error
        for _ in range(trainer.start_epoch):
            self._shown += 1
            self._advance("trained before")

    def _prove_that_it_opens(self, trainer: Any) -> None:
        """Open what the fold will leave behind, before an epoch is spent on it."""
        names = self._job.dataset.class_names
        layers = architecture_of(trainer.ema.ema).layers
        try:
            open_detector(Architecture(layers, names), half_state(trainer.ema.ema))
        except Exception as error:  # torch and ultralytics raise many kinds
            raise TrainingError(
                f"The detector of fold {self._job.fold} could not be opened again once trained: "
                f"what ultralytics built from {shortened(self._config.model)} with the weights "
                f"{shortened(self._config.weights)} and {len(names)} classes does not fit its own "
                f"description ({shortened(error)}). Nothing was trained. Try another --model, or "
                "--weights none."
            ) from error

    def begin_epoch(self, trainer: Any) -> None:
        """Seed everything that an epoch draws from."""
        drawn = np.random.SeedSequence([self._config.seed, trainer.epoch]).generate_state(1)
        seed_everything(int(drawn[0]))
        loader = trainer.train_loader
        # A new iterator an epoch: one that lives on would have drawn before.
        loader.generator.manual_seed(int(drawn[0]))
        loader.reset()

    def saved(self, trainer: Any) -> None:
        """Keep the state of an epoch."""
        if trainer.best_fitness == trainer.fitness or not self.best:
            self.best = half_state(trainer.ema.ema)
        results = Path(trainer.csv)
        state = {
            "epoch": trainer.epoch,
            "layers": dict(architecture_of(trainer.ema.ema).layers),
            "model": trainer.model.state_dict(),
            "ema": trainer.ema.ema.state_dict(),
            "updates": trainer.ema.updates,
            "optimizer": trainer.optimizer.state_dict(),
            "scaler": trainer.scaler.state_dict(),
            "best_fitness": None if (best := trainer.best_fitness) is None else float(best),
            "criterion_updates": getattr(
                getattr(trainer.model, "criterion", None), "updates", None
            ),
            "best": self.best,
            "results": results.read_text(encoding="utf-8") if results.is_file() else "",
        }
        buffer = io.BytesIO()
        torch.save(state, buffer)
        write_bytes_atomic(self._path, buffer.getvalue())

    def end_epoch(self, trainer: Any) -> None:
        """Advance the bar."""
        if trainer.epoch < self._shown:
            return
        self._shown = trainer.epoch + 1
        fitness = trainer.fitness if trainer.fitness is not None else 0.0
        self._advance(f"validation fitness {float(fitness):.3f}")


def _restore(trainer: Any, state: dict[str, Any]) -> None:
    trainer.model.load_state_dict(state["model"])
    trainer.ema.ema.load_state_dict(state["ema"])
    trainer.ema.updates = state["updates"]
    trainer.optimizer.load_state_dict(state["optimizer"])
    trainer.scaler.load_state_dict(state["scaler"])
    trainer.best_fitness = state["best_fitness"]
    trainer.start_epoch = state["epoch"] + 1
    trainer.scheduler.last_epoch = state["epoch"]
    if state["criterion_updates"] is not None:
        # A loss that changes from epoch to epoch counts them.
        trainer.model.criterion = trainer.model.init_criterion()
        trainer.model.criterion.updates = state["criterion_updates"] - 1
        trainer.model.criterion.update()
    write_text_atomic(Path(trainer.csv), str(state["results"]))


def fit(job: FoldJob, config: DetectConfig, source: Path | Architecture | None, tiles: int) -> None:
    """Train one fold, or go on where a training of it was interrupted, and write its weights.

    Args:
        job: dataset, fold and folder.
        config: settings.
        source: a checkpoint, or layers that get random weights; None begins with the fold's model
            of an older run.
        tiles: along an image's longer side.

    Raises:
        InputError: weights or a saved state that are not safe to read.
        TrainingError: nothing to learn from, too little memory, or what ultralytics says.
    """
    seed_everything(config.seed)
    start = read_checkpoint(source) if isinstance(source, Path) else None
    if job.start is not None:
        start = load_detector(fold_folder(job.start.run, job.fold))
        source = architecture_of(start)
    architecture = architecture_of(start) if start is not None else source
    if not isinstance(architecture, Architecture) or source is None:
        raise TypeError("The layers of the detector are missing.")
    before = _state_to_go_on_from(job, config)
    state_file, work = job.folder / STATE_FILE, job.folder / WORK_FOLDER
    if before is not None and before["epoch"] + 1 >= config.epochs:
        # Killed between its last epoch and its end.
        names = job.dataset.class_names
        save_detector(job.folder, Architecture(before["layers"], names), before["best"])
    else:
        data, validates = write_data(job, config, tiles)
        remove_tree(work)
        keeper = _Keeper(job, config, before)
        with _settings_of_torch_kept():
            trainer = _trainer(job, config, source, data, validates=validates)
            for event, action in (
                ("on_pretrain_routine_end", keeper.go_on),
                ("on_train_epoch_start", keeper.begin_epoch),
                ("on_model_save", keeper.saved),
                ("on_fit_epoch_end", keeper.end_epoch),
            ):
                trainer.add_callback(event, action)
            _run(trainer, architecture, start, job, config)
        best: State = keeper.best
        made = keeper.architecture
        if made is None:
            # Several GPUs train in processes of their own, which leave ultralytics' checkpoint.
            network = read_checkpoint(Path(trainer.best))
            made, best = architecture_of(network), half_state(network)
        save_detector(job.folder, Architecture(made.layers, job.dataset.class_names), best)
    state_file.unlink(missing_ok=True)
    for folder in (work / "weights", job.folder / DATA_FOLDER):
        remove_tree(folder)


@contextlib.contextmanager
def _settings_of_torch_kept() -> Iterator[None]:
    """ultralytics sets the process's number of threads and its deterministic mode; with other ones
    than `predict` has, the fold's stored scores would differ from its in the last digits."""
    threads = torch.get_num_threads()
    deterministic = torch.are_deterministic_algorithms_enabled()
    warn_only = torch.is_deterministic_algorithms_warn_only_enabled()
    try:
        yield
    finally:
        torch.set_num_threads(threads)
        torch.use_deterministic_algorithms(deterministic, warn_only=warn_only)


def _state_to_go_on_from(job: FoldJob, config: DetectConfig) -> dict[str, Any] | None:
    path = job.folder / STATE_FILE
    if not path.is_file():
        return None
    # Steps that gather several batches gather over the end of an epoch, too; processes of several
    # GPUs save nothing of ours.
    gathers = (config.nominal_batch or config.batch_size) != config.batch_size
    state = None if gathers or "," in config.device else read_state(path)
    if state is None:
        job.reporter.say(
            f"Fold {job.fold} was interrupted and starts again: what was saved is cut off, or "
            "could not be gone on from exactly (nominal_batch, several devices)."
        )
        return None
    needed = {"epoch", "model", "ema", "updates", "optimizer", "scaler", "best_fitness"}
    needed |= {"criterion_updates", "best", "results", "layers"}
    if set(state) != needed or not isinstance(state["epoch"], int) or state["epoch"] < 0:
        raise _damaged(path, "other entries")
    job.reporter.say(f"Fold {job.fold} goes on after its last saved epoch.")
    return state


def _damaged(path: Path, why: object) -> InputError:
    return InputError(
        f"{path} is damaged ({shortened(why)}). Remove it, and this fold starts again."
    )


def _trainer(
    job: FoldJob,
    config: DetectConfig,
    source: Path | Architecture,
    data: Path,
    *,
    validates: bool,
) -> Any:
    import_ultralytics()
    from ultralytics.models.yolo.detect import DetectionTrainer

    device = config.device if "," in config.device else str(resolve_device(config.device))
    if isinstance(source, Path):
        model = source.resolve()
    else:
        # For processes of several GPUs, which open a file of their own.
        model = data.with_name("architecture.yaml").resolve()
        write_text_atomic(model, yaml.safe_dump(single_scale(source.layers)))
    settings = {
        "task": "detect",
        "mode": "train",
        "model": str(model),
        "data": str(data.resolve()),
        "epochs": config.epochs,
        "imgsz": config.image_size,
        "batch": config.batch_size,
        "device": device,
        "workers": 0,
        "seed": config.seed,
        "deterministic": True,
        "project": str(job.folder.resolve()),
        "name": WORK_FOLDER,
        "exist_ok": True,
        "val": validates,
        "plots": False,
        "verbose": False,
        "amp": device != "cpu",
        "cache": "ram",
        "patience": 0,
        "optimizer": config.optimizer,
        "lr0": config.lr0,
        "warmup_epochs": min(3, config.epochs / 10),
        "degrees": config.degrees,
        "flipud": config.flipud,
        "mosaic": config.mosaic,
        "scale": config.scale,
        "close_mosaic": min(config.close_mosaic, config.epochs // 2),
        "freeze": config.freeze or None,
        "pretrained": isinstance(source, Path),
        # One optimizer step a batch: with few images, gathering 64 leaves a step an epoch.
        "nbs": config.nominal_batch or config.batch_size,
    }
    made: Any = DetectionTrainer(overrides=settings)
    return made


def _run(
    trainer: Any, architecture: Architecture, start: Any, job: FoldJob, config: DetectConfig
) -> None:
    try:
        seed_everything(config.seed)
        if lite0.has_stages(architecture.layers):
            network = Architecture(architecture.layers, job.dataset.class_names).build()
            if start is not None:
                network.load_state_dict(start.state_dict())
            elif config.weights == "auto":
                lite0.load_imagenet(network)
            trainer.model = network
        elif not trainer.ddp:
            trainer.model = trainer.get_model(
                cfg=copy.deepcopy(dict(architecture.layers)), weights=start, verbose=False
            )
        trainer.train()
    except (RuntimeError, ValueError, OSError) as error:
        if is_out_of_memory(error):
            raise TrainingError(
                f"Memory ran out while training fold {job.fold} on {trainer.args.device} with "
                f"batches of {config.batch_size} images of {config.image_size} pixels. Try --set "
                f"batch_size={max(1, config.batch_size // 2)} --set nominal_batch="
                f"{config.nominal_batch or config.batch_size}, which takes the same steps, or a "
                "smaller --image-size."
            ) from error
        raise TrainingError(
            f"ultralytics stopped while training fold {job.fold} in {job.folder}: "
            f"{shortened(error)}. The epochs before are kept there; call again to go on."
        ) from error
