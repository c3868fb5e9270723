"""The table: means, intervals, words, and files that nothing breaks."""

import csv
import io
import itertools
import re

import numpy as np
import pytest

from annotations import InputError
from defectune.sweeps.cells import Cell
from defectune.sweeps.files import to_csv, to_latex, to_markdown
from defectune.sweeps.html import to_html
from defectune.sweeps.table import sign_flip_p_value, table_json, tables_of


def cell(dataset, model, seed=0):
    name = f"{dataset}--{model}--{seed}"
    return Cell(name, dataset, model, "classify", {"seed": seed}, 0, seed, "0" * 64, 1, "1")


def results(cells, value_of, metric="image_auroc"):
    return {c.name: {"metrics": {metric: {"value": value_of(c), "n": 9}}} for c in cells}


def many(n, models=("a", "b"), seeds=(0, 1)):
    return [cell(f"d{k}", m, s) for k in range(n) for m in models for s in seeds]


def auroc(one):
    return 0.8 + 0.01 * int(one.dataset[1:]) + (0.05 if one.model == "b" else 0) + 0.02 * one.seed


def test_a_mean_is_over_datasets_and_each_over_its_seeds():
    cells = many(3)
    (table,) = tables_of(cells, results(cells, auroc), ["image_auroc"])
    assert table.models == ("a", "b")
    assert [e.value for e in table.entries[0]] == pytest.approx([0.81, 0.82, 0.83])
    mean = table.means[1]
    assert (mean.value, mean.n) == (pytest.approx(0.87), 3)
    assert (mean.low, mean.high) == pytest.approx((0.86, 0.88))
    assert "no difference can be told from noise" in table.words[-1]
    assert "a (p = 0.25) within noise of it" in table.words[0]


def test_six_datasets_can_tell_a_difference_and_the_order_does_not_matter():
    cells = many(6)
    found = results(cells, auroc)
    (table,) = tables_of(cells, found, ["image_auroc"])
    assert table.words == ("image_auroc: b is best; a (p = 0.031) worse.",)
    shuffled = {name: found[name] for name in sorted(found, reverse=True)}
    assert table_json(tables_of(cells, shuffled, ["image_auroc"])) == table_json([table])


def test_the_lower_escape_rate_is_best():
    cells = many(6)
    (table,) = tables_of(cells, results(cells, auroc, "escape_rate"), ["escape_rate"])
    assert table.words[0].startswith("escape_rate: a is best")


def test_an_unfinished_row_has_no_mean_and_says_how_much_is_done():
    cells = many(2)
    found = results(cells, auroc)
    del found[cells[-1].name]
    (table,) = tables_of(cells, found, ["image_auroc"])
    assert table.means[1].value is None
    assert "1 of 2 datasets are complete" in table.means[1].reason
    assert "(1 of 2)" in to_markdown([table])
    found[cells[0].name] = {"metrics": {}}
    with pytest.raises(InputError, match="holds no image_auroc"):
        tables_of(cells, found, ["image_auroc"])


@pytest.mark.parametrize("n", [2, 5, 8])
def test_the_sign_flip_test_counts_every_pattern(n):
    differences = np.random.default_rng(n).normal(0.5, 1, n)
    sums = [abs(np.dot(signs, differences)) for signs in itertools.product([1, -1], repeat=n)]
    exact = np.mean(np.array(sums) >= abs(differences.sum()) - 1e-12)
    assert sign_flip_p_value(differences) == pytest.approx(exact)


def test_the_sign_flip_test_of_nothing_is_one():
    assert sign_flip_p_value(np.zeros(9)) == sign_flip_p_value(np.array([0.3])) == 1.0


def test_csv_holds_every_number_and_latex_escapes():
    cells = [cell("d_1", m) for m in ("a_b", "c")]
    tables = tables_of(cells, results(cells, lambda _: 1 / 3, "escape_rate"), ["escape_rate"])
    rows = list(csv.DictReader(io.StringIO(to_csv(tables))))
    assert [float(row["d_1"]) for row in rows] == [1 / 3, 1 / 3]
    assert [row["low"] for row in rows] == ["", ""]
    latex = to_latex(tables)
    assert r"a\_b & 33.3 \% & 33.3 \% \\" in latex
    assert latex.count(r"\begin") == latex.count(r"\end") == 2
    assert not re.search(r"(?<!\\)[_%]", latex)


def test_the_page_escapes_everything_and_fetches_nothing():
    cells = [cell("d1", "<script>alert(1)</script>"), cell("d1", "b")]
    tables = tables_of(cells, results(cells, lambda _: 0.5), ["image_auroc"])
    page = to_html(tables, {"x": "<img src=y onerror=z>"}, title="<b>t</b>")
    for bad in ("<script", "<img", "<b>t", "src=y onerror=z>", "http://", "https://"):
        assert bad not in page
    assert "default-src 'none'" in page
    assert "&lt;img src=y" in page
