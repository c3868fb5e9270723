"""Colors that color-blind eyes tell apart, the same for a type everywhere.

Okabe and Ito, Color Universal Design (2008), without black and yellow, which vanish on images.
"""

from typing import Final

Color = tuple[int, int, int]
TYPE_COLORS_RGB: Final[tuple[Color, ...]] = (
    (230, 159, 0),
    (86, 180, 233),
    (204, 121, 167),
    (0, 158, 115),
    (213, 94, 0),
    (0, 114, 178),
)


def type_color_rgb(label: int) -> Color:
    """Color of a defect type; types beyond the sixth begin again."""
    return TYPE_COLORS_RGB[label % len(TYPE_COLORS_RGB)]
