"""The network, its loss and its training loop."""

import difflib
from typing import Any, Final, cast

import cv2
import lightning as L  # noqa: N812 - its own convention
import numpy as np
import segmentation_models_pytorch as smp
import torch
from torch.nn import functional

from annotations import UsageError, WeightsNotFoundError
from annotations.errors import shortened
from segment.config import SegmentConfig
from segment.data import WEAK, Item
from training import efficientnet_lite0_state_dict
from training.weights import with_hub

LITE0 = "tu-tf_efficientnet_lite0"
TYPE_WEIGHT = 0.3
"""Part of the type in the loss; finding a defect matters more than naming it."""


TOP_OF_BOX: Final = 0.2
"""Part of a box's pixels that are to be a defect, of the highest."""
TOP_OF_IMAGE: Final = 0.005
"""The same of a whole image that is only known to be defective."""
IGNORED: Final = -100


def build_network(config: SegmentConfig, n_classes: int, *, pretrained: bool) -> torch.nn.Module:
    """Make the network: (N, 3, S, S) to logits (N, n_classes + 1, S, S).

    Args:
        config: architecture and encoder.
        n_classes: without the background, which is channel 0.
        pretrained: load the encoder's ImageNet weights.

    Raises:
        UsageError: an unknown architecture or encoder.
        WeightsNotFoundError: the encoder's weights are neither here nor reachable.
    """
    names = [n for n in dir(smp) if isinstance(getattr(smp, n), type) and n[0].isupper()]
    if config.architecture not in names:
        near = difflib.get_close_matches(config.architecture, names, n=3) or names
        raise UsageError(
            f"Unknown architecture {config.architecture!r}; segmentation-models-pytorch has "
            f"{', '.join(near)}."
        )
    library_weights = "imagenet" if pretrained and config.encoder != LITE0 else None

    def make() -> torch.nn.Module:
        network: torch.nn.Module = getattr(smp, config.architecture)(
            encoder_name=config.encoder,
            encoder_weights=library_weights,
            in_channels=3,
            classes=n_classes + 1,
        )
        return network

    try:
        network = make() if library_weights is None else with_hub(make)
    except (KeyError, ValueError, RuntimeError) as error:  # timm's word for an unknown name
        raise UsageError(
            f"segmentation-models-pytorch cannot make the encoder "
            f"{config.encoder!r}: {shortened(error)}"
        ) from error
    except OSError as error:
        raise WeightsNotFoundError(
            f"The ImageNet weights of {config.encoder} cannot be downloaded "
            f"({shortened(error)}). Use the "
            f"encoder {LITE0}, whose weights are installed, or --weights none."
        ) from error
    if pretrained and config.encoder == LITE0:
        load_lite0(network)
    return network


def load_lite0(network: torch.nn.Module) -> int:
    """Load ImageNet weights into an encoder `tu-tf_efficientnet_lite0`.

    Returns:
        The number of tensors loaded.

    Raises:
        WeightsNotFoundError: a tensor of the encoder has no counterpart of its shape.
    """
    encoder = cast(torch.nn.Module, network.encoder)
    own = encoder.state_dict()
    theirs = {f"model.{key}": value for key, value in efficientnet_lite0_state_dict().items()}
    loaded = {}
    for key, value in own.items():
        if key.endswith("num_batches_tracked"):
            loaded[key] = theirs.get(key, value)
        elif key in theirs and theirs[key].shape == value.shape:
            loaded[key] = theirs[key]
        else:
            raise WeightsNotFoundError(
                f"The installed EfficientNet-Lite0 weights have no tensor for {key}: the versions "
                "of timm and of the weights do not fit. Use `uv sync` to install the locked ones."
            )
    encoder.load_state_dict(loaded)
    return len(loaded)


def defect_loss(logits: torch.Tensor, class_mask: torch.Tensor) -> torch.Tensor:
    """Is there a defect, and which? Cross-entropy and soft Dice of "any defect", and of its type.

    Dice is pooled over the batch, which keeps it defined, and pulls good images' false pixels
    down, also when some images of the batch have no defect. The type is learned on defect pixels
    alone, every type of the batch counting the same: by pixels, a type of small defects would
    never be worth naming. Where no image has a defect, cross-entropy alone is the loss. Pixels of
    which only a box or an image label is known enter neither, but `bag_loss`.

    Args:
        logits: float (N, C + 1, H, W); channel 0 is the background.
        class_mask: int64 (N, H, W); see `segment.data.WEAK` for pixels that are not known.

    Returns:
        A scalar.
    """
    logits = logits.float()
    defect_logit = logits[:, 1:].logsumexp(dim=1) - logits[:, 0]
    known = (class_mask < WEAK).float()
    inside = (class_mask > 0) & (class_mask < WEAK)
    truth = inside.float()
    each = functional.binary_cross_entropy_with_logits(defect_logit, truth, reduction="none")
    loss = (each * known).sum() / known.sum().clamp_min(1)
    types = torch.where(inside, class_mask, 0)
    if bool((known == 0).any()):
        of_bags, types = bag_loss(defect_logit, class_mask, types)
        loss = loss + of_bags
    if bool(inside.any()):
        defect = defect_logit.sigmoid() * known
        overlap = 2 * (defect * truth).sum() / (defect.sum() + truth.sum()).clamp_min(1e-6)
        loss = loss + 1 - overlap
    if not bool((types > 0).any()):
        return loss
    labels = types[types > 0] - 1
    type_logits = logits[:, 1:].permute(0, 2, 3, 1)[types > 0]
    weight = torch.bincount(labels, minlength=type_logits.shape[1]).clamp_min(1).reciprocal()
    return loss + TYPE_WEIGHT * functional.cross_entropy(type_logits, labels, weight=weight)


def bag_loss(
    defect_logit: torch.Tensor, class_mask: torch.Tensor, types: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Multiple-instance loss of what a box or an image label says of its pixels.

    Of each box the `TOP_OF_BOX` highest pixels are to be a defect. Of an image with a mere image
    label the `TOP_OF_IMAGE` highest are, and the lower half is not.

    Args:
        defect_logit: float (N, H, W).
        class_mask: int64 (N, H, W), with some pixels from `segment.data.WEAK` on.
        types: int64 (N, H, W), label + 1 where a type is known.

    Returns:
        A scalar, and types that name the highest pixels too.
    """
    total = torch.zeros((), device=defect_logit.device)
    types = types.clone()
    count = 0
    masks = class_mask.cpu().numpy()
    for number, mask in enumerate(masks):
        if not (mask >= WEAK).any():
            continue
        whole = bool((mask >= WEAK).all())
        share = TOP_OF_IMAGE if whole else TOP_OF_BOX
        for label in np.unique(mask[mask >= WEAK]).tolist():
            _, parts = cv2.connectedComponents((mask == label).astype(np.uint8), connectivity=8)
            for part in range(1, int(parts.max()) + 1):
                inside = torch.from_numpy(parts == part).to(defect_logit.device)
                values = defect_logit[number][inside]
                highest = values.topk(max(1, round(share * len(values)))).values
                total = total + functional.softplus(-highest).mean()
                if whole:
                    quiet = values[values <= values.detach().median()]
                    total = total + functional.softplus(quiet).mean()
                chosen = inside & (defect_logit[number].detach() >= highest.detach()[-1])
                types[number][chosen] = label - WEAK + 1
                count += 1
    return total / max(count, 1), types


class SegmenterModule(L.LightningModule):
    """Training loop: AdamW with one cycle, best checkpoint by validation loss."""

    def __init__(self, network: torch.nn.Module, config: SegmentConfig, total_steps: int) -> None:
        """Take the network and how long it will train."""
        super().__init__()
        self.network = network
        self.config = config
        self.total_steps = total_steps

    def training_step(self, batch: Item, batch_idx: int) -> torch.Tensor:
        """Loss of one batch."""
        del batch_idx
        images, masks = batch
        logits = self.network(images)
        if self.config.loss == "defect":
            loss = defect_loss(logits, masks)
        else:
            known = torch.where(masks < WEAK, masks, IGNORED)
            loss = functional.cross_entropy(logits.float(), known, ignore_index=IGNORED)
        self.log("train_loss", loss, on_epoch=True, on_step=False, batch_size=len(images))
        return loss

    def on_validation_epoch_start(self) -> None:
        """Counts start again."""
        self._overlap = self._predicted = self._true = 0.0

    def validation_step(self, batch: Item, batch_idx: int) -> None:
        """Loss and soft counts of one batch."""
        del batch_idx
        images, masks = batch
        logits = self.network(images).float()
        defect = 1 - logits.softmax(dim=1)[:, 0]
        truth = (masks > 0).float()
        self._overlap += float((defect * truth).sum())
        self._predicted += float(defect.sum())
        self._true += float(truth.sum())
        cross_entropy = functional.cross_entropy(logits, masks)
        self.log("val_cross_entropy", cross_entropy, batch_size=len(images))

    def on_validation_epoch_end(self) -> None:
        """Soft Dice, pooled over all validation images."""
        self.log("val_dice", 2 * self._overlap / max(self._predicted + self._true, 1e-6))

    def configure_optimizers(self) -> Any:
        """AdamW, the encoder slower than the decoder, one cycle."""
        config = self.config
        encoder = list(cast(torch.nn.Module, self.network.encoder).parameters())
        known = {id(parameter) for parameter in encoder}
        rest = [p for p in self.network.parameters() if id(p) not in known]
        encoder_rate = config.learning_rate * config.encoder_lr_factor
        groups = [{"params": rest, "lr": config.learning_rate}]
        if encoder_rate > 0:
            groups.append({"params": encoder, "lr": encoder_rate})
        optimizer = torch.optim.AdamW(groups, weight_decay=config.weight_decay)
        schedule = torch.optim.lr_scheduler.OneCycleLR(
            optimizer,
            max_lr=[float(cast(float, group["lr"])) for group in groups],
            total_steps=self.total_steps,
            pct_start=0.15,
        )
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": schedule, "interval": "step"},
        }
