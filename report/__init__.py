"""Overlays and the report."""

from report.figures import figure
from report.html import write_report
from report.overlay import draw_overlay

__all__ = ["draw_overlay", "figure", "write_report"]
