"""Learning from labels of every strength: what boxes and image labels say of pixels."""

from dataclasses import replace
from types import MappingProxyType

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from annotations import Regions, TrainingError, load_dataset, read_image_rgb, read_predictions
from inference.images import resize_image
from segment import SegmentConfig, train_segmenter
from segment.data import WEAK, load_resized
from segment.hybrid.network import MARGIN, SCALE, hybrid_loss
from segment.hybrid.pieces import UNKNOWN, pieces_of
from segment.losses import defect_loss
from tests.drawn import drawn_dataset
from tests.segment.small import SMALL
from training import SilentReporter
from training.parts import deal_groups

pytestmark = pytest.mark.filterwarnings("ignore")

HYBRID = SMALL.model_copy(update={"heads": 2})
UNET = SegmentConfig(
    weights="none", encoder="tu-test_resnet", image_size=64, epochs=1, batch_size=4, device="cpu"
)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    return load_dataset(drawn_dataset(tmp_path_factory.mktemp("drawn")))


def weaker(dataset, strength):
    """The same images, known by boxes or by an image label, or a third of them by each."""
    truths = {}
    for number, (image_id, truth) in enumerate(dataset.truths.items()):
        kind = ("masks", "boxes", "image")[number % 3] if strength == "mixed" else strength
        if kind == "boxes" and len(truth):
            truth = replace(truth, masks=None)
        elif kind == "image":
            truth = Regions.empty(truth.image_hw)
        truths[image_id] = truth
    return replace(dataset, truths=MappingProxyType(truths))


class Says(SilentReporter):
    def __init__(self):
        self.lines = []

    def say(self, text):
        self.lines.append(text)


@pytest.mark.parametrize("config", [HYBRID, UNET], ids=["hybrid", "unet"])
@pytest.mark.parametrize("strength", ["boxes", "image", "mixed"])
def test_every_strength_is_learned_from_and_said(dataset, config, strength):
    known = weaker(dataset, strength)
    reporter = Says()
    name = f"{config.method}-{strength}"
    run = train_segmenter(known, config, name=name, folds=[0], reporter=reporter)
    taught = next(line for line in reporter.lines if "learns from" in line)
    fold = dataset.split.folds[0]
    ids = [*fold.train, *fold.val] if config.method == "hybrid" else fold.train
    for kind, words in (("boxes", "by boxes"), ("image", "by image labels")):
        n = sum(known.strengths[i] == kind and known.by_id[i].is_defective for i in ids)
        assert (f"{n} {words}" in taught) == (n > 0)
    assert set(read_predictions(run, known).image_scores) == set(fold.test)


def bag_options(hw, *, tight):
    inside = torch.zeros(hw, dtype=torch.bool)
    inside[2:6, 1:5] = True
    return {
        "anomalous": torch.zeros(1, *hw),
        "known": (~inside)[None].float(),
        "types": torch.zeros((1, *hw), dtype=torch.int64),
        "image_labels": torch.ones(1),
        "bags": [(0, inside, 1, tight)],
    }


def map_of(defect, hw, *, label=1):
    """Sure logits: a defect where `defect` is, of type `label`."""
    logit = torch.full(hw, -2.0)
    logit[defect] = 2.0
    types = torch.zeros(2, *hw)
    types[label] = 4.0
    return torch.cat((logit[None], types))[None]


def test_a_tight_box_is_met_by_a_defect_in_each_row_and_column_alone():
    hw, image = (8, 8), torch.tensor([2.0])
    options = bag_options(hw, tight=True)
    diagonal = torch.zeros(hw, dtype=torch.bool)
    diagonal[range(2, 6), range(1, 5)] = True
    corner = torch.zeros(hw, dtype=torch.bool)
    corner[2, 1] = True
    met = float(hybrid_loss(map_of(diagonal, hw), image, **options))
    partly = float(hybrid_loss(map_of(corner, hw), image, **options))
    empty = float(hybrid_loss(map_of(corner & ~corner, hw), image, **options))
    assert met < 0.2 < partly < empty
    outside = diagonal.clone()
    outside[7, 7] = True
    assert float(hybrid_loss(map_of(outside, hw), image, **options)) > met + 0.05
    wrong_type = map_of(diagonal, hw, label=0)
    assert float(hybrid_loss(wrong_type, image, **options)) > met + 0.5


def test_what_is_not_known_has_no_loss_of_its_own():
    hw, image = (8, 8), torch.tensor([2.0])
    options = bag_options(hw, tight=False)
    options["bags"] = []
    inside = options["known"][0] == 0
    full, none = map_of(inside, hw), map_of(inside & ~inside, hw)
    assert torch.equal(hybrid_loss(full, image, **options), hybrid_loss(none, image, **options))


@given(st.integers(0, 2**16))
def test_knowing_all_is_the_loss_as_it_was(seed):
    generator = torch.Generator().manual_seed(seed)
    maps = torch.randn(2, 3, 4, 4, generator=generator)
    anomalous = (torch.rand(2, 4, 4, generator=generator) > 0.5).float()
    options = {
        "anomalous": anomalous,
        "types": anomalous.long(),
        "image_labels": torch.ones(2),
    }
    image = torch.randn(2, generator=generator)
    known = hybrid_loss(maps, image, known=torch.ones(2, 4, 4), **options)
    assert torch.allclose(known, hybrid_loss(maps, image, **options), atol=1e-6)
    logit = maps[:, 0]
    below = torch.relu(logit + MARGIN)[anomalous == 0]
    above = torch.relu(MARGIN - logit)[anomalous == 1]
    parts = (below.mean() if len(below) else 0) + (above.mean() if len(above) else 0)
    assert float(known) >= float(parts) - 1e-5
    assert SCALE == 4.0


def test_boxes_and_image_labels_teach_a_unets_loss():
    mask = torch.zeros((1, 8, 8), dtype=torch.int64)
    mask[0, 2:6, 2:6] = WEAK + 1

    def logits(defect, label):
        made = torch.zeros(1, 3, 8, 8)
        made[:, 0] = 4.0
        made[0, 0][defect] = -4.0
        made[0, 1 + label][defect] = 4.0
        return made

    part = torch.zeros(8, 8, dtype=torch.bool)
    part[3:5, 3:5] = True
    right = float(defect_loss(logits(part, 1), mask))
    assert right < 0.1
    assert float(defect_loss(logits(part & ~part, 1), mask)) > right + 1
    assert float(defect_loss(logits(part, 0), mask)) > right + 0.5
    beside = part.clone()
    beside[7] = True
    assert float(defect_loss(logits(beside, 1), mask)) > right + 0.5
    whole = torch.full((1, 8, 8), WEAK + 1)
    assert float(defect_loss(logits(part, 1), whole)) < 0.1


def test_weak_masks_say_which_type_is_meant(dataset, tmp_path):
    known = weaker(dataset, "boxes")
    sample = next(s for s in known.samples if s.is_defective)
    truth = known.truths[sample.image_id]
    mask = load_resized(known, [sample], size=64, tiles=1, folder=tmp_path)[0].class_mask
    assert set(np.unique(mask)) == {0, *(WEAK + int(label) for label in truth.labels)}
    known = weaker(dataset, "image")
    mask = load_resized(known, [sample], size=64, tiles=1, folder=tmp_path)[0].class_mask
    assert set(np.unique(mask)) == {WEAK + known.class_names.index(sample.defect_type)}


@pytest.mark.parametrize("tiles", [1, 2])
def test_pieces_know_as_much_as_the_label(dataset, tiles):
    sample = next(s for s in dataset.samples if s.is_defective)
    n_classes = len(dataset.class_names)
    full = list(pieces_of(dataset, sample, size=64, tiles=tiles))
    boxes = list(pieces_of(weaker(dataset, "boxes"), sample, size=64, tiles=tiles))
    labels = list(pieces_of(weaker(dataset, "image"), sample, size=64, tiles=tiles))
    for one, boxed, labeled in zip(full, boxes, labels, strict=True):
        known = one.classes(8, n_classes)
        assert UNKNOWN not in known
        boxed_places = boxed.classes(8, n_classes)
        assert set(np.unique(boxed_places)) <= {0, UNKNOWN}
        # Outside of boxes nothing is a defect.
        assert not known[boxed_places == 0].any()
        assert (labeled.classes(8, n_classes) == UNKNOWN).all()
        (bag,) = labeled.bags(8)
        assert bag.inside.all()
        assert not bag.tight
        assert bag.label == dataset.class_names.index(sample.defect_type)
    assert any(bag.tight and bag.inside.any() for piece in boxes for bag in piece.bags(8))


@given(
    st.lists(st.tuples(st.sampled_from(["good", "a", "b"]), st.integers(0, 9)), min_size=1),
    st.integers(1, 4),
)
def test_groups_are_dealt_whole_and_in_any_order_alike(rows, n):
    kinds = [kind for kind, _ in rows]
    groups = [str(group) for _, group in rows]
    shares = deal_groups(kinds, groups, n)
    assert set(shares.tolist()) <= set(range(n))
    by_group = dict(zip(groups, shares.tolist(), strict=True))
    assert [by_group[group] for group in groups] == shares.tolist()
    again = deal_groups(kinds[::-1], groups[::-1], n)
    assert again[::-1].tolist() == shares.tolist()


def test_every_type_is_dealt_evenly():
    kinds = ["good"] * 30 + ["a"] * 9 + ["b"] * 6
    shares = deal_groups(kinds, [str(n) for n in range(45)], 3)
    for kind, each in (("good", 10), ("a", 3), ("b", 2)):
        counts = np.bincount([s for s, k in zip(shares, kinds, strict=True) if k == kind])
        assert counts.tolist() == [each] * 3


def test_decoded_images_are_mapped_from_disk_and_leave_nothing_there(dataset, tmp_path):
    samples = list(dataset.samples[:3])
    made = load_resized(dataset, samples, size=64, tiles=1, folder=tmp_path)
    assert list(tmp_path.iterdir()) == []
    for one, sample in zip(made, samples, strict=True):
        assert isinstance(one.image_rgb, np.memmap)
        expected = resize_image(read_image_rgb(sample.image_path), 64)
        np.testing.assert_array_equal(one.image_rgb, expected)


def test_a_full_disk_is_said(dataset, tmp_path):
    with pytest.raises(TrainingError, match=r"could not be kept in .*Make room"):
        load_resized(dataset, dataset.samples[:1], size=64, tiles=1, folder=tmp_path / "none")
