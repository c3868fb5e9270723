"""What a grid file may hold, and what is refused before anything runs."""

import pytest

from annotations import InputError, UsageError
from defectune.sweeps.cells import select_cells
from defectune.sweeps.grid import models_of, parse_grid, read_grid
from defectune.sweeps.running import plan_sweep
from tests.drawn import drawn_dataset

RUN = {"family": "classify", "method": "patch-memory", "weights": "none"}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return drawn_dataset(tmp_path_factory.mktemp("world"))


def grid(data, **more):
    return {"datasets": [str(data)], "runs": [RUN], **more}


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"seed": [1]}, "unknown key 'seed'. Did you mean seeds"),
        ({"metrics": ["image_aurok"]}, "Did you mean image_auroc"),
        ({"metrics": [["image_auroc"]]}, "metrics.0"),
        ({"resources": {"cpu": 1}}, "Did you mean cpus"),
        ({"resources": {"cpus": 0}}, "resources.cpus"),
        ({"seeds": [0, 0]}, "seeds should be one or more, each once"),
        ({"seeds": [-1]}, "seeds.0"),
        ({"folds": "some"}, "folds"),
        ({"folds": []}, "folds should be one or more"),
        ({"folds": [7]}, "asks for fold 7"),
        ({"runs": []}, "runs"),
        ({"datasets": ["nowhere"]}, "is no converted dataset"),
        ({"datasets": ["a\0b"]}, "should be a path"),
        ({"runs": [{"family": "clasify"}]}, "Did you mean classify"),
        ({"runs": [{**RUN, "image_sise": 32}]}, "Did you mean image_size"),
        ({"runs": [{**RUN, "method": "patch-memry"}]}, "patch-memory"),
        ({"runs": [{**RUN, "recipe": "fsat"}]}, "recipe"),
        ({"runs": [{**RUN, "image_size": [64, -1]}]}, "image_size=-1"),
        ({"runs": [{**RUN, "image_size": []}]}, "a list of values is empty"),
        ({"runs": [{**RUN, "seed": 1}]}, "`seed` stands in the grid's own `seeds`"),
        ({"runs": [RUN, RUN]}, "two runs are called"),
        ({"runs": [{**RUN, "name": "../../etc"}, {**RUN, "name": "a/b" * 60}]}, "80 characters"),
        ({"runs": [{**RUN, "batch_size": list(range(400)), "epochs": list(range(400))}]}, "more"),
    ],
)
def test_what_is_wrong_is_said_before_anything_runs(data, more, said):
    with pytest.raises(InputError) as caught:
        plan_sweep(grid(data) | more)
    assert said in str(caught.value)


@pytest.mark.parametrize("text", ["- 1", "a: &x 1\nb: *x", "{", "!!python/object:os.x {}", "1: 2"])
def test_hostile_yaml_is_refused(tmp_path, text):
    path = tmp_path / "grid.yaml"
    path.write_text(text)
    with pytest.raises(InputError):
        read_grid(path)


def test_lists_are_tried_value_by_value_in_the_order_of_the_file(data):
    runs = [{**RUN, "method": ["patch-memory", "autoencoder"], "image_size": [64, 32]}]
    models = models_of(parse_grid(grid(data, runs=runs), source="grid"), source="grid")
    assert [(m.settings["method"], m.settings["image_size"]) for m in models] == [
        ("patch-memory", 64),
        ("patch-memory", 32),
        ("autoencoder", 64),
        ("autoencoder", 32),
    ]
    assert len({m.name for m in models}) == 4
    assert all("image_size-" in m.name for m in models)


def test_cells_are_stable_and_a_parent_gives_its_datasets(data):
    value = grid(data, datasets=[str(data.parent)], seeds=[3, 1])
    (_, datasets, cells), (*_, again) = plan_sweep(value), plan_sweep(value)
    assert list(datasets) == ["dataset"]
    assert [(c.fold, c.seed) for c in cells] == [(0, 3), (0, 1), (1, 3), (1, 1)]
    assert [(c.name, c.key) for c in cells] == [(c.name, c.key) for c in again]
    assert len({c.key for c in cells}) == 4
    other = plan_sweep(grid(data, seeds=[3, 1], runs=[{**RUN, "image_size": 64}]))[2]
    assert {c.key for c in other}.isdisjoint(c.key for c in cells)


def test_only_takes_patterns_and_names_near_cells(data):
    cells = plan_sweep(grid(data, seeds=[0, 1]))[2]
    assert [c.seed for c in select_cells(cells, ["*--seed-1"])] == [1, 1]
    with pytest.raises(UsageError, match="near ones: dataset--"):
        select_cells(cells, [cells[0].name[:-1] + "9"])
