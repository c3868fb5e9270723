"""The one place that reads YAML from users: bounded, without aliases, each complaint a sentence."""

from pathlib import Path
from typing import Any, Final

import yaml

from annotations.errors import DefectuneError, InputError, shortened

MAX_YAML_BYTES: Final = 1 << 20
MAX_DEPTH: Final = 100
"""Of lists in lists; parsing takes a time that grows with the square of it."""
_OPEN: Final = (
    yaml.BlockMappingStartToken,
    yaml.BlockSequenceStartToken,
    yaml.FlowMappingStartToken,
    yaml.FlowSequenceStartToken,
)
_CLOSE: Final = (yaml.BlockEndToken, yaml.FlowMappingEndToken, yaml.FlowSequenceEndToken)


def parse_yaml(
    text: str,
    *,
    what: str,
    error: type[DefectuneError] = InputError,
    max_bytes: int = MAX_YAML_BYTES,
) -> Any:
    """Parse YAML of plain values.

    Args:
        text: in YAML.
        what: what is parsed and where it stands; the message begins with it.
        error: raised where it is no such YAML.
        max_bytes: most that is parsed.

    Raises:
        DefectuneError: as `error` says: too long, with aliases, nested too deep, or not YAML.
    """
    if len(text) > max_bytes:
        raise error(f"{what} is larger than {max_bytes:,} bytes, and is not read.")
    try:
        depth = 0
        for token in yaml.scan(text, Loader=yaml.SafeLoader):
            # Aliases multiply: a small file can stand for billions of entries.
            if isinstance(token, yaml.AliasToken):
                raise error(
                    f"{what} holds YAML aliases (*name), which are not read. Write them out."
                )
            depth += isinstance(token, _OPEN) - isinstance(token, _CLOSE)
            if depth > MAX_DEPTH:
                raise error(f"{what} is not YAML that is read here: it is nested too deep.")
        return yaml.safe_load(text)
    except DefectuneError:
        raise
    except Exception as cause:  # PyYAML raises whatever int(), date() and its own tables raise
        raise error(f"{what} is not YAML: {shortened(cause)}.") from cause


def read_yaml(path: Path, *, what: str, max_bytes: int = MAX_YAML_BYTES) -> Any:
    """Read a YAML file; see `parse_yaml`.

    Args:
        path: the file.
        what: what the file is, for the error message.
        max_bytes: most that is read.

    Raises:
        InputError: missing, too large, not UTF-8, or not such YAML.
    """
    if not path.is_file():
        raise InputError(f"Expected {what} at {path}, but there is no such file.")
    if path.stat().st_size > max_bytes:
        raise InputError(f"{path} is larger than {max_bytes:,} bytes, and so is no {what}.")
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is not YAML: it is not UTF-8 ({error.reason}).") from error
    return parse_yaml(text, what=str(path), max_bytes=max_bytes)
