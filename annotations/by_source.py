"""`leave-one-source-out`: each source is tested by a model that saw nothing of it.

Fold k tests the test images of the k-th source by name. Its other images stand on no side of that
fold: a model that knows the source's good parts is none that meets a new line. A part that lies in
two sources is whole on every side: it is trained on where none of its sources is tested, and
stands on no side elsewhere, so that it is never tested.
"""

from collections.abc import Mapping, Sequence
from typing import Final

from annotations.errors import InputError, UsageError
from annotations.samples import Sample, by_group

_NAMED: Final = 5


def shared_note(samples: Sequence[Sample]) -> str | None:
    """A sentence on parts whose photographs lie in several sources; None without one."""
    shared = [part for part in by_group(samples).values() if len({s.source for s in part}) > 1]
    if not shared:
        return None
    ids = [sample.image_id for part in shared for sample in part]
    return (
        f"{len(shared)} parts have photographs in several sources, and are neither tested nor "
        f"trained on where one of these is tested: {', '.join(ids[:_NAMED])}"
        f"{' …' if len(ids) > _NAMED else ''}"
    )


def sets_by_source(
    samples: Sequence[Sample],
) -> tuple[list[str], list[set[str]], list[set[str]]]:
    """Names of the sources, ids that their folds test, and ids that these hold back.

    Args:
        samples: all images, with their sides.

    Raises:
        UsageError: fewer than two sources.
        InputError: a source without a test image that shares no part with another.
    """
    names = sorted({sample.source for sample in samples})
    if len(names) < 2 or not all(names):
        raise UsageError(
            "leave-one-source-out tests each source in a fold of its own, and the images are of "
            "one. Name all sources in one call: `defectune convert A B OUT --protocol "
            "leave-one-source-out`; or give a list that names the camera of every image."
        )
    sources_of = {
        group: {sample.source for sample in part} for group, part in by_group(samples).items()
    }
    tests, held = [], []
    for name in names:
        own = [s for s in samples if name in sources_of[s.group]]
        test = {
            s.image_id for s in own if s.source_split == "test" and len(sources_of[s.group]) == 1
        }
        if not test:
            raise InputError(
                f"The source {name} has no test image of a part of its own, so that "
                "leave-one-source-out has nothing to test its fold on. Leave it out, or use "
                "--protocol kfold."
            )
        tests.append(test)
        held.append({s.image_id for s in own} - test)
    return names, tests, held


def fold_of_source(folds: Sequence[Mapping[str, str]], samples: Sequence[Sample]) -> dict[str, int]:
    """Number of the fold that tests a source, by its name.

    Args:
        folds: side of every placed image by id, for each fold.
        samples: all images.
    """
    return {
        sample.source: number
        for number, sides in enumerate(folds)
        for sample in samples
        if sides.get(sample.image_id) == "test"
    }


def side_of_new_part(
    part: Sequence[Sample], number: int, to: str, fold_of: Mapping[str, int]
) -> str | None:
    """The side of a new part in a fold; None where it is on the training side.

    Args:
        part: its images.
        number: of the fold.
        to: where a person wants new parts: auto, train, test or folds.
        fold_of: the fold that tests a source.

    Raises:
        UsageError: a source that no fold tests.
    """
    unknown = sorted({s.source for s in part} - set(fold_of))
    if unknown and to != "train":
        raise UsageError(
            f"{part[0].image_id} is of the source {unknown[0]}, which no fold of "
            f"leave-one-source-out tests (they test {', '.join(sorted(fold_of))}), and folds are "
            "not added. Name its folder as its source is named, say --to train to learn from it "
            "in every fold, or convert all sources again into a new folder."
        )
    own = {fold_of[s.source] for s in part if s.source in fold_of}
    tested = to in ("test", "folds") or (
        to == "auto" and any(s.source_split == "test" for s in part)
    )
    if number in own:
        return "test" if tested and len({s.source for s in part}) == 1 else "left_out"
    return "left_out" if to == "test" else None


def side_of_new_photograph(
    sample: Sample, number: int, side: str, fold_of: Mapping[str, int]
) -> str:
    """The side of a new photograph of a known part, whose part stands on `side` of a fold.

    One of another source than its part's is neither tested with that part nor trained on where
    its own source is tested.
    """
    return "left_out" if (number == fold_of.get(sample.source)) != (side == "test") else side


def name_of_source(parts: Sequence[str], known: Sequence[str]) -> str:
    """Name of an update's source: that of a known one whose name its path ends in, or its own.

    Args:
        parts: of the source's full path.
        known: names of the dataset's sources; one may be the end of a path, such as `line_1/out`.
    """
    ends = {"/".join(parts[-n:]) for n in range(1, len(parts) + 1)}
    return max(ends & set(known), key=len, default=parts[-1])
