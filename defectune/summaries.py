"""Tables about results, for the commands."""

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

from annotations.run_files import LEADERBOARD_FILE
from defectune.console import out, show_table, show_text

if TYPE_CHECKING:
    from converters import ConversionReport
    from converters.check import CheckResult
    from converters.exporting import ExportReport
    from defectune.library.predicting import PredictedImages
    from deployment.checking import BundleCheck
    from evaluation import Leaderboard, OperatingPoint

_SHOWN_IMAGES = 40


def show_leaderboard(board: "Leaderboard", root: Path, *, everything: bool = False) -> None:
    """Print the verdict in words, the table, the differences, and the operating points."""
    from evaluation import HEADLINE, METRIC_NAMES, summarise, table_rows

    part = "" if board.fold is None else f", fold {board.fold} only"
    title = (
        f"{board.n_images} test images ({board.n_defective} defective) of {board.n_groups} parts, "
        f"{board.protocol}{part}, split {board.split_digest[:12]}…"
    )
    summary = summarise(board.to_json())
    show_text(summary.sentence)
    for figure in summary.figures:
        show_text(f"  {summary.best}, {figure.text}")
    names = METRIC_NAMES if everything else HEADLINE
    entered = [name for name in names if any(row.metrics.get(name) for row in board.rows)]
    show_table(table_rows(board.rows, entered), title=title)
    left_out = [name for name in names if name not in entered]
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
        out.print(f"Written: {root / LEADERBOARD_FILE}", markup=False)


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


def show_check(result: "CheckResult", root: Path) -> None:
    """Print what a check found."""
    rows = [["", ""], *([name, text] for name, text in result.facts)]
    show_table(rows, title=f"Checked {root}")
    for problem in result.problems:
        out.print(f"Wrong: {problem}", markup=False)
    out.print(
        f"{len(result.problems)} problem(s)." if result.problems else "Nothing wrong was found.",
        markup=False,
    )


def show_export(report: "ExportReport", root: Path, output: Path) -> None:
    """Print what an export wrote, and what its format could not hold."""
    value = report.to_json()
    rows = [["", ""], ["images", str(report.n_images)], ["regions", str(report.n_regions)]]
    if report.iou:
        rows.append(["masks exact", f"{value['masks_exact']} of {value['masks']}"])
        rows.append(["lowest IoU of an image", f"{value['lowest_iou']:.4f}"])
    if report.box_error is not None:
        rows.append(["largest error of a box's edge", f"{report.box_error:.2g} pixels"])
    rows += [["note", note] for note in report.notes]
    show_table(rows, title=f"Exported {root} to {output} as {report.format}")


def show_predictions(done: "PredictedImages") -> None:
    """Print the first verdicts, and what a reader must know about all of them."""
    shown = [
        [row["image"], row["verdict"] or "not read",
         f"{float(row['image_score']):.6f}" if row["image_score"] else "", row["regions"]]
        for row in done.first_rows(_SHOWN_IMAGES)
    ]  # fmt: skip
    title = f"Threshold {done.threshold:g} on the calibrated score, chosen by {done.chosen_by}"
    show_table([["image", "verdict", "score", "regions"], *shown], title=title)
    for line in done.notes:
        out.print(line, markup=False)
    out.print(f"{done.n_images} images; all verdicts: {done.table}", markup=False)


def show_conversion(report: "ConversionReport", output: Path) -> None:
    """Print one screen about a conversion."""
    rows = [["", ""]]
    rows.append(["layout", report.layout])
    rows.append(["images", str(sum(report.n_images.values()))])
    rows += [[f"  {name}", str(count)] for name, count in sorted(report.n_images.items())]
    rows.append(["masks", str(report.n_masks)])
    rows.append(["components", str(sum(report.n_components.values()))])
    rows += [[f"  {name}", str(count)] for name, count in sorted(report.n_components.items())]
    rows.append(["masks that came back bit for bit", f"{report.n_exact} of {report.n_masks}"])
    rows.append(["empty masks (image label kept)", str(len(report.empty_masks))])
    grey = report.ambiguous_pixels
    rows.append(["grey mask pixels, cut at half", f"{sum(grey.values())} in {len(grey)} masks"])
    rows += [[what, str(count)] for what, count in sorted(report.counts.items())]
    for reason, count in Counter(report.left_out.values()).items():
        rows.append(["images left out", f"{count}: {reason}"])
    left = report.leftovers
    if left.images:
        rows.append(["images left over", f"{len(left.images)}: no label speaks of them"])
    for reason, count in Counter(reason for _, reason in left.labels).items():
        rows.append(["labels left over", f"{count}: {reason}"])
    idle = [name for name, count in report.n_components.items() if not count]
    if idle:
        rows.append(["classes without a region", ", ".join(sorted(idle))])
    rows += [["note", note] for note in report.notes]
    grouping = report.grouping
    rows.append(["exact duplicates (one group each)", str(len(grouping.duplicates))])
    shared = grouping.shared
    rows.append(
        ["parts shown by several images", f"{len(shared)} ({sum(map(len, shared))} images)"]
    )
    rows.append(["  told", grouping.why])
    rows.append(["files skipped", str(sum(report.skipped.values()))])
    rows += [[f"  {reason}", str(count)] for reason, count in sorted(report.skipped.items())]
    if report.options.group_by is not None:
        rows.append(["images that --group-by did not match", str(grouping.unmatched)])
    placed = ", ".join(f"{count} by {how}" for how, count in sorted(report.placed.items()))
    rows.append(["images placed", placed])
    split = report.split
    rows.append(["split", f"{split.protocol}, {len(split.folds)} fold(s), seed {split.seed}"])
    if split.detail:
        rows.append(["", split.detail])
    rows.append(["split digest", split.digest[:16] + "…"])
    show_table(rows, title=f"Converted {report.source} to {output}")
    for warning in report.warnings:
        show_text(f"Warning: {warning}")


def show_bundle_check(found: "BundleCheck", file: Path) -> None:
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
    show_table(rows, title=f"Checked {file}")
