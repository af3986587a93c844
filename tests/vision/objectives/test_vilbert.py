"""ViLBERT's pretraining: what is masked, what is asked, and how losses are reduced."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from mm_kptm.batch import Detected, Inputs, Regions, SequenceLayout
from mm_kptm.errors import UserError
from mm_kptm.objectives.tokens import Bernoulli, Masking
from mm_kptm.systems.system import System
from mm_kptm.vision.objectives.vilbert import VilbertPretraining, VilbertRegionMasking, region_losses
from tests.vision.small import small_vilbert, small_volta, three_texts

MASKING = Masking(mask_id=4, pool=(5, 40), never=frozenset({2, 3}), policy=Bernoulli(0.5))
HALF = VilbertRegionMasking(Bernoulli(0.5))


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture
def inputs() -> Inputs:
    return three_texts()


def test_hidden_regions_are_zero_nine_times_in_ten_and_keep_their_boxes() -> None:
    total = 20_000
    regions = Regions(torch.ones(total, 3), torch.zeros(total, 4), SequenceLayout((10,) * (total // 10)))
    covered, masked = VilbertRegionMasking().mask(regions, generator())
    zero = (covered.features == 0).all(1)
    assert abs(masked.float().mean() - 0.15) < 0.01
    assert abs(zero.sum() / masked.sum() - 0.9) < 0.02
    assert not (zero & ~masked).any()
    assert torch.equal(covered.boxes, regions.boxes) and bool((regions.features == 1).all())


def test_the_whole_image_is_the_mean_over_what_shows_nothing_hidden() -> None:
    """The first of four regions is masked and the second overlaps it by 0.5: out of the count, not of the sum."""
    boxes = torch.tensor([[0.0, 0.0, 0.4, 0.4], [0.0, 0.0, 0.4, 0.2], [0.5, 0.5, 1.0, 1.0], [0.0, 0.0, 0.4, 0.1]])
    regions = Regions(torch.tensor([[1.0], [2.0], [4.0], [8.0]]), boxes, SequenceLayout((4,)))
    first = lambda draws, may, layout: torch.tensor([True, False, False, False])  # noqa: E731
    for slots, expected in ((None, (2 + 4 + 8) / 2), (6, (2 + 4 + 8) / 4), (3, (2 + 4 + 8) / 2)):
        covered, masked = VilbertRegionMasking(first, zeroed=1.0, slots=slots).mask(regions, generator())
        assert masked.tolist() == [True, False, False, False]
        torch.testing.assert_close(covered.whole_image, torch.tensor([[expected]]))


def test_an_image_that_is_hidden_whole_has_a_whole_of_zeros() -> None:
    regions = Regions(torch.ones(2, 3), torch.rand(2, 4, generator=generator()), SequenceLayout((2,)))
    covered, _ = VilbertRegionMasking(Bernoulli(1.0), zeroed=1.0).mask(regions, generator())
    assert torch.equal(covered.whole_image, torch.zeros(1, 3))


def test_boxes_of_other_images_show_nothing() -> None:
    regions = Regions(torch.ones(2, 1), torch.tensor([[0.0, 0.0, 1.0, 1.0]]).expand(2, 4), SequenceLayout((1, 1)))
    first = lambda draws, may, layout: torch.tensor([True, False])  # noqa: E731
    covered, _ = VilbertRegionMasking(first, zeroed=1.0).mask(regions, generator())
    assert covered.whole_image.tolist() == [[0.0], [1.0]]


def test_mismatched_pairs_are_asked_for_nothing_unless_told(inputs: Inputs) -> None:
    for ask_mismatched in (False, True):
        objective = VilbertPretraining(MASKING, HALF, ask_mismatched=ask_mismatched)
        for seed in range(10):
            batch = objective.prepare(inputs, generator(seed))
            owners = torch.cat([batch.sequence_ids, batch.region_sequence_ids])
            if not ask_mismatched:
                assert batch.matched[owners].all()
        assert ask_mismatched != bool(batch.matched[owners].all())


def test_what_is_asked_is_what_stood_there(inputs: Inputs) -> None:
    """Also of images that were swapped, and that several texts share."""
    shared = replace(inputs, image_of=torch.tensor([1, 0, 1]))
    batch = VilbertPretraining(MASKING, HALF, rate=0.5, ask_mismatched=True).prepare(shared, generator(3))
    assert sorted(set(batch.matched.tolist())) == [0, 1] and len(batch.regions) and len(batch.rows)
    assert torch.equal(inputs.text.ids[batch.rows], batch.labels)
    layout, rows = batch.inputs.repeat_shared()
    sources = rows[batch.regions]
    assert torch.equal(batch.truths.features, inputs.regions.features[sources])
    assert torch.equal(batch.truths.classes, inputs.regions.classes[sources])
    assert torch.equal(layout.sequence_ids(sources.device)[batch.regions], batch.region_sequence_ids)
    assert batch.inputs.regions.classes is None, "what is to be found is not shown"


def test_losses_are_reduced_as_published(inputs: Inputs) -> None:
    system = small_vilbert()
    objective = VilbertPretraining(MASKING, HALF, ask_mismatched=True)
    batch = objective.prepare(inputs, generator(1))
    parts, encoded = objective.parts(system, batch), system(batch.inputs)
    words = system.head("masked-tokens")(encoded.text[batch.rows])
    seen = system.head("masked-regions")(encoded.regions[batch.regions]).log_softmax(-1)
    truth = batch.truths.classes
    torch.testing.assert_close(parts["masked-tokens"], F.cross_entropy(words, batch.labels))
    divergence = (truth * (truth.log() - seen)).sum() / len(batch.regions)  # summed over classes
    torch.testing.assert_close(parts["distributions"], divergence)
    scores = system.head("image-text-matching")(encoded.pooled)
    torch.testing.assert_close(parts["image-text-matching"], F.cross_entropy(scores, batch.matched))
    torch.testing.assert_close(objective.loss(system, batch), sum(parts.values()))
    assert objective.measure(system, batch).shape == (3,)


def test_a_batch_that_hides_nothing_costs_nothing(inputs: Inputs) -> None:
    """The released code divides by the number of masked regions."""
    never = replace(MASKING, policy=Bernoulli(0.0))
    objective = VilbertPretraining(never, VilbertRegionMasking(Bernoulli(0.0)), rate=0.0)
    system, batch = small_vilbert(), objective.prepare(inputs, generator())
    parts = objective.parts(system, batch)
    assert list(parts) == ["masked-tokens", "distributions"], "without mismatched pairs nothing is learned of matching"
    loss = objective.loss(system, batch)
    assert loss.item() == 0.0
    loss.backward()
    assert objective.measure(system, batch).tolist() == [0.0] * 3


def test_weights_of_targets_count(inputs: Inputs) -> None:
    targets = "distributions features contrast objects attributes smooth-features classes"
    sizes = {"targets": targets, "num_classes": 7, "num_objects": 5, "num_attributes": 4}
    system = small_volta("vilbert", heads={"masked-regions": sizes})
    sure = torch.rand(9, generator=generator())
    regions = replace(
        inputs.regions, objects=Detected(torch.arange(9) % 5, sure), attributes=Detected(torch.arange(9) % 4, sure)
    )
    inputs = inputs.with_streams(regions=regions)
    every = dict.fromkeys(targets.split(), 1.0)
    plain, weighted = (
        VilbertPretraining(MASKING, HALF, targets=every | {"objects": weight}, rate=0.0, num_negatives=10)
        for weight in (1.0, 3.0)
    )
    batch = plain.prepare(inputs, generator(1))
    ours, theirs = plain.parts(system, batch), weighted.parts(system, batch)
    assert all(part.item() > 0 for part in ours.values())
    torch.testing.assert_close(theirs["objects"], 3 * ours["objects"])
    assert all(torch.equal(ours[name], theirs[name]) for name in ours if name != "objects")


@pytest.mark.parametrize("make", [small_vilbert, lambda: small_volta("vl-bert")], ids=["vilbert", "volta-vl-bert"])
def test_pretraining_reaches_every_parameter_and_learns(make, inputs: Inputs) -> None:
    system: System = make()
    objective = VilbertPretraining(MASKING, HALF, ask_mismatched=True)
    batch = objective.prepare(inputs, generator(1))
    optimizer = torch.optim.Adam(system.parameters(), lr=3e-3)
    first = objective.loss(system, batch)
    first.backward()
    for name, parameter in system.named_parameters():
        assert parameter.grad is not None and (name.endswith("key.bias") or parameter.grad.any()), name
    for _ in range(40):
        optimizer.step()
        optimizer.zero_grad()
        loss = objective.loss(system, batch)
        loss.backward()
    assert loss.item() < 0.5 * first.item()


def test_the_same_seed_hides_the_same(inputs: Inputs) -> None:
    objective = VilbertPretraining(MASKING, HALF)
    ours, theirs = (objective.prepare(inputs, generator(5)) for _ in range(2))
    assert torch.equal(ours.rows, theirs.rows) and torch.equal(ours.regions, theirs.regions)
    assert torch.equal(ours.inputs.regions.features, theirs.inputs.regions.features)


def test_what_cannot_be_done_is_refused(inputs: Inputs) -> None:
    with pytest.raises(UserError, match="vilbert-pretraining masks regions, but the inputs have none"):
        VilbertPretraining(MASKING).prepare(Inputs(text=inputs.text), generator())
    with pytest.raises(UserError, match="masks tokens, but has no masking; give it a Masking"):
        VilbertPretraining().prepare(inputs, generator())
    with pytest.raises(UserError, match="nothing called 'colours' is predicted of regions; there are distributions"):
        VilbertPretraining(MASKING, targets={"colours": 1.0})
    objective = VilbertPretraining(MASKING, HALF, targets={"features": 1.0})
    with pytest.raises(UserError, match="features is to be predicted of regions, but the head masked-regions"):
        objective.loss(small_vilbert(), objective.prepare(inputs, generator()))
    bare = inputs.with_streams(regions=replace(inputs.regions, classes=None))
    objective = VilbertPretraining(MASKING, HALF)
    with pytest.raises(UserError, match="to predict distributions of masked regions takes their distribution over cla"):
        objective.loss(small_vilbert(), objective.prepare(bare, generator()))


def test_region_scores_are_summed_over_the_regions_of_a_text() -> None:
    scores, targets = torch.tensor([0.0, 2.0, -1.0]), torch.tensor([1.0, 0.0, 0.6])
    losses = region_losses(scores, SequenceLayout((2, 1)), targets)
    expected = F.binary_cross_entropy_with_logits(scores, targets, reduction="none")
    torch.testing.assert_close(losses, torch.stack([expected[0] + expected[1], expected[2]]))
