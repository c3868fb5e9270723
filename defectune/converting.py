"""`defectune convert`: its options in the library's types, and one screen about the result."""

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, cast

from annotations import Shots, UsageError
from defectune.console import BarReporter, show_table

if TYPE_CHECKING:
    from converters import ConversionReport, ConvertOptions

DEFAULT_FOLDS: Final = 5
DEFAULT_SHOTS: Final = 10
_HEX: Final = re.compile(r"^#?([0-9a-fA-F]{2})([0-9a-fA-F]{2})([0-9a-fA-F]{2})$")
_TRIPLE: Final = re.compile(r"^(\d{1,3}):(\d{1,3}):(\d{1,3})$")


def options_of(
    *,
    protocol: str,
    folds: int | None,
    shots: tuple[int | None, bool, str | None],
    find: Mapping[str, Any],
    read: Mapping[str, Any],
    **others: Any,
) -> "ConvertOptions":
    """The conversion's options, as the command line gives them.

    Args:
        protocol: as `ConvertOptions.protocol`; `--folds` alone asks for kfold.
        folds: None where not given.
        shots: --shots, --shots-per-type and --shots-of.
        find: fields of `FindOptions`.
        read: fields of `ReadOptions`, but for `good`.
        others: further fields of `ConvertOptions`.

    Raises:
        UsageError: an option that the protocol does not use.
    """
    from converters import ConvertOptions, FindOptions, ReadOptions

    if folds is not None and protocol == "auto":
        protocol = "kfold"
    if folds is not None and protocol != "kfold":
        raise UsageError(f"--folds belongs to --protocol kfold, and the protocol is {protocol}.")
    few = None
    if protocol == "few-shot" or shots != (None, False, None):
        n, per_type, only_type = shots
        few = Shots(DEFAULT_SHOTS if n is None else n, per_type, only_type)
    return ConvertOptions(
        protocol=cast(Any, protocol),
        folds=DEFAULT_FOLDS if folds is None else folds,
        shots=few,
        find=FindOptions(**find),
        read=ReadOptions(**read),
        **others,
    )


def run(
    source: Path, output: Path, options: "ConvertOptions", *, reporter: BarReporter
) -> "ConversionReport":
    """Convert, with progress.

    Raises:
        DefectuneError: see `converters.convert`.
    """
    from converters import convert

    advance: Callable[[str], None] | None = None
    before = 0

    def progress(done: int, total: int) -> None:
        nonlocal advance, before
        # A smaller number begins the next stage.
        if advance is None or done <= before:
            stage = "reading" if advance is None else "looking for images of one part"
            advance = reporter.track(stage, total)
        before = done
        advance("")

    return convert(source, output, options, progress=progress)


def parse_mask_values(text: str | None) -> dict[int | tuple[int, int, int], str]:
    """Read --mask-values: 1=crack,2=dent,255=ignore; colours as #ff0000=crack or 255:0:0=crack.

    Raises:
        UsageError: not of this form, or one value twice.
    """
    result: dict[int | tuple[int, int, int], str] = {}
    for part in (text or "").split(","):
        if not part.strip():
            continue
        value, sign, name = (word.strip() for word in part.partition("="))
        key: int | tuple[int, int, int] | None = None
        if value.isascii() and value.isdecimal() and len(value) <= 5:
            key = int(value)
        elif (match := _HEX.match(value)) and value.startswith("#"):
            key = (int(match[1], 16), int(match[2], 16), int(match[3], 16))
        elif match := _TRIPLE.match(value):
            key = (int(match[1]), int(match[2]), int(match[3]))
        too_large = isinstance(key, tuple) and max(key) > 255
        if not sign or not name or key is None or key in result or too_large:
            raise UsageError(
                "--mask-values takes VALUE=CLASS, several with commas, each VALUE once: "
                f"1=crack,2=dent,255=ignore or #ff0000=crack; got {part[:60]!r}."
            )
        result[key] = name
    return result


def parse_class_map(texts: Sequence[str]) -> dict[str, str]:
    """Read --map-class OLD=NEW.

    Raises:
        UsageError: not of this form, or one class twice.
    """
    result: dict[str, str] = {}
    for text in texts:
        old, sign, new = text.partition("=")
        if not sign or not old or not new or old in result:
            raise UsageError(f"--map-class takes OLD=NEW, each OLD once; got {text!r}.")
        result[old] = new
    return result


def show_conversion(report: "ConversionReport", output: Path) -> None:
    """Print one screen about a conversion."""
    rows = [["", ""]]
    rows.append(["layout", report.layout])
    rows.append(["images", str(sum(report.n_images.values()))])
    rows += [[f"  {name}", str(count)] for name, count in sorted(report.n_images.items())]
    rows.append(["masks", str(report.n_masks)])
    rows.append(["components", str(sum(report.n_components.values()))])
    rows += [[f"  {name}", str(count)] for name, count in sorted(report.n_components.items())]
    rows.append(["masks that came back bit for bit", f"{report.n_exact} of {report.n_masks}"])
    rows.append(["empty masks (image label kept)", str(len(report.empty_masks))])
    grey = report.ambiguous_pixels
    rows.append(["grey mask pixels, cut at half", f"{sum(grey.values())} in {len(grey)} masks"])
    rows += [[what, str(count)] for what, count in sorted(report.counts.items())]
    for reason, count in Counter(report.left_out.values()).items():
        rows.append(["images left out", f"{count}: {reason}"])
    left = report.leftovers
    if left.images:
        rows.append(["images left over", f"{len(left.images)}: no label speaks of them"])
    for reason, count in Counter(reason for _, reason in left.labels).items():
        rows.append(["labels left over", f"{count}: {reason}"])
    idle = [name for name, count in report.n_components.items() if not count]
    if idle:
        rows.append(["classes without a region", ", ".join(sorted(idle))])
    rows += [["note", note] for note in report.notes]
    grouping = report.grouping
    rows.append(["exact duplicates (one group each)", str(len(grouping.duplicates))])
    shared = grouping.shared
    rows.append(
        ["parts shown by several images", f"{len(shared)} ({sum(map(len, shared))} images)"]
    )
    rows.append(["  told", grouping.why])
    rows.append(["files skipped", str(sum(report.skipped.values()))])
    rows += [[f"  {reason}", str(count)] for reason, count in sorted(report.skipped.items())]
    if report.options.group_by is not None:
        rows.append(["images that --group-by did not match", str(grouping.unmatched)])
    placed = ", ".join(f"{count} by {how}" for how, count in sorted(report.placed.items()))
    rows.append(["images placed", placed])
    split = report.split
    rows.append(["split", f"{split.protocol}, {len(split.folds)} fold(s), seed {split.seed}"])
    if split.detail:
        rows.append(["", split.detail])
    rows.append(["split digest", split.digest[:16] + "…"])
    show_table(rows, title=f"Converted {report.source} to {output}")
