"""Formats in and out: from masks to COCO, YOLO and class-index masks."""

from converters.convert import convert
from converters.layouts import LAYOUTS, FindOptions
from converters.read_options import ReadOptions
from converters.report import ConversionReport, ConvertOptions
from converters.several import convert_several

__all__ = [
    "LAYOUTS",
    "ConversionReport",
    "ConvertOptions",
    "FindOptions",
    "ReadOptions",
    "convert",
    "convert_several",
]
