"""`convert`: a source becomes a dataset."""

import inspect
import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, Unpack, cast

from annotations import Dataset, Shots, UsageError, load_dataset
from annotations.dataset import SPLIT_FILE
from converters import (
    ConversionReport,
    ConvertOptions,
    convert_several,
)
from converters import convert as convert_source
from defectune.library.arguments import Place, as_path, checked, several
from defectune.library.options import Option
from defectune.library.progress import shown
from defectune.library.reading import Reading, as_options
from defectune.library.wording import as_called
from defectune.ray_tasks import require_engine

if TYPE_CHECKING:
    from training import Reporter

DEFAULT_FOLDS: Final = 5
DEFAULT_SHOTS: Final = 10
_AT_VERSION: Final = re.compile(r"(.+)@([0-9]{1,9})", re.DOTALL)


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
    on: Annotated[str, _SOURCE] = "local",
    protocol: Annotated[str, _SPLIT] = "auto",
    folds: Annotated[int | None, _SPLIT] = None,
    seed: Annotated[int, Option("Split", least=0)] = 0,
    shots: Annotated[int | None, Option("Split", least=1)] = None,
    shots_per_type: Annotated[bool, _SPLIT] = False,
    shots_of: Annotated[str | None, Option("Split", "CLASS")] = None,
    split: Annotated[Place | None, Option("Split", "FILE")] = None,
    good_test_share: Annotated[float, _SPLIT] = 0.3,
    progress: "bool | Reporter" = True,
    **reading: Unpack[Reading],
) -> Dataset:
    """Convert images and ground-truth masks to COCO, YOLO, class masks and a frozen split.

    What was read, repaired and refused is in `conversion.json` of the output. Several sources
    become one dataset: each is read in its own layout, and classes are matched by name, never by
    number.

    Args:
        source: Folder of one dataset, a label file, or a .zip; or several of them.
        output: Folder of the converted dataset; a new or an empty one.
        on: Where images and masks are read: local, or on Ray as ray, ray:auto or ray:HOST:PORT.
            Ray's nodes must see `source` under the same path. The results are the same.
        protocol: How images are divided into training and test: kfold, holdout, few-shot,
            leave-one-type-out, leave-one-source-out (of several sources) or official. auto keeps
            the source's own division where its training side has defects, and is kfold elsewhere.
        folds: Number of folds for the protocol kfold; 5 if not given.
        seed: Seed of the split.
        shots: Number of defective training images for the protocol few-shot; 10 if not given.
        shots_per_type: Take that many images of each defect type, and not in all.
        shots_of: Train on this defect type alone and test on the others, for few-shot.
        split: JSON file with a split of your own, in place of a protocol; or a converted dataset
            with these images, whose split as it is now is taken, or as it was at a version: OUT@3.
        good_test_share: Share of the good images to test on, where the source has no test side.
        progress: True for bars or lines, False for nothing, or a reporter of your own.
        reading: How the source is read, see `Reading`.

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
            replace(
                as_options(reading),
                protocol=cast(Any, _protocol(protocol, folds)),
                folds=DEFAULT_FOLDS if folds is None else folds,
                seed=seed,
                shots=_shots(protocol, shots, shots_per_type, shots_of),
                split_file=split_file,
                split_version=split_version,
                good_test_share=good_test_share,
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
