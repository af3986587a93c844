"""Questions that need a fact about a number in the image, and the facts injected for them.

"Who owns the red number?" needs the image (the red number is 27), the link from the image to a name (*twenty-seven*)
and the fact attached to the name (owner Anna). The names of the scene's numbers follow the question in random order,
as an entity linker over detected tags would give them; every name carries the same relations, so that neither the
names nor the facts alone reveal the answer.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from mm_kptm.errors import UserError
from mm_kptm.random_streams import RandomStream, pick
from mm_kptm.suites.number_world.generator.facts import FAMILY, RANGES, RELATIONS, World, Worlds, substitute
from mm_kptm.suites.number_world.generator.language import BREAK, colour_slots, fill, words
from mm_kptm.suites.number_world.generator.lexicon import RELATION_WORDS, surface
from mm_kptm.suites.number_world.generator.numerals import name
from mm_kptm.suites.number_world.generator.questions import Answer, InjectedFact, Question
from mm_kptm.suites.number_world.generator.scene import Scenes, compose
from mm_kptm.suites.number_world.generator.splits import Part, held_facts, scene_masks
from mm_kptm.suites.number_world.generator.wordings.fact_wording import AFTER, KNOWN, MEANT

#: Injected facts: none, random, those of another world, the true ones, only those that are needed.
ARMS = ("none", "random", "swapped", "true", "oracle")

Item = TypeVar("Item", int, str)


@dataclass(frozen=True, kw_only=True)
class FactQuestion(Question):
    """Question whose answer is a fact, with the fields needed to inject other facts."""

    relation: str
    family: str
    hops: int
    number: int  #: the number whose fact is asked
    facts_language: str
    candidates: tuple[int, ...]  #: numbers named after the question, in order
    injected: tuple[str, ...]  #: relations injected at every name, in order
    arm: str = "true"
    injected_world: int | None = None  #: world of the injected facts; None if they are of no world
    true_answer: Answer  #: answer in the question's own world, whatever is injected


def generate(
    part: Part,
    count: int,
    draw: RandomStream,
    worlds: Worlds,
    *,
    facts_per_number: int = 2,
    distractors: int = 0,
    relations_shown: Sequence[str] | None = None,
) -> tuple[Scenes, tuple[FactQuestion, ...]]:
    """Draw ``count`` scenes and a question about a fact of the focus of each, with the true facts injected.

    Args:
        part: constraints on scenes and questions.
        count: number of scenes and of questions.
        draw: random stream.
        worlds: fact graphs.
        facts_per_number: relations per name, the asked one included; the relation to the second hop is added.
        distractors: number of names of numbers that are not in the scene.
        relations_shown: relations to draw the others from; default: those that vary between worlds.

    Raises:
        UserError: held-out facts over two hops, or two hops to a fact that is the same in every world.
    """
    numbers = worlds.all[0].numbers
    askable = _askable(part, numbers)
    allowed, focus = scene_masks(part, numbers)
    scenes = compose(
        part.side,
        count,
        draw.child("scenes"),
        numbers=numbers,
        sizes=part.sizes,
        allowed=allowed,
        focus=focus & askable.any(axis=1, keepdims=True),
    )
    shown = tuple(RANGES) if relations_shown is None else tuple(relations_shown)
    known = worlds.of(part.worlds)
    rolls = draw.child("questions").words(count, 8 + max(distractors, 0)).tolist()
    most = 2 * max(part.sizes) + max(distractors, 0)  # most names after a question
    shuffles = draw.child("orders").words(count, most + 2 * len(RELATIONS)).tolist()
    questions = []
    for scene in range(count):
        roll = rolls[scene]
        thing = scenes.things(scene)[int(scenes.focus[scene])]
        relations = [relation for relation, fits in zip(part.relations, askable[thing.value], strict=True) if fits]
        relation = relations[pick(roll[0], len(relations))]
        language, facts_language = part.pairs[pick(roll[1], len(part.pairs))]
        form = part.forms[pick(roll[2], len(part.forms))]
        hops = part.hops[pick(roll[3], len(part.hops))]
        world = known[pick(roll[4], len(known))]
        number = thing.value + hops - 1
        label = world.object(number, relation)
        if label is None:
            raise RuntimeError(f"the focus of a scene is {thing.value}, which has no {relation}")
        sentence = _sentence(relation, thing.colour, language, form, hops)
        answer = Answer(label, surface(label, language))
        named = [other.value for other in scenes.things(scene)]
        if hops == 2:
            named += [value + 1 for value in named if value + 1 < numbers]
        named += [pick(word, numbers) for word in roll[8:]]
        others = [other for other in shown if other != relation]
        questions.append(
            FactQuestion(
                id=f"fact-{part.split}-{part.side}-{scene:06d}",
                split=part.split,
                side=part.side,
                type=relation if hops == 1 else f"{relation}-after",
                language=language,
                scene=scene,
                world=world.id,
                form=form,
                sentence=sentence,
                words=words(sentence, language),
                answer=answer,
                subject=int(scenes.focus[scene]),
                relation=relation,
                family=FAMILY[relation],
                hops=hops,
                number=number,
                facts_language=facts_language,
                candidates=_shuffled(tuple(dict.fromkeys(named)), shuffles[scene]),
                injected=_relations(relation, others, facts_per_number, hops, shuffles[scene][most:]),
                true_answer=answer,
            )
        )
    return scenes, inject(questions, "true", worlds, draw.child("inject"))


def inject(questions: Sequence[FactQuestion], arm: str, worlds: Worlds, draw: RandomStream) -> tuple[FactQuestion, ...]:
    """Inject other facts into questions.

    ``swapped`` facts are those of another world in which the answer differs; the gold answer then follows them, and
    ``true_answer`` is the answer by memorised facts. In every other arm the gold answer is the true one. ``random``
    facts have the true relation and a random object.

    Raises:
        UserError: an unknown arm, or swapped facts of a relation that is the same in every world.
    """
    if arm not in ARMS:
        raise UserError(f"there are no facts called {arm!r} to inject; there are {', '.join(ARMS)}")
    return tuple(_inject(question, arm, worlds, draw) for question in questions)


def bridge(question: FactQuestion) -> int:
    """The number between the hops of a question: the one that the image shows and whose name carries the fact.

    Of two hops along the graph ("the number after the red number") it is the first, which the image shows.
    """
    return question.number - (question.hops - 1)


def about_bridges(questions: Sequence[FactQuestion], worlds: Worlds, draw: RandomStream) -> tuple[FactQuestion, ...]:
    """The same questions and names without facts, answered by the number between the hops: sub-questions."""
    without = inject(questions, "none", worlds, draw)
    numbers = [f"number:{bridge(question)}" for question in without]
    return tuple(
        replace(question, id=f"bridge-{question.id}", type="bridge", answer=Answer(label, surface(label, language)))
        for question, label, language in zip(without, numbers, (one.language for one in without), strict=True)
    )


def injected_objects(question: FactQuestion) -> tuple[str, ...]:
    """Injected objects of the asked relation at all names: the candidates that the facts alone leave."""
    relation = RELATION_WORDS[question.facts_language][question.relation].lower()
    return tuple(branch.words[1] for branch in question.branches if branch.words[0] == relation)


def _inject(question: FactQuestion, arm: str, worlds: Worlds, draw: RandomStream) -> FactQuestion:
    if question.world is None:
        raise RuntimeError(f"question {question.id} has no world")
    world: World | None = worlds[question.world]
    answer = question.true_answer
    match arm:
        case "none" | "random":
            world = None
        case "swapped":
            world = substitute(worlds, question.world, question.number, question.relation, draw)
            label = world.object(question.number, question.relation)
            if label is None:
                raise RuntimeError(f"question {question.id} has no answer in world {world.id}")
            answer = Answer(label, surface(label, question.language))
    branches: tuple[InjectedFact, ...] = ()
    trunk = (*words(question.sentence, question.language), BREAK)
    if arm != "none":
        object_of = _blind(question, draw) if world is None else world.object
        needed = {(question.number, question.relation), (question.number - 1, "successor")} if arm == "oracle" else None
        branches = _branches(question, len(trunk), object_of, needed)
    names = (words(name(number, question.facts_language), question.facts_language) for number in question.candidates)
    return replace(
        question,
        words=(*trunk, *(word for (word,) in names)),
        branches=branches,
        answer=answer,
        arm=arm,
        injected_world=None if world is None else world.id,
    )


def _branches(
    question: FactQuestion,
    start: int,
    object_of: Callable[[int, str], str | None],
    needed: set[tuple[int, str]] | None,
) -> tuple[InjectedFact, ...]:
    """Branches of all names, one per fact: the words of the relation and of its object."""
    language = question.facts_language
    branches = []
    for index, number in enumerate(question.candidates):
        for relation in question.injected:
            label = object_of(number, relation)
            if label is None or (needed is not None and (number, relation) not in needed):
                continue
            (head,) = words(RELATION_WORDS[language][relation], language)
            (tail,) = words(surface(label, language), language)
            branches.append(InjectedFact(start + index, (head, tail)))
    return tuple(branches)


def _blind(question: FactQuestion, draw: RandomStream) -> Callable[[int, str], str]:
    """Random objects of the right kind, drawn for one question."""
    kinds = {
        **RANGES,
        "parity": ("parity:even", "parity:odd"),
        **dict.fromkeys(("multiple", "prime", "square"), ("yes", "no")),
    }

    def object(number: int, relation: str) -> str:
        if relation in kinds:
            return kinds[relation][draw.one(len(kinds[relation]))]
        other = question.candidates[draw.one(len(question.candidates))]
        return f"number:{other}" if relation == "successor" else "roman:" + ("I", "V", "X", "L")[other % 4]

    return object


def _askable(part: Part, numbers: int) -> NDArray[np.bool_]:
    """Mask of the relations that may be asked of a focus, [numbers, relations]."""
    if 2 in part.hops and part.holds_facts:
        raise UserError(f"the split {part.split!r} holds back facts, which are asked over one hop; use hops of 1")
    lasting = [relation for relation in part.relations if relation not in RANGES]
    if 2 in part.hops and lasting:
        raise UserError(f"the relation {lasting[0]!r} was asked over two hops, but only these are: {', '.join(RANGES)}")
    askable = np.ones((numbers, len(part.relations)), dtype=bool)
    if part.holds_facts:
        held = held_facts(numbers)[:, [RELATIONS.index(relation) for relation in part.relations]]
        askable = held if part.asks_held_facts else ~held
    return askable


def _sentence(relation: str, colour: str, language: str, form: int, hops: int) -> str:
    slots = colour_slots(colour, language)
    it, of_it, to_it = (phrase.format_map(slots) for phrase in (MEANT if hops == 1 else AFTER)[language])
    return fill(KNOWN[language][relation][form], language, it=it, of_it=of_it, to_it=to_it)


def _relations(asked: str, others: list[str], count: int, hops: int, rolls: Sequence[int]) -> tuple[str, ...]:
    """The asked relation and some others, shuffled, so that the order carries no information."""
    extra = _shuffled(tuple(others), rolls)[: count - 1]
    way = ("successor",) if hops == 2 and "successor" not in extra else ()
    return _shuffled((asked, *extra, *way), rolls[len(RELATIONS) :])


def _shuffled(items: tuple[Item, ...], rolls: Sequence[int]) -> tuple[Item, ...]:
    """Sort by independent random words; ties keep their order."""
    return tuple(items[index] for index in sorted(range(len(items)), key=lambda index: rolls[index]))
