"""What each command prints of its result, and its exit status.

A function here takes the result and the call's arguments by name. Its own keyword arguments are
options of the command.
"""

import shlex
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from annotations.files import read_json
from annotations.run_files import LEADERBOARD_FILE
from defectune.board_table import FEW, models_as_rows
from defectune.console import fits, out, show_table, show_text
from defectune.library.options import Option

if TYPE_CHECKING:
    from annotations import Dataset
    from converters.check import CheckResult
    from converters.exporting import ExportReport
    from defectune.library.accepting import Accepted
    from defectune.library.predicting import PredictedImages
    from defectune.library.run import Run
    from defectune.library.stressing import Stressed
    from defectune.library.verifying import Verified
    from defectune.sweeps.running import Sweep
    from deployment.checking import BundleCheck
    from deployment.export import MadeBundle
    from evaluation import Leaderboard, OperatingPoint

Given = Mapping[str, Any]
"""Arguments of a call, by name."""
_SHOWN_IMAGES = 40
_LISTED = 5
"""Lines of folders, and of types, so that a conversion stays one screen."""
_STRENGTH = {"image": "an image label alone", "boxes": "boxes", "masks": "masks"}


def show_demo(made: Path, given: Given) -> None:
    """Print where the report is; of data alone, the command to go on with."""
    if given["data_only"] is None:
        show_page(made, given)
        return
    out.print(f"The images: {made}", markup=False)
    out.print(f"Next: defectune convert {shlex.quote(str(made))} out", markup=False)


def show_page(page: Path, _given: Given) -> None:
    """Print where the report is."""
    out.print(f"The report: {page}", markup=False)


def show_runs(runs: "Run | Sequence[Run]", _given: Given) -> None:
    """Print where the trained runs are."""
    for run in runs if isinstance(runs, Sequence) else [runs]:
        out.print(f"The run: {run.path}", markup=False)


def show_overlays(count: int, given: Given) -> None:
    """Print how many pictures were drawn."""
    out.print(f"{count} overlays in {given['output']}", markup=False)


def show_waiting(left: int, _given: Given) -> int:
    """Fail where deliveries wait."""
    return 1 if left else 0


def show_health(healthy: bool, _given: Given) -> int:
    """Fail where something is missing; what was found is printed already."""
    return 0 if healthy else 1


def show_bundle(made: "MadeBundle", _given: Given) -> None:
    """Print what a bundle holds."""
    folds = "refitted" if made.refitted else f"fold {', '.join(map(str, made.folds))}"
    out.print(
        f"The bundle: {made.path} ({folds}, {made.bytes:,} bytes, {made.digest[:12]}…)",
        markup=False,
    )


def show_sweep(done: "Sweep", given: Given) -> int:
    """Print a sweep's tables, or what its search found."""
    from defectune.sweeps.search import SEARCH_FILE
    from defectune.sweeps.table import table_texts

    if done.search is not None:
        for line in done.search.lines():
            show_text(line)
        out.print(f"The trials: {Path(given['output']) / SEARCH_FILE}", markup=False)
        return 0 if done.search.best is not None else 1
    if done.n_done:
        for table in done.tables:
            show_table(table_texts(table), title=table.metric)
            for line in table.words:
                show_text(line)
    out.print(f"{done.n_done} of {done.n_cells} cells done.", markup=False)
    if done.page is not None:
        out.print(f"The table: {done.page}", markup=False)
    return 1 if done.failed else 0


def show_leaderboard(
    board: "Leaderboard",
    given: Given,
    *,
    everything: Annotated[bool, Option(name="--all")] = False,
) -> int:
    """Print the verdict in words, the table, the differences, and the operating points.

    Args:
        board: what `evaluate` found.
        given: arguments of the call.
        everything: Print every metric, and not the main ones alone.

    Returns:
        The exit status: 1 where it is not shown that a run keeps what the baseline found.
    """
    from evaluation import HEADLINE, METRIC_NAMES, summarize, table_rows
    from evaluation.summary import best_first
    from evaluation.table import late_rows, source_rows

    part = "" if board.fold is None else f", fold {board.fold} only"
    title = (
        f"{board.n_images} test images ({board.n_defective} defective) of {board.n_groups} parts, "
        f"{board.protocol}{part}, split {board.split_digest[:12]}…"
    )
    value = board.to_json()
    summary = summarize(value)
    for line in (*summary.against, summary.sentence):
        show_text(line)
    for figure in summary.figures:
        show_text(f"  {summary.best}, {figure.text}")
    names = METRIC_NAMES if everything else HEADLINE
    entered = [name for name in names if any(row.metrics.get(name) for row in board.rows)]
    table = table_rows(board.rows, entered)
    left_out = [name for name in names if name not in entered]
    if len(board.rows) > FEW and not everything and not fits(table):
        table, shortened = models_as_rows(best_first(value["rows"]), fits=fits)
        show_table(table, title=title)
        more = "More metrics: --all, and the report."
        show_text(" ".join(filter(None, ["Best first.", shortened, more])))
        left_out = []
    else:
        show_table(table, title=title)
    by_source = source_rows(board.rows)
    if by_source:
        show_table(by_source, title="By source")
    by_late_leaks = late_rows(board.rows)
    if by_late_leaks:
        show_table(by_late_leaks, title="With and without images of parts learned from")
    if left_out:
        show_text(f"No model gives what these need: {', '.join(left_out)}.")
    for line in (*board.differences, *board.spread_lines):
        show_text(line)
    for row in board.rows:
        if "random weights" in row.model:
            show_text(f"{row.run}: trained from random weights, not from pretrained ones.")
        for note in row.notes:
            show_text(f"{row.run}: {note}")
    for point in board.operating_points:
        show_operating_point(point, board)
    if board.fold is None:
        out.print(f"Written: {Path(given['dataset']) / LEADERBOARD_FILE}", markup=False)
    return 0 if all(one.held for one in board.against) else 1


def show_operating_point(point: "OperatingPoint", board: "Leaderboard") -> None:
    """Print one run's operating point: thresholds, rates, cost, what escapes, and the curve."""
    from evaluation import format_metric

    rows = [["", ""], ["chosen by", str(board.operating_rule)], ["chosen on", point.validation]]
    limits = ", ".join(f"fold {fold}: {value:.4f}" for fold, value in point.thresholds.items())
    rows.append(["thresholds (calibrated)", limits])
    for name in ("escape_rate", "overkill_rate"):
        text = format_metric(name, getattr(point, name), interval=True)
        rows.append([f"{name}, test images", text])
    if point.expected_cost is not None:
        cost = format_metric("expected_cost", point.expected_cost, interval=True)
        rows.append([f"expected cost a part, {board.defect_rate:.2%} defective", cost])
    for kind, (escaped, n, ids) in point.by_type.items():
        some = f": {', '.join(ids[:4])}{' …' if len(ids) > 4 else ''}" if ids else ""
        rows.append([f"  {kind} escapes", f"{escaped} of {n}{some}"])
    show_table(rows, title=f"Operating point of {point.run}")
    curve = point.curve
    if curve:
        names = list(curve)
        n = len(curve["threshold"])
        step = max(1, n // 8)
        picked = sorted({*range(0, n, step), n - 1})
        body = [[f"{curve[name][index]:.4f}" for name in names] for index in picked]
        show_table([names, *body], title="Curve on the test images (it chose nothing)")


def show_check(result: "CheckResult", given: Given) -> int:
    """Print what a check found."""
    rows = [["", ""], *([name, text] for name, text in result.facts)]
    show_table(rows, title=f"Checked {given['dataset']}")
    for problem in result.problems:
        out.print(f"Wrong: {problem}", markup=False)
    out.print(
        f"{len(result.problems)} problem(s)." if result.problems else "Nothing wrong was found.",
        markup=False,
    )
    return 1 if result.problems else 0


def show_export(report: "ExportReport", given: Given) -> None:
    """Print what an export wrote, and what its format could not hold."""
    value = report.to_json()
    rows = [["", ""], ["images", str(report.n_images)], ["regions", str(report.n_regions)]]
    if report.iou:
        rows.append(["masks exact", f"{value['masks_exact']} of {value['masks']}"])
        rows.append(["lowest IoU of an image", f"{value['lowest_iou']:.4f}"])
    if report.box_error is not None:
        rows.append(["largest error of a box's edge", f"{report.box_error:.2g} pixels"])
    rows += [["note", note] for note in report.notes]
    root, output = given["dataset"], given["output"]
    show_table(rows, title=f"Exported {root} to {output} as {report.format}")


def show_predictions(done: "PredictedImages", _given: Given) -> int:
    """Print the first verdicts, and what a reader must know about all of them."""
    shown = [
        [row["image"], row["verdict"] or "not read",
         f"{float(row['image_score']):.4f}" if row["image_score"] else "", row["regions"]]
        for row in done.first_rows(_SHOWN_IMAGES)
    ]  # fmt: skip
    title = f"Threshold {done.threshold:g} on the calibrated score, chosen by {done.chosen_by}"
    show_table([["image", "verdict", "score", "regions"], *shown], title=title)
    for line in done.notes:
        out.print(line, markup=False)
    out.print(f"{done.n_images} images; all verdicts: {done.table}", markup=False)
    return 1 if done.n_failed else 0


def show_conversion(dataset: "Dataset", _given: Given) -> None:
    """Print one screen about a conversion, from its conversion.json."""
    value = read_json(dataset.root / "conversion.json", what="the report of a conversion")
    folders, by_type = value["images_by_folder"], value["components_by_type"]
    rows = [["", ""], ["layout", value["layout"]], ["images", str(value["images"])]]
    rows += _largest(folders, "folders")
    if value.get("unlabelled_images"):
        rows.append(["unlabelled images, for prediction alone", str(value["unlabelled_images"])])
    rows.append(["masks", str(value["masks"])])
    rows.append(["components", str(value["components"])])
    rows += _largest(by_type, "types")
    strengths = value.get("label_strengths", {})
    rows += [
        [f"defective images known by {_STRENGTH[name]}", str(strengths[name])]
        for name in _STRENGTH
        if name in strengths
    ]
    # A line that says that nothing was there costs a reader as much as one that says something.
    trip = value["round_trip"]
    if value["masks"]:
        rows.append(["masks that came back bit for bit", f"{trip['exact']} of {value['masks']}"])
    if value["empty_masks"]:
        rows.append(["empty masks (image label kept)", str(len(value["empty_masks"]))])
    gray = value["ambiguous_pixels"]
    if gray:
        rows.append(["gray mask pixels, cut at half", f"{sum(gray.values())} in {len(gray)} masks"])
    rows += [[what, str(count)] for what, count in value["counts"].items()]
    for reason, count in Counter(value["left_out"].values()).items():
        rows.append(["images left out", f"{count}: {reason}"])
    left = value["leftovers"]
    if left["n_images"]:
        rows.append(["images left over", f"{left['n_images']}: no label speaks of them"])
    for reason, count in Counter(label["reason"] for label in left["labels"]).items():
        rows.append(["labels left over", f"{count}: {reason}"])
    idle = [name for name, count in by_type.items() if not count]
    if idle:
        rows.append(["classes without a region", ", ".join(sorted(idle))])
    rows += [["note", note] for note in value["notes"]]
    parts = value["parts"]
    if value["duplicates"]:
        rows.append(["exact duplicates (one group each)", str(len(value["duplicates"]))])
    shared = f"{parts['groups_of_several_images']} ({parts['images_in_them']} images)"
    rows.append(["parts shown by several images", shared])
    rows.append(["  told", parts["told_by"]])
    if value["skipped"]:
        rows.append(["files skipped", str(sum(value["skipped"].values()))])
    rows += [[f"  {reason}", str(count)] for reason, count in value["skipped"].items()]
    if value["options"]["group_by"] is not None:
        unmatched = str(value["images_without_group_match"])
        rows.append(["images that --group-by did not match", unmatched])
    placed = ", ".join(f"{count} by {how}" for how, count in sorted(value["placed"].items()))
    rows.append(["images placed", placed])
    split = dataset.split
    rows.append(["split", f"{split.protocol}, {len(split.folds)} fold(s), seed {split.seed}"])
    if split.detail:
        rows.append(["", split.detail])
    rows.append(["split digest", split.digest[:16] + "…"])
    show_table(rows, title=f"Converted {value['source']} to {dataset.root}")
    out.print(f"Next: defectune train {shlex.quote(str(dataset.root))}", markup=False)


def _largest(counts: Mapping[str, int], what: str) -> list[list[str]]:
    """A line each; of more than a few the largest, and one line that sums up the others."""
    if len(counts) <= _LISTED:
        return [[f"  {name}", str(count)] for name, count in counts.items()]
    ranked = sorted(counts, key=lambda name: -counts[name])
    kept, rest = ranked[: _LISTED - 1], ranked[_LISTED - 1 :]
    lines = [[f"  {name}", str(counts[name])] for name in kept]
    return [*lines, [f"  {len(rest)} more {what}", str(sum(counts[name] for name in rest))]]


def show_bundle_check(found: "BundleCheck", given: Given) -> int:
    """Print what a bundle says otherwise than its run."""
    rows = [
        ["images compared", str(len(found.images))],
        ["other verdicts", str(len(found.flips))],
        ["largest score difference", f"{found.largest_score_difference:.2g}"],
        ["regions lost, won", f"{found.lost}, {found.won}"],
    ]
    if found.largest_map_difference is not None:
        rows.append(["largest map difference, of the range", f"{found.largest_map_difference:.2g}"])
    rows += [["other verdict", image_id] for image_id in found.flips]
    rows.append(["note", found.note])
    show_table(rows, title=f"Checked {given['file']}")
    return 1 if found.flips else 0


def show_acceptance(made: "Accepted", _given: Given) -> int:
    """Print what is proved and what was not tested; fail where something asked for is not."""
    for claim in made.decision["claims"]:
        show_text(claim["sentence"])
    for note in made.notes:
        show_text(f"  {note}")
    if made.signed_by:
        out.print(f"Signed by the key {made.signed_by}", markup=False)
    out.print(f"The acceptance: {made.page}", markup=False)
    return 1 if made.proved is False else 0


def show_window(found: "Stressed", _given: Given) -> None:
    """Print the operating window, and what its check found."""
    rows = [["change", "from", "to", "unit"]]
    rows += [
        [row["change"], f"{row['low']:g}", f"{row['high']:g}", row["unit"]] for row in found.window
    ]
    show_table(rows, title="The operating window")
    check = found.check
    if check["n"]:
        show_text(
            f"Under two changes at once from inside it, {check['count']} of {check['n']} verdicts "
            f"flipped ({100 * check['value']:.3g} %)."
        )
    out.print(f"The page: {found.page}", markup=False)


def show_verification(found: "Verified", given: Given) -> int:
    """Print what was changed, and whose key signed; fail where anything is wrong."""
    for fault in found.faults:
        out.print(f"Wrong: {fault}", markup=False)
    if found.faults:
        return 1
    if not found.signed_by:
        show_text(
            "Nothing was changed since it was written, by its own digests. It is not signed: "
            "whoever changes it can make these anew."
        )
    elif given["key"] is None:
        show_text(
            f"Nothing was changed since it was signed by the key {found.signed_by}. Whose key that "
            "is, --key with their public key says."
        )
    else:
        show_text(f"Nothing was changed since it was signed by the key given ({found.signed_by}).")
    return 0
