"""Every layout, drawn small: found by `auto`, paired by name, and read exactly."""

import csv
import json

import numpy as np
import pytest

from annotations import InputError, LayoutError, UsageError, load_dataset
from converters import ConvertOptions, FindOptions, convert
from converters.layouts.pairs import compile_pattern

HW = (24, 30)


def gray(seed=0):
    return np.random.default_rng(seed).integers(0, 255, (*HW, 3)).astype(np.uint8)


def blob(y=4, x=6, value=255, size=5):
    mask = np.zeros(HW, np.uint8)
    mask[y : y + size, x : x + size] = value
    return mask


def put(path, picture):
    path.parent.mkdir(parents=True, exist_ok=True)
    import cv2

    cv2.imwrite(str(path), picture[..., ::-1] if picture.ndim == 3 else picture)


def read(source, out, **options):
    report = convert(source, out, ConvertOptions(protocol="official", **options))
    return load_dataset(out), report


def areas(dataset):
    return {i: r.areas.tolist() for i, r in dataset.truths.items() if len(r)}


def types(dataset):
    return {s.image_id: (s.defect_type, s.source_split) for s in dataset.samples}


def mvtec(root, good="good", test="test", truth="ground_truth", suffix="_mask.png"):
    for n in range(3):
        put(root / "train" / good / f"{n:03d}.png", gray(n))
    put(root / test / good / "000.png", gray(9))
    put(root / test / "hole" / "000.png", gray(10))
    put(root / truth / "hole" / f"000{suffix}", blob())
    return root


def test_mvtec_ad_2_has_other_folders_and_a_validation_side(tmp_path):
    root = mvtec(tmp_path / "can", test="test_public", truth="test_public/ground_truth")
    put(root / "validation" / "good" / "000.png", gray(20))
    put(root / "test_private" / "000_regular.png", gray(21))
    dataset, report = read(root, tmp_path / "out")
    assert types(dataset)["hole/000"] == ("hole", "test")
    assert types(dataset)["validation/good/000"] == ("good", "val")
    assert areas(dataset) == {"hole/000": [25]}
    assert report.skipped["in test_private: its masks are not public"] == 1


def test_loco_has_a_folder_of_masks_and_values_for_names(tmp_path):
    root = tmp_path / "breakfast"
    for n in range(2):
        put(root / "train/good" / f"{n:03d}.png", gray(n))
    put(root / "test/good/000.png", gray(5))
    put(root / "test/logical_anomalies/000.png", gray(6))
    put(root / "ground_truth/logical_anomalies/000/000.png", blob(1, 1, 250))
    put(root / "ground_truth/logical_anomalies/000/001.png", blob(12, 12, 240, 7))
    names = [
        {"defect_name": "missing_nut", "pixel_value": 250, "saturation_threshold": 1},
        {"defect_name": "extra_nut", "pixel_value": 240, "saturation_threshold": 1},
    ]
    (root / "defects_config.json").write_text(json.dumps(names))
    dataset, report = read(root, tmp_path / "out")
    assert "MVTec LOCO" in report.layout
    assert dataset.class_names == ("extra_nut", "missing_nut")
    truth = dataset.truths["logical_anomalies/000"]
    assert sorted(zip(truth.labels.tolist(), truth.areas.tolist(), strict=True)) == [
        (0, 49),
        (1, 25),
    ]
    assert types(dataset)["logical_anomalies/000"] == ("extra_nut", "test")
    put(root / "ground_truth/logical_anomalies/000/002.png", blob(1, 20, 7))
    with pytest.raises(InputError, match=r"the value.s. 7, which have no class"):
        read(root, tmp_path / "again")


def test_btad_calls_good_ok(tmp_path):
    dataset, report = read(mvtec(tmp_path / "01", good="ok", suffix=".png"), tmp_path / "out")
    assert report.layout == "mvtec: it holds train/ok and test (as BTAD has them)"
    assert types(dataset)["ok/000"] == ("good", "test")
    assert areas(dataset) == {"hole/000": [25]}


def test_mpdd_is_mvtec_by_another_name(tmp_path):
    dataset, report = read(mvtec(tmp_path / "tubes"), tmp_path / "out", layout="mpdd")
    assert report.layout == "mpdd: as asked for"
    assert len(dataset.samples) == 5


def visa(root, *, split=True):
    candle = root / "candle"
    rows = []
    for n in range(4):
        put(candle / f"Data/Images/Normal/{n:04d}.JPG", gray(n))
        rows.append((f"candle/Data/Images/Normal/{n:04d}.JPG", "normal", ""))
    put(candle / "Data/Images/Anomaly/000.JPG", gray(9))
    put(candle / "Data/Masks/Anomaly/000.png", blob(2, 3, 1) + blob(14, 14, 2))
    rows.append(
        ("candle/Data/Images/Anomaly/000.JPG", "chip,wax", "candle/Data/Masks/Anomaly/000.png")
    )
    with (candle / "image_anno.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("image", "label", "mask"))
        writer.writerows(rows)
    if split:
        (root / "split_csv").mkdir()
        lines = ["object,split,label,image,mask"]
        lines += [
            f"candle,{'train' if n < 2 else 'test'},x,{row[0]},{row[2]}"
            for n, row in enumerate(rows)
        ]
        (root / "split_csv/1cls.csv").write_text("\n".join(lines))
    return candle


def test_visa_reads_its_csv_and_its_split(tmp_path):
    dataset, report = read(visa(tmp_path / "visa"), tmp_path / "out")
    assert report.layout == "visa: it holds image_anno.csv"
    assert dataset.class_names == ("chip + wax",)
    assert areas(dataset) == {"Data/Images/Anomaly/000": [25, 25]}
    sides = [side for _, side in types(dataset).values()]
    assert sides.count("train") == 2


def test_visa_refuses_what_leaves_the_set(tmp_path):
    candle = visa(tmp_path / "visa", split=False)
    path = candle / "image_anno.csv"
    text = path.read_text()
    for old, new, message in (
        ("candle/Data/Images/Normal/0001.JPG", "../secret.JPG", "leaves"),
        ("candle/Data/Images/Normal/0001.JPG", "candle/Data/none.JPG", "does not exist"),
        ("candle/Data/Images/Normal/0001.JPG", "candle/Data/Images/Normal/0000.JPG", "twice"),
        ("candle/Data/Masks/Anomaly/000.png", "", "has no mask"),
        ("image,label,mask", "image,mask", "columns image, label, mask"),
    ):
        path.write_text(text.replace(old, new))
        with pytest.raises(InputError, match=message):
            read(candle, tmp_path / "out")


def magnetic_tile(root):
    """The set's own layout: JPEG and PNG of one stem, a folder a class."""
    for kind, n in (("MT_Free", 6), ("MT_Crack", 2), ("MT_Uneven", 1)):
        for number in range(n):
            stem = root / kind / "Imgs" / f"exp1_num_{number}"
            put(stem.with_suffix(".jpg"), gray(number))
            mask = blob() if kind == "MT_Crack" else np.zeros(HW, np.uint8)
            put(stem.with_suffix(".png"), mask)
    return root


def test_magnetic_tile_as_it_is(tmp_path):
    dataset, report = read(magnetic_tile(tmp_path / "tiles"), tmp_path / "out")
    assert report.layout.startswith("pairs: 9 images have a mask by name")
    kinds = {kind for kind, _ in types(dataset).values()}
    assert kinds == {"good", "MT_Crack", "MT_Uneven"}
    assert areas(dataset) == {
        "MT_Crack/Imgs/exp1_num_0": [25],
        "MT_Crack/Imgs/exp1_num_1": [25],
    }
    assert report.empty_masks == ["MT_Uneven/Imgs/exp1_num_0"]
    assert any("good is MT_Free" in note for note in report.notes)
    assert any("the source has no test side" in note for note in report.notes)
    sides = [side for kind, side in types(dataset).values() if kind == "good"]
    assert sides.count("test") == 2


def kolektor(root):
    for part in range(4):
        for shot in range(2):
            stem = root / f"kos{part:02d}" / f"Part{shot}"
            put(stem.with_suffix(".jpg"), gray(10 * part + shot))
            mask = blob() if part == 0 and shot == 1 else np.zeros(HW, np.uint8)
            put(stem.with_name(f"{stem.name}_label.bmp"), mask)
    return root


@pytest.mark.parametrize("by_pattern", [False, True])
def test_kolektor_as_it_is(tmp_path, by_pattern):
    find = FindOptions()
    if by_pattern:
        find = FindOptions("{group}/{name}.jpg", "{group}/{name}_label.bmp")
    dataset, report = read(kolektor(tmp_path / "kos"), tmp_path / "out", find=find)
    assert areas(dataset) == {"kos00/Part1": [25]}
    assert types(dataset)["kos00/Part1"][0] == "defect"
    groups = {s.image_id: s.group for s in dataset.samples}
    assert groups["kos00/Part0"] == groups["kos00/Part1"] == "kos00"
    # Whole parts: the good shot of a bad part is tested with it.
    assert types(dataset)["kos00/Part0"] == ("good", "test")
    assert report.layout.startswith("pairs")


def test_masks_in_a_folder_beside_the_images(tmp_path):
    root = tmp_path / "set"
    for n in range(3):
        put(root / "images" / f"{n}.png", gray(n))
        put(root / "masks" / f"{n}.png", blob() if n == 2 else np.zeros(HW, np.uint8))
    dataset, _ = read(root, tmp_path / "out")
    assert areas(dataset) == {"images/2": [25]}


def test_patterns_name_class_side_and_group(tmp_path):
    root = tmp_path / "set"
    for side in ("train", "test"):
        for kind in ("fine", "dent"):
            put(root / "img" / side / kind / "a7.jpg", gray())
            put(root / "seg" / side / kind / "a7.png", blob() * (kind == "dent"))
    find = FindOptions("img/{side}/{class}/{name}.jpg", "seg/{side}/{class}/{name}.png", ("fine",))
    dataset, _ = read(root, tmp_path / "out", find=find)
    assert set(types(dataset).values()) == {
        ("good", "train"), ("good", "test"), ("dent", "train"), ("dent", "test"),
    }  # fmt: skip


@pytest.mark.parametrize("pattern", ["{name}/{name}", "{stem}.png", "*.png"])
def test_patterns_that_cannot_be(pattern):
    with pytest.raises(UsageError):
        compile_pattern(pattern)


def test_unpaired_files_are_named(tmp_path):
    root = kolektor(tmp_path / "kos")
    (root / "kos01/Part0.jpg").unlink()
    with pytest.raises(InputError, match=r"Part0_label.bmp looks like a mask"):
        read(root, tmp_path / "out")
    find = FindOptions("{group}/{name}.jpg", "{group}/{name}_label.bmp")
    with pytest.raises(InputError, match=r"has no image that fits"):
        read(root, tmp_path / "out", find=find)
    (root / "kos01/Part0_label.bmp").unlink()
    (root / "kos01/Part1_label.bmp").unlink()
    with pytest.raises(InputError, match=r"Part1.jpg has no mask.*--no-mask-is-good"):
        read(root, tmp_path / "out")
    dataset, _ = read(root, tmp_path / "out", find=FindOptions(no_mask_is_good=True))
    assert types(dataset)["kos01/Part1"][0] == "good"
    with pytest.raises(UsageError, match="belong together"):
        read(root, tmp_path / "more", layout="pairs", find=FindOptions(images="{name}.jpg"))


def coco(root, *, segmentation=None, file_name="a.png", **more):
    put(root / "images" / "a.png", gray(1))
    put(root / "images" / "b.png", gray(2))
    document = {
        "images": [
            {"id": 7, "file_name": file_name, "width": HW[1], "height": HW[0]},
            {"id": 9, "file_name": "b.png", "width": HW[1], "height": HW[0]},
        ],
        "categories": [{"id": 3, "name": "dent"}, {"id": 5, "name": "hole"}],
        "annotations": [
            {
                "id": 1,
                "image_id": 7,
                "category_id": 5,
                "bbox": [2, 3, 4, 5],
                "segmentation": segmentation or [],
                **more,
            }
        ],
    }
    (root / "labels.json").write_text(json.dumps(document))
    return root


def uncompressed(mask):
    flat = mask.T.ravel() != 0
    counts, inside, run = [], False, 0
    for value in flat.tolist():
        if value == inside:
            run += 1
        else:
            counts.append(run)
            run, inside = 1, value
    return {"size": list(mask.shape), "counts": [*counts, run]}


@pytest.mark.parametrize(
    ("segmentation", "area"),
    [
        ([[2, 3, 6, 3, 6, 8, 2, 8]], 20),
        ([[2, 3, 6, 3, 6, 8, 2, 8], [20, 3, 24, 3, 24, 5, 20, 5]], 28),
        (uncompressed(blob()), 25),
        (None, 20),
    ],
)
def test_coco_polygons_rle_and_boxes(tmp_path, segmentation, area):
    root = coco(tmp_path / "set", segmentation=segmentation)
    dataset, report = read(root, tmp_path / "out", good_test_share=0.0)
    assert report.layout == "coco: labels.json holds images, annotations and categories"
    assert dataset.class_names == ("dent", "hole")
    assert areas(dataset) == {"a": [area]}
    assert types(dataset)["b"][0] == "good"


def test_a_crowd_is_ignored_and_leaves_no_good_image(tmp_path):
    root = coco(tmp_path / "set", segmentation=uncompressed(blob()), iscrowd=1)
    put(root / "images" / "c.png", gray(4))
    document = json.loads((root / "labels.json").read_text())
    document["images"].append({"id": 11, "file_name": "c.png", "width": HW[1], "height": HW[0]})
    document["annotations"] += [
        {**document["annotations"][0], "id": 2, "image_id": 11},
        {"id": 3, "image_id": 11, "category_id": 3, "bbox": [20, 3, 4, 5], "iscrowd": 0},
    ]
    (root / "labels.json").write_text(json.dumps(document))
    with pytest.raises(InputError, match=r"1 images with nothing but regions.*images/a.png"):
        read(root, tmp_path / "out")
    everything, _ = read(root, tmp_path / "all", find=FindOptions(crowd_is_defect=True))
    assert areas(everything) == {"a": [25], "c": [25, 20]}
    dataset, report = read(root, tmp_path / "out", allow_leftovers=True)
    assert list(report.left_out) == ["a"]
    assert areas(dataset) == {"c": [20]}
    assert dataset.ignored["c"].areas.tolist() == [25]
    again = load_dataset(tmp_path / "out")
    assert again.ignored["c"].areas.tolist() == [25]


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"file_name": "../../secret.png"}, "leaves"),
        ({"file_name": "/etc/passwd"}, "was not found"),
        ({"file_name": "none.png"}, "was not found"),
        ({"image_id": 8}, "is of image 8"),
        ({"category_id": 4}, "category 4"),
        ({"bbox": [2, 3, "x", 5]}, "is no COCO file"),
        ({"bbox": [2, 3, -4, 5]}, "ends before it starts"),
        ({"segmentation": {"size": [24, 30], "counts": [5, 5]}}, "do not sum up"),
        ({"segmentation": {"size": [9, 9], "counts": [81]}}, "its size is"),
        ({"segmentation": {"size": [24, 30], "counts": "ooooooooo"}}, "malformed RLE"),
        ({"segmentation": [[1e9, 0, 1e9, 5, 0, 5]]}, "far outside"),
        ({"segmentation": [[1, 2, 3, 4, 5, 6, 7]]}, "pairs x, y"),
    ],
)
def test_wrong_coco_is_refused(tmp_path, changes, text):
    root = coco(tmp_path / "set", **changes)
    with pytest.raises(InputError, match=text):
        read(root, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def yolo(root, label="0 0.5 0.5 0.2 0.25\n", data=None):
    put(root / "images/train/a.png", gray(1))
    put(root / "images/test/b.png", gray(2))
    put(root / "images/test/c.png", gray(3))
    (root / "labels/test").mkdir(parents=True)
    (root / "labels/test/b.txt").write_text(label)
    (root / "labels/test/c.txt").write_text("")
    text = data or "train: images/train\nval: images/test\nnames: [dent, hole]\n"
    (root / "data.yaml").write_text(text)
    return root


@pytest.mark.parametrize(
    ("label", "area"),
    [
        ("0 0.5 0.5 0.2 0.25\n", 36),
        ("1 0.2 0.25 0.4 0.25 0.4 0.5 0.2 0.5\n", 36),
    ],
)
def test_yolo_boxes_and_polygons(tmp_path, label, area):
    dataset, report = read(yolo(tmp_path / "set", label), tmp_path / "out")
    assert report.layout == "yolo: it holds data.yaml"
    assert dataset.class_names == ("dent", "hole")
    assert areas(dataset) == {"test/b": [area]}
    assert types(dataset) == {
        "train/a": ("good", "train"),
        "test/b": (dataset.class_names[int(label[0])], "test"),
        "test/c": ("good", "test"),
    }
    assert "1 images have no label file" in " ".join(report.notes)
    assert "validation side is the test side" in " ".join(report.notes)


@pytest.mark.parametrize(
    ("label", "data", "text"),
    [
        ("2 0.5 0.5 0.2 0.25", None, "class 2, but there are 2 names"),
        ("0 0.5 0.5 0.2", None, "3 numbers after the class"),
        ("0 12 13 4 5", None, "between 0 and 1"),
        ("0 0.5 0.5 0.2 nan", None, "between 0 and 1"),
        ("bump 0.5 0.5 0.2 0.2", None, "a class number"),
        ("", "train: ../../elsewhere\nnames: [a]\n", "does not exist|leaves"),
        ("", "train: /etc\nnames: [a]\n", "does not exist"),
        ("", "train: images/train\nval: images/train\nnames: [a]\n", "under train and val"),
        ("", "a: &a [1]\nb: [*a, *a]\ntrain: images\nnames: [a]\n", "aliases"),
        ("", "train: images\nnames: !!python/object/apply:os.system [ls]\n", "is not YAML"),
        ("", "train: images\nnames: {0: a, x: b}\n", "names by number"),
        ("", "[1, 2]", "should hold names"),
    ],
)
def test_wrong_yolo_is_refused(tmp_path, label, data, text):
    with pytest.raises(InputError, match=text):
        read(yolo(tmp_path / "set", label, data), tmp_path / "out")


def test_a_yolo_list_that_points_outside_is_refused(tmp_path):
    root = yolo(tmp_path / "set", data="train: list.txt\nnames: [dent]\n")
    put(tmp_path / "secret.png", gray())
    (root / "list.txt").write_text("./images/../../secret.png\n")
    with pytest.raises(InputError, match="leaves"):
        read(root, tmp_path / "out")


def test_class_masks_name_their_values(tmp_path):
    root = tmp_path / "set"
    (root / "masks").mkdir(parents=True)
    (root / "classes.txt").write_text("dent\nhole\n")
    for n, mask in enumerate((blob() * 0, blob(2, 2, 1) + blob(14, 14, 2, 7))):
        put(root / "images" / f"{n}.png", gray(n))
        put(root / "masks" / f"{n}.png", mask)
    dataset, report = read(root, tmp_path / "out")
    assert report.layout.startswith("class-masks")
    truth = dataset.truths["1"]
    assert (truth.labels.tolist(), truth.areas.tolist()) == ([0, 1], [25, 49])
    assert types(dataset)["1"][0] == "hole"
    put(root / "masks" / "0.png", blob(2, 2, 9))
    with pytest.raises(InputError, match=r"the value.s. 9"):
        read(root, tmp_path / "more")
    options = FindOptions(classes=("a", "b", "c", "d", "e", "f", "g", "h", "i"))
    dataset, _ = read(root, tmp_path / "named", layout="class-masks", find=options)
    assert types(dataset)["0"][0] == "i"


def test_voc_counts_from_one_and_holds_both_ends(tmp_path):
    root = tmp_path / "set"
    put(root / "JPEGImages/a.png", gray())
    (root / "Annotations").mkdir()
    xml = (
        "<annotation><filename>a.png</filename><size><width>30</width><height>24</height></size>"
        "<object><name>dent</name><bndbox><xmin>3</xmin><ymin>4</ymin><xmax>6</xmax>"
        "<ymax>4</ymax></bndbox></object></annotation>"
    )
    path = root / "Annotations/a.xml"
    path.write_text(xml)
    put(root / "JPEGImages/b.png", gray(2))
    (root / "Annotations/b.xml").write_text("<annotation><filename>b.png</filename></annotation>")
    dataset, _ = read(root, tmp_path / "out")
    assert dataset.truths["a"].boxes_xyxy.tolist() == [[2, 3, 6, 4]]
    assert areas(dataset) == {"a": [4]}
    for old, new, text in (
        ("<annotation>", '<!DOCTYPE a [<!ENTITY b "c">]><annotation>', "document type"),
        ("</object>", "", "is no XML file"),
        ("<xmin>3", "<xmin>x", "is no VOC file"),
        ("<name>dent</name>", "", "has no name"),
    ):
        path.write_text(xml.replace(old, new))
        with pytest.raises(InputError, match=text):
            read(root, tmp_path / "more")


def test_a_loop_of_links_ends(tmp_path):
    root = kolektor(tmp_path / "kos")
    (root / "kos00" / "up").symlink_to(root)
    (root / "self").symlink_to(root / "self")
    dataset, _ = read(root, tmp_path / "out")
    assert len(dataset.samples) == 8


def test_a_folder_of_nothing_says_what_is_expected(tmp_path):
    (tmp_path / "empty").mkdir()
    for layout in ("auto", "mvtec", "btad", "visa", "pairs", "coco", "yolo", "voc", "class-masks"):
        with pytest.raises(LayoutError, match=r"expected|no pair|does not have"):
            convert(tmp_path / "empty", tmp_path / "out", ConvertOptions(layout=layout))
    assert not (tmp_path / "out").exists()


def test_a_hostile_class_name_is_refused_before_it_is_a_folder(tmp_path):
    root = coco(tmp_path / "set")
    text = (root / "labels.json").read_text()
    (root / "labels.json").write_text(text.replace('"hole"', '"../../hole"'))
    with pytest.raises(InputError, match="it would be a path"):
        read(root, tmp_path / "out")


@pytest.mark.parametrize("workers", [1, 2])
def test_processes_change_nothing(tmp_path, workers):
    root = magnetic_tile(tmp_path / "tiles")
    dataset, _ = read(root, tmp_path / f"out-{workers}", workers=workers)
    assert areas(dataset) == {
        "MT_Crack/Imgs/exp1_num_0": [25],
        "MT_Crack/Imgs/exp1_num_1": [25],
    }
    put(root / "MT_Crack/Imgs/exp1_num_0.png", np.zeros((3, 3), np.uint8))
    with pytest.raises(InputError, match=r"exp1_num_0.png is 3×3 pixels"):
        read(root, tmp_path / "more", workers=workers)
