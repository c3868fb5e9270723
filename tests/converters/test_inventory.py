"""Paths as other machines write them, found inside the source and nowhere else."""

import urllib.parse
from collections import Counter

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from annotations import InputError, LayoutError
from converters.inventory import BY_NAME, BY_TAIL, SourceFiles, open_source

FILES = ["images/a.png", "images/sub/b c.png", "images/train/ä.png", "labels/a.txt"]

SPELLINGS = {
    "as it is": lambda path: path,
    "dot": lambda path: f"./{path}",
    "backslashes": lambda path: path.replace("/", "\\"),
    "drive": lambda path: "D:\\line 3\\" + path.replace("/", "\\"),
    "absolute": lambda path: f"/home/anna/data/{path}",
    "file url": lambda path: f"file:///home/anna/{path}",
    "file url of a drive": lambda path: f"file:///C:/data/{path}",
    "quoted": urllib.parse.quote,
    "quoted url": lambda path: "file:///data/" + urllib.parse.quote(path),
    "web": lambda path: f"https://tool.example/data/{path}",
    "local files": lambda path: f"/data/local-files/?d=job/{urllib.parse.quote(path)}",
    "up and down": lambda path: f"../{path}",
    "other case": lambda path: path.swapcase(),
    "name alone": lambda path: path.rsplit("/", 1)[-1],
}


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    root = tmp_path_factory.mktemp("source")
    for name in FILES:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"x")
    (root.parent / "secret.png").write_bytes(b"secret")
    return SourceFiles(root)


@pytest.mark.parametrize("path", FILES)
@pytest.mark.parametrize("spelling", SPELLINGS, ids=str)
def test_every_spelling_of_a_path_is_found(files, path, spelling):
    counts: Counter[str] = Counter()
    text = SPELLINGS[spelling](path)
    found = files.resolve(text, named_by=files.root / "l.json", bases=[files.root], counts=counts)
    assert found == files.root / path
    if spelling in ("drive", "absolute", "web"):
        assert counts == {BY_TAIL: 1}
    if spelling == "name alone":
        assert counts == {BY_NAME: 1}


@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.text(st.sampled_from("ab./\\:%~ \x00äA1"), max_size=30))
def test_nothing_outside_is_ever_found(files, text):
    try:
        found = files.resolve(text, named_by=files.root, bases=[files.root], counts=Counter())
    except InputError:
        found = None
    assert found is None or found in files.files
    folder = files.folder_at(text, bases=[files.root])
    assert folder is None or folder.is_relative_to(files.root)


@pytest.mark.parametrize("text", ["../secret.png", "/etc/passwd", "..\\..\\secret.png", "x" * 5000])
def test_what_lies_outside_is_refused(files, text):
    with pytest.raises(InputError):
        files.resolve(text, named_by=files.root, bases=[files.root], counts=Counter())


def test_two_files_of_one_name_are_not_guessed_between(tmp_path):
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "a.png").write_bytes(b"")
    with pytest.raises(InputError, match="2 files have that name"):
        SourceFiles(tmp_path).resolve(
            "three/a.png", named_by=tmp_path, bases=[tmp_path], counts=Counter()
        )


@pytest.mark.parametrize(
    ("image", "label"),
    [
        ("images/a.jpg", "labels/a.txt"),
        ("images/train/a.jpg", "labels/train/a.txt"),
        ("train/images/a.jpg", "train/labels/a.txt"),
        ("IMAGES/a.jpg", "ANNOTATIONS/a.txt"),
        ("img/a.jpg", "label/a.txt"),
        ("obj_train_data/a.jpg", "obj_train_data/a.txt"),
        ("images/default/a.jpg", "labels/a.txt"),
        ("a.jpg", "a.txt"),
        ("a.jpg", "A.txt"),
        ("ds0/img/a.jpg", "ds0/ann/a.jpg.txt"),
        ("JPEGImages/dent/a.jpg", "Annotations/a.txt"),
    ],
)
def test_labels_are_paired_whatever_the_folders_are_called(tmp_path, image, label):
    files = SourceFiles(tmp_path)
    pairs, without = files.pair([tmp_path / image, tmp_path / "b.jpg"], [tmp_path / label])
    assert pairs == {tmp_path / image: tmp_path / label}
    assert without == []


def test_two_labels_of_one_image_are_refused(tmp_path):
    with pytest.raises(InputError, match="both labels of"):
        SourceFiles(tmp_path).pair(
            [tmp_path / "images/a.jpg"], [tmp_path / "labels/a.txt", tmp_path / "annotations/a.txt"]
        )


@pytest.mark.parametrize(
    ("name", "message"), [("line.mp4", "is a video"), ("a.png", "is an image")]
)
def test_what_is_no_dataset_is_named(tmp_path, name, message):
    (tmp_path / name).write_bytes(b"x")
    with pytest.raises(LayoutError, match=message):
        open_source(tmp_path / name)
