"""What trainings with Lightning share: progress, loggers, hardware, what stops them."""

import importlib.util
import logging
import os
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import lightning as L  # noqa: N812 - its own convention
import torch
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.loggers import CSVLogger, Logger, MLFlowLogger, TensorBoardLogger

from annotations import DefectuneError, TrainingError
from training.weights import read_state

if TYPE_CHECKING:
    from training.job import Reporter


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


class StopAtNonsense(Callback):
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


def loggers(folder: Path) -> list[Logger]:
    """CSV always; TensorBoard where it is installed; MLflow where it is and has an address."""
    chosen: list[Logger] = [CSVLogger(folder, name="log", version=0)]
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
    if read_state(path) is not None:
        return path
    reporter.say(f"{path.name} was cut off while it was written: this training starts again.")
    path.unlink()
    return None


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


def resolve_precision(precision: str, device: torch.device) -> str:
    """Turn `auto` into what is fast on a device without harm: `bf16-mixed` or `32-true`."""
    if precision != "auto":
        return precision
    if device.type == "cuda":
        return "bf16-mixed"
    capable = device.type == "cpu" and "avx512_bf16" in _cpu_flags()
    return "bf16-mixed" if capable else "32-true"


def _cpu_flags() -> frozenset[str]:
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return frozenset()
    lines = (line for line in text.splitlines() if line.startswith("flags"))
    return frozenset(next(lines, "").split())


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
