"""What a U-Net is trained with: masks, and boxes and image labels where there is no mask."""

from typing import Final

import cv2
import numpy as np
import torch
from torch.nn import functional

from segment.data import WEAK

TYPE_WEIGHT = 0.3
"""Part of the type in the loss; finding a defect matters more than naming it."""
TOP_OF_BOX: Final = 0.2
"""Part of a box's pixels that are to be a defect, of the highest."""
TOP_OF_IMAGE: Final = 0.005
"""The same of a whole image that is only known to be defective."""


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
