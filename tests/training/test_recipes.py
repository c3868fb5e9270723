"""Every recipe is explained line by line, and builds a configuration."""

import pytest
import yaml

from annotations import InputError, UsageError
from defectune.families import config_kind
from detect import DetectConfig
from segment import SegmentConfig
from training import build_config, read_recipe, recipe_names
from training.recipes import RECIPES_FOLDER

KINDS = {"detect": DetectConfig, "segment": SegmentConfig}
FILES = sorted(RECIPES_FOLDER.rglob("*.yaml"))


@pytest.mark.parametrize("path", FILES, ids=[f"{p.parent.name}/{p.stem}" for p in FILES])
def test_a_recipe_builds_and_explains_every_field(path):
    family = path.parent.name
    values = read_recipe(family, path.stem)
    kind = config_kind(family, values, {})
    config = build_config(kind, {}, [], recipe=values)
    assert {key: getattr(config, key) for key in values} == values
    lines = path.read_text(encoding="utf-8").splitlines()
    for key in values:
        number = next(n for n, line in enumerate(lines) if line.startswith(f"{key}:"))
        assert lines[number - 1].startswith("# "), key


@pytest.mark.parametrize("family", ["detect", "segment"])
def test_the_default_recipe_is_the_default_configuration(family):
    recipe = build_config(KINDS[family], {}, [], recipe=read_recipe(family, "few-defects"))
    assert recipe == KINDS[family]()


@pytest.mark.parametrize("family", ["detect", "segment"])
def test_recipes_that_are_compared_differ_in_what_they_teach_only(family):
    few, plain = (read_recipe(family, name) for name in ("few-defects", "plain"))
    same = {"epochs", "batch_size", "good_per_defect"}
    assert {key: few[key] for key in same} == {key: plain[key] for key in same}
    assert not {"image_size", "weights", "seed", "model", "encoder"} & {*few, *plain}


def test_unknown_recipes_name_near_ones_and_own_files_are_read(tmp_path):
    with pytest.raises(UsageError, match="Did you mean few-defects"):
        read_recipe("detect", "few-defect")
    assert recipe_names("nothing") == []
    own = tmp_path / "mine.yaml"
    own.write_text(yaml.safe_dump({"epochs": 3}), encoding="utf-8")
    assert read_recipe("detect", str(own)) == {"epochs": 3}
    own.write_text("[1, 2", encoding="utf-8")
    with pytest.raises(InputError, match="not YAML"):
        read_recipe("detect", str(own))
    own.write_text("- 1", encoding="utf-8")
    with pytest.raises(InputError, match="key: value"):
        read_recipe("detect", str(own))
    own.write_text("a: " + "x" * 200_000, encoding="utf-8")
    with pytest.raises(InputError, match="larger than"):
        read_recipe("detect", str(own))


def test_what_is_given_later_wins():
    config = build_config(
        DetectConfig, {"epochs": 7, "seed": None}, ["lr0=0.5"], recipe={"epochs": 3, "lr0": 0.1}
    )
    assert (config.epochs, config.lr0) == (7, 0.5)
    with pytest.raises(UsageError, match="Did you mean epochs"):
        build_config(DetectConfig, {}, [], recipe={"epoch": 3})


def test_an_image_size_is_rounded_up_and_said():
    said: list[str] = []
    config = build_config(SegmentConfig, {"image_size": 250}, [], notice=said.append)
    assert config.image_size == 256
    assert said == ["Image size 250 is rounded up to 256, a multiple of 32."]
    assert build_config(SegmentConfig, {"image_size": 256}, [], notice=said.append)
    assert len(said) == 1
    with pytest.raises(UsageError, match="image_size"):
        build_config(SegmentConfig, {"image_size": -3}, [])
