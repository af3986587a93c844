"""Sources of Number World's question answering and pretraining; words are encoded once, crops stay uint8.

Images may be removed (``blank``) or exchanged between questions (``shuffled``) with all else equal, for the null arms
of an experiment.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cache
from itertools import permutations
from typing import Literal, Protocol

import numpy as np

from mm_kptm.crosslingual.corpora.bitext import EncodedSentence, monolingual
from mm_kptm.data.packing import Packed
from mm_kptm.data.tokenizers.protocol import Specials
from mm_kptm.errors import UserError
from mm_kptm.knowledge.injection.fact_injector import TokenSequence, build_trees
from mm_kptm.knowledge.injection.sentence_tree import TokenWithFacts
from mm_kptm.knowledge.objectives.bridge_entity import BridgeEntity
from mm_kptm.preprocessing.image_text import ImageTextLayout
from mm_kptm.preprocessing.inputs import InputSource, IntArray, RegionCrops
from mm_kptm.random_streams import RandomStream
from mm_kptm.suites.number_world.datasets.made_language import CODE
from mm_kptm.suites.number_world.datasets.settings import tokenizer
from mm_kptm.suites.number_world.generator.captions import Caption
from mm_kptm.suites.number_world.generator.knowledge import FactQuestion, bridge
from mm_kptm.suites.number_world.generator.language import WorldVocabulary, vocabulary
from mm_kptm.suites.number_world.generator.numerals import LANGUAGES
from mm_kptm.suites.number_world.generator.parallel import ParallelCorpus
from mm_kptm.suites.number_world.generator.questions import InjectedFact, Question
from mm_kptm.suites.number_world.generator.scene import FEATURES, Scenes
from mm_kptm.systems.text_format import BERT_FORMAT, TextFormat
from mm_kptm.tasks.example import Example
from mm_kptm.tasks.text.sentence_retrieval import Meaning, TranslationSource
from mm_kptm.tasks.vision.vqa import QuestionSource

Vision = Literal["true", "shuffled", "blank"]


def pictures(scenes: Scenes) -> RegionCrops:
    """Scenes as region crops, whose features are their pixels."""
    every = range(len(scenes))
    return RegionCrops(scenes.crops.reshape(-1, FEATURES), scenes.fractions(every), scenes.offsets)


def questions(
    scenes: Scenes,
    asked: Sequence[Question],
    answers: Sequence[str],
    *,
    vision: Vision = "true",
    draw: RandomStream | None = None,
    format: TextFormat = BERT_FORMAT,
    visible_matrix: bool = True,
) -> QuestionSource:
    """Source of questions about scenes; facts are attached as branches to the words that carry them.

    Args:
        scenes: scenes that the questions refer to.
        asked: questions, each with the index of its scene.
        answers: labels of all answers, from :func:`mm_kptm.suites.number_world.generator.lexicon.answers`.
        vision: ``true`` scenes; ``shuffled``: every question gets another question's scene; ``blank``: no image.
        draw: random stream, for ``shuffled`` only.
        format: how the family of the encoder lays questions out.
        visible_matrix: whether a fact is seen by its name alone.

    Raises:
        UserError: an answer is not among ``answers``, or ``shuffled`` without a draw or with a single question.
    """
    indices = {label: index for index, label in enumerate(answers)}
    for question in asked:
        if question.answer.label not in indices:
            raise UserError(
                f"question {question.id} is answered by {question.answer.label!r}, which is not among the "
                f"{len(answers)} answers to choose from"
            )
    gold = Packed.of(answers=[[indices[question.answer.label]] for question in asked], tenths=[[10]] * len(asked))
    about = np.array([question.scene for question in asked], dtype=np.int64)
    shown = _shown(scenes, about, vision, draw)
    worlds = {question.world for question in asked} - {None}
    return QuestionSource(
        InputSource(_trees(asked, format, visible_matrix), *shown, labels={BridgeEntity.name: _bridges(asked)}),
        tuple(answers),
        gold,
        tuple(_about(question, by_world=len(worlds) > 1) for question in asked),
    )


def joined(*sources: QuestionSource) -> QuestionSource:
    """Concatenate sources from :func:`questions` that share their answers."""
    crops = [source.shown.pictures for source in sources if isinstance(source.shown.pictures, RegionCrops)]
    starts = np.cumsum([0, *(len(part.lengths) for part in crops)])
    about = [
        source.shown.about + first
        for source, first in zip(sources, starts[:-1], strict=True)
        if source.shown.about is not None
    ]
    return QuestionSource(
        InputSource(
            Packed.joined(*(source.shown.texts for source in sources)),
            RegionCrops.joined(*crops),
            np.concatenate(about),
            labels={
                name: np.concatenate([source.shown.labels[name] for source in sources])
                for name in sources[0].shown.labels
            },
        ),
        sources[0].answers,
        Packed.joined(*(source.worth for source in sources)),
        tuple(about for source in sources for about in source.about),
    )


def captions(scenes: Scenes, described: Sequence[Caption], languages: Sequence[str] = LANGUAGES) -> InputSource:
    """Inputs of image-text pretraining: every caption in every language with its scene."""
    chosen = [(caption, language) for caption in described for language in languages]
    texts = sentences((caption.sentences[language].words, language) for caption, language in chosen)
    about = np.array([caption.scene for caption, _ in chosen], dtype=np.int64)
    return InputSource(texts, pictures(scenes), about)


def sentences(said: Iterable[tuple[Sequence[str], str]], known: WorldVocabulary | None = None) -> Packed:
    """Pack sentences, given as (words, language)."""
    return monolingual((sentence(spoken, language, known) for spoken, language in said), specials())


def sentence(spoken: Sequence[str], language: str, known: WorldVocabulary | None = None) -> EncodedSentence:
    """Encode words to ids and the language to its index in ``LANGUAGES``, behind which a made one stands."""
    number = len(LANGUAGES) if language == CODE else LANGUAGES.index(language)
    return EncodedSentence((known or vocabulary()).encode(spoken), number)


def meanings(
    corpus: Sequence[ParallelCorpus], languages: Sequence[str] = LANGUAGES, known: WorldVocabulary | None = None
) -> list[list[EncodedSentence]]:
    """Each sentence in all languages, as :func:`mm_kptm.crosslingual.corpora.bitext.every_pair` reads it."""
    return [[sentence(one.sentences[language].words, language, known) for language in languages] for one in corpus]


def translations(
    corpus: Sequence[ParallelCorpus], languages: Sequence[str] = LANGUAGES, known: WorldVocabulary | None = None
) -> TranslationSource:
    """Source of sentence retrieval between languages; every unordered pair of languages once, in the given order."""
    pairs = [pair for pair in permutations(languages, 2) if languages.index(pair[0]) < languages.index(pair[1])]
    chosen = [(parallel, pair) for pair in pairs for parallel in corpus]
    left, right = (
        sentences(((parallel.sentences[pair[side]].words, pair[side]) for parallel, pair in chosen), known)
        for side in (0, 1)
    )
    return TranslationSource(left, right, tuple(Meaning(parallel.id, parallel.type, pair) for parallel, pair in chosen))


@cache
def specials() -> Specials:
    """The special tokens of Number World's vocabulary."""
    return tokenizer().specials


def _bridges(asked: Sequence[Question]) -> IntArray:
    """The number between the hops of every question about a fact; -1 for others."""
    return np.array([bridge(one) if isinstance(one, FactQuestion) else -1 for one in asked], dtype=np.int64)


def _about(question: Question, *, by_world: bool) -> Example:
    swapped = isinstance(question, FactQuestion) and question.arm == "swapped"
    return Example(
        id=question.id,
        type=question.type,
        language=question.language,
        group=f"scene-{question.scene}" if question.world is None or not by_world else f"world-{question.world}",
        target=question.answer.label,
        factual_answer=question.true_answer.label if swapped and isinstance(question, FactQuestion) else None,
    )


def _shown(scenes: Scenes, about: IntArray, vision: Vision, draw: RandomStream | None) -> tuple[RegionCrops, IntArray]:
    match vision:
        case "blank":
            return RegionCrops.blank(FEATURES), np.zeros_like(about)
        case "shuffled":
            if draw is None or len(about) < 2:
                raise UserError("shuffled pictures were asked for; they need a draw and at least two questions")
            order = draw.orders(1, len(about))[0]  # a cycle through all questions: no question keeps its scene
            return pictures(scenes), _along_ring(about, order)
        case _:
            return pictures(scenes), about


def _along_ring(about: IntArray, order: IntArray) -> IntArray:
    shown = np.empty_like(about)
    shown[order] = about[np.roll(order, 1)]
    return shown


class WithFacts(Protocol):
    """Sentence whose words carry facts."""

    @property
    def words(self) -> tuple[str, ...]:
        """As the model reads them."""

    @property
    def language(self) -> str:
        """Its language."""

    @property
    def branches(self) -> tuple[InjectedFact, ...]:
        """The facts, each at one of the words."""


def trees(asked: Sequence[WithFacts], *, visible_matrix: bool = True) -> Packed:
    """Sentence trees of sentences with their facts, in BERT's form, packed."""
    return _trees(asked, BERT_FORMAT, visible_matrix)


def _trees(asked: Sequence[WithFacts], format: TextFormat, visible_matrix: bool) -> Packed:
    """Sentence trees of questions with their facts, packed."""
    layout = ImageTextLayout(specials(), format, asks=True)
    framings = [layout(range(len(question.words))) for question in asked]
    trunks = [_with_facts(question, layout) for question in asked]
    trees = build_trees(trunks, max_length=512, visible_matrix=visible_matrix)
    languages = np.array([LANGUAGES.index(question.language) for question in asked], dtype=np.int64)
    columns = {**trees.columns, "languages": np.repeat(languages, trees.lengths)}
    if format.image_first or format.answer_slot != "none":  # a fact has the segment of its word
        starts = np.repeat(np.cumsum([0, *(len(segments) for _, segments in framings)])[:-1], trees.lengths)
        every = np.array([segment for _, segments in framings for segment in segments], dtype=np.int64)
        columns["segments"] = every[starts + trees.columns["words"]]
    return Packed(trees.offsets, columns)


def _with_facts(question: WithFacts, layout: ImageTextLayout) -> TokenSequence:
    facts: dict[int, list[tuple[int, ...]]] = {}
    for branch in question.branches:
        facts.setdefault(branch.anchor, []).append(_token_ids(branch.words))
    tokens = [
        TokenWithFacts(token, tuple(facts[index])) if index in facts else token
        for index, token in enumerate(_token_ids(question.words))
    ]
    before, after = layout.around()
    return [*before, *tokens, *after]


def _token_ids(words: Iterable[str]) -> tuple[int, ...]:
    ids, unknown = vocabulary().ids, specials().unknown
    return tuple(ids.get(word, unknown) for word in words)
