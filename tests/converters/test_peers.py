"""Why boxes are read here and not by datumaro's importers: they are a pixel short.

Where this test fails, a kept library reads VOC right, and its importer can take ours' place.
"""

import pytest

from benchmarks.sources import BAD, BOX, NAMES, SOURCES

pytestmark = pytest.mark.filterwarnings("ignore")


def test_datumaro_reads_voc_boxes_a_pixel_short(tmp_path):
    datumaro = pytest.importorskip("datumaro")
    source = next(s for s in SOURCES if (s.layout, s.kind) == ("voc", "boxes"))
    source.write(tmp_path)
    (tmp_path / "ImageSets" / "Main").mkdir(parents=True)
    (tmp_path / "ImageSets" / "Main" / "train.txt").write_text("\n".join(NAMES) + "\n")
    # Without this file of its own, it refuses what labelImg writes.
    (tmp_path / "labelmap.txt").write_text("background:0,0,0::\nscratch:128,0,0::\n")
    found = datumaro.Dataset.import_from(str(tmp_path), "voc_detection")
    boxes = [one.get_bbox() for item in found for one in item.annotations]
    x1, y1, x2, y2 = BOX
    assert boxes == [[x1 + 1, y1 + 1, x2 - x1 - 1, y2 - y1 - 1]] * len(BAD)
