"""Losses that need regions."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from mm_kptm.batch import Inputs, SequenceLayout
from mm_kptm.errors import UserError
from mm_kptm.objectives.mixture import Mixture
from mm_kptm.objectives.pairs import ImageTextMatching
from mm_kptm.objectives.tokens import BernoulliOrAny, MaskedTokens, Masking
from mm_kptm.systems.system import System
from mm_kptm.vision.objectives.masked_regions import (
    MaskedRegionClasses,
    MaskedRegionDistributions,
    MaskedRegionFeatures,
    MaskedRegions,
    WordRegionAlignment,
    grounding_losses,
    ranking_losses,
)
from tests.vision.conftest import regions_of

EVERY_KIND = [MaskedRegionFeatures, MaskedRegionClasses, MaskedRegionDistributions]


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_every_image_hides_a_region_and_each_as_often_as_any_other() -> None:
    layout = SequenceLayout((4,) * 2000)
    choice = BernoulliOrAny(rate=0.15)
    hidden = choice(torch.rand(8000, generator=seeded()), torch.ones(8000, dtype=torch.bool), layout).view(2000, 4)
    assert hidden.any(1).all()
    # 0.15 each, and a quarter of the 0.85^4 of cases in which none was drawn
    expected = torch.full((4,), 0.15 + 0.85**4 / 4)
    torch.testing.assert_close(hidden.float().mean(0), expected, atol=0.035, rtol=0)


@pytest.mark.parametrize("kind", EVERY_KIND)
def test_a_puzzle_hides_features_and_keeps_what_it_was_made_from(kind: type[MaskedRegions], inputs: Inputs) -> None:
    features = inputs.regions.features.clone()
    batch = kind(BernoulliOrAny(0.4)).prepare(inputs, seeded())
    hidden = batch.inputs.regions.masked
    assert torch.equal(inputs.regions.features, features)
    assert batch.rows.tolist() == hidden.nonzero().squeeze(1).tolist()
    assert (batch.inputs.regions.features[hidden] == 0).all()
    assert torch.equal(batch.inputs.regions.features[~hidden], features[~hidden])
    assert batch.inputs.text is inputs.text, "one modality is hidden at a time"
    assert batch.inputs.regions.classes is None, "the model is not shown the answers"
    assert len(batch) == 3


@pytest.mark.parametrize("kind", EVERY_KIND)
def test_the_loss_of_a_batch_is_the_mean_over_elements(
    kind: type[MaskedRegions], uniter: System, inputs: Inputs
) -> None:
    objective = kind(BernoulliOrAny(0.5))
    batch = objective.prepare(inputs, seeded())
    losses = objective.losses(uniter, batch)
    torch.testing.assert_close(objective.loss(uniter, batch), losses.mean())
    of_first = losses[batch.sequence_ids == 0].mean()
    torch.testing.assert_close(objective.measure(uniter, batch)[0], of_first)


def test_a_region_is_predicted_for_every_text_about_its_image(uniter: System, inputs: Inputs) -> None:
    shared = replace(inputs.with_streams(regions=regions_of(3, 2)), image_of=torch.tensor([0, 1, 0]))
    batch = MaskedRegionFeatures(BernoulliOrAny(0.0)).prepare(shared, seeded())
    assert batch.sequence_ids.tolist() == [0, 1, 2]
    first, _, last = batch.targets
    assert torch.equal(first, last)
    (place,) = (shared.regions.features == first).all(1).nonzero().squeeze(1).tolist()
    assert batch.inputs.regions.masked[place]
    assert MaskedRegionFeatures().measure(uniter, batch).shape == (3,)


def test_untrained_classes_are_uniform(uniter: System, inputs: Inputs) -> None:
    out = uniter.head("masked-region-classes").out
    nn.init.zeros_(out.weight)
    objective = MaskedRegionClasses()
    torch.testing.assert_close(
        objective.loss(uniter, objective.prepare(inputs, seeded())), torch.tensor(7.0).log(), atol=1e-6, rtol=0
    )


def test_background_is_never_a_target() -> None:
    classes = torch.tensor([[0.9, 0.0, 0.1], [0.1, 0.7, 0.2]])
    scores = torch.tensor([[5.0, 1.0, 2.0], [0.0, 3.0, 1.0]])
    expected = F.cross_entropy(scores, torch.tensor([2, 1]), reduction="none")
    torch.testing.assert_close(MaskedRegionClasses().elements(scores, classes), expected)


def test_a_distribution_that_is_met_costs_nothing_and_certainty_is_allowed() -> None:
    classes = torch.tensor([[0.2, 0.5, 0.3], [0.0, 1.0, 0.0]])
    met = MaskedRegionDistributions().elements(classes[:1].log(), classes[:1])
    torch.testing.assert_close(met, torch.zeros(1, 3))
    sure = MaskedRegionDistributions().elements(torch.zeros(1, 3), classes[1:])
    torch.testing.assert_close(sure.sum(), torch.tensor(3.0).log())


@pytest.mark.parametrize("kind", [MaskedRegionClasses, MaskedRegionDistributions])
def test_regions_without_classes_are_refused(kind: type[MaskedRegions], inputs: Inputs) -> None:
    bare = inputs.with_streams(regions=replace(inputs.regions, classes=None))
    with pytest.raises(UserError, match=f"{kind.name} needs the detector's classes of every region, but"):
        kind().prepare(bare, seeded())


def test_alignment_adds_signed_distances_to_matching(uniter: System, inputs: Inputs) -> None:
    plain, aligned = ImageTextMatching(), WordRegionAlignment(weight=0.1)
    matched = replace(plain.prepare(inputs, seeded()), inputs=inputs, matched=torch.tensor([1, 1, 0]))
    added = aligned.measure(uniter, matched) - plain.measure(uniter, matched)
    assert (added[:2] > 0).all() and added[2] < 0
    torch.testing.assert_close(
        WordRegionAlignment(weight=0.2).measure(uniter, matched), plain.measure(uniter, matched) + 2 * added
    )
    torch.testing.assert_close(aligned.loss(uniter, matched), aligned.measure(uniter, matched).mean())


def test_alignment_without_text_is_refused(uniter: System, inputs: Inputs) -> None:
    batch = replace(WordRegionAlignment().prepare(inputs, seeded()), inputs=inputs.with_streams(text=None))
    with pytest.raises(UserError, match="words and regions are to be aligned, but the inputs have no text"):
        WordRegionAlignment().loss(uniter, batch)


def test_pretraining_reaches_every_parameter_and_learns(uniter: System, inputs: Inputs) -> None:
    masking = Masking(mask_id=4, pool=(5, 40), never=frozenset({2, 3}))
    objectives = {
        "masked-tokens": MaskedTokens(masking),
        "masked-region-features": MaskedRegionFeatures(),
        "masked-region-distributions": MaskedRegionDistributions(),
        "word-region-alignment": WordRegionAlignment(),
    }
    mixture = Mixture(uniter, objectives, dict.fromkeys(objectives, 1.0))
    batches = mixture.prepare(inputs, seeded())
    optimiser = torch.optim.Adam(uniter.parameters(), lr=5e-3)
    first = mixture.loss(batches)
    first.backward()
    # adding one number to all keys of a head changes no softmax, so their bias has no gradient but for rounding
    silent = {
        name
        for name, weight in uniter.named_parameters()
        if weight.grad is None or (not name.endswith("key.bias") and not weight.grad.any())
    }
    assert not silent
    for _ in range(30):
        optimiser.zero_grad()
        mixture.loss(batches).backward()
        optimiser.step()
    assert mixture.loss(batches) < 0.5 * first


def test_ranking_asks_for_a_margin_after_the_sigmoid() -> None:
    scores = torch.tensor([[2.0, -3.0, 2.0], [0.0, 0.0, 5.0]])
    losses = ranking_losses(scores, margin=0.2)
    far, top = torch.tensor(-3.0).sigmoid(), torch.tensor(2.0).sigmoid()
    assert far + 0.2 < top
    expected = torch.stack([torch.tensor([0.0, 0.2]), torch.tensor([0.2, 0.2 + torch.tensor(5.0).sigmoid() - 0.5])])
    torch.testing.assert_close(losses, expected)


def test_grounding_chooses_among_the_regions_of_its_own_image() -> None:
    scores = torch.zeros(5)
    losses = grounding_losses(scores, SequenceLayout((2, 3)), torch.tensor([1, 0]))
    torch.testing.assert_close(losses, torch.tensor([2.0, 3.0]).log())
