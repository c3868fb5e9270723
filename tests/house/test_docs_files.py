"""The schemas in docs/files.md hold for the files that the commands write; metrics have a page."""

import json
import re
import zipfile
from pathlib import Path

import pytest

import defectune as dt
from tests.drawn import drawn_dataset
from tests.house.printed import ROOT

jsonschema = pytest.importorskip("jsonschema", reason="needs the dependency group `peers`")
SCHEMAS = {
    schema["title"]: schema
    for schema in map(
        json.loads,
        re.findall(
            r"^```json\n(.*?)^```",
            (ROOT / "docs" / "files.md").read_text(encoding="utf-8"),
            re.MULTILINE | re.DOTALL,
        ),
    )
}


@pytest.fixture(scope="module")
def written(tmp_path_factory) -> dict[str, object]:
    """Each documented file, as commands write it for a drawn dataset."""
    folder = tmp_path_factory.mktemp("files")
    dataset = drawn_dataset(folder)
    data = dt.load(dataset)
    for name in ("first", "second"):
        run = dt.train(
            data,
            "classify",
            method="patch-memory",
            model="resnet18",
            weights="none",
            image_size=64,
            seed=("first", "second").index(name),
            name=name,
            device="cpu",
            progress=False,
        )
    dt.evaluate(data, cost_escape=10, cost_overkill=1, progress=False)
    dt.predict(run, [data.samples[0].image_path], folder / "verdicts", progress=False)
    dt.bundle(run, folder / "line.bundle", progress=False)
    files = {
        name: json.loads((dataset / name).read_text(encoding="utf-8"))
        for name in ("split.json", "conversion.json", "leaderboard.json")
    }
    stressed = dt.stress(data, run, kinds=["exposure"], steps=2, draws=1, progress=False).document
    files["stress.json"] = json.loads(stressed.read_text(encoding="utf-8"))
    accepted = dt.accept(data, run, progress=False).document
    dt.update(data, rename_class={data.class_names[0]: "chip"}, by="anna", progress=False)
    files["versions/0002.json"] = json.loads((dataset / "versions" / "0002.json").read_text())
    files["acceptance.json"] = json.loads(accepted.read_text(encoding="ascii"))
    files["predictions.json"] = json.loads((folder / "verdicts" / "predictions.json").read_text())
    with zipfile.ZipFile(folder / "line.bundle") as bundle:
        files["bundle.json"] = json.loads(bundle.read("bundle.json"))
    return files


@pytest.mark.parametrize("name", sorted(SCHEMAS))
def test_a_written_file_has_its_schema(name: str, written: dict[str, object]) -> None:
    schema = SCHEMAS[name]
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.validate(written[name], schema)
    for key in schema["required"]:
        broken = {k: v for k, v in written[name].items() if k != key}
        with pytest.raises(jsonschema.ValidationError, match=key):
            jsonschema.validate(broken, schema)


def test_every_file_that_programs_read_has_a_schema(written: dict[str, object]) -> None:
    assert set(SCHEMAS) == set(written)


def test_every_metric_on_the_page_is_one_that_is_computed() -> None:
    from evaluation.run_metrics import METRIC_NAMES

    page = Path(ROOT / "docs" / "metrics.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (`.*?) \|", page, re.MULTILINE)
    named = {name for row in rows for name in re.findall(r"`(\w+)`", row)}
    assert named
    assert named <= set(METRIC_NAMES)
