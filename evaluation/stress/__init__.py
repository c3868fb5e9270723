"""The operating window: how far light, optics and position may go until verdicts flip."""

from evaluation.stress.changes import KINDS, Change, Kind, changed, kind_named
from evaluation.stress.figures import Cell, cell_figures, in_proportion, window_of, window_side

__all__ = [
    "KINDS",
    "Cell",
    "Change",
    "Kind",
    "cell_figures",
    "changed",
    "in_proportion",
    "kind_named",
    "window_of",
    "window_side",
]
