"""Number World as data of an experiment: its settings."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from functools import cache
from typing import Literal

from mm_kptm.data.tokenizers.word_level import WordLevel
from mm_kptm.errors import UserError
from mm_kptm.random_streams import RandomStream
from mm_kptm.suites.number_world.generator import WORLD_VERSION
from mm_kptm.suites.number_world.generator.facts import Worlds, draw_fixed, draw_worlds
from mm_kptm.suites.number_world.generator.language import vocabulary, words
from mm_kptm.suites.number_world.generator.numerals import LANGUAGES
from mm_kptm.suites.number_world.generator.scene import SIZES
from mm_kptm.suites.number_world.generator.splits import Part, part


@cache
def tokenizer() -> WordLevel:
    """Number World's words as a tokenizer for text that anybody types."""
    return WordLevel(vocabulary().words, words)


@dataclass(frozen=True)
class NumberWorldData:
    """Number World, the embedded benchmark: handwritten numbers, five languages, facts; nothing is downloaded."""

    name: Literal["number-world"] = "number-world"
    split: str = "iid"  #: which generalisation is asked for
    questions: int = 20000  #: training questions, captions or sentences
    eval_questions: int = 1000  #: questions of dev and of test
    numbers: int = 30  #: the scenes show 0 up to this number, at most 100
    sizes: tuple[int, ...] = SIZES  #: how many numbers a scene shows, where the split leaves it open
    languages: tuple[str, ...] = LANGUAGES  #: of questions, captions and sentences, where the split leaves it open
    types: tuple[str, ...] | None = None  #: types of question about what is seen; all when null
    relations: tuple[str, ...] | None = None  #: that questions about facts ask for; those of the split when null
    forms: tuple[int, ...] | None = None  #: wordings of a question; those of the split when null
    vision: Literal["true", "shuffled", "blank"] = "true"  #: the scenes, those of other questions, or nothing to see
    graph: Literal["worlds", "fixed"] = "worlds"  #: arbitrary facts drawn anew for every world, or one fixed graph
    facts_per_number: int = 2  #: facts that hang on each name
    distractors: int = 0  #: names of numbers that are not in the scene
    num_perception_questions: int = (
        0  #: questions about what is seen that stand among the training questions about facts
    )
    candidate_pool_size: int = 50  #: captions, and their scenes, that retrieval searches at a time
    texts: Literal["captions", "sentences", "translations"] = "captions"  #: what pretraining reads
    topics: tuple[str, ...] | None = None  #: what sentences are about; everything when null
    mask_rate: float = 0.15  #: the share of tokens that masked-tokens hides
    seed: int = 0  #: same seed, same bytes

    def __post_init__(self) -> None:
        for language in self.languages:
            if language not in LANGUAGES:
                raise UserError(f"data.languages has {language!r}, but Number World speaks {', '.join(LANGUAGES)}")
        for key in ("questions", "eval_questions"):
            if getattr(self, key) < 1:
                raise UserError(f"data.{key} is {getattr(self, key)} but must be at least 1")
        if not 0 < self.mask_rate < 1:
            raise UserError(
                f"data.mask_rate is {self.mask_rate} but must be a share of the tokens, above 0 and below 1"
            )
        if self.num_perception_questions < 0:
            raise UserError(
                f"data.num_perception_questions is {self.num_perception_questions} but must not be negative"
            )
        if not self.languages:
            raise UserError("data.languages is empty; name at least one")
        part(self.split, "train")

    def side(self, side: str) -> Part:
        """One side of the split, narrowed to what the settings ask for."""
        chosen = part(self.split, side)
        pairs = tuple(pair for pair in chosen.pairs if set(pair) <= set(self.languages))
        if not pairs:
            raise UserError(
                f"the {side} side of {self.split} speaks {', '.join(chosen.languages)}, but data.languages allows "
                f"{', '.join(self.languages)}"
            )
        sizes = tuple(size for size in chosen.sizes if size in self.sizes)
        return replace(
            chosen,
            pairs=pairs,
            sizes=sizes,
            types=self.types if chosen.types is None else chosen.types,
            relations=chosen.relations if self.relations is None else self.relations,
            forms=chosen.forms if self.forms is None else self.forms,
        )

    def count(self, side: str) -> int:
        """How many examples a side has."""
        return self.questions if side == "train" else self.eval_questions

    def draw(self, *path: int | str) -> RandomStream:
        """A stream of numbers for one part of the data."""
        return RandomStream(self.seed, *path)

    @property
    def asked_relations(self) -> tuple[str, ...]:
        """The relations that training or test asks for."""
        return tuple(dict.fromkeys((*self.side("train").relations, *self.side("test").relations)))

    @property
    def worlds(self) -> Worlds:
        """The facts."""
        drawn = draw_worlds if self.graph == "worlds" else draw_fixed
        return drawn(self.draw("worlds"), numbers=self.numbers)

    def tokenizer(self) -> WordLevel:
        """What cuts the texts: one piece a word."""
        return tokenizer()

    @property
    def fingerprints(self) -> dict[str, str]:
        """What these data are: the version of the generator and the settings that shape it."""
        return {"number-world": WORLD_VERSION, "settings": hashlib.sha256(repr(self).encode()).hexdigest()}
