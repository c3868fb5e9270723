"""Where the new images of an update go: their parts, and their sides."""

from collections.abc import Callable, Mapping
from dataclasses import replace

from annotations import Dataset, Sample
from annotations.placing import To, place, sides_of
from annotations.version_files import TEXTURES_FILE
from converters.batches import Batch, Matched
from converters.leaks import joined_parts, require_no_late_leak
from converters.new_reshots import KnownTextures, layers_of
from converters.sides import UNSPLIT, choose_sides
from converters.update_labels import removed_before
from converters.update_options import UpdateOptions
from converters.versions import Labels


def place_new(
    dataset: Dataset,
    labels: Labels,
    matched: Matched,
    batch: Batch | None,
    options: UpdateOptions,
    notes: list[str],
    progress: Callable[[int, int], None] | None,
) -> list[str]:
    """Find the parts of new images, and place them; the ids of the new images."""
    sides = [
        {i: side for i, side in fold.items() if i in labels.samples}
        for fold in sides_of(dataset.split)
    ]
    new = dict(matched.new)
    before = removed_before(labels.root) if new else {}
    returned = {i: before[s.sha256] for i, s in new.items() if s.sha256 in before}
    if returned:
        notes.append(
            f"{len(returned)} images had been removed before; they come back to their old sides"
        )
    if batch is not None and new:
        n = len(labels.samples) + len(new)
        known = KnownTextures.open(labels.root / TEXTURES_FILE, layers_of(n))
        parts = joined_parts(
            labels.samples,
            new,
            batch,
            returned=returned,
            known=known,
            progress=progress,
            notes=notes,
        )
        labels.textures = known
        for image_id, group in parts.items():
            where = new if image_id in new else labels.samples
            where[image_id] = replace(where[image_id], group=group)
        labels.late_leaks = require_no_late_leak(
            dataset, sides, labels.samples, new, leave_out=options.leave_out, notes=notes
        )
    share = batch.read.options.good_test_share if batch is not None else 0.0
    labels.samples.update(_with_sides(labels.samples, new, options.to, share))
    samples = [labels.samples[i] for i in sorted(labels.samples)]
    usable = {i: e["sides"] for i, e in returned.items() if len(e["sides"]) == len(sides)}
    labels.split = place(dataset.split, sides, samples, to=options.to, returned=usable)
    return sorted(new)


def _with_sides(
    old: Mapping[str, Sample], new: Mapping[str, Sample], to: To, share: float
) -> dict[str, Sample]:
    """New samples with the side of the source that their part has, or that a person gave."""
    side_of_group = {s.group: s.source_split for s in old.values()}
    forced = {"train": "train", "test": "test", "folds": "test"}.get(to)
    known, fresh = {}, []
    for image_id, sample in new.items():
        if sample.group in side_of_group:
            known[image_id] = replace(sample, source_split=side_of_group[sample.group])
        else:
            fresh.append(replace(sample, source_split=forced or sample.source_split or UNSPLIT))
    chosen, _ = choose_sides(fresh, share)
    return known | {sample.image_id: sample for sample in chosen}
