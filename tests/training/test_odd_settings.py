"""Odd settings and recipes: one short paragraph each, never a traceback."""

import contextlib
import copy
import random

import pytest
from pydantic import ValidationError

from annotations import DefectuneError, InputError, UsageError, WeightsNotFoundError
from annotations.yaml_files import MAX_DEPTH, parse_yaml
from classify import ClassifyConfig, all_methods
from classify.register import FAMILY
from defectune.families import choose_config, train_family
from detect import DetectConfig
from detect.network import published_architecture
from segment import SegmentConfig
from segment.network import build_network
from tests.drawn import drawn_dataset
from training import (
    SilentReporter,
    build_config,
    read_recipe,
    read_run_config,
    resolve_device,
)

KINDS = (DetectConfig, SegmentConfig, ClassifyConfig)
ODD = [
    "2020-13-45",
    "!!int x",
    "0x_",
    "!!bool x",
    "!!timestamp x",
    "9" * 5000,
    "0x" + "f" * 5000,
    "[" * 5000,
    "!!python/object/apply:os.getcwd []",
    "!!binary x",
    "{[1]: 2}",
    "&a [*a, *a]",
    "\x00",
    "\ud800",
    ".inf",
    "-.inf",
    ".nan",
    "1e309",
    "99999999999999999999",
    "2020-01-01",
    "!!set {a}",
    "? a",
    "'",
    "x" * 10_000,
]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("text", ODD, ids=range(len(ODD)))
def test_an_odd_value_is_refused_in_a_short_paragraph(kind, text):
    for key in ("epochs", "seed", "image_size", text):
        with pytest.raises(UsageError) as caught:
            build_config(kind, {}, [f"{key}={text}"])
        assert len(str(caught.value)) < 1400
        assert "x" * 301 not in str(caught.value)


def test_a_setting_of_another_method_is_refused_with_the_method_that_has_it():
    options = {"recipe": None, "model": None, "values": {"method": "gan"}}
    for text, said in (
        ("memory_size=9", "Method gan does not use it; patch-memory does"),
        ("ssim_weight=0.1", "autoencoder does"),
        ("latnt=3", "Did you mean latent"),
    ):
        with pytest.raises(UsageError, match=said):
            choose_config("classify", **options, overrides=[text])
    with pytest.raises(UsageError, match=r"epochs.*finetuned.*do\."):
        choose_config("classify", recipe=None, model=None, values={"epochs": 3})
    with pytest.raises(UsageError, match="Did you mean autoencoder"):
        ClassifyConfig(method="autoencodr")
    with pytest.raises(ValidationError, match="memory_size"):
        ClassifyConfig(method="gan", memory_size=9)


def test_every_method_has_its_own_settings():
    assert set(all_methods()) == set(FAMILY.methods)
    for name, kind in FAMILY.config_classes().items():
        made = ClassifyConfig(method=name)
        assert type(made) is kind
        assert made.method == name
        again = build_config(kind, made.model_dump(), [])
        assert again == made == made.model_copy() == copy.deepcopy(made)


def test_values_without_bounds_are_refused():
    for kind in (DetectConfig, SegmentConfig):
        for text in (
            *("good_per_defect=.inf", "inject_per_defect=.inf", "inject_per_defect=1e9"),
            *("seed=4294967296", "seed=99999999999999999999", "epochs=1e9"),
        ):
            with pytest.raises(UsageError, match=text.partition("=")[0]):
                build_config(kind, {}, [text])
    assert build_config(DetectConfig, {}, ["seed=4294967295"]).seed == 4294967295


@pytest.mark.parametrize("name", ["meta", "xla", "hpu", "cuda:99999999999", "\ud800", "x" * 5000])
def test_devices_that_compute_nothing_are_unknown(name):
    with pytest.raises(UsageError) as caught:
        resolve_device(name)
    assert len(str(caught.value)) < 500


@pytest.mark.parametrize(
    "model",
    ["rtdetr-l.pt", "yolo11n-seg.pt", "yolo11n", "../yolo11n.pt", "yolo11q.pt", "x" * 5000, "a.pt"],
)
def test_models_that_are_no_detectors_are_refused(model):
    with pytest.raises(UsageError) as caught:
        published_architecture(model)
    assert len(str(caught.value)) < 600


@pytest.mark.parametrize("model", ["yolo11n.pt", "yolov8s.pt", "yolov10n.pt", "yolov9t.pt"])
def test_published_detectors_are_built_from_the_library(model):
    layers = published_architecture(model).layers
    assert layers["nc"] == 80
    assert "Detect" in layers["head"][-1][2]


def test_fuzzed_recipes_end_in_our_errors(tmp_path):
    rng = random.Random(0)
    path = tmp_path / "mine.yaml"
    letters = "abz019 :-[]{}&*!|>'\"%@`#,?\n\t.é"
    for _ in range(300):
        parts = ["epochs: 3\n", rng.choice(ODD[:22]).encode(errors="replace").decode()]
        parts += ["".join(rng.choices(letters, k=rng.randrange(1, 30))) for _ in range(2)]
        rng.shuffle(parts)
        path.write_text("".join(parts), encoding="utf-8")
        with contextlib.suppress(DefectuneError):
            build_config(DetectConfig, {}, [], recipe=read_recipe("detect", str(path)))


def test_a_bomb_of_aliases_is_refused(tmp_path):
    path = tmp_path / "bomb.yaml"
    rows = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    rows += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 10)]
    path.write_text("\n".join(rows), encoding="utf-8")
    with pytest.raises(InputError, match="aliases"):
        read_recipe("detect", str(path))


def test_a_recipes_weights_and_device_count(tmp_path):
    root = drawn_dataset(tmp_path)
    recipe = tmp_path / "mine.yaml"
    recipe.write_text(
        "weights: none\ndevice: cpu\nmodel: resnet18\nimage_size: 32\n", encoding="utf-8"
    )
    options = {"weights": None, "device": None}

    def train(name: str, values: dict[str, object]) -> dict[str, object]:
        run = train_family(
            "classify",
            root,
            fold="0",
            name=name,
            reporter=SilentReporter(),
            model=None,
            values=values,
            overrides=[],
            recipe=str(recipe),
        )
        return dict(read_run_config(run)["config"])

    config = train("mine", options)
    assert (config["weights"], config["device"]) == ("none", "cpu")
    with pytest.raises(InputError, match=r"nowhere\.pt"):
        train("given", {**options, "weights": str(tmp_path / "nowhere.pt")})


def test_an_encoder_whose_weights_are_not_here_says_so_at_once(tmp_path, monkeypatch):
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    for name in ("http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    asked: list[object] = []

    def refused(address, *_arguments, **_options):
        asked.append(address)
        raise OSError("no network")

    monkeypatch.setattr("urllib.request.urlopen", refused)
    with pytest.raises(WeightsNotFoundError, match="resnet18"):
        build_network(SegmentConfig(encoder="resnet18"), 3, pretrained=True)
    assert asked == [constants.ENDPOINT]
    assert constants.HF_HUB_OFFLINE is False


def test_ultralytics_asks_for_no_font_and_no_check_of_half_precision(monkeypatch):
    from detect.ultralytics_setup import import_ultralytics

    import_ultralytics()
    from ultralytics.data import utils
    from ultralytics.utils import downloads

    monkeypatch.setattr(downloads, "is_url", lambda *_a, **_o: pytest.fail("a font is asked for"))
    assert utils.check_font("Arial.ttf") is None


def test_yaml_is_nested_only_so_deep():
    deepest = "[" * MAX_DEPTH + "]" * MAX_DEPTH
    found = parse_yaml(deepest, what="it")
    for _ in range(MAX_DEPTH - 1):
        (found,) = found
    assert found == []
    side_by_side = "[" + "[a], {b: c}, " * MAX_DEPTH + "]"
    assert len(parse_yaml(side_by_side, what="it")) == 2 * MAX_DEPTH
    for text in (f"[{deepest}]", "\n".join("  " * n + "a:" for n in range(MAX_DEPTH + 1))):
        with pytest.raises(InputError, match="it is nested too deep"):
            parse_yaml(text, what="It")
