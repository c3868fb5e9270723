"""Which images of a source without sides are test images."""

import hashlib
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace

from annotations import Sample


def choose_sides(
    samples: Sequence[Sample], good_test_share: float
) -> tuple[list[Sample], str | None]:
    """Choose test images where the source says nothing of it (`source_split` is `unsplit`).

    All defective images are, as in MVTec AD, so that every protocol can deal them; with them
    the good images of their groups, and about `good_test_share` of all good images, whole groups
    in an order that hangs on their names alone. The other good images are training images. Where
    only some of several sources have sides, theirs stay, and go for all images of a part.

    Returns:
        The samples with a side each, and a sentence on it, or None where the source had sides.
    """
    if not any(sample.source_split == UNSPLIT for sample in samples):
        return list(samples), None
    sided = {s.group: s.source_split for s in samples if s.source_split != UNSPLIT}
    everything = samples
    samples = [s for s in samples if s.source_split == UNSPLIT and s.group not in sided]
    by_group: dict[str, list[Sample]] = defaultdict(list)
    for sample in samples:
        by_group[sample.group].append(sample)
    test_groups = {
        name for name, members in by_group.items() if any(s.is_defective for s in members)
    }
    good = [name for name in by_group if name not in test_groups]
    good.sort(key=lambda name: hashlib.sha256(name.encode()).hexdigest())
    n_good = sum(not sample.is_defective for sample in samples)
    wanted = round(good_test_share * n_good)
    taken = sum(not s.is_defective for name in test_groups for s in by_group[name])
    # The last group is trained on, whatever the share: one-class models have nothing else.
    for name in good[:-1]:
        if taken >= wanted:
            break
        test_groups.add(name)
        taken += len(by_group[name])
    side_of = {g: "test" if g in test_groups else "train" for g in by_group} | sided
    chosen = [
        replace(sample, source_split=side_of[sample.group])
        if sample.source_split == UNSPLIT
        else sample
        for sample in everything
    ]
    where = "one of the sources" if sided else "the source"
    return chosen, (
        f"{where} has no test side: all {len(samples) - n_good} defective and {taken} of "
        f"{n_good} good images are for testing (asked for {good_test_share:.0%} of the good ones, "
        "whole groups)"
    )


UNSPLIT = "unsplit"
"""`Sample.source_split` until `choose_sides` has chosen."""
