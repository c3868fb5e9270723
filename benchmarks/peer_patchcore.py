"""anomalib's PatchCore on an official split, with anomalib's own metrics.

Runs in an environment of its own, where anomalib is installed and this project is not:

    uv venv PEER && VIRTUAL_ENV=PEER uv pip install anomalib opencv-python-headless timm
    PEER/bin/python benchmarks/peer_patchcore.py OUT BACKBONE.pt FOLDER

OUT is a dataset converted with --protocol official, BACKBONE.pt the tensors of timm's
`tf_efficientnet_lite0` (`benchmarks/evaluate.py --save-backbone` writes them), FOLDER is made: what
`defectune evaluate OUT --external patchcore=FOLDER` reads, and anomalib's figures in peer.json.
"""

import json
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import torch
from anomalib.data import ImageBatch
from anomalib.metrics import AUPIMO, AUPR, AUPRO, AUROC
from anomalib.models.image.patchcore.torch_model import PatchcoreModel
from pycocotools import mask as coco_mask

SIDE = 256
LAYERS = ["blocks.2", "blocks.4"]
CORESET = 0.01
MEAN, STD = np.array([0.5, 0.5, 0.5]), np.array([0.5, 0.5, 0.5])


def read(path: Path) -> torch.Tensor:
    """One image, float32 (1, 3, 256, 256), as the backbone was trained."""
    image = cv2.cvtColor(cv2.imread(str(path)), cv2.COLOR_BGR2RGB)
    small = cv2.resize(image, (SIDE, SIDE), interpolation=cv2.INTER_AREA) / 255.0
    return torch.from_numpy(((small - MEAN) / STD).transpose(2, 0, 1)[None]).float()


def main() -> None:
    """Train, predict, count."""
    root, weights, folder = (Path(text) for text in sys.argv[1:4])
    torch.manual_seed(0)
    document = json.loads((root / "annotations" / "all.json").read_text())
    split = json.loads((root / "split.json").read_text())
    (fold,) = split["folds"]
    images = {image["defectune"]["image_id"]: image for image in document["images"]}
    model = PatchcoreModel(LAYERS, backbone="tf_efficientnet_lite0", pre_trained=False)
    state = torch.load(weights, weights_only=True)
    network = model.feature_extractor.feature_extractor
    missing, _ = network.load_state_dict(state, strict=False)
    if missing:
        raise SystemExit(f"The backbone lacks {missing[:3]}.")
    model.eval()
    begin = time.perf_counter()
    model.training = True
    for image_id in fold["train"]:
        model(read(root / images[image_id]["file_name"]))
    model.subsample_embedding(CORESET)
    model.training = False
    trained = time.perf_counter() - begin
    (folder / "maps").mkdir(parents=True, exist_ok=True)
    scores: dict[str, list[str]] = {"test": [], "val": []}
    maps, masks, labels, ranked = [], [], [], []
    for side in ("test", "val"):
        for image_id in fold[side]:
            entry = images[image_id]
            with torch.no_grad():
                found = model(read(root / entry["file_name"]))
            score = float(found.pred_score)
            scores[side].append(f"{image_id},{score!r}\n")
            if side == "val":
                continue
            size = (entry["width"], entry["height"])
            picture = cv2.resize(found.anomaly_map[0, 0].numpy(), size)
            place = folder / "maps" / f"{image_id}.tiff"
            place.parent.mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(place), picture)
            rows = [a for a in document["annotations"] if a["image_id"] == entry["id"]]
            mask = np.zeros(picture.shape, np.uint8)
            for row in rows:
                mask |= coco_mask.decode(row["segmentation"])
            maps.append(torch.from_numpy(picture))
            masks.append(torch.from_numpy(mask))
            labels.append(int(bool(rows)))
            ranked.append(score)
    for side, name in (("test", "images.csv"), ("val", "validation.csv")):
        (folder / name).write_text("image_id,image_score\n" + "".join(scores[side]))
    (folder / "meta.json").write_text(json.dumps({"split_digest": split["digest"]}))
    # torchmetrics squashes scores outside of 0 to 1 with a sigmoid, where large ones become equal.
    pixels, ranks = torch.stack(maps), torch.tensor(ranked)
    pixels = (pixels - pixels.min()) / (pixels.max() - pixels.min())
    ranks = (ranks - ranks.min()) / (ranks.max() - ranks.min())
    batch = ImageBatch(
        image=torch.zeros(len(maps), 3, 2, 2),
        anomaly_map=pixels,
        gt_mask=torch.stack(masks).bool(),
        pred_score=ranks,
        gt_label=torch.tensor(labels).bool(),
    )
    figures: dict[str, float] = {"train_seconds": trained}
    for name, metric in (
        ("image_auroc", AUROC(fields=["pred_score", "gt_label"])),
        ("image_ap", AUPR(fields=["pred_score", "gt_label"])),
        ("pixel_auroc", AUROC(fields=["anomaly_map", "gt_mask"])),
        ("aupro_30", AUPRO(fields=["anomaly_map", "gt_mask"], fpr_limit=0.3)),
        ("aupro_5", AUPRO(fields=["anomaly_map", "gt_mask"], fpr_limit=0.05)),
        ("aupimo", AUPIMO(fields=["anomaly_map", "gt_mask"])),
    ):
        begin = time.perf_counter()
        metric.update(batch)
        value = metric.compute()
        figures[name] = float(value)
        figures[f"{name}_seconds"] = time.perf_counter() - begin
        print(name, figures[name], f"{figures[f'{name}_seconds']:.1f} s", flush=True)
    (folder / "peer.json").write_text(json.dumps(figures, indent=1) + "\n")


if __name__ == "__main__":
    main()
