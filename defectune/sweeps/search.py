"""Searching settings with Optuna, within each fold, scored on its validation images alone.

A trial is the grid's one run with settings that Optuna proposes, trained on one fold; its value is
the mean, over datasets, of the mean over seeds of a metric of that fold's validation images. Every
fold has a study of its own: under `kfold` a fold's validation images are test images of other
folds, so that settings chosen by all folds together would have been chosen on the test images too
(nested cross-validation; Cawley and Talbot, JMLR 2010). The studies are kept in an SQLite file
beside the cells, and the same call goes on with them.
"""

import hashlib
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np

from annotations import InputError, OutputExistsError, UsageError, load_dataset
from annotations.errors import install_extra, shortened
from annotations.files import write_json_atomic
from defectune.sweeps.cells import Cell, cells_of
from defectune.sweeps.grid import Grid, models_of

STUDY_FILE: Final = "search.db"
SEARCH_FILE: Final = "search.json"
STUDY: Final = "search"
METRICS: Final = ("image_auroc", "image_ap")
"""What cells keep of their validation images."""
MAX_TRIALS: Final = 10_000
_RANGE_KEYS: Final = frozenset({"low", "high", "log", "step"})
_GRID: Final = "grid"

DoCells = Callable[[Sequence[Cell]], Mapping[str, Mapping[str, Any]]]
"""Does cells, and gives the results of those that are done, by name."""


@dataclass(frozen=True)
class Trial:
    """Settings that were tried.

    Attributes:
        fold: that they were tried on.
        number: from 0, within the fold.
        settings: what was proposed.
        value: mean of the metric over validation images; None where a cell failed.
    """

    fold: int
    number: int
    settings: Mapping[str, Any]
    value: float | None


@dataclass(frozen=True)
class Search:
    """What a search came to.

    Attributes:
        metric: of validation images; higher is better.
        trials: fold by fold, in their order.
        importance: part of the spread of values that each setting explains (fANOVA, Hutter et al.
            2014), mean over folds; empty before there are enough trials.
    """

    metric: str
    trials: tuple[Trial, ...]
    importance: Mapping[str, float]

    @property
    def folds(self) -> tuple[int, ...]:
        """Folds that were searched."""
        return tuple(sorted({trial.fold for trial in self.trials}))

    def best(self, fold: int) -> Trial | None:
        """The trial with a fold's highest value, the first of equals."""
        known = [t for t in self.trials if t.fold == fold and t.value is not None]
        return max(known, key=lambda trial: (trial.value or 0.0, -trial.number), default=None)

    def __repr__(self) -> str:
        values = [best.value for fold in self.folds if (best := self.best(fold)) is not None]
        said = "none finished" if not values else f"best {np.mean(np.array(values, float)):.4f}"
        return f"Search({len(self.trials)} trials, {said})"

    def lines(self) -> list[str]:
        """Each fold's best settings, which settings mattered, and what may be claimed."""
        chosen = [best for fold in self.folds if (best := self.best(fold)) is not None]
        if not chosen:
            return ["No trial has finished: see failures/ for why."]
        lines = [
            f"Fold {best.fold}: trial {best.number} of "
            f"{sum(trial.fold == best.fold for trial in self.trials)} is best by {self.metric} of "
            f"the validation images, {best.value:.4f}, with "
            + ", ".join(f"{key}={value}" for key, value in best.settings.items())
            + "."
            for best in chosen
        ]
        if self.importance:
            parts = ", ".join(f"{key} {part:.0%}" for key, part in self.importance.items())
            lines.append(f"What mattered: {parts} of the spread.")
        numbers = ", ".join(str(best.fold) for best in chosen)
        lines.append(
            "Each fold's settings were chosen on its own validation images; its own test images "
            "were not looked at, those of other folds may have been. Train fold K with its "
            "settings, and evaluate it alone (evaluate --fold K): that is what may be claimed."
            if len(chosen) > 1
            else f"The test images of fold {numbers} were not looked at; those of other folds, if "
            f"there are any, may have been. Train it, and evaluate it alone (--fold {numbers})."
        )
        return lines


def require_optuna() -> Any:
    """Import Optuna.

    Raises:
        UsageError: it is not installed.
    """
    try:
        import optuna
    except ImportError as error:
        raise UsageError(
            f"--search needs Optuna, which is not installed. {install_extra('search')}."
        ) from error
    library: Any = optuna
    library.logging.set_verbosity(library.logging.ERROR)
    return library


def check_search(grid: Grid, n_trials: int, *, source: str) -> str:
    """Refuse a search that is not possible, before anything runs.

    Returns:
        The metric.

    Raises:
        UsageError: an impossible number of trials.
        InputError: nothing to search, several runs, ranges that are none, or a metric that stands
            on test images.
    """
    if not 1 <= n_trials <= MAX_TRIALS:
        raise UsageError(f"--search takes 1 to {MAX_TRIALS:,} trials, got {n_trials}.")
    if not grid.search:
        raise InputError(
            f"{source} has no `search`. Give settings and their ranges there, such as "
            "`search: {image_size: [224, 320], learning_rate: {low: 0.0001, high: 0.01, log: "
            "true}}`."
        )
    if len(grid.runs) != 1 or any(isinstance(value, list) for value in grid.runs[0].values()):
        raise InputError(f"{source}: a search takes one run, with one value for each setting.")
    metric = grid.metrics[0]
    if metric not in METRICS:
        raise InputError(
            f"{source}: a search is scored on validation images, of which {' and '.join(METRICS)} "
            f"are known; the first of `metrics` is {metric!r}, which stands on test images. "
            "Choosing settings by them would make every later figure worthless."
        )
    for key, span in grid.search.items():
        _check_span(key, span, source)
    # Ends of ranges and values of lists have to be possible, each beside the first of the others.
    first = {key: _ends(span)[0] for key, span in grid.search.items()}
    for key, span in grid.search.items():
        for value in _ends(span):
            models_of(_with(grid, {**first, key: value}), source=f"{source}, search")
    return metric


def _check_span(key: str, span: Any, source: str) -> None:
    if isinstance(span, list):
        if span and all(isinstance(v, str | int | float | bool) for v in span):
            return
    elif isinstance(span, Mapping) and {"low", "high"} <= set(span) <= _RANGE_KEYS:
        low, high, step = span["low"], span["high"], span.get("step")
        numbers = [low, high, *([] if step is None else [step])]
        plain = all(isinstance(n, int | float) and not isinstance(n, bool) for n in numbers)
        if (
            plain
            and all(math.isfinite(n) for n in numbers)
            and low < high
            and (step is None or 0 < step <= high - low)
            and isinstance(span.get("log", False), bool)
            and not (span.get("log") and (low <= 0 or step is not None))
        ):
            return
    raise InputError(
        f"{source}: search.{shortened(key, 60)} should be a list of values, or low and high with "
        f"`log: true` or a `step`; got {shortened(repr(span), 120)}."
    )


def _ends(span: Any) -> list[Any]:
    return list(span) if isinstance(span, list) else [span["low"], span["high"]]


def _with(grid: Grid, settings: Mapping[str, Any]) -> Grid:
    """The grid with settings in its one run, under a name that follows from them."""
    run = {key: value for key, value in grid.runs[0].items() if key != "name"}
    said = json.dumps([run, dict(settings)], sort_keys=True)
    name = f"trial-{hashlib.sha256(said.encode()).hexdigest()[:10]}"
    return grid.model_copy(update={"runs": [{**run, **settings, "name": name}]})


def run_search(
    grid: Grid,
    datasets: Mapping[str, Path],
    output: Path,
    n_trials: int,
    *,
    source: str,
    do_cells: DoCells,
    say: Callable[[str], None],
) -> Search:
    """Try settings until every fold has so many trials.

    Args:
        grid: checked by `check_search`.
        datasets: by name.
        output: the sweep's folder, which the caller has locked.
        n_trials: of each fold in all, those of earlier calls included.
        source: of the grid, for messages.
        do_cells: the engine.
        say: for notes.

    Raises:
        OutputExistsError: the study there is of another grid.
        UsageError: Optuna is missing.
    """
    optuna = require_optuna()
    metric = grid.metrics[0]
    exact = _float_settings(grid, source)
    trials: list[Trial] = []
    parts: list[Mapping[str, float]] = []
    for fold in _folds(grid, datasets):
        study = optuna.create_study(
            storage=f"sqlite:///{(output / STUDY_FILE).absolute()}",
            study_name=study_name(fold),
            direction="maximize",
            load_if_exists=True,
        )
        _require_same(study, grid, datasets, output)
        states = optuna.trial.TrialState
        for trial in study.get_trials(deepcopy=False, states=(states.RUNNING,)):
            # Of a call that was killed: its settings come again, and its done cells are kept.
            study.tell(trial.number, state=states.FAIL)
            study.enqueue_trial(trial.params)
        ended = (states.COMPLETE, states.FAIL)
        while (done := len(_trials(study, ended, fold))) < n_trials:
            # From the number of trials, so that an interrupted search proposes what it would have.
            seed = grid.seeds[0] + MAX_TRIALS * fold + done
            study.sampler = optuna.samplers.TPESampler(seed=seed % (1 << 32))
            trial = study.ask()
            settings = {
                key: _suggest(trial, key, span, exact=key in exact)
                for key, span in grid.search.items()
            }
            tried = _with(grid.model_copy(update={"folds": [fold]}), settings)
            value = None
            try:
                cells = [
                    replace(cell, tested=False, key="")
                    for cell in cells_of(
                        tried, models_of(tried, source=source), _with_fold(datasets, fold)
                    )
                ]
            except InputError as error:
                # Settings that are possible alone and not together.
                say(f"Fold {fold}, trial {done}: {shortened(error, 300)}")
            else:
                value = _value(cells, do_cells(cells), metric)
            if value is None:
                study.tell(trial.number, state=states.FAIL)
                trial.study.set_user_attr(f"failed {trial.number}", True)
                say(f"Fold {fold}, trial {done}: failed.")
            else:
                study.tell(trial.number, value)
                say(f"Fold {fold}, trial {done}: {metric} {value:.4f}.")
        trials += _trials(study, ended, fold)
        parts.append(_importance(optuna, study))
    known = [part for part in parts if part]
    importance = {
        key: float(np.mean([part.get(key, 0.0) for part in known]))
        for key in (known[0] if known else {})
    }
    found = Search(metric, tuple(trials), importance)
    best = {fold: found.best(fold) for fold in found.folds}
    write_json_atomic(
        output / SEARCH_FILE,
        {
            "metric": metric,
            "scored_on": "validation images of the fold",
            "best": {str(fold): None if t is None else t.number for fold, t in best.items()},
            "importance": importance,
            "trials": [
                {"fold": t.fold, "number": t.number, "settings": dict(t.settings), "value": t.value}
                for t in found.trials
            ],
        },
    )
    return found


def study_name(fold: int) -> str:
    """What the study of a fold is called in `search.db`."""
    return f"{STUDY}-fold-{fold}"


def n_folds(grid: Grid, datasets: Mapping[str, Path]) -> int:
    """How many folds a search looks at, each on its own."""
    return len(_folds(grid, datasets))


def _folds(grid: Grid, datasets: Mapping[str, Path]) -> list[int]:
    if grid.folds != "all":
        return sorted(grid.folds)
    return list(range(max(len(load_dataset(root).split.folds) for root in datasets.values())))


def _with_fold(datasets: Mapping[str, Path], fold: int) -> dict[str, Path]:
    """Datasets whose split has the fold."""
    return {
        name: root for name, root in datasets.items() if fold < len(load_dataset(root).split.folds)
    }


def _float_settings(grid: Grid, source: str) -> frozenset[str]:
    """Searched settings that are no whole numbers, however the grid writes their ends."""
    first = {key: _ends(span)[0] for key, span in grid.search.items()}
    (model,) = models_of(_with(grid, first), source=f"{source}, search")
    return frozenset(key for key in grid.search if isinstance(model.settings.get(key), float))


def _require_same(study: Any, grid: Grid, datasets: Mapping[str, Path], output: Path) -> None:
    said = json.dumps(
        [grid.runs, grid.search, grid.folds, grid.seeds, grid.metrics[0], sorted(datasets)],
        sort_keys=True,
    )
    digest = hashlib.sha256(said.encode()).hexdigest()
    before = study.user_attrs.get(_GRID)
    if before is None:
        study.set_user_attr(_GRID, digest)
    elif before != digest:
        raise OutputExistsError(
            f"{output / STUDY_FILE} holds a search of another grid: its trials cannot be compared "
            "with new ones. Choose another --output."
        )


def _trials(study: Any, states: Sequence[Any], fold: int) -> tuple[Trial, ...]:
    """Trials that ended by themselves; those of killed calls come again and do not count."""
    failed = {name for name in study.user_attrs if name.startswith("failed ")}
    kept = [
        trial
        for trial in study.get_trials(deepcopy=False, states=tuple(states))
        if trial.value is not None or f"failed {trial.number}" in failed
    ]
    return tuple(
        Trial(fold, number, dict(trial.params), None if trial.value is None else float(trial.value))
        for number, trial in enumerate(kept)
    )


def _suggest(trial: Any, key: str, span: Any, *, exact: bool) -> Any:
    if isinstance(span, list):
        return trial.suggest_categorical(key, span)
    low, high, step, log = span["low"], span["high"], span.get("step"), span.get("log", False)
    whole = isinstance(low, int) and isinstance(high, int) and isinstance(step, int | None)
    if whole and not exact:
        return trial.suggest_int(key, low, high, step=step or 1, log=log)
    return trial.suggest_float(key, float(low), float(high), step=step, log=log)


def _value(
    cells: Sequence[Cell], results: Mapping[str, Mapping[str, Any]], metric: str
) -> float | None:
    by_dataset: dict[str, list[float]] = {}
    for cell in cells:
        value = results.get(cell.name, {}).get("validation", {}).get(metric)
        if value is None:
            return None
        by_dataset.setdefault(cell.dataset, []).append(float(value))
    return float(np.mean([np.mean(values) for values in by_dataset.values()]))


def _importance(optuna: Any, study: Any) -> dict[str, float]:
    complete = study.get_trials(deepcopy=False, states=(optuna.trial.TrialState.COMPLETE,))
    if len({trial.value for trial in complete}) < 2:
        return {}
    evaluator = optuna.importance.FanovaImportanceEvaluator(seed=0)
    found = optuna.importance.get_param_importances(study, evaluator=evaluator)
    return {str(key): float(part) for key, part in found.items()}
