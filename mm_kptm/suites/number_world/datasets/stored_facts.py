"""The facts of Number World for a model to keep in its weights: they stand in no question, training states them beside.

The worlds of the training questions are stated as one graph. Where there is only one world that graph is consistent;
the many worlds of ``graph: worlds`` contradict each other, and none of them holds in the test.
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
    """A fact of a number, its object without a language."""

    number: int
    relation: str
    object: str


def stated(worlds: Sequence[World], relations: Sequence[str], arm: str, draw: RandomStream) -> tuple[Stated, ...]:
    """What some worlds hold of every number, each fact once; ``random`` facts have the object of another number.

    Raises:
        UserError: these facts can only be told with a question.
    """
    if arm not in LEARNT_FACTS:
        raise UserError(
            f"knowledge.facts is {arm}, but facts that are learnt before a question is asked can only be one of "
            f"{', '.join(LEARNT_FACTS)}; how a model answers when it is told others is the split test-{arm}"
        )
    found = dict.fromkeys(
        Stated(number, relation, label)
        for world in worlds
        for relation in relations
        for number, label in enumerate(world.objects[relation])
        if label is not None
    )
    if arm == "true":
        return tuple(found)
    known = {relation: [fact.object for fact in found if fact.relation == relation] for relation in relations}
    blind = (fact._replace(object=known[fact.relation][draw.one(len(known[fact.relation]))]) for fact in found)
    return tuple(dict.fromkeys(blind))


def completion(facts: Sequence[Stated], languages: Sequence[str]) -> AuxiliaryObjective:
    """Facts whose object is asked for, each said in every language."""
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
    """Triples of described entities, each in every language."""
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


FactObjective = Callable[[Sequence[Stated], Sequence[str]], AuxiliaryObjective]  #: of facts, said in some languages

#: What trains on stated facts, by the form that a way of giving knowledge asks for.
LEARNT_FORMS: Mapping[str, FactObjective] = {
    OPEN_FACTS: completion,
    DESCRIBED_TRIPLES: embedding,
}


def _numbered(things: Iterable[Thing]) -> dict[Thing, int]:
    return {thing: number for number, thing in enumerate(dict.fromkeys(things))}


def _ids(text: str, language: str) -> tuple[int, ...]:
    return tuple(vocabulary().encode(words(text, language)))
