"""What is damaged, gone or foreign is named or refused; the rest of the report is made."""

import copy
import json
import shutil
from types import MappingProxyType

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from annotations import Dataset, InputError, OutputExistsError, load_dataset, read_predictions
from defectune.library.evaluating import read_leaderboard
from defectune.library.progress import BarReporter
from defectune.library.reporting import make_report
from evaluation import board_damage, evaluate_runs, summarize
from report import write_report
from report.first_screen import claims, escapes_by_type, metric_lines, operating_points
from report.plots import write_plots
from tests.report.test_report import build, called


@pytest.fixture(scope="module")
def evaluated(tmp_path_factory):
    dataset, run = build(tmp_path_factory.mktemp("evaluated"), wrong="broken_small/002")
    board = json.loads(json.dumps(evaluate_runs(dataset, [run]).to_json()))
    rate = {"value": 0.5, "low": 0.1, "high": 0.9, "n": 4}
    board["operating_point"] = {
        "rule": "an escape costs 10",
        "runs": [
            {
                "run": run.name,
                "validation": "on 8",
                "escape_rate": rate,
                "overkill_rate": rate,
                "expected_cost": None,
                "escapes_by_type": {"broken_small": {"escaped": 1, "of": 4}},
            }
        ],
    }
    return dataset, run, board


def places(value, here=()):
    yield here
    if isinstance(value, dict):
        for key, part in value.items():
            yield from places(part, (*here, key))
    elif isinstance(value, list) and value:
        yield from places(value[0], (*here, 0))


DAMAGES = [None, "x", "", -1, 3.5, True, [], {}, [1], {"a": 1}, float("nan"), "gone"]


@settings(max_examples=300, deadline=None)
@given(draw=st.data())
def test_a_leaderboard_damaged_in_one_place_is_refused_or_harmless(evaluated, draw):
    dataset, run, whole = evaluated
    board = copy.deepcopy(whole)
    place = draw.draw(st.sampled_from([p for p in places(board) if p]))
    damage = draw.draw(st.sampled_from(DAMAGES))
    holder = board
    for step in place[:-1]:
        holder = holder[step]
    if damage == "gone":
        del holder[place[-1]]
    else:
        holder[place[-1]] = damage
    if board_damage(board) is not None:
        return
    names = [run.name]
    rows = [row for row in board["rows"] if row["run"] in names]
    assert summarize(board, names).sentence
    escapes_by_type(rows, dataset.class_names)
    metric_lines(rows)
    operating_points(board, names)
    claims(board, names)


def test_what_evaluate_writes_is_not_damaged_and_damage_is_placed(evaluated, tmp_path):
    dataset, run, whole = evaluated
    assert board_damage(whole) is None
    for change, words in (
        (lambda b: b["rows"][0]["metrics"]["escape_rate"].pop("n"), "escape_rate, n: Field req"),
        (lambda b: b["rows"][0].update(metrics={}), "rows, 0, metrics"),
        (lambda b: b["rows"][0]["curves"]["image"]["recall"].pop(), "differ in length"),
        (lambda b: b["rows"][0]["curves"]["image"].pop("precision"), "has no precision"),
        (lambda b: b["rows"].append(b["rows"][0]), "two rows of the run"),
        (lambda b: b.update(rows=7), "rows: "),
        (lambda b: b.pop("split_digest"), "split_digest"),
    ):
        board = copy.deepcopy(whole)
        change(board)
        assert words in str(board_damage(board))
        (tmp_path / "leaderboard.json").write_text(json.dumps(board))
        with pytest.raises(InputError, match=r"leaderboard\.json is damaged") as raised:
            read_leaderboard(tmp_path, dataset.split.digest)
        assert "defectune evaluate" in str(raised.value)
        assert len(str(raised.value)) < 600
    assert board_damage([whole]) == "no object with rows"
    board = copy.deepcopy(whole)
    rows = board["rows"]
    assert write_plots(dataset, [read_predictions(run, dataset)], rows, tmp_path)


def test_a_run_deleted_since_is_named(tmp_path):
    dataset, run = build(tmp_path)
    other = run.with_name("deleted")
    shutil.copytree(run, other)
    board = evaluate_runs(dataset, [run, other]).to_json()
    (dataset.root / "leaderboard.json").write_text(json.dumps(board))
    shutil.rmtree(other)
    with BarReporter() as reporter:
        page = make_report(load_dataset(dataset.root), [], reporter=reporter)
    text = page.read_text(encoding="utf-8")
    assert "Evaluated before and not shown here: deleted (deleted since" in text
    assert [one["name"] for one in called(page.parent / "data/index.js")[0]["runs"]] == [run.name]


def test_without_one_readable_image_there_is_no_report_and_the_old_one_stays(tmp_path):
    dataset, run = build(tmp_path)
    stored, board = read_predictions(run, dataset), evaluate_runs(dataset, [run]).to_json()
    page = write_report(dataset, [stored], board, dataset.root / "report")
    before = page.read_bytes()
    for image_id in dataset.split.test_ids:
        dataset.by_id[image_id].image_path.unlink()
    with pytest.raises(InputError, match="None of the 16 test images"):
        write_report(dataset, [stored], board, dataset.root / "report")
    assert page.read_bytes() == before
    assert [path.name for path in dataset.root.glob("*report*")] == ["report"]


def test_a_report_folder_of_another_program_is_left_as_it_is(tmp_path):
    dataset, run = build(tmp_path)
    stored, board = read_predictions(run, dataset), evaluate_runs(dataset, [run]).to_json()
    folder = dataset.root / "report"
    folder.mkdir()
    # A name that others use too.
    for content in ('{"title": "not ours"}', "[1]", "{", '{"split_digest": 3, "runs": "x"}'):
        (folder / "report.json").write_text(content)
        with pytest.raises(OutputExistsError, match="not a report"):
            write_report(dataset, [stored], board, folder)
        assert (folder / "report.json").read_text() == content
    (folder / "report.json").unlink()
    folder.rmdir()
    folder.write_text("a file")
    with pytest.raises(OutputExistsError, match="not a report"):
        write_report(dataset, [stored], board, folder)
    assert folder.read_text() == "a file"


def long_named(dataset: Dataset, name: str) -> Dataset:
    return Dataset(
        dataset.root,
        (name, *dataset.class_names[1:]),
        dataset.samples,
        MappingProxyType(dict(dataset.truths)),
        dataset.split,
    )


def test_a_class_name_of_200_letters_is_held_as_it_is(tmp_path):
    dataset, run = build(tmp_path)
    name = "Lötperle" * 25
    assert len(name) == 200
    dataset = long_named(dataset, name)
    stored, board = read_predictions(run, dataset), evaluate_runs(dataset, [run]).to_json()
    page = write_report(dataset, [stored], board, dataset.root / "report")
    assert called(page.parent / "data/index.js")[0]["classes"][0] == name
