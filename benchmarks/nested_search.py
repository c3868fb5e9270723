"""What a search over folds gains on random labels: chosen by all folds together, and within each.

    python -m benchmarks.nested_search [TRIALS]

Labels are random, so that no setting is better than another and an honest test AUROC is 0.5 on
average. A setting gives an image a score that its models of all folds share in part, as networks
trained with the same settings do. Five folds; each image is validation image of one fold and test
image of another. Writes results/nested_search.md.
"""

import datetime
import sys
from pathlib import Path

import numpy as np
from scipy.stats import rankdata

from benchmarks.bottle import machine

TABLE = Path(__file__).parent / "results" / "nested_search.md"
FOLDS, IMAGES = 5, 80
SHARED = (0.0, 0.5, 0.9)
SETTINGS = (5, 20, 100)


def auroc(scores: np.ndarray, bad: np.ndarray) -> np.ndarray:
    """Area under the ROC curve along the last axis, without ties."""
    ranks = rankdata(scores, axis=-1)
    n_bad, n_good = int(bad.sum()), int((~bad).sum())
    return (ranks[..., bad].sum(axis=-1) - n_bad * (n_bad + 1) / 2) / (n_bad * n_good)


def trial(n_settings: int, shared: float, rng: np.random.Generator) -> tuple[float, float]:
    """Mean test AUROC over folds of the settings chosen by all folds, and within each fold."""
    bad = rng.permutation(np.arange(IMAGES) < IMAGES // 2)
    # Dealt by kind, as a split does: every part holds both.
    part = np.zeros(IMAGES, int)
    for kind in (True, False):
        part[np.flatnonzero(bad == kind)] = np.arange((bad == kind).sum()) % FOLDS
    common = rng.normal(size=(n_settings, 1, IMAGES))
    own = rng.normal(size=(n_settings, FOLDS, IMAGES))
    scores = np.sqrt(shared) * common + np.sqrt(1 - shared) * own
    validation = np.empty((n_settings, FOLDS))
    test = np.empty((n_settings, FOLDS))
    for fold in range(FOLDS):
        inside, after = part == fold, part == (fold + 1) % FOLDS
        test[:, fold] = auroc(scores[:, fold, inside], bad[inside])
        validation[:, fold] = auroc(scores[:, fold, after], bad[after])
    together = test[int(validation.mean(axis=1).argmax())].mean()
    nested = test[validation.argmax(axis=0), np.arange(FOLDS)].mean()
    return float(together), float(nested)


def main() -> None:
    """Simulate, and write the table."""
    trials = int(sys.argv[1]) if len(sys.argv) > 1 else 2000
    lines = [
        "# A search on random labels",
        "",
        f"{datetime.date.today().isoformat()}. {machine()}. `python -m benchmarks.nested_search "
        f"{trials}`: {trials} simulated searches a line, {IMAGES} images with random labels, "
        f"{FOLDS} folds. Mean test AUROC of the chosen settings, ± 2 standard errors; 0.5 is what "
        "they are worth. `sweep --search` chooses within each fold.",
        "",
        "| settings tried | variance that a setting's models share | chosen by all folds together "
        "| chosen within each fold |",
        "| --- | --- | --- | --- |",
    ]
    for n_settings in SETTINGS:
        for shared in SHARED:
            rng = np.random.default_rng(0)
            found = np.array([trial(n_settings, shared, rng) for _ in range(trials)])
            mean, error = found.mean(axis=0), 2 * found.std(axis=0) / trials**0.5
            lines.append(
                f"| {n_settings} | {shared:.0%} | {mean[0]:.3f} ± {error[0]:.3f} | "
                f"{mean[1]:.3f} ± {error[1]:.3f} |"
            )
    TABLE.write_text("\n".join(lines) + "\n", encoding="utf-8")
    print(TABLE.read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()
