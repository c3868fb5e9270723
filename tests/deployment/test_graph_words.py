"""A graph says what it takes and answers, and the page's C++ does what the library does."""

import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import onnxruntime
import pytest

import defectune as dt
from annotations import load_dataset
from annotations.images import read_image_rgb
from annotations.scores import RawScore
from classify import train_classifier
from deployment import open_bundle
from deployment.archive import graph_name, read_archive
from detect import DetectConfig, train_detector
from inference.images import normalized, resize_square
from segment import SegmentConfig, train_segmenter
from tests.drawn import classify_config, drawn_dataset
from training import SilentReporter

MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
FAMILIES = {
    "types": (
        train_classifier,
        classify_config("supervised", weights="none", model="resnet18", image_size=32, epochs=1,
                        device="cpu"),
    ),
    "masks": (
        train_segmenter,
        SegmentConfig(encoder="tu-test_resnet", image_size=32, weights="none", epochs=1,
                      batch_size=4, device="cpu"),
    ),
    "boxes": (
        train_detector,
        DetectConfig(weights="none", epochs=1, image_size=32, batch_size=4,
                     device="cpu"),
    ),
}  # fmt: skip


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return drawn_dataset(tmp_path_factory.mktemp("graph"))


def bundled(root, kind):
    path = root / f"{kind}.bundle"
    if not path.is_file():
        train, config = FAMILIES[kind]
        run = train(load_dataset(root), config, name=kind, folds=[0], reporter=SilentReporter())
        dt.bundle(run, path, progress=False)
    return path


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", FAMILIES)
def test_the_graph_says_what_it_takes_and_answers(root, kind):
    path = bundled(root, kind)
    members, _ = read_archive(path)
    session = onnxruntime.InferenceSession(members[graph_name(0)])
    words = json.loads(session.get_modelmeta().custom_metadata_map["defectune"])
    bundle = open_bundle(path)
    assert bundle.document["models"][0]["graph"] == words
    assert words["kind"] == kind
    (taken,) = session.get_inputs()
    assert taken.name == words["input"]["name"]
    assert taken.shape == words["input"]["shape"]
    assert [o.name for o in session.get_outputs()] == [o["name"] for o in words["outputs"]]
    # What it says of the input is what the network is given.
    given = []
    scorer = bundle.members[0].scorer
    inner = scorer.network
    scorer.network = lambda batch: given.append(batch) or inner(batch)
    gray = np.full((64, 64, 3), 100, np.uint8)
    score = bundle.predict(gray).score
    mean, deviation = np.array(words["input"]["mean"]), np.array(words["input"]["deviation"])
    wanted = (100 / 255 - mean) / deviation
    assert np.allclose(given[0][0].mean(axis=(1, 2)), wanted, atol=1e-5)
    thresholds = bundle.thresholds
    assert words["calibration"]["raw_threshold"] == thresholds.raw_threshold
    if kind == "types":
        raw = 1 - float(inner(given[0])[0][0][0])
        assert thresholds.calibrate(RawScore(raw)) == pytest.approx(score, abs=1e-6)


def blocks(repo_root):
    page = (repo_root / "docs" / "graph.md").read_text(encoding="utf-8")
    return re.findall(r"```cpp\n(.*?)```", page, re.DOTALL)


def compiled(folder, name, text, repo_root, *flags):
    (folder / "prepare.hpp").write_text(blocks(repo_root)[0])
    (folder / f"{name}.cpp").write_text(text)
    call = ["g++", "-std=c++17", "-O2", "-Wall", "-Werror", f"{name}.cpp", "-o", name, *flags]
    subprocess.run(call, cwd=folder, check=True, capture_output=True, timeout=120)
    return folder / name


@pytest.mark.skipif(shutil.which("g++") is None, reason="no C++ compiler (g++)")
def test_the_pages_preparation_is_the_librarys(tmp_path, repo_root):
    program = compiled(
        tmp_path,
        "prepared",
        """#include <cstdio>
#include <cstdlib>
#include "prepare.hpp"
int main(int, char** argv) {
    const int height = std::atoi(argv[1]), width = std::atoi(argv[2]), side = std::atoi(argv[3]);
    std::vector<std::uint8_t> rgb(std::size_t(height) * width * 3);
    if (std::fread(rgb.data(), 1, rgb.size(), stdin) != rgb.size()) return 1;
    const float mean[3] = {0.485f, 0.456f, 0.406f}, deviation[3] = {0.229f, 0.224f, 0.225f};
    const auto planes = prepare(rgb, height, width, side, mean, deviation);
    std::fwrite(planes.data(), sizeof(float), planes.size(), stdout);
    const double score = calibrated(0.3, 0.2);
    std::fwrite(&score, sizeof score, 1, stdout);
}
""",
        repo_root,
    )
    rng = np.random.default_rng(0)
    for hw, side in (((64, 64), 32), ((71, 50), 32), ((33, 97), 32), ((32, 32), 32)):
        image = rng.integers(0, 256, (*hw, 3), np.uint8)
        answer = subprocess.run(
            [program, *map(str, (*hw, side))], input=image.tobytes(), capture_output=True,
            check=True, timeout=60,
        ).stdout  # fmt: skip
        planes = np.frombuffer(answer[:-8], np.float32).reshape(3, side, side)
        wanted = normalized(resize_square(image, side), MEAN, DEVIATION)
        # One gray level of rounding, on few pixels.
        assert np.abs(planes - wanted).max() <= 1.01 / 255 / min(DEVIATION)
        assert (np.abs(planes - wanted) > 1e-4).mean() < 0.01
        assert np.frombuffer(answer[-8:], np.float64)[0] == pytest.approx((3 / 7) / (3 / 7 + 1 / 4))


def headers():
    """The folder of onnxruntime_cxx_api.h, which Python's wheel does not have."""
    named = os.environ.get("ONNXRUNTIME_INCLUDE")
    for place in (named, "/usr/include/onnxruntime", "/usr/local/include/onnxruntime"):
        if place and (Path(place) / "onnxruntime_cxx_api.h").is_file():
            return place
    return None


@pytest.mark.filterwarnings("ignore")
@pytest.mark.skipif(
    headers() is None or shutil.which("g++") is None,
    reason="ONNX Runtime's C++ headers are not installed (name their folder in "
    "ONNXRUNTIME_INCLUDE)",
)
def test_the_pages_program_gives_the_bundles_score(root, tmp_path, repo_root):
    path = bundled(root, "types")
    members, _ = read_archive(path)
    (tmp_path / "network.onnx").write_bytes(members[graph_name(0)])
    capi = Path(onnxruntime.__file__).parent / "capi"
    library = next(capi.glob("libonnxruntime.so.*"))
    program = compiled(
        tmp_path, "main", blocks(repo_root)[1], repo_root, f"-I{headers()}", str(library),
        f"-Wl,-rpath,{capi}",
    )  # fmt: skip
    bundle = open_bundle(path)
    for sample in load_dataset(root).samples[:5]:
        image = read_image_rgb(sample.image_path)
        header = f"P6 {image.shape[1]} {image.shape[0]} 255\n".encode()
        (tmp_path / "image.ppm").write_bytes(header + image.tobytes())
        said = subprocess.run(
            [program, "network.onnx", "image.ppm", "32", repr(bundle.thresholds.raw_threshold)],
            cwd=tmp_path, check=True, capture_output=True, text=True, timeout=60,
        ).stdout  # fmt: skip
        assert float(said) == pytest.approx(bundle.predict(image).score, abs=1e-3)
