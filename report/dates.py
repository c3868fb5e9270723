"""Dates of images as the page filters and orders them."""

import re
from datetime import datetime
from typing import Final

# Year first, with or without signs between; anything else, above all 03/04/2026, is ambiguous.
_YEAR_FIRST: Final = re.compile(r"(\d{4})[-/.]?(\d{2})[-/.]?(\d{2})(?!\d)")


def read_date(text: str) -> str:
    """`2026-03-08 14:05:09` where a list's text names the year first; else empty.

    The time stays the one that the text says, whatever zone it adds: days are those of the plant.
    """
    found = _YEAR_FIRST.match(text.strip())
    if found is None:
        return ""
    try:
        read = datetime.fromisoformat("-".join(found.groups()) + text.strip()[found.end() :])
    except ValueError:
        return ""
    return read.replace(tzinfo=None).isoformat(sep=" ", timespec="seconds")
