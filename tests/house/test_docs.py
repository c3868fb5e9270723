"""Everything that the documentation prints runs, on drawn images; every link leads somewhere."""

import os
import re
import shutil
import subprocess
import sys
import warnings
from dataclasses import replace
from pathlib import Path

import pytest

from converters.synthetic import draw_category
from defectune.cli import app
from tests.drawn import SMALL
from tests.house.printed import NOT_RUN, PAGES, ROOT, blocks_of, split_command, why_not_run
from tests.line import CliRunner

README = ROOT / "README.md"
LINK = re.compile(r"\]\((?!https?:)([^)#]+)(?:#[^)]*)?\)")
WITH_CODE = [page for page in (README, *PAGES) if any(blocks_of(page))]
# As printed, but small: what is asked for less of, so that a page takes seconds.
FEWER = {
    "epochs": 1, "image_size": 64, "views": 1, "heads": 1, "smote_epochs": 1,
    "fewest_images": 8, "cached_views": 1,
}  # fmt: skip
SMALL_GRID = """
datasets: [{dataset}]
runs: [{{family: classify, method: patch-memory, model: resnet18, weights: none, image_size: 64}}]
folds: [0]
seeds: [0]
metrics: [image_auroc]
"""


@pytest.fixture
def small_trainings(monkeypatch):
    """Every training takes one short epoch, and five folds are two; calls stay as printed."""
    import defectune.library.conversion
    import training.configs

    build = training.configs.build_config

    def build_smaller(*arguments, **keywords):
        config = build(*arguments, **keywords)
        known = type(config).model_fields
        return config.model_copy(update={k: v for k, v in FEWER.items() if k in known})

    monkeypatch.setattr(training.configs, "build_config", build_smaller)
    monkeypatch.setattr(defectune.library.conversion, "DEFAULT_FOLDS", 2)
    monkeypatch.setattr("converters.synthetic.SyntheticConfig", lambda **_: SMALL)


def prepare(folder: Path) -> None:
    """What a reader of the pages has: a source under each of its printed names, and new images."""
    source = draw_category(folder, SMALL)
    for name in ("photos", "bottle"):
        shutil.copytree(source, folder / name)
    for name in ("new", "incoming", "camera"):
        shutil.copytree(source / "test" / "good", folder / name)
    shutil.copy(source / "test" / "good" / "000.png", folder / "new.png")
    draw_category(folder / "later", replace(SMALL, seed=1)).rename(folder / "week-2")
    unlabelled = draw_category(folder / "third", replace(SMALL, seed=2)) / "test"
    unlabelled.rename(folder / "week-3")
    (folder / "blurred.txt").write_text("broken_large/000\n", encoding="utf-8")
    parts = folder / "parts"
    shutil.copytree(source, parts)
    for path in sorted(parts.rglob("*.png")):
        kind = path.parent.name if path.parts[-3] != "train" else "train"
        path.rename(path.with_name(f"{kind}_part_{path.stem}.png"))
    shutil.make_archive(str(folder / "photos"), "zip", parts)
    shutil.rmtree(parts)


def run_command(line: str, page: Path) -> None:
    if page.name == "commands.md":
        # No session, but examples: none has to do with the results of another.
        for name in ("verdicts", "overlays", "swept"):
            shutil.rmtree(name, ignore_errors=True)
        if " bundle data" in line:
            Path("detect.bundle").unlink(missing_ok=True)
        elif "detect.bundle" in line and not Path("detect.bundle").exists():
            run_command("defectune bundle data/bottle/detect detect.bundle", page)
        if " sweep " in line:
            Path("grid.yaml").write_text(SMALL_GRID.format(dataset="data/bottle"))
    elif " sweep " in line and "--dry-run" not in line:
        # Its workers are fresh processes, in which no training is made small.
        Path("grid.yaml").write_text(SMALL_GRID.format(dataset="out"))
    feeder, environment, arguments = split_command(line)
    fed = subprocess.run(["sh", "-c", feeder or "true"], capture_output=True, text=True, check=True)
    done = CliRunner().invoke(app, arguments, input=fed.stdout, env=environment)
    assert done.exit_code == 0, f"{line}\n{done.output}{done.exception or ''}"


@pytest.mark.parametrize("page", WITH_CODE, ids=lambda page: page.stem)
@pytest.mark.filterwarnings("ignore")
def test_what_a_page_prints_runs(page, tmp_path, monkeypatch, capsys, small_trainings):
    prepare(tmp_path)
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for number, block in enumerate(blocks_of(page)):
            if block.kind == "python":
                exec(compile(block.text, f"{page.name}, block {number}", "exec"), names)  # noqa: S102
            elif block.kind == "file":
                Path(block.name).write_text(block.text, encoding="utf-8")
            elif not why_not_run(block.text):
                run_command(block.text, page)


def test_what_is_not_run_is_printed_somewhere():
    printed = [block.text + "\n" for page in WITH_CODE for block in blocks_of(page)]
    assert [part for part in NOT_RUN if not any(part in text for text in printed)] == []
    elsewhere = re.findall(r"tests/\S+\.py", " ".join(NOT_RUN.values()))
    assert [name for name in elsewhere if not (ROOT / name).is_file()] == []


SCRIPTS = [
    (README, "file"),
    (ROOT / "docs" / "index.md", "stdin"),
    (ROOT / "docs" / "sweep.md", "file"),
]
# Small sources are read in this process; what is looked at here are the others.
TWO_WORKERS = """
import converters.pool, defectune as dt
converters.pool.MIN_IMAGES_FOR_POOL = 1
converters.pool.usable_cores = lambda: 2
"""


# Options of uv, Ray and MLflow, of every command, and the end of a cell's name.
NOT_OURS = {"--frozen", "--extra", "--head", "--backend-store-uri", "--help", "--seed-0"}
GENERATED = ROOT / "docs" / "commands.md"


@pytest.mark.parametrize("page", sorted({README, *PAGES} - {GENERATED}), ids=lambda page: page.stem)
def test_every_option_that_a_page_names_exists(page):
    commands = GENERATED.read_text(encoding="utf-8")
    named = set(re.findall(r"(?<![\w-])(--[a-z][\w-]+)", page.read_text(encoding="utf-8")))
    assert named - set(re.findall(r"`(--[a-z][\w-]*)", commands)) <= NOT_OURS


@pytest.mark.parametrize(("page", "how"), SCRIPTS, ids=lambda part: getattr(part, "stem", part))
def test_the_python_of_a_page_is_a_script_without_a_guard(page, how, tmp_path):
    prepare(tmp_path)
    text = "".join(b.text for b in blocks_of(page) if b.kind == "python")
    assert "__main__" not in text
    if page.name == "README.md":
        # As written, but small: the README shows what one does with a real set.
        for large, small in (
            ("epochs=10", 'epochs=1, weights="none", image_size=64'),
            ('"data")', '"data", folds=2)'),
        ):
            assert large in text
            text = text.replace(large, small)
    text = text.replace(", dry_run=True", ", workers=1")
    (tmp_path / "script.py").write_text(TWO_WORKERS + text + "\nprint('to the end')\n")
    done = subprocess.run(
        [sys.executable, "script.py"] if how == "file" else [sys.executable, "-"],
        cwd=tmp_path,
        input=(tmp_path / "script.py").read_text() if how == "stdin" else None,
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("to the end") == 1


@pytest.mark.parametrize("page", [README, *PAGES], ids=lambda page: page.stem)
def test_every_link_leads_somewhere(page):
    for target in LINK.findall(page.read_text(encoding="utf-8")):
        assert (page.parent / target).exists(), f"{page.name} links to {target}"
        if page != README:
            # Nothing outside of docs/ is in the site.
            assert (page.parent / target).resolve().is_relative_to(ROOT / "docs"), target


def test_every_page_is_in_the_site():
    listed = re.findall(r"(\S+\.md)", (ROOT / "mkdocs.yml").read_text(encoding="utf-8"))
    assert sorted(listed) == sorted(p.relative_to(ROOT / "docs").as_posix() for p in PAGES)
