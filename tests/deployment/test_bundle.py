"""A bundle of every family says what its run says, without torch, and refuses what is no bundle."""

import json
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest

import defectune as dt
from annotations import InputError, UsageError, load_dataset
from annotations.files import write_bytes_atomic
from classify import train_classifier
from defectune.cli import app
from defectune.library.refitting import without_test_side
from defectune.runs import operating_threshold
from deployment import open_bundle
from deployment.archive import MANIFEST, pack_array, unpack_array, write_archive
from detect import DetectConfig, train_detector
from segment import HybridConfig, SegmentConfig, train_segmenter
from tests.drawn import classify_config, drawn_dataset
from tests.line import CliRunner
from training import SilentReporter

_CLASSIFY = {
    "weights": "none", "model": "test_resnet", "image_size": 64, "epochs": 1, "device": "cpu",
    "memory_size": 50,
}  # fmt: skip
_SEGMENT = {"weights": "none", "epochs": 1, "batch_size": 4, "device": "cpu"}
METHODS = ("pretrained", "knn", "patch-memory", "finetuned", "supervised", "autoencoder", "gan")
RUNS = {
    **{m: (train_classifier, classify_config(m, **_CLASSIFY)) for m in METHODS},
    "unet": (
        train_segmenter,
        SegmentConfig(encoder="tu-test_resnet", image_size=32, views=2, **_SEGMENT),
    ),
    "unet-tiles": (
        train_segmenter,
        SegmentConfig(encoder="tu-test_resnet", image_size=32, views=1, tiles=2, **_SEGMENT),
    ),
    "hybrid": (
        train_segmenter,
        HybridConfig(encoder="resnet18", image_size=64, views=4, **_SEGMENT),
    ),
    "detect": (train_detector, DetectConfig(image_size=64, views=2, tiles=2, **_SEGMENT)),
}


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return drawn_dataset(tmp_path_factory.mktemp("drawn"))


@pytest.fixture(scope="module")
def memory(root):
    """A patch-memory run of both folds, and its bundle."""
    train, config = RUNS["patch-memory"]
    run = train(load_dataset(root), config, name="pm", folds=[0, 1], reporter=SilentReporter())
    dt.bundle(run, root / "pm.bundle", progress=False)
    return root / "pm.bundle"


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", RUNS)
def test_a_bundle_says_what_its_run_says(root, name):
    train, config = RUNS[name]
    run = train(load_dataset(root), config, name=name, folds=[0], reporter=SilentReporter())
    made = dt.bundle(run, root / f"{name}.bundle", progress=False)
    found = dt.check_bundle(made.path, root, progress=False)
    assert len(found.images) == len(load_dataset(root).split.folds[0].test)
    assert not found.flips
    assert found.largest_score_difference <= 1e-4
    assert (found.lost, found.won) == (0, 0)
    assert (found.largest_map_difference or 0) <= 1e-3
    if name not in ("patch-memory", "unet-tiles", "detect"):
        return  # OpenVINO takes seconds for each graph
    pytest.importorskip("openvino")
    made = dt.bundle(run, root / f"{name}-ov.bundle", format="openvino", progress=False)
    assert open_bundle(made.path).document["engine"] == "openvino"
    found = dt.check_bundle(made.path, root, progress=False)
    # One epoch leaves a detector's scores all alike: the threshold lies a margin away from them.
    assert not found.flips
    assert found.largest_score_difference <= 1e-3


def test_an_operating_point_goes_into_the_bundle(root, memory, tmp_path):
    # Of its own, since a card holds what the leaderboard says.
    own = tmp_path / "own"
    shutil.copytree(root, own, symlinks=True)
    with pytest.raises(InputError, match="no operating point"):
        dt.bundle(own / "pm", tmp_path / "x", operating_point=True, progress=False)
    dt.evaluate(own, own / "pm", max_overkill=0.2, progress=False)
    made = dt.bundle(own / "pm", tmp_path / "p.bundle", operating_point=True, progress=False)
    opened = open_bundle(made.path)
    run = dt.Run(own / "pm")
    assert opened.threshold == operating_threshold(run.path, 0)
    assert opened.chosen_by.startswith("evaluate's operating point")
    assert opened.threshold != open_bundle(memory).threshold
    with pytest.raises(UsageError, match="one fold's model"):
        dt.bundle(
            own / "pm", tmp_path / "y", models="ensemble", operating_point=True, progress=False
        )


def test_an_unknown_format_is_refused(root, memory, tmp_path):
    with pytest.raises(UsageError, match="format takes onnx or openvino, got 'tensorrt'"):
        dt.bundle(root / "pm", tmp_path / "x", format="tensorrt", progress=False)


def test_an_ensemble_is_the_mean_of_calibrated_scores(root, memory):
    path = root / "ensemble.bundle"
    dt.bundle(root / "pm", path, models="ensemble", progress=False)
    both = open_bundle(path)
    assert both.folds == (0, 1)
    image = np.random.default_rng(0).integers(0, 255, (50, 70, 3), np.uint8)
    scores = [
        member.thresholds.calibrate(member.scorer.predict("", image).image_score)
        for member in both.members
    ]
    verdict = both.predict(image)
    assert verdict.score == pytest.approx(np.mean(scores))
    assert verdict.heat_map.shape == (50, 70)
    found = dt.check_bundle(path, root, progress=False)
    assert not found.flips
    assert len(found.images) == sum(len(f.test) for f in load_dataset(root).split.folds)
    assert "no stored counterpart" in found.note


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", ["supervised", "unet", "detect"])
def test_a_refitted_model_learns_from_the_test_images_too(root, name):
    train, config = RUNS[name]
    dataset = load_dataset(root)
    run = train(dataset, config, name=f"{name}-r", folds=[0], reporter=SilentReporter())
    path = root / f"{name}-refit.bundle"
    dt.bundle(run, path, models="refit", progress=False)
    bundle = open_bundle(path)
    assert bundle.refitted
    assert "Trained again on all images" in bundle.card
    assert bundle.document["split_digest"] == dataset.split.digest
    made = run / "refit" / "runs" / "refit"
    fold = without_test_side(dataset, run / "refit").split.folds[0]
    first = dataset.split.folds[0]
    assert set(fold.train) == {*first.train, *first.test}
    assert (fold.val, fold.test) == (first.val, ())
    written = {p: p.stat().st_mtime_ns for p in made.rglob("*") if p.is_file()}
    # Made again, the bundle takes the training that is there.
    dt.bundle(run, root / f"{name}-refit-2.bundle", models="refit", progress=False)
    assert {p: p.stat().st_mtime_ns for p in made.rglob("*") if p.is_file()} == written
    found = dt.check_bundle(path, root, progress=False)
    # One epoch leaves a detector's scores all alike: the threshold lies a margin away from them.
    assert not found.flips
    assert len(found.images) == len(dataset.split.test_ids)
    assert found.largest_score_difference <= 1e-4
    assert "learned from them" in found.note


def test_a_refit_knows_its_split_and_asks_for_its_training(root, memory, tmp_path):
    path = tmp_path / "refit.bundle"
    said = []
    reporter = SilentReporter()
    reporter.say = said.append
    made = dt.bundle(root / "pm", path, models="refit", progress=reporter)
    assert made.refitted
    assert any("--models first is the same model" in line for line in said)
    first, again = open_bundle(memory).members[0], open_bundle(path).members[0]
    np.testing.assert_array_equal(
        first.scorer.arrays()["patches"], again.scorer.arrays()["patches"]
    )
    with pytest.raises(UsageError, match="holds a refitted model"):
        dt.predict(path, [root / "yolo" / "images"], tmp_path / "x", fold=0, progress=False)
    (root / "runs" / "pm" / "refit").rename(root / "runs" / "pm" / "gone")
    with pytest.raises(InputError, match="nothing to compare with"):
        dt.check_bundle(path, root, progress=False)


def test_equal_runs_make_equal_files(root, memory):
    again = dt.bundle(root / "pm", root / "again.bundle", progress=False)
    assert again.path.read_bytes() == memory.read_bytes()
    card = open_bundle(memory).card
    assert load_dataset(root).split.digest in card
    assert "AGPL-3.0-or-later" in card
    assert "the owner's" in card


def test_the_runtime_needs_neither_torch_nor_ultralytics(memory, root, repo_root):
    image = next((root / "yolo").rglob("*.png"), None) or next(root.rglob("*.png"))
    program = f"""
import sys

class Blocker:
    names = {{"torch", "torchvision", "ultralytics", "lightning", "timm", "albumentations"}}
    more = {{"sklearn", "scipy", "matplotlib", "cyclopts", "rich"}}

    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in self.names | self.more:
            raise ModuleNotFoundError(name)

sys.meta_path.insert(0, Blocker())
from deployment import open_bundle
verdict = open_bundle({str(memory)!r}).predict({str(image)!r})
print(verdict.defective, verdict.score)
Blocker.more = set()
from defectune.library.predicting import predict
done = predict({str(memory)!r}, [{str(image)!r}], {str(root / "without")!r}, progress=False)
print(done.n_failed)
"""
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=repo_root, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    said, failed = done.stdout.splitlines()
    assert failed == "0"
    assert float(said.split()[1]) == pytest.approx(open_bundle(memory).predict(image).score)


def test_predict_takes_a_bundle_as_it_takes_a_run(root, memory, tmp_path):
    dataset = load_dataset(root)
    ids = dataset.split.folds[0].test
    images = [dataset.by_id[i].image_path for i in ids]
    of_bundle = dt.predict(memory, images, tmp_path / "bundle", maps=True, progress=False)
    of_run = dt.predict(root / "pm", images, tmp_path / "run", device="cpu", progress=False)
    for one, other in zip(of_bundle.rows, of_run.rows, strict=True):
        assert one["verdict"] == other["verdict"]
        assert float(one["image_score"]) == pytest.approx(float(other["image_score"]), abs=1e-4)
    document = json.loads((tmp_path / "bundle" / "predictions.json").read_text())
    assert document["bundle"] == open_bundle(memory).digest
    with pytest.raises(UsageError, match="make it with operating_point=True"):
        dt.predict(memory, images, tmp_path / "x", operating_point=True, progress=False)
    with pytest.raises(UsageError, match="fold"):
        dt.predict(memory, images, tmp_path / "x", fold=1, progress=False)


def test_the_command_makes_checks_and_names_flips(root, memory, tmp_path):
    def invoke(*arguments):
        return CliRunner().invoke(app, [str(a) for a in arguments])

    path = tmp_path / "one.bundle"
    made = invoke("bundle", root / "pm", path, "--models", "fold-1")
    assert made.exit_code == 0, made.output
    assert invoke("bundle", "check", path, root).exit_code == 0
    assert "exists" in str(invoke("bundle", root / "pm", path).exception)
    assert "fold-K" in str(invoke("bundle", root / "pm", tmp_path / "x", "--models", "3").exception)
    members = _members(path)
    document = json.loads(members["bundle.json"])
    document["models"][0]["thresholds"]["raw_threshold"] = 1e9
    write_archive(path, members | {"bundle.json": json.dumps(document).encode()})
    done = invoke("bundle", "check", path, root)
    assert done.exit_code == 1
    assert "other verdict" in done.output


def _members(path: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(path) as archive:
        return {i.filename: archive.read(i) for i in archive.infolist() if i.filename != MANIFEST}


def _rewrite(path: Path, target: Path, change) -> Path:
    """The zip again, its entries changed, the manifest left as it is."""
    with zipfile.ZipFile(path) as archive:
        entries = [(i.filename, archive.read(i)) for i in archive.infolist()]
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in change(entries):
            archive.writestr(name, data)
    return target


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda e: [*e, ("../outside.json", b"{}")], "leaves the archive"),
        (lambda e: [*e, ("/etc/outside", b"{}")], "leaves the archive"),
        (lambda e: [*e, ("models/0/model.pkl", b"x")], "pickle"),
        (lambda e: [*e, ("notes.txt", b"x")], "which no bundle has"),
        (lambda e: [*e, ("models/7/arrays/more.npy", b"x")], "does not list"),
        (lambda e: [*e, ("models/7/arrays/bomb.npy", bytes(1 << 30))], "would unpack"),
        (lambda e: [x for x in e if x[0] != "card.md"], "lacks 'card.md'"),
        (lambda e: [(n, d[:-1] + b"?" if n == "card.md" else d) for n, d in e], "was changed"),
        (lambda e: [(n, d.replace(b"bundle-1", b"bundle-9")) for n, d in e], "bundle-9"),
        (lambda e: [x for x in e if x[0] != MANIFEST], "no manifest.json"),
    ],
)
def test_what_is_no_bundle_is_refused(memory, tmp_path, change, said):
    with pytest.raises(InputError, match=said):
        open_bundle(_rewrite(memory, tmp_path / "bad.bundle", change))


def test_damaged_files_are_refused(memory, tmp_path):
    whole = memory.read_bytes()
    bad = tmp_path / "bad.bundle"
    for data in (whole[: len(whole) // 2], whole[:-1], b"", b"no zip"):
        write_bytes_atomic(bad, data)
        with pytest.raises(InputError, match="no bundle"):
            open_bundle(bad)
    middle = len(whole) // 2
    write_bytes_atomic(bad, whole[:middle] + bytes([whole[middle] ^ 255]) + whole[middle + 1 :])
    with pytest.raises(InputError, match=r"bad\.bundle"):
        open_bundle(bad)
    with pytest.raises(InputError, match="There is no bundle"):
        open_bundle(tmp_path / "none.bundle")


def test_arrays_are_never_unpickled():
    assert int(unpack_array(pack_array(np.array(5)))) == 5
    with pytest.raises(ValueError, match=r"pickle|Object"):
        pack_array(np.array([{}], dtype=object))
    data = pack_array(np.zeros(3))
    with pytest.raises(ValueError, match="another size"):
        unpack_array(data[:-8])


def test_an_array_of_another_type_is_refused(memory):
    bundle = open_bundle(memory)
    with pytest.raises(UsageError, match="uint8"):
        bundle.predict(np.zeros((4, 4, 3), np.float32))
    assert bundle.predict(np.zeros((9, 7), np.uint8)).heat_map.shape == (9, 7)


def _with_document(memory, target, **changed):
    """A bundle whose manifest is right, and whose bundle.json someone wrote."""
    with zipfile.ZipFile(memory) as archive:
        members = {n: archive.read(n) for n in archive.namelist() if n != MANIFEST}
    members["bundle.json"] = json.dumps(json.loads(members["bundle.json"]) | changed).encode()
    write_archive(target, members)
    return target


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"engine": "evil"}, "asks for 'evil' to run its graphs"),
        ({"engine": ["x" * 10**6]}, "asks for"),
        ({"run": "../../elsewhere"}, "names no run"),
        ({"run": "/elsewhere"}, "names no run"),
        ({"run": ".."}, "names no run"),
        ({"run": ""}, "names no run"),
    ],
)
def test_a_written_bundle_json_is_refused(memory, tmp_path, changed, said):
    with pytest.raises(InputError, match=said) as refused:
        open_bundle(_with_document(memory, tmp_path / "bad.bundle", **changed))
    assert len(str(refused.value)) < 1000


def test_a_long_word_on_the_threshold_is_cut(memory, tmp_path):
    path = _with_document(memory, tmp_path / "b.bundle", threshold_chosen_by="x\n" * 10**6)
    said = open_bundle(path).chosen_by
    assert len(said) < 1000
    assert "\n" not in said


@pytest.mark.parametrize(
    ("missing", "format_"), [("onnx", "onnx"), ("onnxruntime", "onnx"), ("openvino", "openvino")]
)
def test_what_is_not_installed_is_told_before_a_refit_trains(
    root, memory, tmp_path, monkeypatch, missing, format_
):
    monkeypatch.setitem(sys.modules, missing, None)
    trained = []
    monkeypatch.setattr("defectune.library.bundling.refit", lambda *_: trained.append(1))
    with pytest.raises(InputError, match=f"needs {missing}, not installed"):
        dt.bundle(root / "pm", tmp_path / "x", models="refit", format=format_, progress=False)
    assert not trained
