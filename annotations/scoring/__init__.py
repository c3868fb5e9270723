"""From an image to what a network sees, and from what it says to a prediction. No torch.

A `Scorer` is all of a model but its network: resizing, padding, normalisation, tiles, views,
distances, maps, regions. Training's predictors call it with a torch network, a bundle with an ONNX
graph: what decides a verdict exists once.
"""
