"""Overlays and the report."""

from report.html import write_report
from report.overlay import draw_overlay, write_overlay

__all__ = ["draw_overlay", "write_overlay", "write_report"]
