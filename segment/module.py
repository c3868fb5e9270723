"""The training loop of the U-Net's network, for Lightning."""

from typing import Any, Final, cast

import lightning as L  # noqa: N812 - its own convention
import torch
from torch.nn import functional

from segment.config import SegmentConfig
from segment.data import WEAK, Item
from segment.losses import defect_loss

IGNORED: Final = -100


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
