"""How long does anomalib's own inferencer take for an image with PatchCore?

Runs in an environment of its own, see peer_patchcore.py. `benchmarks.predict --peer PYTHON` calls
it: images come as lines on standard input, milliseconds of each are printed. Weights and memory are
random numbers: time does not depend on them.
"""

import sys
import tempfile
import time
from pathlib import Path

import torch
from anomalib.deploy import TorchInferencer
from anomalib.models import Patchcore

LAYERS = ["blocks.2", "blocks.4"]


def main() -> None:
    """Answer image by image, so that the caller can take turns."""
    patches, channels, threads = (int(text) for text in sys.argv[1:4])
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    model = Patchcore(backbone="tf_efficientnet_lite0", layers=LAYERS, pre_trained=False)
    model.model.memory_bank = torch.rand(patches, channels)
    model.eval()
    with tempfile.TemporaryDirectory() as folder:
        inferencer = TorchInferencer(model.to_torch(Path(folder)), device="cpu")
        print("ready", flush=True)
        for line in sys.stdin:
            began = time.perf_counter()
            inferencer.predict(line.strip())
            print(time.perf_counter() - began, flush=True)


if __name__ == "__main__":
    main()
