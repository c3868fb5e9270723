"""An older version brought back as a new one."""

from collections import Counter

from annotations import Dataset, InputError, UsageError
from annotations.dataset import COCO_ALL, SPLIT_FILE, kept_image, load_version
from annotations.files import read_json
from annotations.version_files import read_state
from converters.comparing import label_of
from converters.update_labels import removed_entries
from converters.update_options import (
    ADDED,
    RELABELLED,
    REMOVED,
    RENAMED,
    Updated,
    UpdateOptions,
    nothing_done,
    write_update,
)
from converters.versions import Labels


def restored(dataset: Dataset, options: UpdateOptions, notes: list[str]) -> Updated:
    """Bring the labels and the split of a version back, as a new one.

    Raises:
        UsageError: other changes are asked for in the same call.
        InputError: images of that version are gone.
    """
    number = options.restore or 0
    if options.remove or options.rename or options.tags or options.convert.unlabelled:
        raise UsageError(
            "--restore brings a version back as it was; remove, rename, tags and unlabelled images "
            "come after it."
        )
    wanted = load_version(dataset.root, number)
    state = read_state(dataset.root, number)
    labels = Labels.of(wanted, state["labels"])
    now, then = dataset.by_id, wanted.by_id
    missing = [
        s.image_path
        for i, s in then.items()
        if (i not in now or now[i].sha256 != s.sha256) and not kept_image(dataset.root, s).exists()
    ]
    if missing:
        raise InputError(
            f"{len(missing)} images of version {number} are gone, such as {missing[0]}. Restore "
            "them from a backup, or update from the source that has them."
        )
    back = sorted(set(then) - set(now))
    gone = {i: now[i] for i in sorted(set(now) - set(then))}
    changed = [
        i for i in sorted(set(now) & set(then)) if label_of(dataset, i) != label_of(wanted, i)
    ]
    ids = {ADDED: back, RELABELLED: changed, REMOVED: list(gone), RENAMED: []}
    counts = {
        what: dict(sorted(Counter((now if what == REMOVED else then)[i].defect_type
                                  for i in some).items()))
        for what, some in ids.items()
    }  # fmt: skip
    same = state["labels"] == read_json(dataset.root / COCO_ALL, what="labels") and state[
        "split"
    ] == read_json(dataset.root / SPLIT_FILE, what="a split")
    if same:
        return nothing_done(dataset, options, [*notes, f"version {number} is what is there"], 0)
    record = {
        "source": None,
        "layout": None,
        "counts": counts,
        "added": back,
        "relabelled": {i: [now[i].defect_type, then[i].defect_type] for i in changed},
        "removed": removed_entries(dataset, gone),
        "renamed": {},
        "matched_by_name": [],
        "late_leaks": [],
        "restored": number,
    }
    return write_update(dataset, labels, options, record, ids, counts, 0, notes)
