"""Formats in and out: from masks to COCO, YOLO and class-index masks."""

from converters.convert import convert
from converters.layouts import LAYOUTS, FindOptions
from converters.read_options import ReadOptions
from converters.report import ConversionReport, ConvertOptions

__all__ = [
    "LAYOUTS",
    "ConversionReport",
    "ConvertOptions",
    "FindOptions",
    "ReadOptions",
    "convert",
]
