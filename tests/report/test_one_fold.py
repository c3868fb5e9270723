"""A report of one fold, as after a first try on a slow machine."""

import json
import re
import shutil

import pytest

import defectune as dt
from annotations import InputError, UsageError
from tests.drawn import drawn_dataset

pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = drawn_dataset(tmp_path_factory.mktemp("drawn"))
    settings = {"method": "patch-memory", "model": "resnet18", "weights": "none", "image_size": 64}
    for name, fold in (("first", 0), ("other", 0), ("second", 1)):
        dt.train(root, "classify", name=name, fold=fold, device="cpu", progress=False, **settings)
    return root


def shown_ids(page):
    text = (page.parent / "data" / "index.js").read_text(encoding="utf-8")
    return json.loads(re.search(r"\((.*)\)", text, re.S)[1])["ids"]


def test_the_fold_that_is_there_is_shown_unasked(root):
    data = dt.load(root) if hasattr(dt, "load") else dt.Run(root / "runs/first").dataset
    page = dt.report(root, ["first", "other"], progress=False)
    assert sorted(shown_ids(page)) == sorted(data.split.folds[0].test)
    assert "fold 0 alone" in page.read_text(encoding="utf-8")


def test_a_fold_that_is_asked_for_is_shown(root):
    page = dt.report(root, "second", fold=1, progress=False)
    data = dt.Run(root / "runs/second").dataset
    assert sorted(shown_ids(page)) == sorted(data.split.folds[1].test)
    with pytest.raises(UsageError, match="no fold 7"):
        dt.report(root, "second", fold=7, progress=False)


def test_runs_of_different_folds_are_told_of_the_option_that_helps(root):
    shutil.rmtree(root / "report", ignore_errors=True)
    with pytest.raises(InputError, match=r"evaluate one fold with .*report both take it"):
        dt.report(root, ["first", "second"], progress=False)


def test_the_acceptance_of_a_run_of_one_fold_is_shown_on_its_page(root):
    made = dt.accept(root, "second", max_escape=0.9, progress=False)
    page = dt.report(root, "second", fold=1, progress=False)
    text = (page.parent / "data" / "index.js").read_text(encoding="utf-8")
    told = json.loads(re.search(r"\((.*)\)", text, re.S)[1])["decisions"][0]
    assert told["text"] == made.decision["claims"][0]["sentence"]
    assert told["link"]
