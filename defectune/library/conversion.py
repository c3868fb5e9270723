"""`convert`: a source becomes a dataset."""

import inspect
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal, cast

from annotations import Dataset, Shots, UsageError, load_dataset
from annotations.dataset import SPLIT_FILE
from annotations.image_headers import MAX_PIXELS
from converters import (
    ConversionReport,
    ConvertOptions,
    FindOptions,
    ReadOptions,
    convert_several,
)
from converters import convert as convert_source
from defectune.library.arguments import Place, as_path, checked, several
from defectune.library.options import Option
from defectune.library.progress import shown
from defectune.library.wording import as_called
from defectune.ray_tasks import require_engine

if TYPE_CHECKING:
    from training import Reporter

DEFAULT_FOLDS: Final = 5
DEFAULT_SHOTS: Final = 10
_HEX: Final = re.compile(r"^#?([0-9a-fA-F]{2})([0-9a-fA-F]{2})([0-9a-fA-F]{2})$")
_AT_VERSION: Final = re.compile(r"(.+)@([0-9]{1,9})", re.DOTALL)
_TRIPLE: Final = re.compile(r"^(\d{1,3}):(\d{1,3}):(\d{1,3})$")


_SOURCE: Final = Option("Source")
_LABELS: Final = Option("Labels")
_SPLIT: Final = Option("Split")
_PIXELS: Final = Option("Pixels")
_OUTPUT: Final = Option("Output")


@checked
def convert(
    source: Annotated[Place | Sequence[Place], Option(metavar="SRC")],
    output: Annotated[Place, Option(metavar="OUT")],
    *,
    layout: Annotated[str, _SOURCE] = "auto",
    images: Annotated[str | None, Option("Source", "PATTERN")] = None,
    masks: Annotated[str | None, Option("Source", "PATTERN")] = None,
    bit_depth: Annotated[int | None, _SOURCE] = None,
    max_pixels: Annotated[int | None, _SOURCE] = None,
    workers: Annotated[int | None, _SOURCE] = None,
    unlabelled: Annotated[Place | None, Option("Source", "FOLDER")] = None,
    on: Annotated[str, _SOURCE] = "local",
    good: Annotated[Sequence[str], Option("Labels", "CLASS")] = (),
    good_only: Annotated[bool, _LABELS] = False,
    no_mask_is_good: Annotated[bool, _LABELS] = False,
    missing_masks: Annotated[Literal["refuse", "image-label"], _LABELS] = "refuse",
    crowd_is_defect: Annotated[bool, _LABELS] = False,
    classes: Annotated[Sequence[str], Option("Labels", "CLASS")] = (),
    one_class: Annotated[str | None, Option("Labels", "NAME")] = None,
    map_class: Annotated[Mapping[str, str] | Sequence[str], Option("Labels", "OLD=NEW")] = (),
    ignore: Annotated[Sequence[str], Option("Labels", "CLASS")] = (),
    allow_leftovers: Annotated[bool, _LABELS] = False,
    protocol: Annotated[str, _SPLIT] = "auto",
    folds: Annotated[int | None, _SPLIT] = None,
    seed: Annotated[int, Option("Split", least=0)] = 0,
    group_by: Annotated[str | None, Option("Split", "REGEX")] = None,
    find_groups: Annotated[bool | None, _SPLIT] = None,
    shots: Annotated[int | None, Option("Split", least=1)] = None,
    shots_per_type: Annotated[bool, _SPLIT] = False,
    shots_of: Annotated[str | None, Option("Split", "CLASS")] = None,
    split: Annotated[Place | None, Option("Split", "FILE")] = None,
    good_test_share: Annotated[float, _SPLIT] = 0.3,
    mask_threshold: Annotated[int | None, _PIXELS] = None,
    mask_values: Annotated[
        str | Mapping[int | tuple[int, int, int], str] | None, Option("Pixels", "VALUE=CLASS,…")
    ] = None,
    invert_masks: Annotated[bool | None, _PIXELS] = None,
    min_area: Annotated[int, _PIXELS] = 0,
    merge_distance: Annotated[float, _PIXELS] = 0.0,
    copy: Annotated[bool, _OUTPUT] = False,
    progress: "bool | Reporter" = True,
) -> Dataset:
    """Convert images and ground-truth masks to COCO, YOLO, class masks and a frozen split.

    What was read, repaired and refused is in `conversion.json` of the output. Several sources
    become one dataset: each is read in its own layout, and classes are matched by name, never by
    number.

    Args:
        source: Folder of one dataset, a label file, or a .zip; or several of them.
        output: Folder of the converted dataset; a new or an empty one.
        layout: Layout of the source. auto finds it out; the others are mvtec (also AD 2, LOCO,
            MPDD and BTAD), visa, real-iad, dagm, deeppcb, coco, yolo, voc, labelme, cvat,
            label-studio, supervisely, rle-table, class-masks, pairs, list (a CSV, TSV or
            JSON of paths and labels) and class-folders (OK and NG, or one folder for each class,
            without masks).
        images: Pattern of the images' paths in the layout pairs, such as "{class}/{name}.jpg".
        masks: Pattern of the masks' paths in the layout pairs, such as "{class}/{name}_mask.png".
        bit_depth: Bits that the values of 16-bit images use, 8 to 16; if not given, as many as
            the dataset uses.
        max_pixels: Refuse images of more pixels than this; 178 million if not given.
        workers: Number of processes that read; one for each core if not given.
        unlabelled: Folder of images that nobody has labelled. They are kept for `predict`, which
            says what to label first; nothing trains on them or counts them.
        on: Where images and masks are read: local, or on Ray as ray, ray:auto or ray:HOST:PORT.
            Ray's nodes must see `source` under the same path. The results are the same.
        good: Name of a class that means good. Can be repeated.
        good_only: Take every image as good; some of them are held out to test on.
        no_mask_is_good: Take an image without a mask or a label as good.
        missing_masks: What to do with a defective image that has no mask: refuse it, or keep it
            with its image-label, which says that it is defective and not where.
        crowd_is_defect: Take regions marked as crowd (COCO) or difficult (VOC) as defects.
        classes: Names of the class numbers, in their order. Can be repeated.
        one_class: Give all defects this one name.
        map_class: Rename a class; the new name good drops it. Can be repeated.
        ignore: Name of a class that is neither defect nor background. Can be repeated.
        allow_leftovers: Convert even where images or labels of the source would be left over.
        protocol: How images are divided into training and test: kfold, holdout, few-shot,
            leave-one-type-out, leave-one-source-out (of several sources) or official. auto keeps
            the source's own division where its training side has defects, and is kfold elsewhere.
        folds: Number of folds for the protocol kfold; 5 if not given.
        seed: Seed of the split.
        group_by: Regular expression on an image's path; what it matches names the physical part.
        find_groups: Find photographs of one part by their texture; done by default unless
            `group_by` is given.
        shots: Number of defective training images for the protocol few-shot; 10 if not given.
        shots_per_type: Take that many images of each defect type, and not in all.
        shots_of: Train on this defect type alone and test on the others, for few-shot.
        split: JSON file with a split of your own, in place of a protocol; or a converted dataset
            with these images, whose split as it is now is taken, or as it was at a version: OUT@3.
        good_test_share: Share of the good images to test on, where the source has no test side.
        mask_threshold: Lowest mask value that is inside a defect; half of the range if not given.
        mask_values: Meaning of mask values or colors: 1=crack,2=dent,255=ignore or #ff0000=crack.
        invert_masks: Say whether dark pixels are inside; refused as unclear if most masks look
            inverted and this is not given.
        min_area: Remove regions of fewer pixels than this, and count them.
        merge_distance: Join regions of one class that are nearer than this many pixels.
        copy: Copy the images in place of linking them.
        progress: True for bars or lines, False for nothing, or a reporter of your own.

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
    split_file, split_version = (
        (None, None) if split is None else _split_of(as_path(split, what="split"))
    )
    with shown(progress) as reporter:
        places = [as_path(place, what="source") for place in several(source)]
        report = convert_with_report(
            places[0] if len(places) == 1 else places,
            as_path(output, what="output"),
            ConvertOptions(
                layout=layout,
                protocol=cast(Any, _protocol(protocol, folds)),
                folds=DEFAULT_FOLDS if folds is None else folds,
                seed=seed,
                group_by=group_by,
                find_groups=find_groups,
                shots=_shots(protocol, shots, shots_per_type, shots_of),
                split_file=split_file,
                split_version=split_version,
                find=FindOptions(
                    images=images,
                    masks=masks,
                    good=tuple(good),
                    good_only=good_only,
                    no_mask_is_good=no_mask_is_good,
                    missing_masks=missing_masks,
                    classes=tuple(classes),
                    crowd_is_defect=crowd_is_defect,
                ),
                read=ReadOptions(
                    mask_threshold=mask_threshold,
                    min_area=min_area,
                    merge_distance=merge_distance,
                    one_class=one_class,
                    map_class=parse_class_map(map_class),
                    ignore=tuple(ignore),
                    mask_values=parse_mask_values(mask_values),
                    invert_masks=invert_masks,
                    bit_depth=bit_depth,
                    max_pixels=MAX_PIXELS if max_pixels is None else max_pixels,
                ),
                good_test_share=good_test_share,
                workers=workers,
                copy_images=copy,
                allow_leftovers=allow_leftovers,
                unlabelled=None if unlabelled is None else as_path(unlabelled, what="folder"),
            ),
            on=on,
            reporter=reporter,
        )
        for warning in report.warnings:
            reporter.say(as_called(f"Warning: {warning}", inspect.signature(convert)))
    return load_dataset(Path(output))


def _protocol(protocol: str, folds: int | None) -> str:
    """The protocol; folds alone ask for kfold."""
    if folds is None or protocol == "kfold":
        return protocol
    if protocol != "auto":
        raise UsageError(f"--folds belongs to --protocol kfold, and the protocol is {protocol}.")
    return "kfold"


def _shots(
    protocol: str, number: int | None, per_type: bool, only_type: str | None
) -> Shots | None:
    if protocol != "few-shot" and (number, per_type, only_type) == (None, False, None):
        return None
    return Shots(DEFAULT_SHOTS if number is None else number, per_type, only_type)


def convert_with_report(
    source: Path | Sequence[Path],
    output: Path,
    options: ConvertOptions,
    *,
    on: str = "local",
    reporter: "Reporter",
) -> ConversionReport:
    """Convert, with progress.

    Args:
        source: as `converters.convert` takes it; several as `converters.convert_several` does.
        output: as well.
        options: as well.
        on: the engine that reads.
        reporter: for progress.

    Raises:
        UsageError: no source, an engine that does not exist or is not installed, or a .zip or
            several sources on Ray.
        DefectuneError: see `converters.convert`.
    """
    require_engine(on)
    if not isinstance(source, Path) and not source:
        raise UsageError("There is no source to convert. Give one or several.")
    advance: Callable[[str], None] | None = None
    before = begun = 0
    n_sources = 1 if isinstance(source, Path) else len(source)

    def progress(done: int, total: int) -> None:
        nonlocal advance, before, begun
        # A smaller number begins the next stage.
        if advance is None or done <= before:
            begun += 1
            stage = "reading" if begun <= n_sources else "looking for images of one part"
            advance = reporter.track(stage, total)
        before = done
        advance("")

    if not isinstance(source, Path):
        if on != "local":
            raise UsageError(
                "Several sources are read on this machine alone. Leave --on out, or convert one "
                "source and add the others with `defectune update OUT SRC`."
            )
        return convert_several(source, output, options, progress=progress)
    pool = None
    if on != "local":
        from defectune.library.reading_on_ray import ray_pool

        pool = ray_pool(source, on.partition(":")[2])
    return convert_source(source, output, options, pool=pool, progress=progress)


def parse_mask_values(
    text: str | Mapping[int | tuple[int, int, int], str] | None,
) -> dict[int | tuple[int, int, int], str]:
    """Read --mask-values, or take a mapping as it is.

    Texts are 1=crack,2=dent,255=ignore; colors as #ff0000=crack or 255:0:0=crack.

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


def parse_class_map(
    texts: Sequence[str] | Mapping[str, str], *, option: str = "--map-class"
) -> dict[str, str]:
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
            raise UsageError(f"{option} takes OLD=NEW, each OLD once; got {text!r}.")
        result[old] = new
    return result


def _split_of(place: Path) -> tuple[Path, int | None]:
    """The file of a split; of a converted dataset that of its current version, or its folder and
    the version that is named behind an @."""
    if (place / SPLIT_FILE).is_file():
        return place / SPLIT_FILE, None
    match = _AT_VERSION.fullmatch(str(place))
    # A file or folder may have such a name itself.
    if match is None or place.exists() or not (Path(match[1]) / SPLIT_FILE).is_file():
        return place, None
    return Path(match[1]), int(match[2])
