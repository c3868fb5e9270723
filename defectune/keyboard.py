"""What an interrupted command says."""

from typing import Final

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
    "stress": "Scores so far are kept in the run's folder: make the same call again to go on.",
    "sweep": "Cells that are done are kept, and stand in the table: make the same call again to go "
    "on.",
    "demo": "What was finished is kept in the output; remove it, or choose another --output, to "
    "begin anew.",
}
"""What is left after Ctrl-C, and how to go on, by command."""
