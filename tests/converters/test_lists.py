"""Lists of paths and labels, and images that have two labels."""

import json

import numpy as np
import pytest

from annotations import InputError, LayoutError, load_dataset, write_png
from converters import ConvertOptions, FindOptions, convert
from converters.layouts.lists import NO_SOURCE, TWICE
from converters.several import convert_several
from converters.update_options import UpdateOptions
from converters.updating import update

RNG = np.random.default_rng(11)


def source(root, rows, *, head="path,label", name="list.csv", separator=","):
    root.mkdir(parents=True, exist_ok=True)
    for row in rows:
        path = root / row[0]
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            write_png(path, RNG.integers(0, 255, (24, 24, 3)).astype(np.uint8))
    lines = [head.replace(",", separator), *(separator.join(row) for row in rows)]
    (root / name).write_text("\n".join(lines) + "\n")
    return root


def rows_of(n_good=8, n_bad=4):
    return [(f"a/{n}.png", "ok") for n in range(n_good)] + [
        (f"a/{n}.png", "scratch") for n in range(50, 50 + n_bad)
    ]


def converted(root, **find):
    out = root.parent / "out"
    report = convert(root, out, ConvertOptions(folds=2, find=FindOptions(**find)))
    return load_dataset(out), report


@pytest.mark.parametrize(("name", "separator"), [("l.csv", ","), ("l.tsv", "\t"), ("l.csv", ";")])
def test_a_table_is_a_dataset(tmp_path, name, separator):
    data, report = converted(source(tmp_path / "src", rows_of(), name=name, separator=separator))
    assert report.layout.startswith("list")
    assert data.class_names == ("scratch",)
    assert report.label_strengths == {"image": 4}
    assert data.by_id["a/3"].defect_type == "good"
    assert "the list's labels: ok 8, scratch 4" in report.notes


def test_parts_and_sides_are_taken_and_other_columns_named(tmp_path):
    rows = [
        (path, label, str(n // 2), "train" if n % 4 < 2 else "test", "1.5")
        for n, (path, label) in enumerate(rows_of())
    ]
    head = "Image,Class,part,split,exposure"
    data, report = converted(source(tmp_path / "src", rows, head=head))
    assert data.by_id["a/0"].group == data.by_id["a/1"].group != data.by_id["a/2"].group
    assert data.by_id["a/0"].source_split == "train"
    assert data.by_id["a/2"].source_split == "test"
    assert "columns of the list that are not used: exposure" in report.notes


def test_cameras_are_sources_and_dates_are_kept(tmp_path):
    rows = [
        (path, label, ("top", "side", "")[n % 3], f"2026-03-{n + 1:02d}")
        for n, (path, label) in enumerate(rows_of())
    ]
    data, report = converted(source(tmp_path / "src", rows, head="path,label,Line,date"))
    for n, (path, _, line, day) in enumerate(rows):
        one = data.by_id[path.removesuffix(".png")]
        assert (one.source, one.date) == (line, day), n
    assert report.counts[NO_SOURCE] == 4
    assert not [note for note in report.notes if "not used" in note]


def test_each_camera_can_be_tested_apart(tmp_path):
    rows = [(*row, ("top", "side")[n % 2]) for n, row in enumerate(rows_of())]
    root = source(tmp_path / "src", rows, head="path,label,camera")
    convert(root, tmp_path / "out", ConvertOptions(protocol="leave-one-source-out"))
    data = load_dataset(tmp_path / "out")
    tested = [{data.by_id[i].source for i in fold.test} for fold in data.split.folds]
    assert tested == [{"side"}, {"top"}]


def test_an_update_keeps_cameras_and_dates_of_its_list(tmp_path):
    rows = [(*row, "top", "2026-03-01") for row in rows_of()]
    converted(source(tmp_path / "src", rows, head="path,label,camera,date"))
    more = source(
        tmp_path / "more",
        [("b/1.png", "ok", "side", "2026-03-08"), ("b/2.png", "scratch", "top", "")],
        head="path,label,camera,date",
    )
    update(tmp_path / "out", more, UpdateOptions(convert=ConvertOptions(find_groups=False)))
    now = load_dataset(tmp_path / "out").by_id
    assert (now["b/1"].source, now["b/1"].date) == ("side", "2026-03-08")
    assert (now["b/2"].source, now["b/2"].date) == ("top", "")
    assert (now["a/1"].source, now["a/1"].date) == ("top", "2026-03-01")


def test_several_lists_are_named_by_the_call(tmp_path):
    places = []
    for name in ("one", "two"):
        rows = [(*row, "top", "2026-03-01") for row in rows_of()]
        places.append(source(tmp_path / name, rows, head="path,label,camera,date"))
    convert_several(places, tmp_path / "both", ConvertOptions(folds=2, find_groups=False))
    data = load_dataset(tmp_path / "both")
    assert {s.source for s in data.samples} == {"one", "two"}
    assert {s.date for s in data.samples} == {"2026-03-01"}


def test_a_json_list(tmp_path):
    root = source(tmp_path / "src", rows_of())
    (root / "list.csv").unlink()
    entries = [{"file": path, "verdict": label} for path, label in rows_of()]
    (root / "labels.json").write_text(json.dumps(entries))
    data, _ = converted(root)
    assert sum(s.is_defective for s in data.samples) == 4


def test_missing_files_are_counted_and_named(tmp_path):
    root = source(tmp_path / "src", rows_of())
    (root / "a/3.png").unlink()
    (root / "a/51.png").unlink()
    with pytest.raises(InputError, match=r"names 2 files that are not in .*row 5: 'a/3.png'"):
        converted(root)


def test_two_labels_of_one_image(tmp_path):
    rows = [*rows_of(), ("a/1.png", "ok")]
    _, report = converted(source(tmp_path / "src", rows))
    assert report.counts[TWICE] == 1
    rows.append(("a/1.png", "scratch"))
    with pytest.raises(InputError, match=r"has the label 'scratch', and 'ok' in .*row 3"):
        converted(source(tmp_path / "two" / "src", rows))


@pytest.mark.parametrize(
    ("row", "says"),
    [(("a/1.png", ""), "a path and a label"), (("", "ok"), "a path and a label")],
)
def test_a_row_without_path_or_label(tmp_path, row, says):
    root = source(tmp_path / "src", rows_of())
    with (root / "list.csv").open("a") as file:
        file.write(",".join(row) + "\n")
    with pytest.raises(InputError, match=says):
        converted(root)


def test_numbers_need_the_good_one_named(tmp_path):
    rows = [(path, "0" if label == "ok" else "1") for path, label in rows_of()]
    root = source(tmp_path / "src", rows)
    with pytest.raises(InputError, match=r"--good LABEL"):
        converted(root)
    data, _ = converted(root, good=("0",))
    assert data.class_names == ("1",)


def test_without_a_list_a_sheet_is_named(tmp_path):
    root = source(tmp_path / "src", rows_of())
    (root / "list.csv").rename(root / "list.xlsx")
    with pytest.raises(LayoutError, match=r"Save list\.xlsx as CSV"):
        convert(root, tmp_path / "out", ConvertOptions(layout="list"))


@pytest.mark.parametrize("where", ["OK", "NG"])
def test_one_file_in_ok_and_ng_is_refused(tmp_path, where):
    root = tmp_path / "src"
    for folder, n in (("OK", 8), ("NG", 4)):
        for number in range(n):
            path = root / folder / f"{folder}{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            write_png(path, RNG.integers(0, 255, (24, 24, 3)).astype(np.uint8))
    other = "NG" if where == "OK" else "OK"
    data = (root / other / f"{other}1.png").read_bytes()
    (root / where / "copy.png").write_bytes(data)
    with pytest.raises(InputError, match=r"1 images are good and defective at once.*copy\.png"):
        converted(root)
