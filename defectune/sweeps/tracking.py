"""A sweep in MLflow: a run a cell, under one run of the sweep.

What the store holds says what was tracked: every run has the sweep's id and the cell's key as tags,
so a call that is killed anywhere leaves nothing that the next one tracks twice. The sweep's folder
keeps that id alone (tracking.json). Only the process that leads the sweep tracks.
"""

import json
import logging
import os
import re
import time
import uuid
import warnings
from collections.abc import Callable, Iterable, Mapping
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from annotations import InputError, UsageError
from annotations.errors import install_extra, shortened
from annotations.files import read_json, write_json_atomic
from defectune.sweeps.cells import Cell
from defectune.sweeps.files import TABLE_FILES
from defectune.sweeps.records import result_path

TRACKING_FILE: Final = "tracking.json"
STORE_FILE: Final = "mlflow.db"
ARTIFACTS_FOLDER: Final = "mlflow-artifacts"
EXPERIMENT: Final = "defectune"
SWEEP_TAG: Final = "defectune.sweep"
CELL_TAG: Final = "defectune.cell"
KEY_TAG: Final = "defectune.key"
_FORMAT: Final = "defectune-tracking-1"
_PARENT_TAG: Final = "mlflow.parentRunId"
_SQLITE: Final = "sqlite:///"
_MAX_PARAMETER: Final = 500
"""Characters of a parameter's value that every version of MLflow takes."""
_PAGE: Final = 1000
_AT_ONCE: Final = 100
"""Parameters that MLflow takes in one call."""
_ID: Final = re.compile(r"[0-9a-f]{32}")


def require_tracker(track: str) -> None:
    """Refuse a tracker that does not exist or is not installed, before anything runs.

    Args:
        track: `mlflow` or `mlflow:URI`.

    Raises:
        UsageError: names what is taken, or what to install.
    """
    tracker, colon, uri = track.partition(":")
    if tracker != "mlflow":
        raise UsageError(f"--track takes mlflow[:URI], got {shortened(repr(track), 80)}.")
    scheme = urlsplit(uri).scheme if _is_url(uri) else ""
    if colon and not (
        (scheme in ("http", "https") and urlsplit(uri).hostname)
        or (uri.startswith(_SQLITE) and len(uri) > len(_SQLITE))
    ):
        raise UsageError(
            "--track mlflow: takes the address of a server (http://HOST:PORT) or a file "
            f"(sqlite:///FILE.db), got {shortened(repr(shown_uri(uri)), 80)}. MLflow's folders "
            "(mlruns) are on their way out there; other databases stand behind a server."
        )
    needed = ["mlflow"] if scheme in ("http", "https") else ["mlflow", "sqlalchemy", "alembic"]
    missing = [name for name in needed if find_spec(name) is None]
    if missing:
        raise UsageError(
            f"--track mlflow needs {', '.join(missing)}, not installed here. "
            f"{install_extra('mlflow')}."
        )
    if uri.startswith(_SQLITE) and not Path(uri.removeprefix(_SQLITE)).absolute().parent.is_dir():
        raise UsageError(
            f"--track mlflow: the folder of {shortened(uri.removeprefix(_SQLITE), 200)} does not "
            "exist. Make it, or leave the address out: the sweep's own folder is taken."
        )


def _is_url(uri: str) -> bool:
    try:
        return bool(urlsplit(uri).scheme)
    except ValueError:
        return False


def shown_uri(uri: str) -> str:
    """An address without the password that may stand in it."""
    return re.sub(r"//[^/\s]*@", "//", uri)


class Tracker:
    """Tracks cells, and stops with one warning where the store fails: results never hang on it.

    Attributes:
        uri: of the store.
        n_tracked: cells that this call has tracked.
    """

    uri: str
    n_tracked: int

    def __init__(self, track: str, output: Path, *, say: Callable[[str], None]) -> None:
        """Nothing is reached yet.

        Args:
            track: see `require_tracker`.
            output: the sweep's folder.
            say: takes the warning.
        """
        self.uri = track.partition(":")[2] or f"{_SQLITE}{(output / STORE_FILE).absolute()}"
        self.n_tracked = 0
        self._output = output
        self._say = say
        self._failed = False
        self._client: Any = None
        self._sweep = self._experiment = self._parent = ""
        self._known: dict[tuple[str, str], tuple[str, bool]] = {}

    def begin(self, cells: Iterable[Cell], results: Mapping[str, Mapping[str, Any]]) -> None:
        """Reach the store, and track cells that were done before and are not in it.

        Raises:
            InputError: a damaged tracking.json.
        """
        self._sweep = _sweep_id(self._output)
        self._guarded(self._open)
        for cell in cells:
            if cell.name in results:
                self.add(cell, results[cell.name])

    def add(self, cell: Cell, result: Mapping[str, Any]) -> None:
        """Track a finished cell once."""
        self._guarded(lambda: self._add(cell, result))

    def end(self, n_done: int, n_cells: int, n_failed: int, *, interrupted: bool) -> None:
        """Keep the table and its page with the sweep's run, and close it.

        Args:
            n_done: cells with a result.
            n_cells: of the grid.
            n_failed: cells that this call gave up.
            interrupted: others are still to be done, as after Ctrl-C.
        """

        def close() -> None:
            now = int(time.time() * 1000)
            counts = {"cells_done": n_done, "cells": n_cells, "cells_failed": n_failed}
            self._log(self._parent, {}, {name: float(n) for name, n in counts.items()}, now)
            for name in TABLE_FILES:
                self._client.log_artifact(self._parent, str(self._output / name))
            status = "KILLED" if interrupted else "FAILED" if n_failed else "FINISHED"
            self._client.set_terminated(self._parent, status)

        self._guarded(close)
        if not self._failed:
            self._say(
                f"MLflow at {shortened(shown_uri(self.uri), 200)} holds {n_done} cells of this "
                f"sweep; {self.n_tracked} are new."
            )

    def _guarded(self, call: Callable[[], None]) -> None:
        if self._failed:
            return
        try:
            call()
        # MLflow lets through its own errors, those of requests, SQLAlchemy and the system.
        except Exception as error:
            self._failed = True
            said = str(error).strip().splitlines() or [type(error).__name__]
            self._say(
                f"Warning: MLflow at {shortened(shown_uri(self.uri), 200)} failed "
                f"({shortened(shown_uri(said[0]), 300)}). The sweep goes on without it and its "
                "results are kept: see that the store answers, and call again with the same "
                "--track; what is missing there is tracked then."
            )

    def _open(self) -> None:
        self._client = _client(self.uri)
        self._experiment = self._experiment_id()
        for run in self._search(f"tags.{SWEEP_TAG} = '{self._sweep}'"):
            tags = run.data.tags
            if CELL_TAG not in tags:
                self._parent = run.info.run_id
                continue
            whole = run.info.status == "FINISHED"
            self._known[tags[CELL_TAG], tags.get(KEY_TAG, "")] = (run.info.run_id, whole)
        if self._parent:
            self._client.update_run(self._parent, status="RUNNING")
        else:
            self._parent = self._client.create_run(
                self._experiment,
                run_name=self._output.absolute().name,
                tags={SWEEP_TAG: self._sweep},
            ).info.run_id

    def _experiment_id(self) -> str:
        found = self._client.get_experiment_by_name(EXPERIMENT)
        if found is not None:
            return str(found.experiment_id)
        location = None
        if self.uri.startswith(_SQLITE):
            # Beside the database; MLflow's own choice is the folder that one stands in.
            store = Path(self.uri.removeprefix(_SQLITE)).absolute()
            location = store.with_name(ARTIFACTS_FOLDER).as_uri()
        return str(self._client.create_experiment(EXPERIMENT, artifact_location=location))

    def _search(self, query: str) -> list[Any]:
        found: list[Any] = []
        token = None
        while True:
            page = self._client.search_runs(
                [self._experiment], filter_string=query, max_results=_PAGE, page_token=token
            )
            found += page
            token = page.token
            if not token:
                return found

    def _add(self, cell: Cell, result: Mapping[str, Any]) -> None:
        known, whole = self._known.get((cell.name, cell.key), ("", False))
        if whole:
            return
        record = result_path(self._output, cell)
        ended = int(record.stat().st_mtime * 1000)
        run = (
            known
            or self._client.create_run(
                self._experiment,
                start_time=ended - int(float(result["seconds"]) * 1000),
                run_name=cell.name,
                tags=self._tags(cell),
            ).info.run_id
        )
        # A run that an earlier call left half gets the same values, at the same times, again.
        self._log(run, parameters_of(cell), metrics_of(result), ended)
        self._client.log_artifact(run, str(record))
        self._client.set_terminated(run, "FINISHED", end_time=ended)
        self._known[cell.name, cell.key] = (run, True)
        self.n_tracked += 1

    def _tags(self, cell: Cell) -> dict[str, str]:
        return {
            _PARENT_TAG: self._parent,
            SWEEP_TAG: self._sweep,
            CELL_TAG: cell.name,
            KEY_TAG: cell.key,
            "defectune.model": cell.model,
            "defectune.split_digest": cell.split_digest,
            "defectune.version": cell.version,
        }

    def _log(
        self, run: str, parameters: Mapping[str, str], metrics: Mapping[str, float], when: int
    ) -> None:
        entities = import_module("mlflow.entities")
        values = [entities.Metric(name, value, when, 0) for name, value in metrics.items()]
        said = [entities.Param(name, value) for name, value in parameters.items()]
        for start in range(0, max(1, len(said)), _AT_ONCE):
            part = said[start : start + _AT_ONCE]
            self._client.log_batch(run, metrics=values if start == 0 else [], params=part)


def parameters_of(cell: Cell) -> dict[str, str]:
    """A cell's settings as MLflow takes them: those that are not the default, and where it stands.

    Example:
        >>> cell = Cell("a--b--fold-0--seed-3", "a", "b", "classify",
        ...             {"method": "knn", "image_size": 128, "seed": 3}, 0, 3, "d", 1, "1")
        >>> parameters_of(cell)
        {'method': 'knn', 'image_size': '128', 'seed': '3', 'dataset': 'a', 'family': 'classify', \
'fold': '0', 'threads': '1'}
    """
    own = {"dataset": cell.dataset, "family": cell.family, "fold": cell.fold}
    settings = {**cell.settings, **own, "threads": cell.threads}
    return {
        name: (value if isinstance(value, str) else json.dumps(value))[:_MAX_PARAMETER]
        for name, value in settings.items()
    }


def metrics_of(result: Mapping[str, Any]) -> dict[str, float]:
    """A record's figures by name, an interval's ends as NAME_low and NAME_high.

    Undefined ones are left out, since MLflow has no word for them.

    Example:
        >>> metric = {"value": 0.9, "low": 0.8, "high": 1.0, "n": 20}
        >>> metrics_of({"metrics": {"image_auroc": metric, "pixel_auroc": None},
        ...             "validation": {"image_ap": 0.7}, "seconds": 2.0, "peak_gb": 0.5})
        {'image_auroc': 0.9, 'image_auroc_low': 0.8, 'image_auroc_high': 1.0, \
'validation_image_ap': 0.7, 'seconds': 2.0, 'peak_gb': 0.5}
    """
    said: dict[str, Any] = {}
    for name, metric in result["metrics"].items():
        if metric is not None:
            said[name] = metric.get("value")
            said[f"{name}_low"], said[f"{name}_high"] = metric.get("low"), metric.get("high")
    for name, value in result.get("validation", {}).items():
        said[f"validation_{name}"] = value
    for name in ("training_seconds", "seconds", "peak_gb"):
        said[name] = result.get(name)
    return {name: float(value) for name, value in said.items() if value is not None}


def _sweep_id(output: Path) -> str:
    """The sweep's id, made at the first call: what its runs are found by in any store."""
    path = output / TRACKING_FILE
    if not path.is_file():
        made = uuid.uuid4().hex
        write_json_atomic(path, {"format": _FORMAT, "sweep": made})
        return made
    value = read_json(path, what="the id of a tracked sweep")
    kept = value.get("sweep") if isinstance(value, dict) else None
    if not isinstance(kept, str) or not _ID.fullmatch(kept) or value.get("format") != _FORMAT:
        raise InputError(
            f"{path} is damaged. Restore it, or remove it: all cells are tracked anew then."
        )
    return kept


def _client(uri: str) -> Any:
    for name, value in (
        # Nothing is told to MLflow's makers, and a server that is not there costs seconds.
        ("MLFLOW_DISABLE_TELEMETRY", "true"),
        ("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1"),
        ("MLFLOW_HTTP_REQUEST_TIMEOUT", "20"),
    ):
        os.environ.setdefault(name, value)
    logging.getLogger("mlflow").setLevel(logging.WARNING)
    with warnings.catch_warnings():
        # Deprecations between MLflow and the libraries below it are not for our users.
        warnings.simplefilter("ignore")
        if uri.startswith(_SQLITE):
            import_module("mlflow.store.tracking.sqlalchemy_store")
        return import_module("mlflow.tracking").MlflowClient(tracking_uri=uri)
