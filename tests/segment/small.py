"""The smallest hybrid segmenter that tests train."""

from segment import HybridConfig

SMALL = HybridConfig(
    weights="none",
    encoder="resnet18",
    image_size=64,
    epochs=1,
    width=8,
    views=2,
    heads=1,
    fewest_images=8,
    device="cpu",
)
