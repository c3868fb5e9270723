"""Commands are made of library functions: help, options and the reference page follow from them."""

import importlib
import inspect
import re
import sys
import textwrap
from pathlib import Path
from pkgutil import resolve_name

import pytest

import defectune as dt
from annotations import UsageError
from converters import ConvertOptions
from converters.synthetic import draw_category
from defectune.cli import app
from defectune.commands import COMMANDS
from defectune.door import NOT_AT_THE_LINE, entries_of, summary
from defectune.library.reading import as_options
from defectune.reference import commands_page
from tests.drawn import SMALL
from tests.line import CliRunner
from training.registry import GROUP, families, family_named, family_of

FUNCTIONS = [command for command in COMMANDS if command.name != "train"]


def called(*arguments, width=80):
    return CliRunner().invoke(app, arguments, env={"COLUMNS": str(width)})


def shown(*arguments):
    """A help without its frames, on one line."""
    done = called(*arguments, "--help")
    assert done.exit_code == 0, done.exception
    return done.output


@pytest.mark.parametrize("command", FUNCTIONS, ids=lambda command: command.name)
def test_every_parameter_of_the_function_is_at_the_line_and_no_other(command):
    function, show = resolve_name(command.function), resolve_name(command.show)
    entries = [*entries_of(function), *entries_of(show, named=True)]
    expected = {*inspect.signature(function).parameters} - {*NOT_AT_THE_LINE}
    own = {p.name for p in inspect.signature(show).parameters.values() if p.kind == p.KEYWORD_ONLY}
    assert {entry.name for entry in entries} == expected | own
    text = shown(*command.name.split())
    typed = {entry.flag for entry in entries if entry.flag}
    typed |= {f"--no-{flag[2:]}" for flag in typed}
    assert {*re.findall(r"(?<=[│*] )\s*(--[a-z0-9-]+)", text)} <= typed
    for entry in entries:
        assert (entry.flag or entry.metavar) in text
        # A sentence: it begins with a capital, or with the name of a thing, and ends.
        assert entry.text[0].isupper()
        assert entry.text.endswith(".")


@pytest.mark.parametrize(
    "command",
    [*(c.name for c in COMMANDS), "", *(f"train {name}" for name in families())],
)
def test_help_fits_80_columns(command):
    assert max(map(len, shown(*command.split()).splitlines())) <= 80


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.name)
def test_a_summary_is_read_without_an_import(command):
    first = (inspect.getdoc(resolve_name(command.function)) or "").partition("\n\n")[0]
    assert summary(command.function) == " ".join(first.split())


def test_the_reference_page_is_current(repo_root):
    # Not so? Run scripts/reference.
    assert (repo_root / "docs" / "commands.md").read_text(encoding="utf-8") == commands_page()


def test_convert_has_its_groups_in_order():
    headings = re.findall(r"╭─ (\w+) ", shown("convert"))
    assert headings == ["Arguments", "Source", "Labels", "Split", "Pixels", "Output"]


@pytest.mark.parametrize(
    ("family", "own", "foreign"),
    [
        ("detect", "--mosaic", "--method"),
        ("segment", "--architecture", "--mosaic"),
        ("classify", "--memory-size", "--tiles"),
    ],
)
def test_a_family_shows_its_own_options_with_defaults_and_two_examples(family, own, foreign):
    text = shown("train", family)
    assert re.findall(r"╭─ (\w+) ", text) == ["Arguments", "Model", "Training", "Output"]
    assert own in text
    assert foreign not in text
    assert text.count(f"  defectune train {family} ") == 2
    assert "[default: None]" not in text


def test_a_default_of_a_family_is_what_its_training_takes():
    from defectune.families import choose_config

    config, _ = choose_config("detect", recipe=None, model=None, values={})
    text = " ".join(re.sub("[│\n]", " ", shown("train", "detect")).split())
    said = re.search(r"--epochs INT .*? \[default: (\d+)\]", text)
    assert said is not None
    assert int(said[1]) == config.model_dump()["epochs"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("convert", "a", "b", "--folds", "many"), "--folds"),
        (("convert", "a"), "OUT"),
        (("convert", "a", "b", "--min-aera", "3"), "Did you mean --min-area?"),
        (("convrt",), 'Did you mean "convert"?'),
        (("train", "detect", "a", "--set", "fold=1"), "no setting of a model"),
        (("train", "detect", "a", "--seed", "1", "--set", "seed=2"), "The seed is given twice"),
        (("train", "detect", "a", "--method", "gan"), "--method"),
        (("convert", "a", "b", "--seed", "-1"), "--seed needs at least 0, got -1."),
    ],
)
def test_a_wrong_call_is_one_paragraph_and_status_2(arguments, words):
    done = called(*arguments)
    assert done.exit_code == 2
    said = f"{done.output}{done.exception}"
    assert words in said
    assert "Traceback" not in said


OWN_FAMILY = '''
"""Calls everything defective that is brighter than the good images; a family in one file."""
from pathlib import Path
from training.configs import FamilyConfig
from training.registry import Family, Method

class BrightConfig(FamilyConfig):
    """Settings of bright."""
    margin: float = 0.5
    """Brightness above the good images' mean, in shares of it."""

def train_bright(dataset, config, *, name, folds, reporter):
    run = dataset.root / "runs" / name
    run.mkdir(parents=True)
    (run / "config.yaml").write_text("family: bright\\n")
    (run / "bright.txt").write_text(f"{config.margin} {list(folds)}")
    return run

def open_bright(run, fold, *, device):
    raise NotImplementedError

FAMILY = Family(
    name="bright",
    summary="Train a threshold on brightness.",
    methods={"mean": Method("own_bright:BrightConfig", frozenset({"good"}))},
    default_method="mean",
    train="own_bright:train_bright",
    open="own_bright:open_bright",
)
'''


@pytest.fixture
def own_family(tmp_path, monkeypatch):
    """Another package with a family, as it is installed: a module and an entry point."""
    (tmp_path / "own_bright.py").write_text(textwrap.dedent(OWN_FAMILY))
    info = tmp_path / "own_bright-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: own-bright\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[{GROUP}]\nbright = own_bright:FAMILY\n")
    monkeypatch.syspath_prepend(tmp_path)
    importlib.invalidate_caches()
    families.cache_clear()
    yield tmp_path
    families.cache_clear()
    sys.modules.pop("own_bright", None)


def test_a_family_of_another_package_trains_from_the_command_line(own_family):
    assert "bright" in shown("train")
    assert "--margin FLOAT" in shown("train", "bright")
    source = draw_category(own_family / "source", SMALL)
    data = dt.convert(source, own_family / "out", folds=2, find_groups=False, progress=False)
    done = called("train", "bright", data.root, "--margin", "0.25", "--fold", "1", width=300)
    assert done.exit_code == 0, done.exception
    run = data.root / "runs" / "bright"
    assert done.output.strip() == f"The run: {run}"
    assert (run / "bright.txt").read_text() == "0.25 [1]"


def test_an_entry_point_that_is_no_family_is_named(own_family):
    points = own_family / "own_bright-1.0.dist-info" / "entry_points.txt"
    points.write_text(f"[{GROUP}]\nbright = own_bright:BrightConfig\n")
    with pytest.raises(dt.DefectuneError, match=r"'bright' in defectune\.families"):
        families()
    points.write_text(f"[{GROUP}]\nbright = not_there:FAMILY\n")
    with pytest.raises(dt.DefectuneError, match="Mend or remove its package"):
        families()


def test_registering_imports_no_framework(repo_root):
    import subprocess

    code = (
        "from training.registry import families\n"
        "for f in families().values(): f.config_classes()\n"
        "import sys; print(*{'torch', 'ultralytics', 'timm', 'lightning'} & {*sys.modules})"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=repo_root, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == ""


def test_the_families_and_what_they_learn_from():
    assert {name: f.learns_from for name, f in families().items()} == {
        "detect": {"boxes", "masks"},
        "segment": {"masks", "boxes", "image", "good"},
        "classify": {"good", "image"},
    }
    for family in families().values():
        assert callable(family.train_function())
        assert callable(family.open_function())
        for kind in family.config_classes().values():
            assert family_of(kind()) is family
    assert family_named("classify").config_class("knn") is family_named("classify").config_class()


def test_nobody_else_lists_the_families(repo_root: Path):
    listing = re.compile(r"[=!]= \"(detect|segment|classify)\"|\(\"detect\", \"segment\"")
    found = [
        path.relative_to(repo_root).as_posix()
        for folder in ("annotations", "classify", "defectune", "detect", "evaluation", "report",
                       "segment", "training", "deployment")
        for path in sorted((repo_root / folder).rglob("*.py"))
        if listing.search(path.read_text(encoding="utf-8"))
    ]  # fmt: skip
    assert found == ["defectune/library/recipe.py"]


def test_options_that_functions_share_are_parameters_of_each(tmp_path):
    """One definition gives the signature, the help of both, and the defaults."""
    for function in (dt.convert, dt.update):
        parameters = inspect.signature(function).parameters
        assert "reading" not in parameters
        assert parameters["layout"].default == "auto"
        assert parameters["map_class"].default == ()
        assert parameters["merge_distance"].default == 0.0
        text = inspect.getdoc(function)
        assert "\n    map_class: Rename a class of the source; the new name good drops it." in text
        assert "reading:" not in text
        assert text.index("    copy: Copy the images") < text.index("Returns:")
    # As ConvertOptions has them: what is not said is what it would be without the line.
    assert as_options({}) == ConvertOptions()
    for wrong, says in (
        ({"layout": 3}, "convert() takes str as 'layout', got 3 (int)."),
        ({"good": "fine"}, "convert() takes a list of str as 'good'"),
        ({"missing_masks": "guess"}, "'refuse' or 'image-label' as 'missing_masks'"),
        ({"map_class": ["a"]}, "map_class takes OLD=NEW"),
    ):
        with pytest.raises(UsageError) as caught:
            dt.convert(tmp_path, tmp_path / "out", **wrong)
        assert says in str(caught.value)
    with pytest.raises(TypeError, match="unexpected keyword argument 'reading'"):
        dt.convert(tmp_path, tmp_path / "out", reading={})
