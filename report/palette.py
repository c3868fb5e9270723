"""Colours that colour-blind eyes tell apart, the same for a type everywhere.

Okabe and Ito, Color Universal Design (2008), without black and yellow, which vanish on images.
"""

from typing import Final

Colour = tuple[int, int, int]
TYPE_COLOURS_RGB: Final[tuple[Colour, ...]] = (
    (230, 159, 0),
    (86, 180, 233),
    (204, 121, 167),
    (0, 158, 115),
    (213, 94, 0),
    (0, 114, 178),
)


def type_colour_rgb(label: int) -> Colour:
    """Colour of a defect type; types beyond the sixth begin again."""
    return TYPE_COLOURS_RGB[label % len(TYPE_COLOURS_RGB)]
