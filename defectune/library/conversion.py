"""Converting a source; its options as the command line and the library give them."""

import inspect
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, cast

from annotations import Dataset, Shots, UsageError, load_dataset
from converters import ConversionReport, ConvertOptions, FindOptions, ReadOptions
from converters import convert as convert_source
from defectune.library.arguments import Place, as_path, checked
from defectune.library.progress import shown
from defectune.library.wording import as_called
from defectune.ray_tasks import require_engine

if TYPE_CHECKING:
    from training import Reporter

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
) -> ConvertOptions:
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


@checked
def convert(
    source: Place,
    output: Place,
    *,
    layout: str = "auto",
    protocol: str = "auto",
    folds: int | None = None,
    seed: int = 0,
    group_by: str | None = None,
    find_groups: bool | None = None,
    shots: int | None = None,
    shots_per_type: bool = False,
    shots_of: str | None = None,
    split: Place | None = None,
    images: str | None = None,
    masks: str | None = None,
    good: Sequence[str] = (),
    no_mask_is_good: bool = False,
    crowd_is_defect: bool = False,
    classes: Sequence[str] = (),
    mask_threshold: int | None = None,
    mask_values: str | Mapping[int | tuple[int, int, int], str] | None = None,
    invert_masks: bool | None = None,
    bit_depth: int | None = None,
    max_pixels: int | None = None,
    min_area: int = 0,
    merge_distance: float = 0.0,
    one_class: str | None = None,
    map_class: Mapping[str, str] | Sequence[str] = (),
    ignore: Sequence[str] = (),
    good_test_share: float = 0.3,
    workers: int | None = None,
    copy: bool = False,
    allow_leftovers: bool = False,
    on: str = "local",
    progress: "bool | Reporter" = True,
) -> Dataset:
    """Convert images and ground-truth masks to COCO, YOLO, class masks and a frozen split.

    The options are those of `defectune convert`, under the same names. What was read, repaired
    and refused is in `conversion.json` of the output.

    Args:
        source: folder of one dataset, a label file, or a .zip.
        output: a new or empty folder.
        layout: of the source; `auto` finds it out.
        protocol: of the split: kfold, holdout, few-shot, leave-one-type-out or official; `auto`
            keeps the source's own division where its training side has defects, else kfold.
        folds: for kfold; 5 where None.
        seed: of the split.
        group_by: regular expression on the path; its match names the physical part.
        find_groups: find photographs of one part by texture; None does so without `group_by`.
        shots: for few-shot: defective training images; 10 where None.
        shots_per_type: so many of each type, and not in all.
        shots_of: for few-shot: train on this type only, test on the others.
        split: a split of your own, in JSON, in place of a protocol.
        images: for pairs: a pattern such as "{class}/{name}.jpg".
        masks: for pairs: a pattern such as "{class}/{name}_mask.png".
        good: class names that mean good.
        no_mask_is_good: an image without mask or label is good.
        crowd_is_defect: `iscrowd` and `difficult` regions are defects.
        classes: names of class numbers, in order.
        mask_threshold: mask values from this on are inside; half of the range where None.
        mask_values: class by mask value or colour, as a mapping or as "1=crack,2=dent".
        invert_masks: dark is inside; None asks where most masks look inverted.
        bit_depth: of 16-bit images' values, 8 to 16; None takes what the set uses.
        max_pixels: larger images are refused; 178 million where None.
        min_area: smaller regions are removed, and counted.
        merge_distance: regions of a class nearer than this many pixels become one.
        one_class: one name for all defects.
        map_class: new class name by old one, or texts OLD=NEW; `good` drops a class.
        ignore: classes that are neither defect nor background.
        good_test_share: share of good images for testing, where the source has no test side.
        workers: reading processes; one a core where None.
        copy: copy images in place of linking them.
        allow_leftovers: convert, though images or labels are left over.
        on: where images and masks are read: local; ray, ray:auto or ray:HOST:PORT (the extra
            `ray`), whose nodes must see `source` under the same path. The files are the same.
        progress: bars or lines; False shows nothing; or a reporter of your own.

    Returns:
        The converted dataset.

    Raises:
        UsageError: an argument of a wrong type, options that exclude each other, or Ray is missing.
        DefectuneError: the source cannot be read, or `output` holds something.

    Example:
        >>> import defectune as dt
        >>> data = dt.convert("drawn/drawn_bottle", "copy", protocol="holdout", progress=False)
        >>> data.split.protocol
        'holdout'
    """
    with shown(progress) as reporter:
        report = convert_with_report(
            as_path(source, what="source"),
            as_path(output, what="output"),
            options_of(
                layout=layout,
                protocol=protocol,
                folds=folds,
                seed=seed,
                group_by=group_by,
                find_groups=find_groups,
                shots=(shots, shots_per_type, shots_of),
                split_file=None if split is None else as_path(split, what="split"),
                find={
                    "images": images,
                    "masks": masks,
                    "good": tuple(good),
                    "no_mask_is_good": no_mask_is_good,
                    "classes": tuple(classes),
                    "crowd_is_defect": crowd_is_defect,
                },
                read={
                    "mask_threshold": mask_threshold,
                    "min_area": min_area,
                    "merge_distance": merge_distance,
                    "one_class": one_class,
                    "map_class": parse_class_map(map_class),
                    "ignore": tuple(ignore),
                    "mask_values": parse_mask_values(mask_values),
                    "invert_masks": invert_masks,
                    "bit_depth": bit_depth,
                    **({} if max_pixels is None else {"max_pixels": max_pixels}),
                },
                good_test_share=good_test_share,
                workers=workers,
                copy_images=copy,
                allow_leftovers=allow_leftovers,
            ),
            on=on,
            reporter=reporter,
        )
        for warning in report.warnings:
            reporter.say(as_called(f"Warning: {warning}", inspect.signature(convert)))
    return load_dataset(Path(output))


def convert_with_report(
    source: Path,
    output: Path,
    options: ConvertOptions,
    *,
    on: str = "local",
    reporter: "Reporter",
) -> ConversionReport:
    """Convert, with progress.

    Args:
        source: as `converters.convert` takes it.
        output: as well.
        options: as well.
        on: the engine that reads.
        reporter: for progress.

    Raises:
        UsageError: an engine that does not exist or is not installed, or a .zip on Ray.
        DefectuneError: see `converters.convert`.
    """
    require_engine(on)
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

    pool = None
    if on != "local":
        from defectune.library.reading_on_ray import ray_pool

        pool = ray_pool(source, on.partition(":")[2])
    return convert_source(source, output, options, pool=pool, progress=progress)


def parse_mask_values(
    text: str | Mapping[int | tuple[int, int, int], str] | None,
) -> dict[int | tuple[int, int, int], str]:
    """Read --mask-values, or take a mapping as it is.

    Texts are 1=crack,2=dent,255=ignore; colours as #ff0000=crack or 255:0:0=crack.

    Raises:
        UsageError: not of this form, or one value twice.
    """
    if isinstance(text, Mapping):
        return dict(text)
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


def parse_class_map(texts: Sequence[str] | Mapping[str, str]) -> dict[str, str]:
    """Read --map-class OLD=NEW, or take a mapping as it is.

    Raises:
        UsageError: not of this form, or one class twice.
    """
    if isinstance(texts, Mapping):
        return dict(texts)
    result: dict[str, str] = {}
    for text in texts:
        old, sign, new = text.partition("=")
        if not sign or not old or not new or old in result:
            raise UsageError(f"--map-class takes OLD=NEW, each OLD once; got {text!r}.")
        result[old] = new
    return result
