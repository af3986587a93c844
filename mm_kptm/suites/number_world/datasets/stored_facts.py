"""Facts of Number World to be learnt in the weights: an auxiliary objective beside the questions, no injection.

The union of the training worlds is one graph. With a single world it is consistent; the worlds of ``graph: worlds``
contradict each other, and none of them is a test world.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple, TypeVar

from mm_kptm.datasets.protocol import AuxiliaryObjective
from mm_kptm.errors import UserError
from mm_kptm.knowledge.graph.indexed_triple import IndexedTriple
from mm_kptm.knowledge.kinds.protocol import DESCRIBED_TRIPLES, LEARNT_FACTS, OPEN_FACTS
from mm_kptm.knowledge.objectives.fact_completion import FactCompletion, OpenFact
from mm_kptm.knowledge.objectives.knowledge_embedding import DescribedGraph, KnowledgeEmbedding
from mm_kptm.random_streams import RandomStream
from mm_kptm.suites.number_world.datasets import sources as number_world
from mm_kptm.suites.number_world.generator.facts import World
from mm_kptm.suites.number_world.generator.language import vocabulary, words
from mm_kptm.suites.number_world.generator.lexicon import RELATION_WORDS, surface
from mm_kptm.suites.number_world.generator.numerals import name

Thing = TypeVar("Thing")


class Stated(NamedTuple):
    """Fact about a number with a language-neutral object."""

    number: int
    relation: str
    object: str


def stated(worlds: Sequence[World], relations: Sequence[str], arm: str, draw: RandomStream) -> tuple[Stated, ...]:
    """Distinct facts of some worlds; ``random`` facts have the object of a random number.

    Raises:
        UserError: these facts can only be injected with a question.
    """
    if arm not in LEARNT_FACTS:
        raise UserError(
            f"knowledge.facts is {arm}, but facts that are learnt before a question is asked can only be one of "
            f"{', '.join(LEARNT_FACTS)}; how a model answers when others are injected is the split test-{arm}"
        )
    facts = dict.fromkeys(
        Stated(number, relation, label)
        for world in worlds
        for relation in relations
        for number, label in enumerate(world.objects[relation])
        if label is not None
    )
    if arm == "true":
        return tuple(facts)
    known = {relation: [fact.object for fact in facts if fact.relation == relation] for relation in relations}
    blind = (fact._replace(object=known[fact.relation][draw.one(len(known[fact.relation]))]) for fact in facts)
    return tuple(dict.fromkeys(blind))


def completion(facts: Sequence[Stated], languages: Sequence[str]) -> AuxiliaryObjective:
    """Fact completion objective: predict the object of every fact, in every language."""
    objects = _numbered(fact.object for fact in facts)
    said = [
        OpenFact(
            _ids(name(fact.number, language), language) + _ids(RELATION_WORDS[language][fact.relation], language),
            objects[fact.object],
        )
        for fact in facts
        for language in languages
    ]
    return AuxiliaryObjective(FactCompletion(said, number_world.specials()), {"num_objects": len(objects)})


def embedding(facts: Sequence[Stated], languages: Sequence[str]) -> AuxiliaryObjective:
    """Knowledge embedding objective: triples of described entities, in every language."""
    relations = _numbered(fact.relation for fact in facts)
    heads = _numbered((name(fact.number, language), language) for fact in facts for language in languages)
    tails = _numbered((surface(fact.object, language), language) for fact in facts for language in languages)
    triples = [
        IndexedTriple(
            heads[name(fact.number, language), language],
            relations[fact.relation],
            len(heads) + tails[surface(fact.object, language), language],
        )
        for fact in facts
        for language in languages
    ]
    graph = DescribedGraph(triples, [_ids(*text) for text in (*heads, *tails)], number_world.specials())
    return AuxiliaryObjective(KnowledgeEmbedding(graph), {"num_relations": len(relations)})


FactObjective = Callable[
    [Sequence[Stated], Sequence[str]], AuxiliaryObjective
]  #: builds an objective from facts and languages

#: Objectives that learn facts, by knowledge form.
LEARNT_FORMS: Mapping[str, FactObjective] = {
    OPEN_FACTS: completion,
    DESCRIBED_TRIPLES: embedding,
}


def _numbered(things: Iterable[Thing]) -> dict[Thing, int]:
    return {thing: number for number, thing in enumerate(dict.fromkeys(things))}


def _ids(text: str, language: str) -> tuple[int, ...]:
    return tuple(vocabulary().encode(words(text, language)))
