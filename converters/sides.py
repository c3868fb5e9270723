"""Who belongs together, and which images of a source without sides judge."""

import hashlib
import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace

from annotations import Sample
from converters.layouts.source import SourceImage


def make_groups(
    images: Sequence[SourceImage], digests: Sequence[str], pattern: re.Pattern[str] | None
) -> tuple[dict[str, str], int, list[list[str]]]:
    """Groups by pattern, else as the layout says; joined where two images have equal bytes.

    Args:
        images: of the source.
        digests: SHA-256 of every image's file.
        pattern: of --group-by.

    Returns:
        Group by image id; how many images the pattern did not match; ids of equal images.
    """
    groups: dict[str, str] = {}
    unmatched = 0
    for image in images:
        match = pattern.search(image.relative) if pattern is not None else None
        if match is None:
            unmatched += pattern is not None
            groups[image.image_id] = (image.group if pattern is None else None) or image.image_id
        else:
            name = next((g for g in match.groups() if g), match.group(0))
            groups[image.image_id] = name or image.image_id
    by_digest: dict[str, list[str]] = defaultdict(list)
    for image, digest in zip(images, digests, strict=True):
        by_digest[digest].append(image.image_id)
    duplicates = [ids for ids in by_digest.values() if len(ids) > 1]
    if duplicates:
        _join(groups, duplicates)
    return groups, unmatched, duplicates


def _join(groups: dict[str, str], duplicates: list[list[str]]) -> None:
    """Give all groups that share an equal image one name, the first of them."""
    root: dict[str, str] = {}

    def find(name: str) -> str:
        while root.get(name, name) != name:
            name = root[name]
        return name

    for ids in duplicates:
        joined = sorted({find(groups[image_id]) for image_id in ids})
        for name in joined[1:]:
            root[name] = joined[0]
    for image_id, group in groups.items():
        groups[image_id] = find(group)


def choose_sides(
    samples: Sequence[Sample], good_test_share: float
) -> tuple[list[Sample], str | None]:
    """Let some images judge where the source says nothing of it (`source_split` is `unsplit`).

    All defective images judge, as in MVTec AD, so that every protocol can deal them; with them
    the good images of their groups, and about `good_test_share` of all good images, whole groups
    in an order that hangs on their names alone. The other good images teach.

    Returns:
        The samples with a side each, and a sentence on it, or None where the source had sides.
    """
    if not any(sample.source_split == UNSPLIT for sample in samples):
        return list(samples), None
    by_group: dict[str, list[Sample]] = defaultdict(list)
    for sample in samples:
        by_group[sample.group].append(sample)
    judging = {name for name, members in by_group.items() if any(s.is_defective for s in members)}
    good = [name for name in by_group if name not in judging]
    good.sort(key=lambda name: hashlib.sha256(name.encode()).hexdigest())
    n_good = sum(not sample.is_defective for sample in samples)
    wanted = round(good_test_share * n_good)
    taken = sum(not s.is_defective for name in judging for s in by_group[name])
    # The last group teaches, whatever the share: one-class models have nothing else.
    for name in good[:-1]:
        if taken >= wanted:
            break
        judging.add(name)
        taken += len(by_group[name])
    chosen = [
        replace(sample, source_split="test" if sample.group in judging else "train")
        for sample in samples
    ]
    return chosen, (
        f"the source has no test side: all {len(samples) - n_good} defective and {taken} of "
        f"{n_good} good images judge (asked for {good_test_share:.0%} of the good ones, whole "
        "groups)"
    )


UNSPLIT = "unsplit"
"""`Sample.source_split` until `choose_sides` has chosen."""
