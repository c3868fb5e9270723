"""What the families' configurations share: frozen, checked, overridden by `key=value`."""

import difflib
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from annotations import UsageError
from annotations.errors import shortened
from annotations.yaml_files import parse_yaml

MAX_SEED: Final = (1 << 32) - 1
MAX_EPOCHS: Final = 100_000


class FamilyConfig(BaseModel):
    """Fields that every family has."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False
    )

    weights: str = "auto"
    """`auto` looks pretrained weights up, `none` starts from random ones, else a file."""
    image_size: int = Field(default=256, ge=32, le=4096)
    """Side in pixels that images are resized to."""
    batch_size: int = Field(default=16, ge=1, le=1024)
    """Images in a step."""
    seed: int = Field(default=0, ge=0, le=MAX_SEED)
    """Seed of everything random."""
    device: str = "auto"
    """`auto` takes a GPU where there is one; else as torch names devices: `cpu`, `cuda:0`."""

    @classmethod
    def hint_for_unknown(cls, key: str) -> str:
        """What a family knows of a setting that this configuration does not have, or nothing."""
        del key
        return ""


Config = TypeVar("Config", bound=FamilyConfig)


def build_config(
    kind: type[Config],
    values: Mapping[str, Any],
    overrides: Sequence[str],
    *,
    recipe: Mapping[str, Any] = MappingProxyType({}),
    notice: Callable[[str], None] | None = None,
) -> Config:
    """Build a configuration from a recipe, values and `key=value` texts; the latter win.

    An image size that is not a multiple of what the family needs is rounded up.

    Args:
        kind: the family's configuration.
        recipe: settings of a recipe.
        notice: called with a line where something was rounded.
        values: from the command line's own options; None means not given.
        overrides: `key=value`, the value in YAML.

    Raises:
        UsageError: an unknown key (near ones are named), a malformed text or a bad value.
    """
    merged: dict[str, Any] = {}
    for key, value in [*recipe.items(), *values.items(), *map(parse_override, overrides)]:
        if value is None:
            continue
        if key not in kind.model_fields:
            near = difflib.get_close_matches(key, kind.model_fields, n=3)
            hint = f" Did you mean {' or '.join(near)}?" if near else ""
            raise UsageError(
                f"Unknown setting {shortened(key)!r}.{kind.hint_for_unknown(key)}{hint} Known: "
                f"{', '.join(sorted(kind.model_fields))}."
            )
        merged[key] = value
    _round_image_size(kind, merged, notice)
    try:
        return kind(**merged)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        # Pydantic's own words before those of a check of ours.
        said = shortened(first["msg"].removeprefix("Value error, "))
        if not place:
            raise UsageError(f"These settings are not possible together: {said}.") from error
        raise UsageError(
            f"The setting {shortened(place)}={shortened(first['input'])} is not possible: {said}."
        ) from error


def _round_image_size(
    kind: type[FamilyConfig], merged: dict[str, Any], notice: Callable[[str], None] | None
) -> None:
    rules = kind.model_fields["image_size"].metadata
    step = next((r.multiple_of for r in rules if getattr(r, "multiple_of", None)), 1)
    size = merged.get("image_size")
    if not isinstance(size, int) or isinstance(size, bool) or size < 1 or size % step == 0:
        return
    merged["image_size"] = -(-size // step) * step
    if notice is not None:
        notice(f"Image size {size} is rounded up to {merged['image_size']}, a multiple of {step}.")


def parse_override(text: str) -> tuple[str, Any]:
    """Key and value of a `key=value`, the value in YAML.

    Raises:
        UsageError: not of this form.
    """
    key, separator, value = text.partition("=")
    if not separator or not key:
        raise UsageError(f"--set takes key=value, got {shortened(text)!r}.")
    return key.strip(), parse_yaml(
        value, what=f"The value of --set {shortened(key)!r}", error=UsageError
    )
