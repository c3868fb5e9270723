"""The hybrid segmenter: one model that learns from good images and from defects at once."""
