"""What a worker does: one cell, from training to its result on disk."""

import errno
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from annotations.errors import DefectuneError, shortened
from defectune.sweeps.cells import Cell
from defectune.sweeps.records import view_of, write_result

Work = Callable[[Cell, Path], None]
"""Does a cell of the sweep in a folder, and keeps its result there."""
Failure = tuple[str, str]
"""Why a cell failed: a sentence, and the traceback."""
_MAX_TRACE: Final = 20_000


def train_and_evaluate(cell: Cell, output: Path) -> None:
    """Train a cell's model, evaluate it on its fold's test images, and keep the metrics.

    Raises:
        DefectuneError: see `dt.train` and `dt.evaluate`.
    """
    import defectune as dt
    from defectune.families import config_kind

    began = time.perf_counter()
    config = config_kind(cell.family, cell.settings, {})(**cell.settings)
    view = view_of(output, cell)
    run = dt.train(view, config, fold=cell.fold, name=cell.name, progress=False)
    trained = time.perf_counter()
    metrics: dict[str, Any] = {}
    if cell.tested:
        row = dt.evaluate(view, run, fold=cell.fold, progress=False).rows[0]
        metrics = {n: None if m is None else m.to_json() for n, m in row.metrics.items()}
    ended = time.perf_counter()
    write_result(
        output,
        cell,
        {
            "run": f"data/{cell.dataset}/runs/{cell.name}",
            "metrics": metrics,
            "validation": validation_metrics(run),
            "training_seconds": round(trained - began, 3),
            "seconds": round(ended - began, 3),
            "peak_gb": round(peak_bytes() / 1e9, 3),
        },
    )


def validation_metrics(run: Any) -> dict[str, float]:
    """AUROC and average precision of a run's validation images; empty where they lack a kind."""
    from sklearn.metrics import average_precision_score, roc_auc_score

    dataset, predictions = run.dataset, run.predictions
    scores = list(predictions.validation_scores.values())
    truth = [dataset.by_id[i].is_defective for _, i in predictions.validation_scores]
    if len(set(truth)) < 2:
        return {}
    return {
        "image_auroc": float(roc_auc_score(truth, scores)),
        "image_ap": float(average_precision_score(truth, scores)),
    }


def peak_bytes() -> int:
    """Most memory that this process has held, in bytes; 0 where the system does not say."""
    try:
        import resource
    except ImportError:
        return 0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return int(peak if sys.platform == "darwin" else peak * 1024)


def attempt(work: Work, cell: Cell, output: Path) -> Failure | None:
    """Do a cell; why it failed, or None. Errors cross processes as words, which always pickle."""
    try:
        work(cell, output)
    except DefectuneError as error:
        return str(error), ""
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        what = "The disk is full. Make room and call again" if full else "The system refused"
        return (
            f"{what} ({shortened(error)}).",
            traceback.format_exc()[-_MAX_TRACE:],
        )
    except (Exception, SystemExit) as error:
        return (
            f"{type(error).__name__}: {shortened(error)}",
            traceback.format_exc()[-_MAX_TRACE:],
        )
    return None
