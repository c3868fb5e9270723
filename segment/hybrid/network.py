"""The head on frozen features, the noise that stands in for defects, and the loss.

After Rolih, Fučka, Skočaj: SuperSimpleNet (ICPR 2024; extended 2025), section 3: features of
several strides joined and adapted by a linear layer, Gaussian noise in smooth blobs as synthetic
anomalies, a map head and an image head, truncated L1 and focal loss. Unlike there the map is
refined at strides 4 and 2 by the network's finer features, noise is added before the adaptor (to
standardized features), and a further head names the type of a defect.
"""

from collections.abc import Sequence
from typing import Final

import torch
from torch.nn import functional

TRUNK_STRIDE: Final = 8
JOINED_FROM: Final = 4
"""Stride from which on levels are joined at the trunk's; a finer one enters at its own."""
MARGIN: Final = 0.5
"""Of the truncated L1 loss, as in the paper."""
SCALE: Final = 4.0
"""Logits at the margin, ±0.5, become probabilities of 0.12 and 0.88."""
FOCAL_POWER: Final = 2.0
TYPE_WEIGHT: Final = 0.3
FOCAL_WEIGHT: Final = 5.0
TOP: Final = 0.005
"""Part of an image with a mere image label that is to be a defect, of its highest places."""
_TINY: Final = 1e-3


class Head(torch.nn.Module):
    """One head: standardized features to a map of defects with their types, and an image's logit.

    Attributes:
        map_stride: of the map that comes out.
    """

    def __init__(
        self,
        strides: Sequence[int],
        channels: Sequence[int],
        *,
        n_classes: int,
        width: int,
        map_stride: int,
    ) -> None:
        """Make a head.

        Args:
            strides: of the levels of features, ascending.
            channels: of each level.
            n_classes: types of defects.
            width: channels at stride 8.
            map_stride: 2, 4 or 8.
        """
        super().__init__()
        self.map_stride = map_stride
        by_stride = dict(zip(strides, channels, strict=True))
        joined = sum(count for stride, count in by_stride.items() if stride >= JOINED_FROM)
        self.adaptor = torch.nn.Conv2d(joined, 2 * width, 1)
        self.trunk = torch.nn.Sequential(_layer(2 * width, width), _layer(width, width))
        self.finer = torch.nn.ModuleList()
        here, stride = width, TRUNK_STRIDE
        self._finer_levels: list[int | None] = []
        while stride > map_stride:
            stride //= 2
            level = list(strides).index(stride) if stride in by_stride else None
            self._finer_levels.append(level)
            there = max(here // 2, 4)
            self.finer.append(_layer(here + by_stride.get(stride, 0), there))
            here = there
        self.map_head = torch.nn.Conv2d(here, 1 + n_classes, 1)
        self.image_layer = _layer(width + 1, width // 2, size=5)
        self.image_head = torch.nn.Linear(2 * (width // 2) + 2, 1)

    def forward(
        self,
        levels: Sequence[torch.Tensor],
        joined: torch.Tensor,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Answer.

        Args:
            levels: standardized, float (n, channels, h, w), the finest first.
            joined: those from stride 4 on, joined at stride 8.

        Returns:
            Float (n, 1 + types, H, W): the defect's logit and those of its types, at
            `map_stride`; and float (n,), the image's logit.
        """
        trunk = self.trunk(self.adaptor(joined))
        fine = trunk
        for level, layer in zip(self._finer_levels, self.finer, strict=True):
            fine = functional.interpolate(fine, scale_factor=2.0, mode="bilinear")
            fine = layer(fine if level is None else torch.cat((fine, levels[level]), dim=1))
        maps = self.map_head(fine)
        defect = maps[:, :1]
        # A whole number of places each, and known without the image's sides, as a graph needs it.
        coarse = functional.max_pool2d(defect, TRUNK_STRIDE // self.map_stride)
        seen = self.image_layer(torch.cat((trunk, coarse), dim=1))
        pooled = [one for m in (seen, defect) for one in (m.mean((2, 3)), m.amax((2, 3)))]
        return maps, self.image_head(torch.cat(pooled, dim=1))[:, 0]


class Heads(torch.nn.Module):
    """Heads on the same features, each from a start of its own; their mean answers.

    Attributes:
        strides: of the levels, ascending.
        map_stride: of the map that comes out.
    """

    def __init__(
        self,
        strides: Sequence[int],
        channels: Sequence[int],
        *,
        n_classes: int,
        width: int,
        map_stride: int,
        heads: int = 1,
    ) -> None:
        """Make as many `heads`; see `Head` for what they take."""
        super().__init__()
        self.strides, self.map_stride = tuple(strides), map_stride
        for number, count in enumerate(channels):
            self.register_buffer(f"mean_{number}", torch.zeros(count))
            self.register_buffer(f"deviation_{number}", torch.ones(count))
        # Strides 4, 8 and 16 are joined; what is finer enters at its own stride.
        self._joined = [n for n, stride in enumerate(strides) if stride >= JOINED_FROM]
        self.each = torch.nn.ModuleList(
            Head(
                strides,
                channels,
                n_classes=n_classes,
                width=width,
                map_stride=map_stride,
            )
            for _ in range(heads)
        )

    def standardize(self, levels: Sequence[torch.Tensor]) -> list[torch.Tensor]:
        """Features (n, channels, h, w) a level, each channel with mean 0 and deviation 1 over
        good images."""
        return [
            (level - self._buffer("mean", n)) / self._buffer("deviation", n)
            for n, level in enumerate(levels)
        ]

    def _buffer(self, name: str, number: int) -> torch.Tensor:
        return self.get_buffer(f"{name}_{number}")[:, None, None]

    def set_statistics(
        self, means: Sequence[torch.Tensor], squares: Sequence[torch.Tensor]
    ) -> None:
        """Take each channel's mean, and mean square, over good images: (channels,) a level."""
        for number, (mean, square) in enumerate(zip(means, squares, strict=True)):
            deviation = (square - mean**2).clamp_min(0).sqrt()
            # A channel that never fires would make noise of any difference.
            floor = _TINY + 0.05 * deviation.mean()
            self.get_buffer(f"mean_{number}").copy_(mean)
            self.get_buffer(f"deviation_{number}").copy_(torch.maximum(deviation, floor))

    def join(self, levels: Sequence[torch.Tensor]) -> torch.Tensor:
        """Standardized levels from stride 4 on, joined: float (n, channels, h, w) at stride 8."""
        return torch.cat([_to_trunk(levels[n], self.strides[n]) for n in self._joined], dim=1)

    def forward(
        self, levels: Sequence[torch.Tensor], only: Sequence[int] | None = None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Standardized levels to the mean of what the heads, or `only` some of them by number,
        answer; see `Head.forward`."""
        maps, logits = self.answers(levels, only)
        return maps.mean(dim=0), logits.mean(dim=0)

    def answers(
        self, levels: Sequence[torch.Tensor], only: Sequence[int] | None = None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """What each head, or each of `only` some by number, answers to standardized levels: maps
        (heads, n, 1 + classes, h, w) and image logits (heads, n); see `Head.forward`."""
        joined = self.join(levels)
        chosen = list(self.each) if only is None else [self.each[number] for number in only]
        maps, logits = zip(*(head(levels, joined) for head in chosen), strict=True)
        return torch.stack(maps), torch.stack(logits)


def _layer(inputs: int, outputs: int, size: int = 3) -> torch.nn.Sequential:
    return torch.nn.Sequential(
        torch.nn.Conv2d(inputs, outputs, size, padding=size // 2, bias=False),
        torch.nn.BatchNorm2d(outputs),
        torch.nn.ReLU(inplace=True),
    )


def _to_trunk(level: torch.Tensor, stride: int) -> torch.Tensor:
    """A level at the trunk's stride; by strides, since a graph knows no image's sides."""
    if stride < TRUNK_STRIDE:
        return functional.avg_pool2d(level, TRUNK_STRIDE // stride)
    if stride == TRUNK_STRIDE:
        return level
    return functional.interpolate(
        level, scale_factor=float(stride // TRUNK_STRIDE), mode="bilinear", align_corners=False
    )


def blob_mask(hw: tuple[int, int], count: int, generator: torch.Generator) -> torch.Tensor:
    """Smooth blobs: bool (count, 1, h, w), a twentieth to a third of each covered.

    Smooth noise above a threshold, as in the paper's section 3.3; coarse noise makes large blobs,
    fine noise small ones.
    """
    cells = int(torch.randint(2, 9, (), generator=generator))
    coarse = torch.randn(count, 1, cells, cells, generator=generator)
    smooth = functional.interpolate(coarse, size=hw, mode="bicubic", align_corners=False)
    cover = 0.02 + 0.2 * torch.rand(count, generator=generator)
    flat = smooth.flatten(1)
    kept = torch.stack(
        [torch.quantile(row, 1 - float(part)) for row, part in zip(flat, cover, strict=True)]
    )
    return smooth > kept[:, None, None, None]


def add_noise(
    levels: Sequence[torch.Tensor],
    where: torch.Tensor,
    deviation: float,
    generator: torch.Generator,
) -> list[torch.Tensor]:
    """Add Gaussian noise to standardized levels inside blobs bool (n, 1, h, w) at stride 8.

    Of finer levels the noise is drawn at stride 8 as well and enlarged: noise from place to place
    would be told from any texture at a glance, and say nothing about defects.
    """
    noisy = []
    for level in levels:
        hw = (min(level.shape[2], where.shape[2]), min(level.shape[3], where.shape[3]))
        noise = torch.randn(*level.shape[:2], *hw, generator=generator).to(level)
        inside = functional.interpolate(where.to(level), size=level.shape[2:], mode="nearest")
        noise = functional.interpolate(noise, size=level.shape[2:], mode="nearest")
        noisy.append(level + deviation * noise * inside)
    return noisy


def hybrid_loss(
    maps: torch.Tensor,
    image_logits: torch.Tensor,
    *,
    anomalous: torch.Tensor,
    types: torch.Tensor,
    image_labels: torch.Tensor,
    known: torch.Tensor | None = None,
    bags: Sequence[tuple[int, torch.Tensor, int, bool]] = (),
) -> torch.Tensor:
    """Truncated L1 and focal loss of the map, cross-entropy of types, focal loss of the image.

    Args:
        maps: float (n, 1 + types, h, w).
        image_logits: float (n,).
        anomalous: float (n, h, w), 1 inside defects, real and made.
        types: int64 (n, h, w), 0 = no type known, label + 1 inside real defects.
        image_labels: float (n,), 1 where anything is anomalous.
        known: float (n, h, w), 0 where nobody knows whether a place is a defect; None knows all.
        bags: number in the batch, bool (h, w), label, and whether it is tight: places of which
            some are a defect; see `segment.hybrid.pieces.Bag`.

    Returns:
        A scalar. SuperSimpleNet, section 3.4, with focal loss (Lin et al. 2017) of power 2.
    """
    maps, image_logits = maps.float(), image_logits.float()
    logit = maps[:, 0]
    known = torch.ones_like(anomalous) if known is None else known
    normal = known * (1 - anomalous)
    defect = known * anomalous
    below = (functional.relu(logit + MARGIN) * normal).sum() / normal.sum().clamp_min(1)
    above = (functional.relu(MARGIN - logit) * defect).sum() / defect.sum().clamp_min(1)
    each = _focal_each(SCALE * logit, anomalous)
    loss = below + above + FOCAL_WEIGHT * (each * known).sum() / known.sum().clamp_min(1)
    loss = loss + _focal_each(SCALE * image_logits, image_labels).mean()
    if bags:
        of_bags, types = _bag_loss(logit, types, bags)
        loss = loss + of_bags
    inside = types > 0
    if bool(inside.any()):
        labels = types[inside] - 1
        chosen = maps[:, 1:].permute(0, 2, 3, 1)[inside]
        weight = torch.bincount(labels, minlength=chosen.shape[1]).clamp_min(1).reciprocal()
        loss = loss + TYPE_WEIGHT * functional.cross_entropy(chosen, labels, weight=weight)
    return loss


def _bag_loss(
    logit: torch.Tensor, types: torch.Tensor, bags: Sequence[tuple[int, torch.Tensor, int, bool]]
) -> tuple[torch.Tensor, torch.Tensor]:
    """Multiple-instance loss of bags, and types (n, h, w) that name their likeliest places too.

    Of a tight bag the highest place of each row and column is to be a defect; of another one the
    `TOP` highest places are, and the lower half of its places are not.
    """
    total = torch.zeros((), device=logit.device)
    types = types.clone()
    for number, inside, label, tight in bags:
        here = logit[number]
        values = here[inside]
        count = max(1, round(TOP * len(values)))
        if tight:
            outside = here.masked_fill(~inside, -torch.inf)
            places = torch.cat([outside.amax(1)[inside.any(1)], outside.amax(0)[inside.any(0)]])
        else:
            places = values.topk(count).values
            quiet = values[values <= values.detach().median()]
            total = total + functional.relu(quiet + MARGIN).mean()
        total = total + functional.relu(MARGIN - places).mean()
        total = total + FOCAL_WEIGHT * focal(SCALE * places, torch.ones_like(places))
        least = values.detach().topk(count).values[-1]
        types[number][inside & (here.detach() >= least) & (types[number] == 0)] = label + 1
    return total / len(bags), types


def focal(logits: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
    """Focal loss (Lin et al. 2017, equation 4) of equal shapes, averaged: a scalar."""
    return _focal_each(logits, truth).mean()


def _focal_each(logits: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
    each = functional.binary_cross_entropy_with_logits(logits, truth, reduction="none")
    return (1 - torch.exp(-each)) ** FOCAL_POWER * each
