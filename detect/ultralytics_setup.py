"""Importing ultralytics without its surprises: own settings folder, no downloads, no telemetry."""

import logging
import os
import tempfile
from pathlib import Path
from typing import Any


def import_yolo() -> Any:
    """Import `ultralytics.YOLO`, settings first: it reads them while it is imported."""
    if "YOLO_CONFIG_DIR" not in os.environ:
        folder = Path(tempfile.gettempdir()) / f"defectune-ultralytics-{os.getuid()}"
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        os.environ["YOLO_CONFIG_DIR"] = str(folder)
    os.environ.setdefault("YOLO_OFFLINE", "true")
    os.environ.setdefault("YOLO_VERBOSE", "false")
    os.environ.setdefault("YOLO_AUTOINSTALL", "false")
    from PIL import Image

    pillow_open = Image.open
    import ultralytics

    # It replaces Pillow's `open` by one that wants to install a package for a damaged image.
    Image.open = pillow_open
    library: Any = ultralytics  # it ships no types for what it exports lazily
    logging.getLogger("ultralytics").setLevel(logging.ERROR)
    if library.settings.get("sync", False):
        library.settings.update({"sync": False})
    return library.YOLO
