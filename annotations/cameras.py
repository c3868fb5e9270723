"""Cameras and streams, where a file or folder was expected: what to do instead."""

import re
from pathlib import Path
from typing import Final

_STREAM: Final = re.compile(
    r"(rtsps?|rtmps?|rtp|srt|udp|tcp|mms|https?|ftp):/+(.+)", re.I | re.DOTALL
)
_CAMERA: Final = re.compile(r"[0-9]{1,3}|/dev/video[0-9]+")


def camera_hint(place: Path) -> str:
    """What to do where `place` names a stream or a camera, a sentence or two; else empty."""
    # A path has lost one of the two slashes.
    stream = _STREAM.fullmatch(str(place))
    if stream is not None:
        name = f"{stream[1]}://{stream[2]}"
        what, source = f"{name} is a stream", name
    elif _CAMERA.fullmatch(str(place)):
        device = place if place.is_absolute() else f"/dev/video{place}"
        what, source = f"{place} is the number of a camera", str(device)
        if place.is_absolute():
            what = f"{place} is a camera"
    else:
        return ""
    return (
        f"{what}; images are read. Let the camera write into a folder, or `ffmpeg -i {source} -vf "
        "fps=1 in/%06d.png`, and give that folder to `defectune watch`."
    )
