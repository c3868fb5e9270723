"""Which head is held out from which image, also where heads begin with an older run's.

A head that learned from an image cannot judge it. Each head therefore stays held out from what its
old one was held out from, and new parts are dealt around that.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from annotations import Dataset, InputError, Sample
from annotations.files import read_json, write_json_atomic
from annotations.later import learned_from
from annotations.run_files import fold_folder
from segment.hybrid.config import HybridConfig
from segment.hybrid.train import shares_of
from training import FoldJob, stored_config
from training.job import Start
from training.shots import limit_defects
from training.start import seen_text

SHARES_FILE: Final = "shares.json"
"""Of a fold: the share of every image by id, where heads are cross-fitted."""


def choose_shares(
    job: FoldJob, config: HybridConfig, samples: Sequence[Sample]
) -> dict[str, int] | None:
    """Which head each image is held out from, by id; None where heads are not cross-fitted.

    They are written down for a run that begins with this one.

    Args:
        job: dataset, fold and folder.
        config: settings.
        samples: images to learn from.

    Raises:
        InputError: an older run whose heads learned from images that they are to judge.
    """
    path = job.folder / SHARES_FILE
    before = None if job.start is None else _old_shares(job.start, job.fold, config)
    kept: dict[str, int] = {}
    if job.start is not None and before is not None:
        files = {job.start.dataset.by_id[i].sha256: share for i, share in before.items()}
        kept = {s.group: files[s.sha256] for s in samples if s.sha256 in files}
    shares = shares_of(samples, config.heads, kept)
    if job.start is not None:
        _require_held_out(job, job.start, before, shares, config.heads)
    if shares is None:
        path.unlink(missing_ok=True)
    else:
        write_json_atomic(path, shares)
    return shares


def _old_shares(start: Start, fold: int, config: HybridConfig) -> dict[str, int] | None:
    old = stored_config(start.run, HybridConfig)
    if old.heads != config.heads:
        raise InputError(
            f"--from {start.run.name}: it has {old.heads} heads, and this training has "
            f"{config.heads}. Set heads={old.heads}, or leave --from out."
        )
    return stored_shares(start.run, fold, start.dataset, old)


def stored_shares(
    run: Path, fold: int, dataset: Dataset, config: HybridConfig
) -> dict[str, int] | None:
    """Which head each image was held out from, by id, in a run; None where in none.

    Args:
        run: its folder.
        fold: a finished one.
        dataset: as it was when the run was trained.
        config: the run's settings.

    Raises:
        InputError: what was written down is damaged.
    """
    path = fold_folder(run, fold) / SHARES_FILE
    if not path.is_file():
        # Of a run that was trained before they were written down.
        part = dataset.split.folds[fold]
        learned = dataset.select((*part.train, *part.val))
        limited = limit_defects(learned, config.shots_per_type, seed=config.seed)
        return shares_of(limited, config.heads)
    value: Any = read_json(path, what="the shares of a run's heads")
    if (
        not isinstance(value, dict)
        or not value.keys() <= dataset.by_id.keys()
        or not all(type(share) is int and 0 <= share < config.heads for share in value.values())
    ):
        raise InputError(f"{path} is damaged: expected a share by image. Train again.")
    return value


def _require_held_out(
    job: FoldJob,
    start: Start,
    before: Mapping[str, int] | None,
    shares: Mapping[str, int] | None,
    heads: int,
) -> None:
    """Refuse heads that learned from what they are to judge."""
    old, new = start.dataset.split.folds[job.fold], job.dataset.split.folds[job.fold]
    for head in range(heads):
        learned = old.train if before is None else [i for i, n in before.items() if n != head]
        judged = new.val if shares is None else [i for i, n in shares.items() if n == head]
        known = learned_from(start.dataset, job.dataset, learned)
        seen = [s.image_id for s in job.dataset.select(judged) if known.holds(s)]
        if seen:
            raise InputError(seen_text(start.run, job.fold, "held-out", seen))
