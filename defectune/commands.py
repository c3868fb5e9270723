"""The commands of the command line, in the order of `--help`."""

from typing import Final

from defectune.door import Command

COMMANDS: Final = (
    Command(
        "demo",
        "defectune.demo:demo",
        "defectune.summaries:show_demo",
        (
            "defectune demo",
            "defectune demo --output tried --seed 1",
            "defectune demo --data-only first-dataset",
        ),
    ),
    Command(
        "convert",
        "defectune.library.conversion:convert",
        "defectune.summaries:show_conversion",
        (
            "defectune convert bottle data/bottle",
            "defectune convert photos.zip data/lid --protocol holdout --group-by 'part_\\d+'",
        ),
    ),
    Command(
        "update",
        "defectune.library.growing:update",
        "defectune.summaries_of_versions:show_update",
        (
            "defectune update data/bottle week-2 --prefix week-2 --by anna --dry-run",
            "defectune update data/bottle --remove blurred.txt --rename-class contamination=dirt",
        ),
    ),
    Command(
        "log",
        "defectune.library.growing:log",
        "defectune.summaries_of_versions:show_log",
        ("defectune log data/bottle", "defectune log data/bottle --json"),
    ),
    Command(
        "diff",
        "defectune.library.growing:diff",
        "defectune.summaries_of_versions:show_diff",
        ("defectune diff data/bottle 1 2",),
    ),
    # Its families stand in training/registry.py, each with its own options and examples.
    Command(
        "train",
        "defectune.library.training_runs:train",
        "defectune.summaries:show_runs",
        examples=("defectune train data/bottle", "defectune train segment data/bottle"),
    ),
    Command(
        "evaluate",
        "defectune.library.evaluating:evaluate",
        "defectune.summaries:show_leaderboard",
        (
            "defectune evaluate data/bottle",
            "defectune evaluate data/bottle detect --cost-escape 50 --cost-overkill 1",
            "defectune evaluate data/bottle new --baseline old --no-regression 0.01",
        ),
    ),
    Command(
        "check",
        "defectune.library.datasets:check",
        "defectune.summaries:show_check",
        ("defectune check data/bottle", "defectune check data/bottle/runs/detect"),
    ),
    Command(
        "report",
        "defectune.library.reporting:report",
        "defectune.summaries:show_page",
        ("defectune report data/bottle", "defectune report data/bottle detect segment"),
    ),
    Command(
        "overlay",
        "defectune.overlays:overlay",
        "defectune.summaries:show_overlays",
        (
            "defectune overlay data/bottle/detect",
            "defectune overlay data/bottle/detect broken_large --only wrong",
        ),
    ),
    Command(
        "predict",
        "defectune.library.predicting:predict",
        "defectune.summaries:show_predictions",
        (
            "defectune predict data/bottle/detect new/ --output verdicts",
            "find new -name '*.png' | defectune predict detect.bundle - --output verdicts",
        ),
    ),
    Command(
        "export",
        "defectune.library.datasets:export",
        "defectune.summaries:show_export",
        ("defectune export data/bottle elsewhere --format voc",),
    ),
    Command(
        "bundle",
        "defectune.library.bundling:bundle",
        "defectune.summaries:show_bundle",
        (
            "defectune bundle data/bottle/detect detect.bundle",
            "defectune bundle check detect.bundle data/bottle",
        ),
    ),
    Command(
        "bundle check",
        "defectune.library.bundling:check_bundle",
        "defectune.summaries:show_bundle_check",
        ("defectune bundle check detect.bundle data/bottle",),
    ),
    Command(
        "watch",
        "defectune.library.watching:watch",
        "defectune.summaries:show_waiting",
        (
            "defectune watch detect.bundle camera/ --output verdicts",
            "defectune watch detect.bundle camera/ --output verdicts --once",
        ),
    ),
    Command(
        "sweep",
        "defectune.library.sweeping:sweep",
        "defectune.summaries:show_sweep",
        (
            "defectune sweep grid.yaml --output swept --dry-run",
            "defectune sweep grid.yaml --output swept --workers 2",
        ),
    ),
    Command(
        "accept",
        "defectune.library.accepting:accept",
        "defectune.summaries:show_acceptance",
        (
            "defectune accept data/bottle detect --max-escape 0.01 --max-overkill 0.05",
            "defectune accept data/bottle detect.bundle --output signed-off --sign sign.pem",
            "defectune accept verify signed-off/acceptance.json",
        ),
    ),
    Command(
        "accept verify",
        "defectune.library.verifying:verify_acceptance",
        "defectune.summaries:show_verification",
        ("defectune accept verify signed-off/acceptance.json --key public.pem",),
    ),
    Command(
        "stress",
        "defectune.library.stressing:stress",
        "defectune.summaries:show_window",
        (
            "defectune stress data/bottle detect",
            "defectune stress data/bottle detect --kinds exposure --kinds noise --images 40",
        ),
    ),
    Command("doctor", "defectune.doctor:doctor", "defectune.summaries:show_health"),
)
