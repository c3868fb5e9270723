"""The two scales of an image's score, as two types: neither passes for the other under mypy.

Both are plain floats when the program runs.
"""

from typing import NewType

RawScore = NewType("RawScore", float)
"""What a model itself says of an image: higher is more defective, on a scale of its own."""

CalibratedScore = NewType("CalibratedScore", float)
"""A raw score on the scale from 0 to 1 on which 0.5 is the fold's threshold; see
`FoldThresholds.calibrate`."""
