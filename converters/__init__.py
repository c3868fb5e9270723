"""Formats in and out: from masks to COCO, YOLO and class-index masks."""

from converters.convert import LAYOUTS, ConversionReport, ConvertOptions, convert

__all__ = ["LAYOUTS", "ConversionReport", "ConvertOptions", "convert"]
