"""What trainings with Lightning share: progress, loggers, hardware, what stops them."""

import csv
import importlib.util
import io
import logging
import os
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import lightning as L  # noqa: N812 - its own convention
import numpy as np
import torch
from lightning.fabric.loggers.logger import rank_zero_experiment
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.loggers import CSVLogger, Logger, MLFlowLogger, TensorBoardLogger
from lightning.pytorch.loggers.csv_logs import ExperimentWriter

from annotations import DefectuneError, TrainingError
from annotations.files import write_bytes_atomic
from training.weights import read_state

if TYPE_CHECKING:
    from training.reporter import Reporter


class Progress(Callback):
    """Advances the bar; in a process of its own, where there is none, prints a line."""

    def __init__(self, advance: Callable[[str], None] | None, **shown: str) -> None:
        """Take the bar, and what to show beside the loss: words by the name it is logged under."""
        self._advance = advance
        self._shown = shown

    def __getstate__(self) -> dict[str, Any]:
        return {"_advance": None, "_shown": self._shown}

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Advance by one epoch."""
        del pl_module
        words = {"train_loss": "loss", **self._shown}
        metrics = trainer.callback_metrics
        note = ", ".join(
            f"{word} {float(metrics[name]):.3f}" for name, word in words.items() if name in metrics
        )
        if self._advance is not None:
            self._advance(note)
        elif trainer.is_global_zero:
            sys.stderr.write(f"epoch {trainer.current_epoch + 1}/{trainer.max_epochs}: {note}\n")


class StopAtNonFinite(Callback):
    """Stops at the first loss that is no number, before anything is saved after it."""

    def on_train_batch_end(
        self,
        trainer: L.Trainer,
        pl_module: L.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        """Look at the loss of a step."""
        del pl_module, batch
        loss = outputs["loss"] if isinstance(outputs, dict) else outputs
        if not bool(torch.isfinite(loss)):
            raise TrainingError(
                f"The loss became {float(loss)} in epoch {trainer.current_epoch + 1}, step "
                f"{batch_idx + 1}. The checkpoint of the last good validation is kept in "
                f"{trainer.default_root_dir}. Train under another --name with a lower rate "
                "(--set learning_rate=...) or with --set precision=32-true."
            )


class SeedSteps(Callback):
    """Seeds torch before every step by the seed, the epoch and the step's number.

    Dropout then draws the same in a training that goes on. Not at the beginning of an epoch:
    Lightning leaves that call out where it goes on.
    """

    def __init__(self, seed: int) -> None:
        """Take the training's seed."""
        self._seed = seed

    def on_train_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Seed a step."""
        del pl_module, batch
        key = [self._seed, trainer.current_epoch, batch_idx]
        torch.manual_seed(int(np.random.SeedSequence(key).generate_state(1)[0]))


def hardware_options(devices: list[torch.device]) -> dict[str, Any]:
    """Options of `Trainer` for these devices; several train together, one process each."""
    kind = devices[0].type
    if kind == "cuda":
        options: dict[str, Any] = {
            "accelerator": "gpu",
            "devices": [device.index or 0 for device in devices],
        }
    else:
        options = {"accelerator": kind, "devices": len(devices)}
    if len(devices) > 1:
        options["strategy"] = "ddp_spawn"
        options["sync_batchnorm"] = kind == "cuda"
    return options


class _KeptRows(ExperimentWriter):
    """Lightning's writer of metrics.csv, which goes on with what an interrupted training logged.

    Lightning's own removes the file of the training that it goes on with.
    """

    def _check_log_dir_exists(self) -> None:
        self._earlier: list[dict[str, str]] = []
        path = Path(self.metrics_file_path)
        if path.is_file():
            with path.open(encoding="utf-8", newline="") as file:
                # A line that a kill cut off has no step, or is logged again.
                rows = [row for row in csv.DictReader(file) if (row.get("step") or "").isdecimal()]
            self._earlier = rows

    def save(self) -> None:
        """Write what was logged; steps that are taken again replace their earlier rows."""
        if self._earlier and self.metrics:
            first = min(int(row["step"]) for row in self.metrics)
            kept = [row for row in self._earlier if int(row["step"]) < first]
            self._earlier = []
            self.metrics_keys = sorted({key for row in kept for key in row})
            Path(self.metrics_file_path).unlink(missing_ok=True)
            if kept:
                with Path(self.metrics_file_path).open("w", encoding="utf-8", newline="") as file:
                    writer = csv.DictWriter(file, self.metrics_keys)
                    writer.writeheader()
                    writer.writerows(kept)
        super().save()


class KeptCsvLogger(CSVLogger):
    """metrics.csv of all epochs, of a training that was killed and went on too."""

    @property
    @rank_zero_experiment
    def experiment(self) -> ExperimentWriter:
        """The writer, made when first asked for."""
        if self._experiment is None:
            self._fs.makedirs(self.root_dir, exist_ok=True)
            self._experiment = _KeptRows(log_dir=self.log_dir)
        return cast(ExperimentWriter, self._experiment)


def loggers(folder: Path) -> list[Logger]:
    """CSV always; TensorBoard where it is installed; MLflow where it is and has an address."""
    chosen: list[Logger] = [
        # Every row at once: a kill loses what is only in memory.
        KeptCsvLogger(folder, name="log", version=0, flush_logs_every_n_steps=1)
    ]
    if importlib.util.find_spec("tensorboard") is not None:
        chosen.append(TensorBoardLogger(folder, name="tensorboard", version=0))
    address = os.environ.get("MLFLOW_TRACKING_URI")
    if address and importlib.util.find_spec("mlflow") is not None:
        run_name = f"{folder.parent.name}/{folder.name}"
        chosen.append(MLFlowLogger("defectune", run_name=run_name, tracking_uri=address))
    return chosen


def usable_checkpoint(path: Path, reporter: "Reporter") -> Path | None:
    """A checkpoint to go on from; None where there is none, or one that was cut off.

    Raises:
        InputError: it holds more than tensors and plain values.
    """
    if not path.is_file():
        return None
    state = read_state(path)
    if state is not None:
        _move_paths(state, path)
        return path
    reporter.say(f"{path.name} was cut off while it was written: this training starts again.")
    path.unlink()
    return None


def _move_paths(state: dict[str, Any], path: Path) -> None:
    """Let a checkpoint of a folder that was moved or copied name its own neighbors."""
    callbacks = state.get("callbacks")
    kept = [
        one
        for one in (callbacks.values() if isinstance(callbacks, dict) else ())
        if isinstance(one, dict) and "best_model_path" in one
    ]
    here = str(path.parent)
    if all(one.get("dirpath") == here for one in kept):
        return
    for one in kept:
        one["dirpath"] = here
        for name in ("best_model_path", "kth_best_model_path", "last_model_path"):
            if one.get(name):
                one[name] = str(path.with_name(Path(str(one[name])).name))
        models = one.get("best_k_models", {})
        one["best_k_models"] = {
            str(path.with_name(Path(str(file)).name)): score for file, score in models.items()
        }
    buffer = io.BytesIO()
    torch.save(state, buffer)
    write_bytes_atomic(path, buffer.getvalue())


def write_weights(checkpoint: Path, best: Path) -> None:
    """Write the state of a module's `network` in a checkpoint as a file of its own."""
    # Our own file, written a moment ago by this training.
    state = torch.load(checkpoint, map_location="cpu", weights_only=True)["state_dict"]
    prefix = "network."
    kept = {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)}
    torch.save(kept, best.with_suffix(".part"))
    best.with_suffix(".part").replace(best)


def unwrapped(error: BaseException) -> Exception:
    """What the user should read: our own error inside, or the error as it is."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, DefectuneError):
            return cause
        cause = cause.__cause__
    return error if isinstance(error, Exception) else RuntimeError(str(error))


class quiet_lightning:  # noqa: N801 - used like a function
    """Lightning's hints are for its own users; ours see our bar."""

    def __enter__(self) -> None:
        """Silence."""
        self._catch = warnings.catch_warnings()
        self._catch.__enter__()
        warnings.filterwarnings("ignore", module="lightning")
        warnings.filterwarnings("ignore", message=".*lightning.*")
        warnings.filterwarnings("ignore", message=".*num_workers.*")
        warnings.filterwarnings("ignore", message=".*deterministic.*")
        self._loggers = [logging.getLogger(n) for n in ("lightning", "lightning.pytorch")]
        self._levels = [logger.level for logger in self._loggers]
        for logger in self._loggers:
            logger.setLevel(logging.ERROR)

    def __exit__(self, *error: object) -> None:
        """As before."""
        for logger, level in zip(self._loggers, self._levels, strict=True):
            logger.setLevel(level)
        self._catch.__exit__(None, None, None)
