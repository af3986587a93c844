"""Number World's parallel sentences: retrieval between languages, and pretraining on texts with or without scenes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial

from mm_kptm.batch import Inputs
from mm_kptm.crosslingual.corpora.bitext import EncodedSentence, every_pair, monolingual, translations
from mm_kptm.crosslingual.objectives.translation_language_modeling import TRANSLATIONS
from mm_kptm.data.packing import Packed
from mm_kptm.datasets.protocol import DataRequest, PreparedData, TaskDataset
from mm_kptm.objectives.mixture import Mixture, Objectives
from mm_kptm.objectives.next_tokens import TARGETS
from mm_kptm.objectives.spec import (
    LANGUAGE_IDS,
    REGION_FEATURES,
    REGIONS,
    TEXTS,
    Offers,
    find_objective,
)
from mm_kptm.preprocessing.inputs import InputSource
from mm_kptm.preprocessing.pairs import TargetSource
from mm_kptm.suites.number_world.datasets import sources as number_world
from mm_kptm.suites.number_world.datasets.made_language import CODE
from mm_kptm.suites.number_world.datasets.settings import NumberWorldData
from mm_kptm.suites.number_world.generator import captions as world_captions
from mm_kptm.suites.number_world.generator.language import WorldVocabulary, vocabulary
from mm_kptm.suites.number_world.generator.numerals import LANGUAGES
from mm_kptm.suites.number_world.generator.parallel import TOPICS, ParallelCorpus, corpus
from mm_kptm.suites.number_world.generator.scene import FEATURES
from mm_kptm.suites.number_world.generator.splits import SIDES_OF_A_SPLIT
from mm_kptm.tasks.pretraining import ObjectiveSource, SourcesOfObjectives, heads_of
from mm_kptm.tasks.text.sentence_retrieval import ParallelSentences, TranslationSource
from mm_kptm.train.protocol import Source

PAIRS = (TRANSLATIONS, TARGETS)
#: What objectives may need, by ``data.texts``.
OFFERED = {
    "captions": (TEXTS, REGIONS, REGION_FEATURES),
    "sentences": (TEXTS,),
    "translations": (TEXTS, *PAIRS),
    "captions-and-translations": (TEXTS, REGIONS, REGION_FEATURES, *PAIRS),
    "captions-and-sentences": (TEXTS, REGIONS, REGION_FEATURES, *PAIRS),
}


@dataclass(frozen=True)
class ParallelTexts:
    """The parallel sentences of some settings, in natural languages and in a made one."""

    data: NumberWorldData

    @cached_property
    def vocabulary(self) -> WorldVocabulary:
        """Words of all languages."""
        return vocabulary() if self.data.made is None else self.data.made.vocabulary()

    @property
    def num_languages(self) -> int:
        """Languages of Number World, and the made one behind them."""
        return len(LANGUAGES) + (self.data.made is not None)

    def corpus(self, side: str) -> tuple[ParallelCorpus, ...]:
        """The sentences of a side in all languages of the settings."""
        data, made = self.data, self.data.made
        natural = tuple(one for one in data.languages if one != CODE)
        drawn = natural if made is None or made.base in natural else (*natural, made.base)
        found = corpus(
            side,
            data.count(side),
            data.draw("sentences"),
            numbers=data.numbers,
            languages=drawn,
            topics=TOPICS if data.topics is None else data.topics,
            sizes=data.sizes,
        )
        if made is None:
            return found
        return tuple(
            replace(one, sentences={**one.sentences, CODE: made.sentence(one.sentences[made.base])}) for one in found
        )

    def meanings(self, side: str) -> list[list[EncodedSentence]]:
        """Each sentence in all languages, as :func:`mm_kptm.crosslingual.corpora.bitext.every_pair` reads it."""
        return number_world.meanings(self.corpus(side), self.data.languages, self.vocabulary)

    def translated(self, side: str) -> list[tuple[EncodedSentence, EncodedSentence]]:
        """Translations in both orders; of training only as many meanings as ``data.bitext`` allows."""
        most = self.data.bitext if side == "train" else None
        return every_pair(self.meanings(side)[:most])

    def retrieval(self, side: str) -> TranslationSource:
        """Source of sentence retrieval: every two languages once, in the given order."""
        return number_world.translations(self.corpus(side), self.data.languages, self.vocabulary)


def parallel_sentences(data: NumberWorldData, request: DataRequest) -> PreparedData:
    """Parallel sentences; the parallel training data contain no test sentence."""
    texts = ParallelTexts(data)
    return PreparedData(
        sources={side: partial(texts.retrieval, side) for side in SIDES_OF_A_SPLIT},
        model=data.retriever,
        sizes={"vocab_size": len(texts.vocabulary)},
        fingerprints=data.fingerprints,
        baselines=lambda side: {"chance": 1 / data.count(side)},
    )


def pretraining(data: NumberWorldData, request: DataRequest) -> PreparedData:
    """Pretraining data: captions with scenes, sentences, sentences and as many translations, or captions and these.

    With an objective on translations, it reads them and other objectives the sentences, or the captions; with captions
    and sentences, the captions are read by objectives on images alone.
    """
    texts = ParallelTexts(data)
    offers = Offers(
        data.name,
        {**dict.fromkeys(OFFERED[data.texts]), LANGUAGE_IDS: lambda: texts.num_languages},
        dict.fromkeys(PAIRS, "let data.texts be translations"),
    )
    objectives = request.built_objectives(offers, data.tokenizer(), data.mask_rate)
    forms = {name: find_objective(name).needs for name in objectives}
    on_pairs = any(need in PAIRS for needs in forms.values() for need in needs)
    told_apart = on_pairs or data.texts == "captions-and-sentences"

    def captioned(needs: Sequence[str]) -> bool:
        if data.texts == "captions-and-sentences":
            return bool(set(needs) & {REGIONS, REGION_FEATURES})
        return data.texts == "captions" or (data.texts == "captions-and-translations" and not set(needs) & set(PAIRS))

    def inputs(side: str, needs: Sequence[str]) -> Source[Inputs]:
        if captioned(needs):
            pairs = world_captions.captions(
                data.side(side), data.count(side), data.draw("captions", side), numbers=data.numbers
            )
            return number_world.captions(*pairs, data.languages)
        if TARGETS in needs:
            sides = zip(*texts.translated(side), strict=True)
            return TargetSource(*(InputSource(monolingual(said, number_world.specials())) for said in sides))
        alone = monolingual(
            (sentence for meaning in texts.meanings(side) for sentence in meaning), number_world.specials()
        )
        if data.texts == "sentences" or (told_apart and TRANSLATIONS not in needs):
            return InputSource(alone)
        beside = translations(texts.translated(side), number_world.specials())
        return InputSource(beside if on_pairs else Packed.joined(alone, beside))

    def source(side: str) -> ObjectiveSource | SourcesOfObjectives:
        if told_apart:
            return SourcesOfObjectives({name: inputs(side, needs) for name, needs in forms.items()}, objectives)
        return ObjectiveSource(inputs(side, ()), Objectives(objectives))

    return PreparedData(
        sources={side: partial(source, side) for side in SIDES_OF_A_SPLIT},
        model=lambda system: Mixture(system, objectives, request.objectives),
        sizes={
            "vocab_size": len(texts.vocabulary),
            "region_dim": FEATURES,
            "num_languages": texts.num_languages,
        },
        heads=heads_of(objectives),
        fingerprints=data.fingerprints,
    )


SENTENCES_SUPPLY = TaskDataset(ParallelSentences, NumberWorldData, parallel_sentences)
PRETRAINING_SUPPLY = TaskDataset(None, NumberWorldData, pretraining)
