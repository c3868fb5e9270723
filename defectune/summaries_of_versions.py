"""What `update`, `log` and `diff` print."""

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any

from defectune.console import out, show_table, show_text
from defectune.library.options import Option

if TYPE_CHECKING:
    from converters.comparing import Difference
    from converters.update_options import Updated

_SHOWN = 40


def show_update(done: "Updated", _given: Mapping[str, Any]) -> None:
    """Print what an update did, and what to do next."""
    rows = [["", ""]]
    for what, counts in done.counts.items():
        rows.append([what, str(sum(counts.values()))])
        rows += [[f"  {kind}", str(n)] for kind, n in counts.items()]
    rows += [[f"new images in {place}", str(n)] for place, n in done.placed.items()]
    rows.append(["unchanged", str(done.unchanged)])
    rows += [["note", note] for note in done.notes]
    if done.version is not None and not done.dry_run:
        rows.append(["version", f"{done.version.number}, {done.version.digest[:16]}…"])
    would = "Would update" if done.dry_run else "Updated"
    show_table(
        rows, title=f"{would} {done.root}" if done.changed else f"Nothing new for {done.root}"
    )
    if done.dry_run:
        show_text("Nothing was written. The same call without --dry-run does it.")
    elif done.changed and not done.record:
        show_text(
            f"Labels and split are as they were. Predict the unlabelled images: defectune predict "
            f"RUN {done.root} --output FOLDER"
        )
    elif done.changed:
        show_text(
            f"Runs of before keep their figures. See what changed: defectune diff {done.root} "
            f"{done.record['number'] - 1} {done.record['number']}. Train on all of it: defectune "
            f"train detect {done.root}"
        )


def show_log(
    records: Sequence[Mapping[str, Any]],
    given: Mapping[str, Any],
    *,
    as_json: Annotated[bool, Option(name="--json")] = False,
) -> None:
    """Print the versions of a dataset.

    Args:
        records: of the versions.
        given: arguments of the call.
        as_json: Print the whole records, as JSON.
    """
    if as_json:
        out.print(json.dumps(records, ensure_ascii=False, indent=1), markup=False, soft_wrap=True)
        return
    if not records:
        show_text(f"{given['dataset']} was never updated; its first update makes it version 1.")
        return
    for record in records:
        head = [
            f"Version {record['number']}",
            record["date"][:16].replace("T", " "),
            f"{record['images']} images",
            record["digest"][:12] + "…",
            *([f"by {record['by']}"] if record["by"] else []),
            *([record["message"]] if record["message"] else []),
        ]
        show_text(", ".join(head))
        if record["restored"] is not None:
            show_text(f"  restored version {record['restored']}")
        for what, counts in record["counts"].items():
            if counts:
                by_type = ", ".join(f"{kind} {n}" for kind, n in counts.items())
                show_text(f"  {what} {sum(counts.values())}: {by_type}")
        unlabelled = record.get("unlabelled", {})
        if unlabelled.get("came"):
            show_text(f"  {unlabelled['came']} images without a label came")
        if unlabelled.get("labelled"):
            show_text(f"  {unlabelled['labelled']} of the unlabelled images have labels since")
        for old, new in record["renamed"].items():
            show_text(f"  class {old} is {new} now")
        for leak in record["late_leaks"]:
            runs = ", ".join(leak["runs"]) or "none"
            show_text(
                f"  one part on two sides in fold {leak['fold']}: {', '.join(leak['tested'])} "
                f"tested, {', '.join(leak['trained'])} left out of training since; "
                f"runs of before: {runs}"
            )


def show_diff(
    found: "Difference",
    given: Mapping[str, Any],
    *,
    as_json: Annotated[bool, Option(name="--json")] = False,
) -> None:
    """Print the images that differ between two versions.

    Args:
        found: what differs.
        given: arguments of the call.
        as_json: Print all of it, as JSON.
    """
    if as_json:
        out.print(
            json.dumps(found.to_json(), ensure_ascii=False, indent=1), markup=False, soft_wrap=True
        )
        return
    rows = [["", "image", f"version {found.first}", f"version {found.second}"]]
    rows += [["added", i, "", label] for i, label in found.added.items()]
    rows += [["removed", i, label, ""] for i, label in found.removed.items()]
    rows += [["relabelled", i, *labels] for i, labels in found.relabelled.items()]
    rows += [["moved", i, *sides] for i, sides in found.moved.items()]
    left = len(rows) - 1 - _SHOWN
    show_table(rows[: _SHOWN + 1], title=f"Versions {found.first} and {found.second}")
    if left > 0:
        show_text(f"And {left} more; --json names all.")
    if found.classes[0] != found.classes[1]:
        names = [", ".join(names) or "none" for names in found.classes]
        show_text(f"Classes: {names[0]}; then {names[1]}.")
    if len(rows) == 1:
        show_text(f"The same images, labels and sides, in {given['dataset']}.")
