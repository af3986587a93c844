"""Number World for two towers: scenes and their captions, which name numbers or the owners of these."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import numpy as np
import torch

from mm_kptm.batch import Inputs
from mm_kptm.data.packing import Packed
from mm_kptm.datasets.protocol import DataRequest, PreparedData, TaskDataset
from mm_kptm.knowledge.kinds.protocol import BRANCHES
from mm_kptm.preprocessing.inputs import IntArray, RegionCrops
from mm_kptm.suites.number_world.datasets import other_sources
from mm_kptm.suites.number_world.datasets import sources as number_world
from mm_kptm.suites.number_world.datasets.owner_captions import TreeCaption, owner_captions
from mm_kptm.suites.number_world.datasets.settings import NumberWorldData
from mm_kptm.suites.number_world.generator import captions as world_captions
from mm_kptm.suites.number_world.generator.language import vocabulary
from mm_kptm.suites.number_world.generator.numerals import LANGUAGES
from mm_kptm.suites.number_world.generator.scene import FEATURES, Scenes
from mm_kptm.suites.number_world.generator.splits import SIDES_OF_A_SPLIT
from mm_kptm.tasks.vision.contrastive_retrieval import ContrastiveRetrieval, PairSource
from mm_kptm.tasks.vision.retrieval import Captioned


@dataclass(frozen=True)
class SceneRegions:
    """Scenes as the regions of their numbers."""

    crops: RegionCrops

    def images(self, numbers: IntArray, generator: torch.Generator | None = None) -> Inputs:
        """The regions of these scenes; nothing is drawn."""
        return Inputs(regions=self.crops.regions(numbers))


def contrast(data: NumberWorldData, request: DataRequest) -> PreparedData:
    """Captions of scenes, one a scene, languages in turn; with facts at the owners where captions name these."""

    def source(side: str) -> PairSource:
        scenes, captions, misses = _captioned(data, side, request.facts)
        seen = other_sources.seen(scenes, data.vision, data.draw("shuffled crops", side))
        about = [one.scene for one in captions] + [captions[place].scene for place, *_ in misses]
        texts = number_world.trees(captions, visible_matrix=request.visible_matrix)
        if misses:
            wrong = number_world.trees([caption for *_, caption in misses], visible_matrix=request.visible_matrix)
            texts = Packed.joined(texts, wrong)
        languages = dict.fromkeys(one.language for one in captions)
        return PairSource(
            texts=texts,
            provider=SceneRegions(seen),
            captions=tuple(Captioned(one.id, one.language, f"scene-{one.scene}") for one in captions),
            image_of=np.array(about, dtype=np.int64),
            pools=other_sources.pools(len(captions), len(languages), data.candidate_pool_size),
            misses=tuple((place, kind) for place, kind, _ in misses),
        )

    return PreparedData(
        sources={side: partial(source, side) for side in SIDES_OF_A_SPLIT},
        model=ContrastiveRetrieval,
        sizes={"vocab_size": len(vocabulary()), "region_dim": FEATURES, "num_languages": len(LANGUAGES)},
        fingerprints=data.fingerprints,
        knowledge_forms=frozenset({BRANCHES}) if data.captions == "owners" else frozenset(),
        baselines=lambda side: {"chance-recall@1": 1 / min(data.candidate_pool_size, data.count(side))},
    )


Miss = tuple[int, str, TreeCaption]  #: caption, type of alteration, the altered one


def _captioned(data: NumberWorldData, side: str, facts: str) -> tuple[Scenes, tuple[TreeCaption, ...], list[Miss]]:
    part, draw = data.side(side), data.draw("contrast", side)
    if data.captions == "owners":
        scenes, found = owner_captions(part, data.count(side), draw, data.worlds, facts=facts, languages=part.languages)
        return scenes, found, []
    scenes, described = world_captions.captions(
        part, data.count(side), draw, numbers=data.numbers, languages=part.languages
    )
    captions, misses = [], list[Miss]()
    for place, one in enumerate(described):
        language = part.languages[place % len(part.languages)]
        captions.append(TreeCaption(one.id, one.scene, language, one.sentences[language].words))
        for wrong in one.negatives[language] if side != "train" else ():
            misses.append((place, wrong.kind, TreeCaption(one.id, one.scene, language, wrong.sentence.words)))
    return scenes, tuple(captions), misses


CONTRAST_SUPPLY = TaskDataset(ContrastiveRetrieval, NumberWorldData, contrast)
