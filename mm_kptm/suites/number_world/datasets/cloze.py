"""Cloze dataset of Number World's facts: *the twelve belongs to [MASK]*, with injected facts about the twelve."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from functools import cache, partial

import numpy as np

from mm_kptm.data.packing import Packed
from mm_kptm.datasets.protocol import DataRequest, PreparedData, TaskDataset
from mm_kptm.knowledge.injection.fact_injector import TokenSequence, build_trees
from mm_kptm.knowledge.injection.sentence_tree import TokenWithFacts
from mm_kptm.knowledge.kinds.protocol import BRANCHES
from mm_kptm.preprocessing.inputs import InputSource
from mm_kptm.suites.number_world.datasets import sources as number_world
from mm_kptm.suites.number_world.datasets.settings import NumberWorldData
from mm_kptm.suites.number_world.generator.blanks import Blank, blanks, inform
from mm_kptm.suites.number_world.generator.facts import RANGES
from mm_kptm.suites.number_world.generator.language import vocabulary, words
from mm_kptm.suites.number_world.generator.lexicon import surface
from mm_kptm.suites.number_world.generator.numerals import LANGUAGES
from mm_kptm.suites.number_world.generator.splits import SIDES_OF_A_SPLIT
from mm_kptm.tasks.example import Example
from mm_kptm.tasks.knowledge.cloze import CandidateWords, ClozeSource, FillBlanks, first_blanks
from mm_kptm.tasks.knowledge_use import COUNTERFACTUAL_SUFFIXES

LONGEST = 128  #: above the longest sentence with its facts, in tokens


def cloze(data: NumberWorldData, request: DataRequest) -> PreparedData:
    """Cloze statements of facts, with injected facts of kind ``request.facts``."""
    worlds, choices = data.worlds, candidates(data.languages)

    @cache
    def examples(split: str) -> tuple[Blank, ...]:
        side = split.partition("-")[0]
        statements = blanks(
            data.side(side),
            data.count(side),
            data.draw("cloze", side),
            worlds,
            facts_per_number=data.facts_per_number,
        )
        return inform(
            statements,
            COUNTERFACTUAL_SUFFIXES.get(split.removeprefix(side), request.facts),
            worlds,
            data.draw("facts", split),
        )

    def made(split: str) -> ClozeSource:
        return source(examples(split), choices, visible_matrix=request.visible_matrix)

    def usual(split: str) -> Mapping[str, float]:
        counts = Counter(one.answer for one in examples("train"))
        best = counts.most_common(1)[0][0]
        answers = [one.answer for one in examples(split)]
        return {"chance": 1 / len(choices.words), "majority": answers.count(best) / len(answers)}

    splits = (*SIDES_OF_A_SPLIT, *(f"{side}{end}" for side in ("dev", "test") for end in COUNTERFACTUAL_SUFFIXES))
    return PreparedData(
        sources={split: partial(made, split) for split in splits},
        model=lambda system: FillBlanks(system, choices),
        sizes={"vocab_size": len(vocabulary()), "num_languages": len(LANGUAGES)},
        heads=FillBlanks.heads(request.recipe),
        fingerprints=data.fingerprints,
        baselines=usual,
        knowledge_forms=frozenset({BRANCHES}),
    )


def candidates(languages: Sequence[str]) -> CandidateWords:
    """Candidate words for the objects of arbitrary facts, in some languages."""
    labels = [label for objects in RANGES.values() for label in objects]
    said = dict.fromkeys(words(surface(label, language), language)[0] for language in languages for label in labels)
    return CandidateWords(tuple(said), tuple(vocabulary().ids[word] for word in said))


def source(asked: Sequence[Blank], choices: CandidateWords, *, visible_matrix: bool = True) -> ClozeSource:
    """Source of cloze statements, with facts attached to the names of their numbers."""
    specials = number_world.specials()
    trees = build_trees([_trunk(one) for one in asked], max_length=LONGEST, visible_matrix=visible_matrix)
    languages = np.array([LANGUAGES.index(one.language) for one in asked], dtype=np.int64)
    texts = Packed(trees.offsets, {**trees.columns, "languages": np.repeat(languages, trees.lengths)})
    indices = {word: index for index, word in enumerate(choices.words)}
    about = tuple(
        Example(
            id=one.id,
            type=one.relation,
            language=one.language,
            group=f"world-{one.world}",
            target=one.answer,
            factual_answer=None if one.answer == one.true_answer else one.true_answer,
        )
        for one in asked
    )
    labels = np.array([indices[one.answer] for one in asked], dtype=np.int64)
    return ClozeSource(InputSource(texts), first_blanks(texts, specials.mask_id), labels, about)


def _trunk(one: Blank) -> TokenSequence:
    specials, ids = number_world.specials(), vocabulary().ids
    trunk: TokenSequence = [specials.start]
    facts = tuple((ids[relation], ids[object_]) for relation, object_ in one.injected)
    for index, word in enumerate(one.sentence.words):
        piece = specials.mask_id if index == one.blank else ids[word]
        trunk.append(TokenWithFacts(piece, facts) if index == one.subject and facts else piece)
    return [*trunk, specials.stop]


CLOZE_SUPPLY = TaskDataset(FillBlanks, NumberWorldData, cloze)
