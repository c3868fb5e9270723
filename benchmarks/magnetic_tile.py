"""Lay the magnetic tile set out so that all captures of one physical tile share a name.

Huang et al. photographed each tile up to six times; the file name ends in a capture counter, and
captures of one tile are close together while other tiles are hundreds away. Every folder's images
are therefore cut into tiles where the counter jumps by 200 or more, and linked under names that
begin with the tile: `--group-by` then keeps them on one side.
"""

import argparse
import re
from pathlib import Path

GAP = 200
GROUP_BY = r"tile-\w+?-\d+"


def arrange(source: Path, target: Path) -> int:
    """Link a set in MVTec layout under names `tile-<type>-<number>__<old name>`.

    Returns:
        The number of tiles.
    """
    tiles = 0
    for folder in sorted(p for side in ("train", "test") for p in (source / side).iterdir()):
        counted = []
        for path in sorted(folder.iterdir()):
            match = re.search(r"num_(\d+)", path.name)
            if match is None:
                raise SystemExit(f"{path}: expected a capture counter, as in exp1_num_12345.jpg")
            counted.append((int(match.group(1)), path))
        previous, number = -GAP, -1
        for count, path in sorted(counted):
            number += count - previous >= GAP
            previous = count
            # Good tiles of both sides are counted apart; none is on both.
            name = f"tile-{folder.parent.name}{folder.name}-{number}__{path.name}"
            link = target / folder.parent.name / folder.name / name
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to(path.resolve())
            mask = source / "ground_truth" / folder.name / f"{path.stem}_mask.png"
            if mask.is_file():
                place = target / "ground_truth" / folder.name / f"{Path(name).stem}_mask.png"
                place.parent.mkdir(parents=True, exist_ok=True)
                place.symlink_to(mask.resolve())
        tiles += number + 1
    return tiles


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("source", type=Path)
    parser.add_argument("target", type=Path)
    options = parser.parse_args()
    print(f"{arrange(options.source, options.target)} tiles; convert with --group-by '{GROUP_BY}'")
