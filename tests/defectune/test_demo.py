"""The demo's data and settings, and what long commands say before PyTorch is imported."""

import subprocess
import sys

import pytest

import defectune as dt
from annotations import OutputExistsError, UsageError
from converters.synthetic import SyntheticConfig, draw_category
from defectune.cli import app
from defectune.families import choose_config
from tests.line import CliRunner
from training.registry import families


def test_the_demos_data_is_drawn_alone_by_library_and_command(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    source = dt.demo_source("first dataset", seed=3)
    assert source.is_relative_to("first dataset")
    done = CliRunner().invoke(app, ["demo", "--data-only", "by command", "--seed", "3"])
    assert done.exit_code == 0
    assert "Next: defectune convert 'by command' out" in done.output
    drawn = draw_category(tmp_path / "drawn", SyntheticConfig(seed=3))
    files = {p.relative_to(drawn): p.read_bytes() for p in drawn.rglob("*.png")}
    for folder in (source, tmp_path / "by command"):
        assert {p.relative_to(folder): p.read_bytes() for p in folder.rglob("*.png")} == files
    with pytest.raises(OutputExistsError, match="first dataset"):
        dt.demo_source("first dataset")
    with pytest.raises(UsageError, match=r"seed|Seed"):
        dt.demo_source("other", seed=-1)
    (tmp_path / "inside").mkdir()
    monkeypatch.chdir(tmp_path / "inside")
    assert dt.demo_source(".").joinpath("test", "good", "000.png").is_file()


@pytest.mark.parametrize("family", sorted(n for n, f in families().items() if f.demo is not None))
def test_the_demos_settings_are_settings_of_the_family(family):
    demo = families()[family].demo
    config, _ = choose_config(family, recipe=None, model=None, values=demo)
    assert {key: getattr(config, key) for key in demo} == demo


FIRST = """
import sys
import defectune as dt
from defectune.demo import demo

class First:
    def say(self, text):
        print(text, [name for name in ("torch", "ultralytics") if name in sys.modules])
        raise SystemExit

    def track(self, what, total):
        raise AssertionError(what)

{call}
"""


@pytest.mark.parametrize(
    ("call", "words"),
    [
        ("demo('out', progress=First())", "1/6  drawing a category with three kinds of defect"),
        ("dt.bundle('run', 'file.bundle', progress=First())", "Bundling run: opening its models"),
        ("dt.sweep({}, 'out', dry_run=True, progress=First())", "Reading the grid, its datasets"),
    ],
)
def test_long_commands_speak_before_pytorch_is_imported(call, words, tmp_path):
    run = tmp_path / "run"
    run.mkdir()
    (run / "config.yaml").write_text("family: segment\n")
    (run / "predictions").mkdir()
    (run / "predictions/meta.json").write_text("{}")
    done = subprocess.run(
        [sys.executable, "-c", FIRST.format(call=call)],
        cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.stderr == ""
    assert done.stdout.startswith(words)
    assert done.stdout.rstrip().endswith("[]")
