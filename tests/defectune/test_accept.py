"""`accept` through the command, on a drawn category: counts, gate, page, seal and refusals."""

import json
import re
import shutil
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import defectune as dt
from annotations import InputError, OutputExistsError, SplitMismatchError, UsageError
from converters import ConvertOptions, convert
from converters.synthetic import draw_category
from defectune.cli import app
from evaluation.acceptance.manifest import SECTIONS
from tests.drawn import SMALL, trained_category
from tests.line import CliRunner


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """A converted category, with photographs of one part named alike, and a trained run."""
    return trained_category(tmp_path_factory.mktemp("accepted"))


@pytest.fixture
def there(world, tmp_path, monkeypatch):
    """A copy of it, in which a test may break things."""
    shutil.copytree(world / "source", tmp_path / "source")
    shutil.copytree(world / "out", tmp_path / "out", symlinks=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def call(*words: object) -> tuple[int, str]:
    done = CliRunner().invoke(app, [str(word) for word in words])
    return done.exit_code, " ".join(done.output.split())


def keys(folder: Path, name: str) -> tuple[Path, Path]:
    ed25519 = pytest.importorskip("cryptography.hazmat.primitives.asymmetric.ed25519")
    from cryptography.hazmat.primitives import serialization as form

    key = ed25519.Ed25519PrivateKey.generate()
    private, public = folder / f"{name}.pem", folder / f"{name}.public.pem"
    private.write_bytes(
        key.private_bytes(form.Encoding.PEM, form.PrivateFormat.PKCS8, form.NoEncryption())
    )
    public.write_bytes(
        key.public_key().public_bytes(form.Encoding.PEM, form.PublicFormat.SubjectPublicKeyInfo)
    )
    return private, public


def test_figures_are_those_of_the_runs_own_verdicts(there) -> None:
    made = dt.accept("out", "quick", progress=False)
    document = json.loads(made.document.read_text("ascii"))
    data = dt.load("out")
    rows = (there / "out/runs/quick/predictions/images.csv").read_text().splitlines()[1:]
    said = {row.split(",")[0]: row.split(",")[2] for row in rows}
    escaped, killed, bad, good = set(), set(), set(), set()
    for image_id, verdict in said.items():
        sample = data.by_id[image_id]
        (bad if sample.is_defective else good).add(sample.group)
        if sample.is_defective and verdict == "good":
            escaped.add(sample.group)
        if not sample.is_defective and verdict == "defective":
            killed.add(sample.group)
    metrics = document["metrics"]
    assert (metrics["escape"]["count"], metrics["escape"]["n"]) == (len(escaped), len(bad))
    assert (metrics["overkill"]["count"], metrics["overkill"]["n"]) == (len(killed), len(good))
    assert {row["image_id"]: row["verdict"] for row in document["evidence"]} == said
    assert {row["name"] for row in metrics["escape_by_type"]} == set(data.class_names)
    assert document["decision"]["proved"] is None
    assert made.proved is None
    assert document["digests"]["split"] == data.split.digest
    assert any("was tested on 4 defective parts" in text for text in document["not_tested"])


def test_the_gate_ends_with_1_and_says_how_many_parts_are_missing(there) -> None:
    made = dt.accept("out", "quick", max_escape=0.01, progress=False)
    (claim,) = made.decision["claims"]
    status, text = call("accept", "out", "quick", "--max-escape", "0.01")
    assert status == 1
    assert f"{claim['missing']:,} more defective parts without an escape would prove it" in text
    status, text = call("accept", "out", "quick", "--max-escape", "0.999999")
    assert (status, made.proved) == (0, False)
    assert "Proved with 95 % confidence: at most 100 % of defective parts escape" in text
    assert call("check", "out")[0] == 0


def test_one_changed_byte_is_noticed_wherever_it_is(there) -> None:
    private, public = keys(there, "mine")
    made = dt.accept("out", "quick", sign=private, progress=False)
    assert dt.verify_acceptance(made.document, key=public).faults == ()
    assert dt.verify_acceptance(made.document).signed_by == made.signed_by
    whole = made.document.read_bytes()
    rng = np.random.default_rng(0)
    for place in [0, len(whole) - 1, *rng.integers(0, len(whole), 150).tolist()]:
        for bit in (1, 4):
            broken = bytearray(whole)
            broken[place] ^= bit
            made.document.write_bytes(bytes(broken))
            try:
                faults = dt.verify_acceptance(made.document, key=public).faults
            except InputError:
                # The name of a section is gone, or of the whole format.
                continue
            assert faults, (place, bit, whole[max(0, place - 40) : place + 10])
    made.document.write_bytes(whole)
    page = made.page.read_bytes()
    made.page.write_bytes(page.replace(b"Decision", b"decision", 1))
    assert dt.verify_acceptance(made.document).faults == ("Changed: page.",)
    made.page.unlink()
    assert "not beside it" in dt.verify_acceptance(made.document).faults[0]


@pytest.mark.parametrize("name", SECTIONS)
def test_the_part_that_was_changed_is_named(name, there) -> None:
    made = dt.accept("out", "quick", progress=False)
    document = json.loads(made.document.read_text())
    value = document[name]
    document[name] = [*value, "more"] if isinstance(value, list) else {**value, "more": 1}
    made.document.write_text(json.dumps(document, indent=1) + "\n")
    assert dt.verify_acceptance(made.document).faults == (f"Changed: {name}.",)
    status, text = call("accept", "verify", made.document)
    assert (status, text) == (1, f"Wrong: Changed: {name}.")


def test_manifest_layout_and_broken_json_are_told_apart(there) -> None:
    made = dt.accept("out", "quick", progress=False)
    text = made.document.read_text()
    made.document.write_text(text.replace('"proved": null', '"proved":  null'))
    assert dt.verify_acceptance(made.document).faults == ("Changed: layout of the file.",)
    document = json.loads(text)
    document["manifest"]["sha256"]["plan"] = "0" * 64
    made.document.write_text(json.dumps(document, indent=1) + "\n")
    assert dt.verify_acceptance(made.document).faults == ("Changed: manifest.",)
    made.document.write_text(text.replace('"n_parts": ', '"n_parts" ', 1))
    assert dt.verify_acceptance(made.document).faults == (
        "Changed: metrics (it is no JSON any more).",
    )


def test_signatures_of_others_and_none_are_told(there) -> None:
    private, public = keys(there, "mine")
    _, others = keys(there, "others")
    signed = dt.accept("out", "quick", output="signed", sign=private, progress=False)
    status, text = call("accept", "verify", signed.document, "--key", others)
    assert status == 1
    assert "signed by another key" in text
    status, text = call("accept", "verify", signed.document, "--key", public)
    assert (status, "by the key given" in text) == (0, True)
    bare = dt.accept("out", "quick", output="bare", confidence=0.9, progress=False)
    status, text = call("accept", "verify", bare.document)
    assert (status, "It is not signed" in text) == (0, True)
    assert dt.verify_acceptance(bare.document, key=public).faults == ("It is not signed.",)
    # A signature cut out of another acceptance, and a document signed anew by a stranger.
    document = json.loads(bare.document.read_text())
    document["signature"] = json.loads(signed.document.read_text())["signature"]
    bare.document.write_text(json.dumps(document, indent=1) + "\n")
    assert "does not belong" in dt.verify_acceptance(bare.document).faults[0]
    with pytest.raises(OutputExistsError, match="is signed"):
        dt.accept("out", "quick", output="signed", progress=False)
    with pytest.raises(InputError, match="no private key"):
        dt.accept("out", "quick", sign=public, progress=False)
    with pytest.raises(InputError, match="no public key"):
        dt.verify_acceptance(signed.document, key=private)


def test_second_labels_are_found_by_their_bytes(there) -> None:
    shutil.copytree("source", "second")
    # The second person calls one defective photograph good, and the files by other names.
    kind = next(p for p in sorted(Path("second/test").iterdir()) if p.name != "good")
    first = sorted(kind.glob("*.png"))[0]
    first.rename("second/test/good/another.png")
    next(iter(sorted(Path("second/ground_truth", kind.name).glob(f"{first.stem}*")))).unlink()
    made = dt.accept("out", "quick", second_labels="second", progress=False)
    agreement = json.loads(made.document.read_text())["agreement"]
    (grader,) = agreement["graders"]
    assert grader["name"] == "second"
    assert grader["n_photographs"] == 16
    assert grader["miss_rate"]["count"] == 1
    assert grader["false_alarm_rate"]["count"] == 0
    assert 0 < agreement["fleiss_graders"]["value"] < 1
    alone = dt.accept("out", "quick", progress=False)
    fleiss = json.loads(alone.document.read_text())["agreement"]["fleiss_graders"]
    assert fleiss["value"] is None
    assert fleiss["reason"].startswith("cannot be had, because there is one grader alone")
    strange = draw_category(there / "strange", replace(SMALL, seed=99))
    with pytest.raises(InputError, match="none of them is an image"):
        dt.accept("out", "quick", second_labels=strange, progress=False)


def test_repeats_join_parts_and_unknown_images_are_refused(there) -> None:
    data = dt.load("out")
    fold = data.split.folds[0]
    bad = [i for i in fold.test if data.by_id[i].is_defective][:3]
    table = Path("repeats.csv")
    table.write_text("image,part\n" + "".join(f"{i},p\n" for i in bad))
    before = dt.accept("out", "quick", progress=False)
    after = dt.accept("out", "quick", repeats=table, output="joined", progress=False)
    n = [
        json.loads(made.document.read_text())["metrics"]["escape"]["n"] for made in (before, after)
    ]
    groups = {data.by_id[i].group for i in bad}
    assert n[0] - n[1] == len(groups) - 1 > 0
    said = json.loads(after.document.read_text())["agreement"]["repeatability"]
    assert said["same_verdict"]["n"] >= 1
    for text, wrong in (
        ("image,part\nnothing/000,p\n", "which out does not have"),
        ("file,part\nx,p\n", "needs image and part"),
        (f"image,part\n{bad[0]},p\n{bad[0]},q\n", "another part before"),
        ("image,part\n", "lists no photograph"),
        (f"image,part\n{bad[0]},p\n{fold.train[0]},p\n", "has learnt from the second"),
    ):
        table.write_text(text)
        with pytest.raises(InputError, match=wrong):
            dt.accept("out", "quick", repeats=table, progress=False)


def test_a_threshold_of_which_nobody_knows_the_origin_is_refused(there) -> None:
    data = dt.load("out")
    lines = [f"{i},{0.9 if data.by_id[i].is_defective else 0.1}" for i in data.split.test_ids]
    Path("elsewhere").mkdir()
    Path("elsewhere/images.csv").write_text("\n".join(["image_id,image_score", *lines]))
    dt.evaluate("out", external={"given": "elsewhere"}, threshold=0.5, progress=False)
    with pytest.raises(InputError, match="nobody here knows which images"):
        dt.accept("out", "given", progress=False)
    with pytest.raises(InputError, match="has no verdicts"):
        dt.accept("out", "bare", external={"bare": "elsewhere"}, progress=False)
    lines = [
        f"{i},{0.8 if data.by_id[i].is_defective else 0.2},{number}"
        for number, fold in enumerate(data.split.folds)
        for i in fold.val
    ]
    Path("elsewhere/validation.csv").write_text("\n".join(["image_id,image_score,fold", *lines]))
    made = dt.accept("out", "mine", external={"mine": "elsewhere"}, progress=False)
    metrics = json.loads(made.document.read_text())["metrics"]
    assert (metrics["escape"]["count"], metrics["overkill"]["count"]) == (0, 0)


def test_what_was_changed_or_belongs_elsewhere_is_refused(there) -> None:
    images = Path("out/runs/quick/predictions/images.csv")
    whole = images.read_text()
    images.write_text(whole.replace(",good,", ",defective,", 1))
    with pytest.raises(InputError, match="were changed after training"):
        dt.accept("out", "quick", progress=False)
    images.write_text(whole)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        convert(there / "source", there / "other", ConvertOptions(folds=2, seed=5))
    with pytest.raises(SplitMismatchError, match="not evaluated on the same images"):
        dt.accept("other", "out/runs/quick", progress=False)
    labels = Path("out/annotations/all.json")
    labels.write_text(labels.read_text().replace('"info"', '"info" '))
    with pytest.raises(InputError, match="was changed after conversion"):
        dt.accept("out", "quick", progress=False)
    with pytest.raises(InputError, match="There is no run 'nothing'"):
        dt.accept("other", "nothing", progress=False)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"max_escape": 0.0}, "no number of parts proves"),
        ({"max_overkill": 1.5}, "below 1"),
        ({"confidence": 0.3}, "between 0.5 and 0.9999"),
        ({"defect_rate": 1.0}, "between 0 and 1"),
        ({"confidence": float("nan")}, "between 0.5"),
    ],
)
def test_numbers_that_mean_nothing_are_refused(options, said, there) -> None:
    with pytest.raises(UsageError, match=said):
        dt.accept("out", "quick", progress=False, **options)


@pytest.mark.filterwarnings("ignore")
def test_a_bundle_counts_the_images_of_its_own_models(there) -> None:
    dt.bundle("out/quick", "line.bundle", progress=False)
    made = dt.accept("out", "line.bundle", progress=False)
    document = json.loads(made.document.read_text())
    fold = dt.load("out").split.folds[0]
    assert sorted(row["image_id"] for row in document["evidence"]) == sorted(fold.test)
    assert document["digests"]["bundle"]["images_predicted_again"] == len(fold.test)
    with pytest.raises(UsageError, match="operating_point"):
        dt.accept("out", "line.bundle", operating_point=True, progress=False)
    shutil.rmtree("out/runs/quick")
    with pytest.raises(InputError, match="There is no run"):
        dt.accept("out", "line.bundle", progress=False)


def test_the_operating_point_of_evaluate_is_taken_and_told(there) -> None:
    dt.evaluate("out", cost_escape=50, cost_overkill=1, progress=False)
    made = dt.accept("out", "quick", operating_point=True, progress=False)
    point = json.loads(made.document.read_text())["operating_point"]
    board = json.loads(Path("out/leaderboard.json").read_text())["operating_point"]
    assert point["by"] == "evaluate"
    assert point["thresholds"] == board["runs"][0]["thresholds"]
    assert "an escape costs 50" in point["rule"]


def test_the_window_of_a_stressed_run_is_on_the_page(there) -> None:
    from evaluation import predictions_digest

    digest = predictions_digest(Path("out/runs/quick"))
    stress = {
        "predictions": digest,
        "max_flips": 0.01,
        "window": [{"change": "exposure", "unit": "stops", "low": -0.5, "high": 0.75}],
    }
    path = Path("out/runs/quick/stress.json")
    path.write_text(json.dumps(stress))
    made = dt.accept("out", "quick", progress=False)
    assert re.search(r"exposure</th><td>-0.5</td><td>0.75</td><td>stops", made.page.read_text())
    path.write_text(json.dumps(stress | {"predictions": "0" * 64}))
    again = dt.accept("out", "quick", progress=False)
    assert "was made of other predictions" in again.page.read_text()
    path.write_text("{}")
    with pytest.raises(InputError, match="is damaged"):
        dt.accept("out", "quick", progress=False)


def test_hostile_names_are_text_on_the_page(there) -> None:
    place = "<img src=x onerror=alert(2)>"
    shutil.copytree("source", place)
    made = dt.accept("out", "quick", second_labels=place, progress=False)
    page = made.page.read_text()
    assert "<img src=x" not in page
    assert "&lt;img src=x onerror=alert(2)&gt;" in page
    assert "<script" not in page
    assert "default-src 'none'" in page


def test_what_is_no_acceptance_is_not_written_over(there) -> None:
    Path("mine").mkdir()
    Path("mine/notes.txt").write_text("mine")
    with pytest.raises(OutputExistsError, match="no acceptance"):
        dt.accept("out", "quick", output="mine", progress=False)
    assert Path("mine/notes.txt").read_text() == "mine"
    with pytest.raises(InputError, match="There is no acceptance"):
        dt.verify_acceptance("nothing.json")
    Path("other.json").write_text('{"format": "x"}')
    with pytest.raises(InputError, match="no acceptance of this program"):
        dt.verify_acceptance("other.json")
