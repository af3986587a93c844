"""Number World's minimal pairs: two scenes and two captions of the same words, of which the truth is known."""

from __future__ import annotations

from functools import partial

from mm_kptm.datasets.protocol import DataRequest, PreparedData, TaskDataset
from mm_kptm.suites.number_world.datasets import other_sources
from mm_kptm.suites.number_world.datasets import sources as number_world
from mm_kptm.suites.number_world.datasets.contrast import SceneRegions
from mm_kptm.suites.number_world.datasets.settings import NumberWorldData
from mm_kptm.suites.number_world.generator.captions import minimal_pairs
from mm_kptm.suites.number_world.generator.language import vocabulary
from mm_kptm.suites.number_world.generator.numerals import LANGUAGES
from mm_kptm.suites.number_world.generator.scene import FEATURES
from mm_kptm.suites.number_world.generator.splits import SIDES_OF_A_SPLIT
from mm_kptm.tasks.example import Example
from mm_kptm.tasks.vision.two_towers.minimal_pairs import GROUP, IMAGE, TEXT, EncodedPairSource, MinimalPairs


def pairs(data: NumberWorldData, request: DataRequest) -> PreparedData:
    """Pairs of scenes that differ by an exchange of two colours or two places."""

    def source(side: str) -> EncodedPairSource:
        part = data.side(side)
        scenes, found = minimal_pairs(
            part, data.count(side), data.draw("minimal pairs", side), numbers=data.numbers, languages=part.languages
        )
        seen = other_sources.seen(scenes, data.vision, data.draw("shuffled crops", side))
        said = [(caption.words, one.language) for one in found for caption in one.captions]
        return EncodedPairSource(
            texts=number_world.sentences(said),
            provider=SceneRegions(seen),
            images=tuple(one.scenes for one in found),
            about=tuple(Example(one.id, one.kind, one.language, one.id, "matched") for one in found),
        )

    return PreparedData(
        sources={side: partial(source, side) for side in SIDES_OF_A_SPLIT},
        model=MinimalPairs,
        sizes={"vocab_size": len(vocabulary()), "region_dim": FEATURES, "num_languages": len(LANGUAGES)},
        fingerprints=data.fingerprints,
        baselines=lambda side: {f"chance-{TEXT}": 1 / 4, f"chance-{IMAGE}": 1 / 4, f"chance-{GROUP}": 1 / 6},
    )


MINIMAL_PAIRS = TaskDataset(MinimalPairs, NumberWorldData, pairs)
