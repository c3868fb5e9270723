"""Devices, memory that runs out, and fewer defects on purpose."""

import pytest
import torch

from annotations import UsageError
from tests.drawn import many_samples
from training.device import device_list, fitting_batch_size, is_out_of_memory, resolve_device
from training.shots import limit_defects


def test_lists_of_devices():
    assert device_list("cpu,cpu") == [torch.device("cpu")] * 2
    assert resolve_device("cpu,cpu") == torch.device("cpu")
    with pytest.raises(UsageError, match=r"different kinds|not there"):
        device_list("cpu,cuda:0")
    with pytest.raises(UsageError, match="Unknown device"):
        device_list("cpu,tpux")


def test_the_batch_that_fits_is_found_by_halving():
    tried = []

    def step(size: int) -> None:
        tried.append(size)
        if size > 3:
            raise torch.OutOfMemoryError("CUDA out of memory")

    assert fitting_batch_size(step, 24) == 3
    assert tried == [12, 6, 3]

    def never(size: int) -> None:
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory")

    assert fitting_batch_size(never, 8) is None

    def other(size: int) -> None:
        raise RuntimeError("shapes do not fit")

    with pytest.raises(RuntimeError, match="shapes"):
        fitting_batch_size(other, 8)
    assert not is_out_of_memory(ValueError("no"))


def test_fewer_defects_are_a_part_of_more():
    samples = many_samples()
    before: set[str] = set()
    for per_type in (1, 3, 5):
        some = limit_defects(samples, per_type, seed=2)
        ids = {s.image_id for s in some if s.is_defective}
        assert len(ids) == 2 * per_type
        assert before <= ids
        assert sum(not s.is_defective for s in some) == sum(not s.is_defective for s in samples)
        before = ids
    assert limit_defects(samples, None, seed=2) == samples
    assert limit_defects(list(reversed(samples)), 3, seed=2) != samples
    assert {s.image_id for s in limit_defects(list(reversed(samples)), 3, seed=2)} == {
        s.image_id for s in limit_defects(samples, 3, seed=2)
    }
    assert limit_defects(samples, 3, seed=2) != limit_defects(samples, 3, seed=3)
