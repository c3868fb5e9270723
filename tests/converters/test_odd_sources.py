"""Sources as people have them: padded files, palettes, several lists, class folders in folders."""

import json

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from annotations import ImageReadError, InputError, load_dataset, write_png
from annotations.dataset import portable
from annotations.images import check_image_header, read_image_rgb
from annotations.prediction_files import read_csv
from converters import ConvertOptions, FindOptions, convert
from converters.archive import is_zip
from converters.check import check_dataset
from converters.read_options import ReadOptions
from tests.drawn import drawn_dataset

RNG = np.random.default_rng(0)


def picture(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    write_png(path, RNG.integers(0, 255, (48, 48, 3)).astype(np.uint8))


def mask(path, value=255):
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.zeros((48, 48), np.uint8)
    pixels[10:20, 10:20] = value
    write_png(path, pixels)


def jpeg(path):
    cv2.imwrite(str(path), RNG.integers(0, 255, (64, 64, 3)).astype(np.uint8))
    return path.read_bytes()


@settings(max_examples=25, deadline=None)
@given(n=st.integers(1, 30_000))
def test_zeros_after_a_jpegs_end_change_nothing(tmp_path_factory, n):
    path = tmp_path_factory.mktemp("padded") / "a.jpg"
    data = jpeg(path)
    plain = read_image_rgb(path)
    path.write_bytes(data + bytes(n))
    assert check_image_header(path).padding == n
    assert np.array_equal(read_image_rgb(path), plain)
    # A file that was allotted its size and never filled is no padded one.
    path.write_bytes(data[: len(data) // 2] + bytes(n))
    for read in (check_image_header, read_image_rgb):
        with pytest.raises(ImageReadError, match="stops before its end marker"):
            read(path)


def test_padded_images_are_counted(tmp_path):
    for number in range(6):
        path = tmp_path / "src" / "OK" / f"{number}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(jpeg(path) + bytes(9000 * (number < 2)))
    for number in range(4):
        picture(tmp_path / "src" / "NG" / f"n{number}.png")
        mask(tmp_path / "src" / "NG" / f"n{number}_mask.png")
    report = convert(tmp_path / "src", tmp_path / "out", ConvertOptions(folds=2))
    assert report.counts["JPEG images with zeros after their end"] == 2


def palette_mask(path, colors, indices):
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.zeros((48, 48), np.uint8)
    for place, index in enumerate(indices):
        pixels[4 + 12 * place : 14 + 12 * place, 5:25] = index
    image = Image.fromarray(pixels)
    image.putpalette(colors)
    image.save(path)


def palette_source(root, colors, indices):
    """Defects of a palette's indices, the n-th image's being those of `indices[n]`."""
    for number in range(6):
        picture(root / "OK" / f"{number}.png")
    for number, some in enumerate(indices):
        picture(root / "NG" / f"n{number}.png")
        palette_mask(root / "NG" / f"n{number}_mask.png", colors, some)
    return root


WHITES = [0, 0, 0, 255, 255, 255, 255, 255, 255]
RED_AND_GREEN = [0, 0, 0, 255, 0, 0, 0, 255, 0]


@pytest.mark.parametrize("colors", [WHITES, RED_AND_GREEN, [0] * 9])
def test_a_palettes_values_are_asked_about(tmp_path, colors):
    source = palette_source(tmp_path / "src", colors, [(1, 2)] * 4)
    with pytest.raises(InputError, match=r"--mask-values 1=NAME,2=NAME"):
        convert(source, tmp_path / "out", ConvertOptions(folds=2))
    values = ReadOptions(mask_values={1: "cut", 2: "dent"})
    report = convert(source, tmp_path / "out", ConvertOptions(folds=2, read=values))
    assert {k: v for k, v in report.n_components.items() if v} == {"cut": 4, "dent": 4}


def test_one_color_a_mask_that_differs_from_mask_to_mask_is_asked_about(tmp_path):
    source = palette_source(tmp_path / "src", RED_AND_GREEN, [(1,), (1,), (2,), (2,)])
    with pytest.raises(InputError, match="--mask-values 0:255:0=NAME,255:0:0=NAME"):
        convert(source, tmp_path / "out", ConvertOptions(folds=2))
    colors = ReadOptions(mask_values={(0, 255, 0): "dent", (255, 0, 0): "cut"})
    report = convert(source, tmp_path / "out", ConvertOptions(folds=2, read=colors))
    assert {k: v for k, v in report.n_components.items() if v} == {"cut": 2, "dent": 2}


def yolo_folder(folder, names, n, side="train"):
    for number in range(n):
        picture(folder / side / "images" / f"{folder.name}{number}.png")
        label = folder / side / "labels" / f"{folder.name}{number}.txt"
        label.parent.mkdir(parents=True, exist_ok=True)
        label.write_text(f"{number % len(names)} 0.5 0.5 0.25 0.25\n" if number % 3 else "")
    (folder / "data.yaml").write_text(f"{side}: {side}/images\nnames: [{', '.join(names)}]\n")


def test_several_data_files_that_agree_are_one(tmp_path):
    yolo_folder(tmp_path / "src" / "a", ["cut", "dent"], 9)
    yolo_folder(tmp_path / "src" / "b", ["cut", "dent"], 6, side="test")
    report = convert(tmp_path / "src", tmp_path / "out", ConvertOptions(folds=2))
    assert report.class_names == ("cut", "dent")
    assert sum(report.n_images.values()) == 15
    assert "2 files such as data.yaml agree, and are read as one" in report.notes
    sides = {s.source_split for s in load_dataset(tmp_path / "out").samples}
    assert sides == {"train", "test"}


def test_several_data_files_that_number_classes_otherwise_are_refused(tmp_path):
    yolo_folder(tmp_path / "src" / "a", ["cut", "dent"], 6)
    yolo_folder(tmp_path / "src" / "b", ["dent", "cut"], 6)
    with pytest.raises(
        InputError, match=r"a/data.yaml has cut, dent; b/data.yaml has dent, cut.*--classes"
    ):
        convert(tmp_path / "src", tmp_path / "out", ConvertOptions(folds=2))
    one_list = ConvertOptions(folds=2, find=FindOptions(classes=("cut", "dent")))
    convert(tmp_path / "src", tmp_path / "out", one_list)


def test_the_folds_of_a_converted_dataset_leave_sides_open(tmp_path):
    root = drawn_dataset(tmp_path)
    report = convert(root / "yolo", tmp_path / "again", ConvertOptions(folds=2))
    n = report.counts["images that several data.yaml put on different sides, sides left open"]
    assert n > 0
    assert sum(report.n_images.values()) == len(load_dataset(root).samples)


def nested(root, style):
    for number in range(8):
        picture(root / "train" / "OK" / f"{number}.png") if style == "mvtec" else picture(
            root / "OK" / f"ok{number}.png"
        )
    for kind in ("AK", "HS"):
        for number in range(5):
            name = f"{kind}{number}"
            if style == "mvtec":
                picture(root / f"test/OK/cam{number % 2}/{name}.png")
                picture(root / f"test/NG/{kind}/{name}.png")
                mask(root / f"ground_truth/NG/{kind}/{name}_mask.png")
            elif style == "beside":
                picture(root / f"NG/{kind}/{name}.png")
                mask(root / f"NG/{kind}/{name}_mask.png")
            elif style == "numbered":
                picture(root / f"NG/{kind}/0{number % 2}/{name}.png")
                mask(root / f"NG/{kind}/0{number % 2}/{name}_mask.png")
            else:
                picture(root / f"NG/{kind}/{name}.png")
                mask(root / f"masks/NG/{kind}/{name}.png")
    return root


@pytest.mark.parametrize("style", ["mvtec", "beside", "numbered", "masks on top"])
def test_class_folders_in_folders_keep_their_types(tmp_path, style):
    source = nested(tmp_path / "src", style)
    report = convert(source, tmp_path / "out", ConvertOptions(folds=2))
    assert report.class_names == ("AK", "HS")
    kinds = [s.defect_type for s in load_dataset(tmp_path / "out").samples]
    assert (kinds.count("AK"), kinds.count("HS")) == (5, 5)
    assert report.n_masks == 10


def test_the_way_out_of_a_void_value_works(tmp_path):
    root = tmp_path / "src"
    for number in range(8):
        picture(root / "images" / f"{number}.png")
        pixels = np.zeros((48, 48), np.uint8)
        if number % 2:
            pixels[10:20, 10:20] = 1 + number % 4 // 2
            pixels[9, 10:20] = 255
        (root / "masks").mkdir(exist_ok=True)
        write_png(root / "masks" / f"{number}.png", pixels)
    (root / "classes.txt").write_text("cut\ndent\n")
    with pytest.raises(InputError) as caught:
        convert(root, tmp_path / "out", ConvertOptions(folds=2))
    advice = str(caught.value).partition("--mask-values '")[2].partition("'")[0]
    assert advice == "1=cut,2=dent,255=ignore"
    said = {int(k): v for k, v in (pair.split("=") for pair in advice.split(","))}
    report = convert(
        root, tmp_path / "out", ConvertOptions(folds=2, read=ReadOptions(mask_values=said))
    )
    assert set(report.class_names) == {"cut", "dent"}
    assert not any("255" in name for name in report.class_names)


def test_pictures_about_the_set_are_not_offered_as_good(tmp_path):
    root = tmp_path / "src"
    yolo_folder(root / "a", ["cut"], 6)
    for number in range(3):
        picture(root / "demo" / f"{number}.png")
    with pytest.raises(InputError) as caught:
        convert(root, tmp_path / "out", ConvertOptions(folds=2, layout="yolo"))
    assert "demo/0.png" in str(caught.value)
    assert "pictures about the set" in str(caught.value)
    assert "--no-mask-is-good" not in str(caught.value)


@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_tables_as_spreadsheets_write_them(tmp_path, separator):
    path = tmp_path / "scores.csv"
    rows = (("image_id", "image_score"), ("a,b;c", "0.5"))
    path.write_text("\n".join(separator.join(f'"{v}"' for v in row) for row in rows), "utf-8-sig")
    assert read_csv(path) == [{"image_id": "a,b;c", "image_score": "0.5"}]


def test_no_message_repeats_an_endless_id():
    error = InputError("the image " + "x" * 5000 + " is unknown")
    assert str(error) == "the image " + "x" * 300 + "… is unknown"


def test_a_dataset_says_nothing_of_the_machine_that_made_it(tmp_path):
    root = drawn_dataset(tmp_path)
    for path in [*root.rglob("*.json"), *root.rglob("*.txt"), *root.rglob("*.yaml")]:
        assert str(tmp_path) not in path.read_text(), path
    facts = dict(check_dataset(load_dataset(root)).facts)
    assert facts["of them compared with the source's masks"] == "12"
    # Moved with its source, it still finds the masks.
    (tmp_path / "elsewhere").mkdir()
    for name in ("source", "dataset"):
        (tmp_path / name).rename(tmp_path / "elsewhere" / name)
    moved = load_dataset(tmp_path / "elsewhere" / "dataset")
    assert all(s.mask_path.is_file() for s in moved.samples if s.is_defective)


def test_older_datasets_with_absolute_places_are_read(tmp_path):
    root = drawn_dataset(tmp_path)
    path = root / "annotations" / "all.json"
    document = json.loads(path.read_text())
    wanted = {s.image_id: s.mask_path for s in load_dataset(root).samples}
    for image in document["images"]:
        ours = image["defectune"]
        ours["mask"] = None if ours["mask"] is None else str((root / ours["mask"]).resolve())
    path.write_text(json.dumps(document))
    assert {s.image_id: s.mask_path for s in load_dataset(root).samples} == wanted


def test_places_far_apart_are_named_from_the_source(tmp_path):
    source = tmp_path / "src"
    assert portable(source / "m" / "a.png", tmp_path / "out", source) == "../src/m/a.png"
    far = tmp_path.parents[-1] / "no-such-disk" / "out"
    assert portable(source / "m" / "a.png", far, source) == "m/a.png"
    assert portable(source, far, source) == "src"


def test_masks_of_an_archive_are_named_from_it(tmp_path):
    import shutil

    nested(tmp_path / "src", "beside")
    archive = shutil.make_archive(str(tmp_path / "set"), "zip", tmp_path / "src")
    assert is_zip(tmp_path / "set.zip")
    convert(tmp_path / "set.zip", tmp_path / "out", ConvertOptions(folds=2))
    document = json.loads((tmp_path / "out/annotations/all.json").read_text())
    masks = {image["defectune"]["mask"] for image in document["images"]} - {None}
    assert "NG/AK/AK0_mask.png" in masks
    assert archive not in json.dumps(document)
