"""Masked objects, and all of LXMERT's pretraining in one pass."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from mm_kptm.batch import Detected, Inputs, SequenceLayout
from mm_kptm.errors import UserError
from mm_kptm.objectives.tokens import Bernoulli, Masking
from mm_kptm.systems.system import System
from mm_kptm.vision.objectives.lxmert import NO_ANSWER, LxmertPretraining
from mm_kptm.vision.objectives.masked_objects import RATE, MaskedObjects, RegionMasking
from tests.vision.conftest import regions_of, small_lxmert

MASKING = Masking(mask_id=4, pool=(5, 40), never=frozenset({2, 3}))


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture
def lxmert() -> System:
    return small_lxmert()


@pytest.fixture
def seen(inputs: Inputs) -> Inputs:
    """Regions with objects and attributes."""
    count = inputs.regions.layout.total
    objects = Detected(torch.randint(7, (count,), generator=seeded(1)), torch.rand(count, generator=seeded(2)))
    attributes = Detected(torch.randint(3, (count,), generator=seeded(3)), torch.rand(count, generator=seeded(4)))
    return inputs.with_streams(regions=replace(inputs.regions, objects=objects, attributes=attributes))


def test_hidden_regions_are_zeroed_swapped_or_kept_in_the_stated_shares() -> None:
    regions = regions_of(*(10,) * 2000)
    covered, hidden = RegionMasking().mask(regions, seeded())
    assert abs(hidden.float().mean() - RATE) < 0.01
    zero = (covered.features == 0).all(1)
    same = (covered.features == regions.features).all(1)
    assert same[~hidden].all() and not zero[~hidden].any()
    shares = torch.stack([kind[hidden].float().mean() for kind in (zero, same, ~zero & ~same)])
    torch.testing.assert_close(shares, torch.tensor([0.8, 0.1, 0.1]), atol=0.02, rtol=0)
    swapped = covered.features[hidden & ~zero & ~same][:20]
    assert all((regions.features == row).all(1).any() for row in swapped), "what stands there is another region's"
    assert torch.equal(covered.boxes, regions.boxes)


def test_a_puzzle_keeps_what_it_was_made_from_and_shows_no_answers(seen: Inputs) -> None:
    features = seen.regions.features.clone()
    batch = MaskedObjects(RegionMasking(Bernoulli(0.5))).prepare(seen, seeded())
    assert torch.equal(seen.regions.features, features) and torch.equal(batch.targets.features, features)
    covered = batch.inputs.regions
    assert covered.objects is None and covered.attributes is None and covered.classes is None
    assert len(batch) == 3 and batch.inputs.text is seen.text


def test_objects_count_everywhere_by_confidence_and_features_where_hidden(lxmert: System, seen: Inputs) -> None:
    objective = MaskedObjects(RegionMasking(Bernoulli(0.5)))
    batch = objective.prepare(seen, seeded())
    rows = lxmert.head("masked-objects")(lxmert(batch.inputs).regions)
    objects, attributes, features = rows.split([7, 3, 12], dim=1)
    regions, hidden = seen.regions, batch.targets.hidden.float()
    gap = (features - regions.features).abs()
    smooth = torch.where(gap < 1, gap**2 / 2, gap - 0.5).mean(1)
    expected = [
        (F.cross_entropy(objects, regions.objects.ids, reduction="none") * regions.objects.confidence).mean(),
        (F.cross_entropy(attributes, regions.attributes.ids, reduction="none") * regions.attributes.confidence).mean(),
        (smooth * hidden).mean(),
    ]
    assert 0 < hidden.sum() < 9
    torch.testing.assert_close(objective.loss(lxmert, batch), torch.stack(expected).sum() / 0.15)


def test_the_measure_of_an_example_is_the_mean_over_its_regions(lxmert: System, seen: Inputs) -> None:
    objective = MaskedObjects()
    batch = objective.prepare(seen, seeded())
    each = [part.sum(1).mean() for part in seen.regions.layout.split(objective.losses(lxmert, batch))]
    torch.testing.assert_close(objective.measure(lxmert, batch), torch.stack(each))


def test_a_region_is_named_for_every_text_about_its_image(lxmert: System, seen: Inputs) -> None:
    shared = replace(seen, image_of=torch.tensor([1, 1, 0]))
    batch = MaskedObjects().prepare(shared, seeded())
    assert batch.targets.sequence_ids.tolist() == [0] * 4 + [1] * 4 + [2] * 2
    assert torch.equal(batch.targets.objects.ids[:4], batch.targets.objects.ids[4:8])
    assert MaskedObjects().measure(lxmert, batch).shape == (3,)


def test_no_regions_cost_nothing(lxmert: System, seen: Inputs) -> None:
    nothing = torch.zeros(0)
    none = Detected(nothing.long(), nothing)
    bare = seen.with_streams(regions=replace(regions_of(0, 0, 0), objects=none, attributes=none))
    objective = MaskedObjects()
    assert objective.loss(lxmert, objective.prepare(bare, seeded())) == 0


@pytest.mark.parametrize("missing", ["objects", "attributes"])
def test_regions_that_no_detector_named_are_refused(seen: Inputs, missing: str) -> None:
    bare = seen.with_streams(regions=replace(seen.regions, **{missing: None}))
    with pytest.raises(UserError, match=f"masked-objects needs the detector's {missing}, but the regions carry none"):
        MaskedObjects().prepare(bare, seeded())


def test_no_regions_at_all_are_refused(inputs: Inputs) -> None:
    with pytest.raises(UserError, match="masked-objects masks regions, but the inputs have none"):
        MaskedObjects().prepare(inputs.with_streams(regions=None), seeded())


def test_one_pass_is_the_sum_of_its_parts(lxmert: System, seen: Inputs) -> None:
    objective = LxmertPretraining(MASKING)
    batch = objective.prepare(seen, seeded(), torch.tensor([1, 4, 0]))
    parts = objective.parts(lxmert, batch)
    names = ("masked-tokens", "image-text-matching", "objects", "attributes", "features", "question-answering")
    assert tuple(parts) == names
    torch.testing.assert_close(objective.loss(lxmert, batch), torch.stack(list(parts.values())).sum())
    without = objective.prepare(seen, seeded())
    assert "question-answering" not in objective.parts(lxmert, without)


def test_only_matched_pairs_are_asked_but_all_are_hidden_in(seen: Inputs) -> None:
    objective = LxmertPretraining(replace(MASKING, policy=Bernoulli(1.0)), RegionMasking(Bernoulli(1.0)), rate=1.0)
    batch = objective.prepare(seen, seeded(), torch.tensor([1, 4, 0]))
    assert batch.matched.tolist() == [0, 0, 0] and batch.answers.tolist() == [NO_ANSWER] * 3
    assert batch.sequence_ids.unique().tolist() == [0, 1, 2] and batch.targets.hidden.all()
    kept = LxmertPretraining(MASKING, rate=0.0).prepare(seen, seeded(), torch.tensor([1, 4, 0]))
    assert kept.answers.tolist() == [1, 4, 0]


def test_questions_without_answers_cost_nothing(lxmert: System, seen: Inputs) -> None:
    objective = LxmertPretraining(MASKING, rate=0.0)
    batch = objective.prepare(seen, seeded(), torch.tensor([NO_ANSWER, 2, NO_ANSWER]))
    scores = lxmert.head("question-answering")(lxmert(batch.inputs).pooled)
    expected = F.cross_entropy(scores[1:2], torch.tensor([2]))
    torch.testing.assert_close(objective.parts(lxmert, batch)["question-answering"], expected)
    none = replace(batch, answers=torch.full((3,), NO_ANSWER))
    assert objective.parts(lxmert, none)["question-answering"] == 0
    torch.testing.assert_close(objective.measure(lxmert, none), objective.measure(lxmert, replace(batch, answers=None)))


def test_answers_to_other_texts_are_refused(seen: Inputs) -> None:
    with pytest.raises(UserError, match="there are 2 answers to 3 texts; give -1 where none is"):
        LxmertPretraining(MASKING).prepare(seen, seeded(), torch.tensor([1, 2]))


def test_the_same_seed_makes_the_same_puzzle(seen: Inputs) -> None:
    one, two = (LxmertPretraining(MASKING).prepare(seen, seeded(5)) for _ in range(2))
    assert torch.equal(one.inputs.text.ids, two.inputs.text.ids)
    assert torch.equal(one.inputs.regions.features, two.inputs.regions.features)


def test_pretraining_reaches_every_parameter_and_learns(lxmert: System, seen: Inputs) -> None:
    objective = LxmertPretraining(replace(MASKING, policy=Bernoulli(0.4)), RegionMasking(Bernoulli(0.4)), rate=0.4)
    batch = objective.prepare(seen, seeded(), torch.tensor([1, 4, 0]))
    assert (batch.answers != NO_ANSWER).any()
    trained = [(name, p) for name, p in lxmert.named_parameters() if not name.startswith(("heads.vqa", "heads.nlvr2"))]
    first = objective.loss(lxmert, batch)
    first.backward()
    # adding one number to all keys of a head changes no softmax, so their bias has no gradient but for rounding
    silent = [name for name, p in trained if p.grad is None or (not name.endswith("key.bias") and not p.grad.any())]
    assert not silent
    optimiser = torch.optim.Adam([p for _, p in trained], lr=5e-3)
    for _ in range(40):
        optimiser.zero_grad()
        objective.loss(lxmert, batch).backward()
        optimiser.step()
    assert objective.loss(lxmert, batch) < 0.5 * first


def test_untrained_objects_are_uniform(lxmert: System, seen: Inputs) -> None:
    head = lxmert.head("masked-objects")
    nn.init.zeros_(head.objects.weight)
    objective = MaskedObjects()
    sure = replace(seen.regions.objects, confidence=torch.ones(9))
    batch = objective.prepare(seen.with_streams(regions=replace(seen.regions, objects=sure)), seeded())
    torch.testing.assert_close(objective.losses(lxmert, batch)[:, 0], torch.full((9,), 7.0).log() / 0.15)
    assert batch.targets.sequence_ids.tolist() == SequenceLayout((2, 4, 3)).sequence_ids(torch.device("cpu")).tolist()
