"""The public library: its names and signatures, its examples, and what it says of bad input."""

import ast
import doctest
import importlib
import inspect
import subprocess
import sys
import textwrap
import time
import warnings
from pathlib import Path

import cv2
import numpy as np
import pytest

import defectune as dt
from annotations import ImageReadError, InputError, SplitMismatchError, UsageError
from converters.synthetic import SyntheticConfig, draw_category

SIGNATURES = Path(__file__).with_name("signatures.txt")
SMALL = SyntheticConfig(n_train_good=6, n_test_good=4, n_per_type=4, image_hw=(64, 64))
TRAIN = {"model": "resnet18", "weights": "none", "image_size": 64, "device": "cpu"}


def signature(function) -> str:
    """As it is written; what Python makes of annotations differs between its versions."""
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(inspect.unwrap(function))))
    except OSError:  # made by dataclass()
        plain = inspect.signature(function)
        bare = [p.replace(annotation=p.empty) for p in plain.parameters.values()]
        return str(plain.replace(parameters=bare, return_annotation=plain.empty))
    (node,) = tree.body
    assert isinstance(node, ast.FunctionDef)
    returned = "" if node.returns is None else f" -> {ast.unparse(node.returns)}"
    return f"({ast.unparse(node.args)}){returned}"


def public_signatures() -> str:
    lines = []
    for name in dt.__all__:
        value = getattr(dt, name)
        if inspect.isfunction(value):
            lines.append(f"{name}{signature(value)}")
            own = inspect.signature(inspect.unwrap(value)).parameters
            shared = inspect.signature(value).parameters.values()
            lines += [f"    {p.name}={p.default!r}" for p in shared if p.name not in own]
        elif name in ("Run", "Verdict", "Regions", "Leaderboard", "Sample", "Dataset"):
            lines.append(name)
            # What is inherited is offered too.
            parts = {k: v for kind in reversed(value.__mro__[:-1]) for k, v in vars(kind).items()}
            for key, part in sorted(parts.items()):
                if key.startswith("_") and key not in ("__init__", "__getitem__"):
                    continue
                if inspect.isfunction(part):
                    lines.append(f"    {key}{signature(part)}")
                else:
                    lines.append(f"    {key}")
        else:
            lines.append(name)
    return "\n".join(lines) + "\n"


def test_public_names_and_signatures_are_as_stored() -> None:
    # Changed on purpose? Write public_signatures() to the file, and say so in the changelog.
    assert public_signatures() == SIGNATURES.read_text(encoding="utf-8")


def test_dir_names_all_and_an_unknown_name_is_an_attribute_error() -> None:
    assert set(dt.__all__) <= set(dir(dt))
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        dt.nothing  # noqa: B018


def test_import_is_quick_and_without_torch(tmp_path) -> None:
    heavy = "('torch', 'numpy', 'cv2', 'rich', 'pydantic', 'scipy')"
    code = f"import defectune, sys; print([n for n in {heavy} if n in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=tmp_path
    )
    assert done.stdout.strip() == "[]"


def test_datasets_are_read_and_evaluated_without_torch(world) -> None:
    code = "import sys, defectune as dt; dt.load('out'); dt.check; print('torch' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=world
    )
    assert done.stdout == "False\n"


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """A folder in which the package's own example has run."""
    folder = tmp_path_factory.mktemp("world")
    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
        patch.chdir(folder)
        warnings.simplefilter("ignore")
        finder, runner = doctest.DocTestFinder(recurse=False), doctest.DocTestRunner()
        (example,) = finder.find(dt, "defectune")
        output: list[str] = []
        runner.run(example, out=output.append)
    assert not output, "".join(output)
    assert runner.summarize(verbose=False).attempted > 8
    return folder


@pytest.fixture
def there(world, monkeypatch):
    monkeypatch.chdir(world)
    return world


PUBLIC = [name for name in dt.__all__ if name != "__version__"]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", PUBLIC)
def test_examples_of_public_names_run(name, there) -> None:
    value = getattr(dt, name)
    source = inspect.getdoc(value) or ""
    example = doctest.DocTestParser().get_doctest(source, {}, f"defectune.{name}", None, 0)
    assert example.examples, f"{name} has no example"
    output: list[str] = []
    doctest.DocTestRunner().run(example, out=output.append)
    assert not output, "".join(output)


@pytest.mark.filterwarnings("ignore")
def test_a_run_predicts_a_path_as_an_array_and_as_predict_does(there) -> None:
    run = dt.Run("out/runs/quick")
    path = there / "drawn/drawn_bottle/test/broken_large/001.png"
    by_path = run.predict(path, device="cpu")
    array = cv2.cvtColor(cv2.imread(str(path)), cv2.COLOR_BGR2RGB)
    by_array = run.predict(array, device="cpu")
    assert by_path.name == "001.png"
    assert by_array.name == "array"
    assert (by_path.score, by_path.defective) == (by_array.score, by_array.defective)
    assert np.array_equal(by_path.heat_map, by_array.heat_map)
    done = dt.predict(run, path, "one-image", device="cpu", progress=False)
    assert [float(row["image_score"]) for row in done.rows] == [by_path.score]
    assert done.table.is_file()
    assert run.predict(path, device="cpu", threshold=1.0).defective is False


@pytest.mark.filterwarnings("ignore")
def test_all_show_themselves_in_one_line_and_in_a_notebook(there) -> None:
    data, run = dt.load("out"), dt.Run("out/runs/quick")
    board = dt.evaluate(data, run, progress=False)
    verdict = run.predict(np.zeros((64, 64, 3), np.uint8), device="cpu")
    sample = data.samples[0]
    for one in (data, run, board, verdict, sample, data.truths["broken_large/000"]):
        assert "\n" not in repr(one)
        assert len(repr(one)) < 150
    for one in (data, run, board):
        html = one._repr_html_()
        assert "<table>" in html
        assert html.count("<tr>") == html.count("</tr>")
    for one, hw in ((sample, (64, 64)), (verdict, verdict.draw().shape[:2])):
        picture = cv2.imdecode(np.frombuffer(one._repr_png_(), np.uint8), cv2.IMREAD_COLOR)
        assert picture.shape[:2] == hw


def test_html_is_escaped(there) -> None:
    from dataclasses import replace

    board = dt.evaluate("out", progress=False)
    named = replace(board, rows=(replace(board.rows[0], run="<b>run"),))
    assert "<b>" not in named._repr_html_()
    assert "&lt;b&gt;run" in named._repr_html_()


def test_to_pandas(there, monkeypatch) -> None:
    board = dt.evaluate("out", progress=False)
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(UsageError, match="pip install pandas"):
        board.to_pandas()
    monkeypatch.undo()
    pandas = pytest.importorskip("pandas")
    table = board.to_pandas()
    assert isinstance(table, pandas.DataFrame)
    metric = board.rows[0].metrics["image_auroc"]
    assert table.loc["quick", "image_auroc"] == metric.value
    assert table.loc["quick", "image_auroc_low"] == metric.low


class Recorder:
    def __init__(self) -> None:
        self.lines: list[str] = []

    def say(self, text: str) -> None:
        self.lines.append(text)

    def track(self, what: str, total: int):
        self.lines.append(f"{what} {total}")
        return lambda _note: None


def test_progress_is_silent_or_ones_own(there, capfd) -> None:
    dt.evaluate("out", progress=False)
    assert capfd.readouterr() == ("", "")
    recorder = Recorder()
    dt.evaluate("out", "quick", progress=recorder)
    assert recorder.lines == ["evaluating quick on 16 images"]


def test_without_a_terminal_a_line_comes_at_the_end_and_now_and_then(capfd) -> None:
    from defectune.library.progress import BarReporter

    with BarReporter() as reporter:
        advance = reporter.track("work", 50)
        for _ in range(50):
            advance("")
    assert capfd.readouterr().err == "work: 50/50\n"
    with BarReporter(seconds_between_lines=0.02) as reporter:
        advance = reporter.track("[work]", 2)
        time.sleep(0.05)
        advance("half")
        advance("")
    assert capfd.readouterr().err == "[work]: 1/2  half\n[work]: 2/2\n"


def floats(there):
    return dt.Run("out/runs/quick").predict(np.zeros((8, 8, 3), np.float32))


WRONG = {
    "a number for a folder": (lambda _: dt.load(3), UsageError, ["str", "3 (int)"]),
    "no dataset": (lambda _: dt.load("drawn"), InputError, ["is not a converted dataset"]),
    "nothing there": (lambda _: dt.evaluate("no"), InputError, ["is not a converted dataset"]),
    "an empty path": (lambda _: dt.load(" "), UsageError, ["should be a path"]),
    "a byte of zero": (lambda _: dt.load("a\0b"), UsageError, ["should be a path"]),
    "a family that is none": (
        lambda _: dt.train("out", "yolo"), UsageError, ["Did you mean detect?", "'yolo'"],
    ),
    "epochs in words": (
        lambda _: dt.train("out", "segment", epochs="ten"), UsageError,
        ["int or None as 'epochs'", "'ten' (str)"],
    ),
    "epochs as truth": (
        lambda _: dt.train("out", "segment", epochs=True), UsageError, ["True (bool)"],
    ),
    "an unknown setting": (
        lambda _: dt.train("out", "segment", epoch=3), UsageError, ["Did you mean epochs"],
    ),
    "a setting beside a configuration": (
        lambda _: dt.train("out", dt.ClassifyConfig(), epochs=3), UsageError, ["epochs"],
    ),
    "no run": (lambda _: dt.Run("out/nobody"), InputError, ["finished runs in out: quick"]),
    "an unknown run": (lambda _: dt.evaluate("out", "nobody"), InputError, ["nobody", "quick"]),
    "a fold that is none": (lambda _: dt.evaluate("out", fold=9), UsageError, ["no fold 9"]),
    "both thresholds": (
        lambda _: dt.Run("out/quick").predict("x", threshold=0.5, operating_point=True),
        UsageError, ["not both"],
    ),
    "no image": (
        lambda _: dt.Run("out/quick").predict("gone.png"), ImageReadError, ["gone.png"],
    ),
    "a list for an image": (
        lambda _: dt.Run("out/quick").predict([1, 2]), UsageError, ["a uint8 array", "got list"],
    ),
    "floats": (floats, UsageError, ["uint8", "float32 (8, 8, 3)", "by 255"]),
    "four channels": (
        lambda _: dt.Run("out/quick").predict(np.zeros((8, 8, 4), np.uint8)), UsageError,
        ["(H, W, 3)", "(8, 8, 4)", "alpha"],
    ),
    "an empty array": (
        lambda _: dt.Run("out/quick").predict(np.zeros((0, 8, 3), np.uint8)), UsageError,
        ["(0, 8, 3)"],
    ),
    "progress in words": (lambda _: dt.check("out", progress="no"), UsageError, ["say and track"]),
    "a format that is none": (lambda _: dt.export("out", "x", "gif"), UsageError, ["gif", "coco"]),
    "folds in words": (
        lambda _: dt.convert("drawn", "y", folds="2"), UsageError, ["'folds'", "'2' (str)"],
    ),
    "one text for several": (
        lambda _: dt.convert("drawn", "y", good="ok"), UsageError, ["a list of str as 'good'"],
    ),
    "an output that holds something": (
        lambda _: dt.convert("drawn/drawn_bottle", "out"), dt.DefectuneError, ["out"],
    ),
}  # fmt: skip


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("case", WRONG)
def test_bad_input_is_one_paragraph(case, there) -> None:
    call, kind, words = WRONG[case]
    with pytest.raises(kind) as caught:
        call(there)
    text = str(caught.value)
    assert "\n" not in text
    for word in words:
        assert word in text


@pytest.mark.filterwarnings("ignore")
def test_a_run_of_another_split(there) -> None:
    other = dt.convert("drawn/drawn_bottle", "other", folds=2, seed=1, progress=False)
    with pytest.raises(SplitMismatchError, match="Train again on this dataset"):
        dt.evaluate(other, dt.Run("out/quick"), progress=False)
    with pytest.raises(SplitMismatchError):
        dt.report(other, dt.Run("out/quick"), progress=False)


def test_the_library_never_leaves_the_process(there, monkeypatch) -> None:
    def leave(*_a, **_k):
        raise SystemExit(3)

    monkeypatch.setattr("defectune.families.train_family", leave)
    with pytest.raises(dt.DefectuneError, match="left early, with the status 3"):
        dt.train("out", "classify", progress=False)

    def interrupted(*_a, **_k):
        try:
            raise KeyboardInterrupt
        except KeyboardInterrupt:
            raise SystemExit(1)  # noqa: B904

    monkeypatch.setattr("defectune.families.train_family", interrupted)
    with pytest.raises(KeyboardInterrupt):
        dt.train("out", "classify", progress=False)


def test_draw_category_takes_text(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert draw_category("here", SMALL) == Path("here/drawn_bottle")
    assert importlib.import_module("defectune").__version__ == dt.__version__
