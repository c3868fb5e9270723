"""How often is one of two equal runs called better? Simulated, at 5 %, by parts and photographs.

    python -m benchmarks.false_better [TRIALS]

Two runs of equal quality give scores that share what is hard about a part; what they do not share
is drawn for the part, and a little of it for the photograph. Parts have one photograph each, or one
to eight. Writes results/false_better.md; a cell is kept in results/false_better/ once it is done.
"""

import datetime
import sys
from pathlib import Path

import numpy as np

from annotations.files import read_json, write_json_atomic
from benchmarks.bottle import machine
from evaluation.compare import LEVEL, Comparable, compare_runs
from evaluation.image_metrics import ImageScores, score_metrics
from evaluation.intervals import resample_weights

CELLS = Path(__file__).parent / "results" / "false_better"
TABLE = CELLS.with_suffix(".md")
PARTS = ((8, 8), (20, 10), (20, 20), (60, 60))
PHOTOGRAPHS = ((1, 1), (1, 8))
METRICS = ("accuracy", "escape_rate", "balanced_accuracy", "image_auroc", "image_ap")
THRESHOLD = 0.6


def trial(n_bad: int, n_good: int, photographs: tuple[int, int], seed: int) -> dict[str, bool]:
    """Which metrics call one of two equal runs better."""
    rng = np.random.default_rng(seed)
    n_parts = n_bad + n_good
    part = np.repeat(np.arange(n_parts), rng.integers(photographs[0], photographs[1] + 1, n_parts))
    bad, groups = part < n_bad, part.astype(np.str_)
    types = np.where(bad, "dent", "good")
    shared = 1.2 * bad + 0.7 * rng.normal(size=n_parts)[part]
    weights = resample_weights(types, groups, seed=seed)
    runs = []
    for name in ("a", "b"):
        own = 0.8 * rng.normal(size=n_parts)[part] + 0.3 * rng.normal(size=len(part))
        scores = ImageScores(shared + own, bad, groups, types)
        metrics, values = score_metrics(scores, weights, threshold=THRESHOLD)
        runs.append(Comparable(name, metrics, values, (scores.scores >= THRESHOLD) == bad))
    found = compare_runs(runs, bad, METRICS, types=types, groups=groups)
    return {row.metric: row.p_value < LEVEL for row in found}


def main() -> None:
    """Measure what is missing, and write the table."""
    trials = int(sys.argv[1]) if len(sys.argv) > 1 else 1000
    CELLS.mkdir(parents=True, exist_ok=True)
    for photographs in PHOTOGRAPHS:
        for parts in PARTS:
            cell = CELLS / f"{parts[0]}-{parts[1]}-{photographs[1]}.json"
            if cell.exists():
                continue
            rows = [trial(*parts, photographs, seed) for seed in range(trials)]
            shares = {
                name: float(np.mean([row.get(name, False) for row in rows])) for name in METRICS
            }
            document = {
                "parts": parts, "photographs": photographs, "trials": trials, "shares": shares,
                "machine": machine(), "date": datetime.date.today().isoformat(),
            }  # fmt: skip
            write_json_atomic(cell, document)
    cells = [read_json(path, what="a cell") for path in sorted(CELLS.glob("*.json"))]
    cells.sort(key=lambda cell: (cell["photographs"], sum(cell["parts"])))
    last = cells[-1]
    margin = 196 * (LEVEL * (1 - LEVEL) / last["trials"]) ** 0.5
    lines = [
        "# One of two equal runs called better",
        "",
        f"{last['date']}. {last['machine']}. `python -m benchmarks.false_better {last['trials']}`: "
        f"{last['trials']} simulated pairs of equal runs a line; the share called better at 5 %. "
        f"The simulation itself is known to about ±{margin:.1f} points.",
        "",
        "| photographs a part | defective, good parts | " + " | ".join(METRICS) + " |",
        "|" + " --- |" * (2 + len(METRICS)),
    ]
    for cell in cells:
        low, high = cell["photographs"]
        shares = " | ".join(f"{100 * cell['shares'][name]:.1f} %" for name in METRICS)
        lines.append(
            f"| {low if low == high else f'{low} to {high}'} | {cell['parts'][0]}, "
            f"{cell['parts'][1]} | {shares} |"
        )
    TABLE.write_text("\n".join(lines) + "\n", encoding="utf-8")
    print(TABLE.read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()
