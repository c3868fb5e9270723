"""A torch module as a scorer asks it: arrays in, arrays out."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch


class TorchNetwork:
    """A module on its device.

    Attributes:
        module: from float32 (n, 3, h, w) to one tensor or several; an export makes its graph of it.
    """

    def __init__(
        self, module: torch.nn.Module, device: torch.device, *, channels_last: bool = False
    ) -> None:
        """Take a module; it is evaluated, never trained. `channels_last` is the faster layout for
        most convolutional networks."""
        self.module = module.eval().to(device)
        self._device = device
        self._format = torch.channels_last if channels_last else torch.contiguous_format
        if channels_last:
            self.module.to(memory_format=torch.channels_last)

    @torch.inference_mode()
    def __call__(self, batch: npt.NDArray[np.float32]) -> Sequence[npt.NDArray[np.float32]]:
        """Answer to float32 (n, 3, h, w)."""
        images = torch.from_numpy(batch).to(self._device, memory_format=self._format)
        answer = self.module(images)
        outputs = (answer,) if isinstance(answer, torch.Tensor) else answer
        return [np.asarray(one.float().cpu().numpy(), np.float32) for one in outputs]
