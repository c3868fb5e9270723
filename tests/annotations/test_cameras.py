"""A stream or a camera in place of a file is told the way to a verdict."""

from pathlib import Path

import pytest

from annotations import InputError
from annotations.cameras import camera_hint
from defectune.inputs import gather_images


@pytest.mark.parametrize(
    ("place", "said"),
    [
        ("rtsp://192.0.2.1/stream", r"^rtsp://192\.0\.2\.1/stream is a stream; .*-i rtsp://192"),
        ("https://example.org/live.m3u8", r"^https://example\.org/live\.m3u8 is a stream"),
        ("0", r"^0 is the number of a camera; .*-i /dev/video0 "),
        ("/dev/video73", r"^/dev/video73 is a camera; .*-i /dev/video73 "),
    ],
)
def test_streams_and_cameras_are_told_the_way(place, said):
    with pytest.raises(InputError, match=said) as error:
        gather_images([Path(place)])
    assert "give that folder to `defectune watch`" in str(error.value)


@pytest.mark.parametrize("place", ["photo.png", "0.png", "C:/images", "1234", "a/0"])
def test_other_paths_are_no_cameras(place):
    assert camera_hint(Path(place)) == ""
