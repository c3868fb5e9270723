"""What a person at the keyboard types and sees before any command runs."""

from enum import StrEnum
from typing import Any, Final

import typer
from typer.core import TyperGroup

from defectune.console import fail, out

INTERRUPTED: Final = "Interrupted. Nothing was changed."
KEPT: Final = {
    "train": "Finished folds are kept, and what the one in training had saved: make the same call "
    "again to go on.",
    "predict": "The results so far are kept beside the output, in a hidden folder: make the same "
    "call again to go on.",
    "evaluate": "leaderboard.json is as it was before; make the call again.",
    "report": "An earlier report is as it was before; make the call again.",
    "convert": "Nothing is kept, and no half folder is left; make the call again.",
    "export": "Nothing is kept, and no half folder is left; make the call again.",
    "overlay": "Nothing is kept, and no half folder is left; make the call again.",
    "check": "A check changes nothing; make the call again.",
    "bundle": "No half bundle is left; make the call again.",
    "watch": "Every verdict so far is in verdicts.jsonl; make the same call again to go on.",
    "sweep": "Cells that are done are kept, and stand in the table: make the same call again to go "
    "on.",
    "demo": "What was finished is kept in the output; remove it, or choose another --output, to "
    "begin anew.",
}
"""What is left after Ctrl-C, and how to go on, by command."""


class Family(StrEnum):
    """The model families."""

    detect = "detect"
    segment = "segment"
    classify = "classify"


OTHER_NAMES: Final = {
    Family.detect: ("yolo", "detection", "detector", "boxes", "bbox", "rtdetr", "fasterrcnn"),
    Family.segment: ("unet", "segmentation", "segmenter", "segformer", "masks", "deeplab"),
    Family.classify: (
        "resnet", "efficientnet", "classification", "classifier", "classification", "patchcore",
        "patchmemory", "anomaly", "gan", "ganomaly", "autoencoder", "panda", "padim", "timm",
    ),
}  # fmt: skip
"""Names of networks and tasks that people type for a family."""


class Commands(TyperGroup):
    """The commands; an interrupted one says what is kept."""

    def invoke(self, ctx: Any) -> Any:
        """Run a command; Ctrl-C ends it with a sentence and the status 130."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            _interrupted(ctx.invoked_subcommand)
        except SystemExit as error:
            # Lightning takes Ctrl-C for itself, and leaves without a word.
            if not isinstance(error.__context__, KeyboardInterrupt):
                raise
            _interrupted(ctx.invoked_subcommand)


def _interrupted(command: str | None) -> None:
    kept = KEPT.get(command or "")
    fail(f"Interrupted. {kept}" if kept else INTERRUPTED, status=130)


def parse_family(text: str) -> Family:
    """A family by its name; the name of a network or a task gets a hint.

    Raises:
        typer.BadParameter: none of the families.
    """
    try:
        return Family(text)
    except ValueError:
        plain = "".join(c for c in text.lower() if c.isalpha())
        for family, names in OTHER_NAMES.items():
            if any(plain.startswith(name) for name in (family.value, *names)):
                raise typer.BadParameter(f"{text!r} is no family. Did you mean {family}?") from None
        raise typer.BadParameter(
            f"{text!r} is no family. The families are {', '.join(Family)}."
        ) from None


def show_version(value: bool) -> None:
    """Print the version and leave.

    Raises:
        typer.Exit: where it was asked for.
    """
    if value:
        from importlib.metadata import version

        out.print(f"defectune {version('defectune')}", markup=False)
        raise typer.Exit
