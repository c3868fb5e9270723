"""Every Python block of the documentation runs, on drawn images; every link leads somewhere."""

import os
import re
import subprocess
import sys
import warnings
from pathlib import Path

import pytest

from converters.synthetic import draw_category
from tests.drawn import SMALL

ROOT = Path(__file__).parents[2]
PAGES = sorted((ROOT / "docs").rglob("*.md"))
BLOCK = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\((?!https?:)([^)#]+)(?:#[^)]*)?\)")
WITH_CODE = [page for page in PAGES if BLOCK.search(page.read_text(encoding="utf-8"))]


@pytest.mark.parametrize("page", WITH_CODE, ids=lambda page: page.stem)
@pytest.mark.filterwarnings("ignore")
def test_the_python_of_a_page_runs(page, tmp_path, monkeypatch, capsys):
    draw_category(tmp_path, SMALL)
    monkeypatch.chdir(tmp_path)
    blocks = BLOCK.findall(page.read_text(encoding="utf-8"))
    names: dict[str, object] = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for number, block in enumerate(blocks):
            exec(compile(block, f"{page.name}, block {number}", "exec"), names)  # noqa: S102
    assert capsys.readouterr().out.strip()


SCRIPTS = [
    (ROOT / "README.md", "file"),
    (ROOT / "docs" / "index.md", "stdin"),
    (ROOT / "docs" / "sweep.md", "file"),
]
# Small sources are read in this process; what is looked at here are the others.
TWO_WORKERS = """
import converters.pool, defectune as dt
converters.pool.MIN_IMAGES_FOR_POOL = 1
converters.pool.usable_cores = lambda: 2
"""


@pytest.mark.parametrize(("page", "how"), SCRIPTS, ids=lambda part: getattr(part, "stem", part))
def test_the_python_of_a_page_is_a_script_without_a_guard(page, how, tmp_path):
    source = draw_category(tmp_path, SMALL)
    text = "".join(BLOCK.findall(page.read_text(encoding="utf-8")))
    assert "__main__" not in text
    if page.name == "README.md":
        # As written, but small: the README shows what one does with a real set.
        source.rename(tmp_path / "bottle")
        (tmp_path / "new.png").write_bytes(
            (tmp_path / "bottle" / "test" / "good" / "000.png").read_bytes()
        )
        for large, small in (
            ("epochs=10", 'epochs=1, weights="none", image_size=64'),
            ('"out")', '"out", folds=2)'),
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


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_link_leads_somewhere(page):
    for target in LINK.findall(page.read_text(encoding="utf-8")):
        assert (page.parent / target).exists(), f"{page.name} links to {target}"


def test_every_page_is_in_the_site():
    listed = re.findall(r"(\S+\.md)", (ROOT / "mkdocs.yml").read_text(encoding="utf-8"))
    assert sorted(listed) == sorted(p.relative_to(ROOT / "docs").as_posix() for p in PAGES)
