"""Captions become puzzles that a system is pretrained on."""

import torch

from mm_kptm.batch import Inputs
from mm_kptm.data.sampler import seeded
from mm_kptm.objectives.mixture import Mixture
from mm_kptm.objectives.pairs import ImageTextMatching
from mm_kptm.objectives.tokens import MaskedTokens, Masking
from mm_kptm.random_streams import RandomStream
from mm_kptm.suites.number_world.datasets import sources as number_world
from mm_kptm.suites.number_world.generator import captions as describing
from mm_kptm.suites.number_world.generator.splits import part
from mm_kptm.tasks.pretraining import ObjectiveSource


def test_captions_become_the_puzzles_of_a_mixture(reader):
    scenes, described = describing.captions(part("iid", "train"), 6, RandomStream(0), numbers=20)
    captions = number_world.captions(scenes, described)
    specials = number_world.specials()
    masking = Masking(specials.mask, (5, len(number_world.tokenizer())), specials.never_masked)
    objectives = {"masked-tokens": MaskedTokens(masking), "image-text-matching": ImageTextMatching()}
    system = reader(heads=list(objectives))
    mixture = Mixture(system, objectives, dict.fromkeys(objectives, 1.0))
    source = ObjectiveSource(captions, mixture)
    assert len(source) == 30 and source.length(3) == captions.length(3)
    batches, again, other = (source.batch(range(20), seeded(seed)) for seed in (0, 0, 1))
    assert mixture.loss(batches) == mixture.loss(again) != mixture.loss(other)
    hidden = batches.by_name["masked-tokens"]
    plain: Inputs = captions.batch(range(20), seeded(0))
    assert torch.equal(hidden.labels, plain.text.ids[hidden.rows])
    mixture.loss(batches).backward()
    assert system.encoder.embed.regions.feature.weight.grad.abs().sum() > 0
