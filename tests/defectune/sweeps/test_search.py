"""Searching settings: scored on validation images alone, kept, and gone on with."""

import json
import sys

import pytest

from annotations import InputError, OutputExistsError, UsageError
from defectune.sweeps.grid import models_of
from defectune.sweeps.records import write_result
from defectune.sweeps.running import SweepOptions, run_sweep
from defectune.sweeps.search import SEARCH_FILE, STUDY_FILE, study_name
from defectune.sweeps.work import attempt
from tests.defectune.sweeps import works
from tests.drawn import drawn_dataset
from training import SilentReporter

optuna = pytest.importorskip("optuna", reason="needs Optuna: the extra `search`")
pytestmark = pytest.mark.filterwarnings("ignore")

RUN = {
    "family": "classify",
    "method": "patch-memory",
    "model": "resnet18",
    "weights": "none",
    "device": "cpu",
}
SPANS = {"image_size": [32, 64, 96, 128]}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return drawn_dataset(tmp_path_factory.mktemp("world"))


@pytest.fixture(autouse=True)
def in_this_process(monkeypatch):
    """Workers are tested elsewhere; here a process for each trial would take a minute."""

    def run(queue, output, work, *_engine):
        while (cell := queue.take()) is not None:
            queue.ended(cell, attempt(work, cell, output))

    monkeypatch.setattr("defectune.sweeps.running._run", run)


def grid(data, **more):
    return {"datasets": [str(data)], "runs": [RUN], "folds": [0, 1], "search": SPANS, **more}


def search(content, output, trials, work=works.validated):
    options = SweepOptions(workers=1, retries=0, search=trials)
    return run_sweep(content, output, options, reporter=SilentReporter(), work=work)


def done(output):
    return (output / "log.txt").read_text().splitlines()


def test_the_best_settings_are_found_and_no_cell_is_done_twice(data, tmp_path):
    found = search(grid(data), tmp_path / "out", 12).search
    assert len(found.trials) == 24
    assert found.folds == (0, 1)
    for fold in found.folds:
        assert found.best(fold).settings == {"image_size": 64}
        assert found.best(fold).value == pytest.approx(0.9 + fold / 100)
    failed = [trial for trial in found.trials if trial.settings["image_size"] == 96]
    assert all(trial.value is None for trial in failed)
    names = done(tmp_path / "out")
    assert len(names) == len(set(names))
    kept = json.loads((tmp_path / "out" / SEARCH_FILE).read_text())
    assert kept["scored_on"] == "validation images of the fold"
    assert len(kept["trials"]) == 24
    assert set(kept["best"]) == {"0", "1"}
    assert found.importance == {"image_size": 1.0}
    assert found.lines()[0].startswith("Fold 0: trial ")
    assert found.lines()[0].endswith("0.9000, with image_size=64.")
    assert "evaluate it alone" in found.lines()[-1]


def test_a_fold_is_searched_by_its_own_validation_images_alone(data, tmp_path):
    """What another fold's images say changes neither what is proposed nor what is chosen."""

    def other_way_in_fold_1(cell, output):
        if cell.fold == 1 and cell.settings["image_size"] != 96:
            value = cell.settings["image_size"] / 1000
            result = {"metrics": {}, "validation": {"image_auroc": value, "image_ap": value}}
            write_result(output, cell, {**result, "seconds": 0.1, "peak_gb": 0.1})
            return
        works.validated(cell, output)

    one = search(grid(data), tmp_path / "one", 8).search
    other = search(grid(data), tmp_path / "other", 8, other_way_in_fold_1).search
    assert [t for t in one.trials if t.fold == 0] == [t for t in other.trials if t.fold == 0]
    assert other.best(1).settings == {"image_size": 128}


def test_a_setting_that_is_no_whole_number_is_searched_between_its_ends(data, tmp_path):
    run = {**RUN, "method": "finetuned", "image_size": 64}
    spans = {"anchor": {"low": 0, "high": 1}}
    found = search(grid(data, runs=[run], folds=[0], search=spans), tmp_path / "out", 4).search
    values = {trial.settings["anchor"] for trial in found.trials}
    assert len(values) == 4
    assert not values & {0, 1}


def test_a_search_goes_on_and_proposes_what_one_call_would_have(data, tmp_path):
    whole = search(grid(data), tmp_path / "whole", 6).search
    search(grid(data), tmp_path / "parts", 2)
    parts = search(grid(data), tmp_path / "parts", 6).search
    assert parts.trials == whole.trials
    assert search(grid(data), tmp_path / "parts", 3).search.trials == whole.trials


def test_the_trial_of_a_killed_call_comes_again(data, tmp_path):
    output = tmp_path / "out"
    whole = search(grid(data), tmp_path / "whole", 3).search

    def killed(cell, folder):
        if len(done(output)) >= 2:
            raise KeyboardInterrupt
        works.validated(cell, folder)

    output.mkdir()
    (output / "sweep.lock").touch()
    search(grid(data), output, 1)
    with pytest.raises(KeyboardInterrupt):
        search(grid(data), output, 3, killed)
    assert search(grid(data), output, 3).search.trials == whole.trials


def test_numbers_are_searched_over_ranges(data, tmp_path):
    spans = {"image_size": {"low": 32, "high": 128, "step": 32}}
    found = search(grid(data, search=spans), tmp_path / "out", 6).search
    sizes = {trial.settings["image_size"] for trial in found.trials}
    assert sizes <= {32, 64, 96, 128}
    assert all(isinstance(size, int) for size in sizes)


def test_settings_that_do_not_go_together_are_a_failed_trial(data, tmp_path, monkeypatch):
    def refuses(tried, *, source):
        if tried.runs[0]["image_size"] == 64 and not source.endswith(", search"):
            raise InputError("Not together with the others.")
        return models_of(tried, source=source)

    monkeypatch.setattr("defectune.sweeps.search.models_of", refuses)
    found = search(grid(data), tmp_path / "out", 10).search
    refused = [trial for trial in found.trials if trial.settings["image_size"] == 64]
    assert refused
    assert all(trial.value is None for trial in refused)
    assert len(found.trials) == 20
    again = search(grid(data), tmp_path / "out", 11).search
    assert again.trials[:10] == found.trials[:10]
    assert again.trials[11:21] == found.trials[10:]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"metrics": ["accuracy"]}, "stands on test images"),
        ({"search": {}}, "has no `search`"),
        ({"search": {"image_size": []}}, "list of values"),
        ({"search": {"image_size": {"low": 64, "high": 32}}}, "list of values"),
        ({"search": {"image_size": {"low": 0, "high": 32, "log": True}}}, "list of values"),
        ({"search": {"image_sise": [32, 64]}}, "image_size"),
        ({"search": {"image_size": [32, -5]}}, "image_size"),
        ({"search": {"image_size": [32, -5, 64]}}, "image_size"),
        ({"runs": [RUN, {**RUN, "name": "other"}]}, "takes one run"),
        ({"runs": [{**RUN, "image_size": [32, 64]}]}, "takes one run"),
    ],
)
def test_what_cannot_be_searched_is_refused_before_anything_runs(data, tmp_path, change, said):
    with pytest.raises(InputError, match=said):
        search(grid(data, **change), tmp_path / "out", 2)
    assert not (tmp_path / "out").exists()


def test_another_grid_in_the_same_folder_is_refused(data, tmp_path):
    search(grid(data), tmp_path / "out", 1)
    with pytest.raises(OutputExistsError, match="another grid"):
        search(grid(data, seeds=[1]), tmp_path / "out", 2)
    study = optuna.load_study(
        study_name=study_name(0), storage=f"sqlite:///{tmp_path / 'out' / STUDY_FILE}"
    )
    assert len(study.trials) == 1


def test_without_optuna_it_says_what_to_install(data, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(UsageError, match=r"uv sync --extra search"):
        search(grid(data), tmp_path / "out", 1)
    with pytest.raises(UsageError, match="takes 1 to"):
        search(grid(data), tmp_path / "out", 0)
