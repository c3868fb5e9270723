"""Text as label tools, spreadsheets and scripts write it: read leniently, and counted.

One reading for all formats: UTF-8 with or without a byte order mark, UTF-16 with one, any line
end, tabs, commas or semicolons between numbers, whole numbers written as floats.
"""

import csv
import io
import json
import re
from collections import Counter
from pathlib import Path
from typing import Any, Final

from annotations import InputError
from annotations.errors import shortened
from annotations.files import MAX_JSON_BYTES

MAX_TEXT_BYTES: Final = 64 << 20
MAX_SHOWN: Final = 60
"""Characters of a faulty text that a message repeats."""
BOM: Final = "text files with a byte order mark"
COMMAS: Final = "label lines with commas between their numbers"
FLOAT_CLASSES: Final = "class numbers written as floats"
TEXT_IDS: Final = "ids written as text or as floats"
_BETWEEN: Final = re.compile(r"[\s,;]+")
_MAX_FIELD: Final = 64 << 20


def shown(value: Any) -> str:
    """A value as a message may repeat it: quoted, and cut off."""
    text = repr(value if len(str(value)) <= MAX_SHOWN else str(value)[:MAX_SHOWN] + "…")
    return text.encode("ascii", "backslashreplace").decode("ascii") if "\\ud" in text else text


def read_text(
    path: Path, *, counts: Counter[str] | None = None, limit: int = MAX_TEXT_BYTES
) -> str:
    """Read a text file with universal line ends, and without a byte order mark.

    Args:
        path: the file.
        counts: where a byte order mark is counted.
        limit: bytes.

    Raises:
        InputError: no plain file, too large, or neither UTF-8 nor marked UTF-16.
    """
    if not path.is_file():
        raise InputError(f"{path} is not a file that can be read.")
    if path.stat().st_size > limit:
        raise InputError(f"{path} is larger than {limit:,} bytes.")
    data = path.read_bytes()
    encoding = "utf-8-sig"
    if data[:2] in (b"\xff\xfe", b"\xfe\xff"):
        encoding = "utf-16"
    if counts is not None and (encoding == "utf-16" or data[:3] == b"\xef\xbb\xbf"):
        counts[BOM] += 1
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError as error:
        raise InputError(
            f"{path} is not text in UTF-8 ({error.reason} at byte {error.start}). Save it again as "
            "UTF-8."
        ) from error
    return text.replace("\r\n", "\n").replace("\r", "\n")


def read_lines(path: Path, *, counts: Counter[str] | None = None) -> list[str]:
    """Lines of a text file that are not blank, stripped.

    Raises:
        InputError: as `read_text`.
    """
    return [s for line in read_text(path, counts=counts).split("\n") if (s := line.strip())]


def read_json_text(path: Path, *, what: str, counts: Counter[str] | None = None) -> Any:
    """Read JSON that another program wrote.

    Raises:
        InputError: as `read_text`, or not JSON.
    """
    text = read_text(path, counts=counts, limit=MAX_JSON_BYTES)
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InputError(
            f"{path} should be {what} in JSON, but it cannot be parsed ({str(error)[:200]}). "
            "Export it again."
        ) from error


def read_table(
    path: Path, *, counts: Counter[str] | None = None
) -> tuple[list[str], list[tuple[int, dict[str, str]]]]:
    """Read a table in CSV: commas, semicolons (Excel) or tabs; quoted or not.

    Returns:
        Column names, stripped; and the line number and the texts by column of every row. A short
        row has no entry for what it lacks.

    Raises:
        InputError: as `read_text`, no header, or no CSV.
    """
    text = read_text(path, counts=counts)
    head = text.split("\n", 1)[0]
    separator = max(",;\t", key=head.count)
    before = csv.field_size_limit(_MAX_FIELD)
    try:
        reader = csv.reader(io.StringIO(text), delimiter=separator)
        names = [name.strip() for name in next(reader, [])]
        if not any(names):
            raise InputError(f"{path} is empty; a first line with column names is expected.")
        rows = [
            (reader.line_num, {n: t.strip() for n, t in zip(names, row, strict=False)})
            for row in reader
            if any(text.strip() for text in row)
        ]
    except csv.Error as error:
        raise InputError(
            f"{path} is not a CSV ({shortened(error)}). Save it again as CSV."
        ) from error
    finally:
        csv.field_size_limit(before)
    return names, rows


def split_numbers(line: str, counts: Counter[str]) -> list[str]:
    """The words of a line of numbers, whatever separates them."""
    if "," in line or ";" in line:
        counts[COMMAS] += 1
    return [word for word in _BETWEEN.split(line.strip()) if word]


def class_number(word: str, counts: Counter[str]) -> int | None:
    """A class number, `3`, `3.0` or `3e+00`; None for another text."""
    try:
        return int(word)
    except ValueError:
        pass
    try:
        number = float(word)
    except ValueError:
        return None
    if not number.is_integer() or abs(number) > 1e9:
        return None
    counts[FLOAT_CLASSES] += 1
    return int(number)


def whole_id(value: Any, counts: Counter[str]) -> int | str:
    """An id as JSON files have them: 7, 7.0, "7" are one; other texts stay as they are.

    Raises:
        TypeError: a truth value, nothing, a list, or a broken number.
    """
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise TypeError(f"an id is {shown(value)}, and not a whole number or a text")
    if isinstance(value, int):
        return value
    if isinstance(value, float):
        if not value.is_integer():
            raise TypeError(f"an id is {shown(value)}, and not a whole number or a text")
        counts[TEXT_IDS] += 1
        return int(value)
    counts[TEXT_IDS] += 1
    text = value.strip()
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 18 else value
