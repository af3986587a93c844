"""Settings of Number World as the dataset of an experiment."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Literal

from mm_kptm.data.tokenizers.word_level import WordLevel
from mm_kptm.datasets.settings import check_mask_rate
from mm_kptm.errors import UserError
from mm_kptm.random_streams import RandomStream
from mm_kptm.suites.number_world.datasets.made_language import CODE, MadeLanguage
from mm_kptm.suites.number_world.generator import WORLD_VERSION
from mm_kptm.suites.number_world.generator.facts import Worlds, draw_fixed, draw_worlds
from mm_kptm.suites.number_world.generator.language import vocabulary, words
from mm_kptm.suites.number_world.generator.numerals import LANGUAGES
from mm_kptm.suites.number_world.generator.scene import SIZES
from mm_kptm.suites.number_world.generator.splits import Part, part
from mm_kptm.tasks.text.sentence_retrieval import SentenceVectorSettings
from mm_kptm.tasks.vision.ranking import RankingSettings


@cache
def tokenizer() -> WordLevel:
    """Word-level tokenizer of Number World, for free text as well."""
    return WordLevel(vocabulary().words, words)


@dataclass(frozen=True)
class NumberWorldData(SentenceVectorSettings):
    """Number World, the built-in benchmark: handwritten numbers, five languages, facts; no download."""

    name: Literal["number-world"] = "number-world"
    split: str = "iid"  #: generalisation split
    questions: int = 20000  #: training questions, captions or sentences
    eval_questions: int = 1000  #: questions of dev and of test
    numbers: int = 30  #: scenes show the numbers below this one, at most 100
    sizes: tuple[int, ...] = SIZES  #: numbers per scene, unless the split fixes it
    languages: tuple[str, ...] = LANGUAGES  #: of questions, captions and sentences, unless the split fixes them
    types: tuple[str, ...] | None = None  #: types of visual questions; all when null
    relations: tuple[str, ...] | None = None  #: relations asked about; those of the split when null
    forms: tuple[int, ...] | None = None  #: question templates; those of the split when null
    vision: Literal["true", "shuffled", "blank"] = "true"  #: true, shuffled or blank scenes
    graph: Literal["worlds", "fixed"] = "worlds"  #: arbitrary facts redrawn for every world, or one fixed graph
    facts_per_number: int = 2  #: injected facts per name
    distractors: int = 0  #: names of numbers that are not in the scene
    num_perception_questions: int = 0  #: visual questions mixed into the training questions about facts
    num_bridge_questions: int = 0  #: fact wordings mixed into the training of vqa, answered by the number that is meant
    candidate_pool_size: int = 50  #: captions (and scenes) per retrieval pool
    rerank: int | None = None  #: candidates that a first stage leaves to the cross-encoder; all pairs when null
    rerank_sample: int = 32  #: texts scored against all images as well, to measure what the first stage loses
    scores: Path | None = None  #: a folder that keeps scores of retrieval, so that a ranking that was killed goes on
    texts: Literal["captions", "sentences", "translations", "captions-and-translations", "captions-and-sentences"] = (
        "captions"
    )
    """Texts of pretraining. The last two: translations where an objective needs them, and elsewhere captions with
    scenes; the very last one has captions with scenes where an objective needs images, and elsewhere sentences."""
    made: MadeLanguage | None = None  #: the language `made` of sentences, at a set distance from another one
    bitext: int | None = None  #: training sentences whose translations are known; all when null
    captions: Literal["numbers", "owners"] = "numbers"  #: what captions of two towers call the numbers of a scene by
    topics: tuple[str, ...] | None = None  #: topics of sentences; all when null
    mask_rate: float = 0.15  #: masking rate of masked-tokens
    seed: int = 0  #: of the generator; equal seeds give equal bytes

    def __post_init__(self) -> None:
        spoken = LANGUAGES if self.made is None else (*LANGUAGES, CODE)
        for language in self.languages:
            if language not in spoken:
                raise UserError(f"data.languages has {language!r}, but Number World speaks {', '.join(spoken)}")
        if self.made is not None and CODE not in self.languages:
            raise UserError(f"data.made is a language that data.languages does not have; name {CODE!r} there")
        if self.bitext is not None and self.bitext < 1:
            raise UserError(
                f"data.bitext is {self.bitext} but must be at least 1; without translations, leave out the objectives "
                "that need them"
            )
        for key in ("questions", "eval_questions"):
            if getattr(self, key) < 1:
                raise UserError(f"data.{key} is {getattr(self, key)} but must be at least 1")
        check_mask_rate(self.mask_rate)
        for key in ("num_perception_questions", "num_bridge_questions"):
            if getattr(self, key) < 0:
                raise UserError(f"data.{key} is {getattr(self, key)} but must not be negative")
        if not self.languages:
            raise UserError("data.languages is empty; name at least one")
        _ = self.ranking
        part(self.split, "train")

    def side(self, side: str) -> Part:
        """One side of the split, restricted by the settings."""
        if self.made is not None:
            raise UserError(
                "data.made is a language of sentences alone, and nothing is said in it about scenes or facts of a "
                "world; use it for parallel-sentences, with data.texts sentences or translations"
            )
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
        """Number of examples of a side."""
        return self.questions if side == "train" else self.eval_questions

    def draw(self, *path: int | str) -> RandomStream:
        """Random stream for one part of the data."""
        return RandomStream(self.seed, *path)

    @property
    def ranking(self) -> RankingSettings:
        """How retrieval ranks the candidates of a pool."""
        return RankingSettings(self.rerank, self.rerank_sample, self.scores)

    @property
    def asked_relations(self) -> tuple[str, ...]:
        """Relations asked about in training or test."""
        return tuple(dict.fromkeys((*self.side("train").relations, *self.side("test").relations)))

    @property
    def worlds(self) -> Worlds:
        """Worlds (fact graphs) of the benchmark."""
        drawn = draw_worlds if self.graph == "worlds" else draw_fixed
        return drawn(self.draw("worlds"), numbers=self.numbers)

    def tokenizer(self) -> WordLevel:
        """Word-level tokenizer of the texts."""
        return tokenizer() if self.made is None else WordLevel(self.made.vocabulary().words, self.made.words)

    @property
    def fingerprints(self) -> dict[str, str]:
        """Fingerprints of the data: the generator's version and the settings that affect it."""
        return {"number-world": WORLD_VERSION, "settings": hashlib.sha256(repr(self).encode()).hexdigest()}
