"""Cloze statements of facts about numbers: *the owner of the twelve is ...*.

Injected facts are attached to the name of the number, as in questions
(:mod:`mm_kptm.suites.number_world.generator.knowledge`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from mm_kptm.errors import UserError
from mm_kptm.random_streams import RandomStream, pick
from mm_kptm.suites.number_world.generator.captions import CaptionText
from mm_kptm.suites.number_world.generator.facts import RANGES, World, Worlds, substitute
from mm_kptm.suites.number_world.generator.knowledge import ARMS
from mm_kptm.suites.number_world.generator.language import fill, words
from mm_kptm.suites.number_world.generator.lexicon import RELATION_WORDS, surface
from mm_kptm.suites.number_world.generator.numerals import name
from mm_kptm.suites.number_world.generator.splits import Part
from mm_kptm.suites.number_world.generator.wordings.statement_wording import STATED


@dataclass(frozen=True)
class Blank:
    """Cloze statement whose object is masked."""

    id: str
    side: str
    language: str
    facts_language: str
    world: int
    relation: str
    number: int
    sentence: CaptionText
    subject: int  #: index of the word that names the number
    blank: int  #: index of the masked word
    shown: tuple[str, ...]  #: relations of the injected facts, in order
    answer: str  #: gold answer
    true_answer: str  #: answer by the true facts of the world
    injected: tuple[tuple[str, str], ...] = ()  #: relation and object, in words


def blanks(
    part: Part, count: int, draw: RandomStream, worlds: Worlds, *, facts_per_number: int = 2
) -> tuple[Blank, ...]:
    """Draw cloze statements of facts of the part's worlds, with the true facts injected.

    Raises:
        UserError: a relation is the same in every world.
    """
    lasting = [relation for relation in part.relations if relation not in RANGES]
    if lasting:
        raise UserError(f"a blank was asked for the relation {lasting[0]!r}, but only these are: {', '.join(RANGES)}")
    known = worlds.of(part.worlds)
    examples = []
    for index, roll in enumerate(draw.child("blanks").words(count, 7).tolist()):
        language, facts_language = part.pairs[pick(roll[0], len(part.pairs))]
        relation = part.relations[pick(roll[1], len(part.relations))]
        world, number = known[pick(roll[2], len(known))], pick(roll[3], worlds.all[0].numbers)
        called, said = name(number, language), _said(world, number, relation, language)
        text = fill(STATED[language][relation][pick(roll[4], 2)], language, n=called, o=said)
        sentence, answer = CaptionText(text, words(text, language)), _word(said, language)
        others = [other for other in RANGES if other != relation]
        first = pick(roll[6], len(others))
        others = [*others[first:], *others[:first]][: max(facts_per_number - 1, 0)]
        turn = pick(roll[5], len(others) + 1)
        shown = (*others[:turn], relation, *others[turn:])
        examples.append(
            Blank(
                id=f"blank-{part.split}-{part.side}-{index:06d}",
                side=part.side,
                language=language,
                facts_language=facts_language,
                world=world.id,
                relation=relation,
                number=number,
                sentence=sentence,
                subject=sentence.words.index(_word(called, language)),
                blank=sentence.words.index(answer),
                shown=shown,
                answer=answer,
                true_answer=answer,
            )
        )
    return inform(examples, "true", worlds, draw.child("inform"))


def inform(examples: Sequence[Blank], arm: str, worlds: Worlds, draw: RandomStream) -> tuple[Blank, ...]:
    """Inject other facts, as :func:`mm_kptm.suites.number_world.generator.knowledge.inject` for questions.

    Raises:
        UserError: an unknown arm.
    """
    if arm not in ARMS:
        raise UserError(f"there are no facts called {arm!r} to inject; there are {', '.join(ARMS)}")
    return tuple(_inform(blank, arm, worlds, draw) for blank in examples)


def _inform(blank: Blank, arm: str, worlds: Worlds, draw: RandomStream) -> Blank:
    if arm == "none":
        return replace(blank, answer=blank.true_answer, injected=())
    answer, world = blank.true_answer, worlds[blank.world]
    if arm == "swapped":
        world = substitute(worlds, blank.world, blank.number, blank.relation, draw)
        answer = _word(_said(world, blank.number, blank.relation, blank.language), blank.language)
    language, injected = blank.facts_language, []
    for relation in (blank.relation,) if arm == "oracle" else blank.shown:
        if arm == "random":
            said = surface(RANGES[relation][draw.one(len(RANGES[relation]))], language)
        else:
            said = _said(world, blank.number, relation, language)
        injected.append((_word(RELATION_WORDS[language][relation], language), _word(said, language)))
    return replace(blank, answer=answer, injected=tuple(injected))


def _said(world: World, number: int, relation: str, language: str) -> str:
    """Word for the object of a fact in a language."""
    return surface(world.object(number, relation) or "", language)


def _word(text: str, language: str) -> str:
    (word,) = words(text, language)
    return word
