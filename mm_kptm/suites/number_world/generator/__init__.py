"""Generator of Number World.

Scenes of coloured handwritten numbers, a fact graph about them that is redrawn for every world, and questions, captions
and statements in five languages. Everything is a function of a seed, byte for byte the same on every machine.
"""

from typing import TYPE_CHECKING

from mm_kptm.lazy import lazy

if TYPE_CHECKING:
    from mm_kptm.suites.number_world.generator.captions import Caption
    from mm_kptm.suites.number_world.generator.facts import Worlds, draw_fixed, draw_worlds
    from mm_kptm.suites.number_world.generator.knowledge import FactQuestion
    from mm_kptm.suites.number_world.generator.language import vocabulary
    from mm_kptm.suites.number_world.generator.parallel import corpus
    from mm_kptm.suites.number_world.generator.questions import Question
    from mm_kptm.suites.number_world.generator.scene import Scenes, compose
    from mm_kptm.suites.number_world.generator.splits import SPLITS, Part, part
else:
    __getattr__ = lazy(
        __name__,
        {
            "captions": ["Caption"],
            "facts": ["Worlds", "draw_fixed", "draw_worlds"],
            "knowledge": ["FactQuestion"],
            "language": ["vocabulary"],
            "parallel": ["corpus"],
            "questions": ["Question"],
            "scene": ["Scenes", "compose"],
            "splits": ["SPLITS", "Part", "part"],
        },
    )

__all__ = [
    "SPLITS",
    "WORLD_VERSION",
    "Caption",
    "FactQuestion",
    "Part",
    "Question",
    "Scenes",
    "Worlds",
    "compose",
    "corpus",
    "draw_fixed",
    "draw_worlds",
    "part",
    "vocabulary",
]

#: Incremented whenever the output for a seed changes; results of different versions are not comparable.
WORLD_VERSION = "1.0"
