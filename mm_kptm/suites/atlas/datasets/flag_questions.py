"""Questions about flags: a picture, a question in one language, and named countries with facts in another.

To answer, a model has to know the flag, find the name of its country among those behind the question, and read the
fact that hangs from it. Every name carries the same relations, so neither the names nor the facts alone tell.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from mm_kptm.errors import UserError
from mm_kptm.random_streams import RandomStream, pick
from mm_kptm.suites.atlas.datasets.flag_settings import AtlasFlagsData, true_tables
from mm_kptm.suites.atlas.datasets.flag_wording import NAME
from mm_kptm.suites.atlas.datasets.hops import TWO_STEPS, real_steps

REAL = -1  #: number of the real world
_TEST_WORLDS = {"dev": 1 << 20, "test": 1 << 21}  #: numbers of the first worlds of dev and test

Table = Mapping[str, Mapping[str, str]]  #: relation -> country -> object


@dataclass(frozen=True)
class FlagQuestion:
    """A question about the country of a flag.

    Args:
        id: its name.
        relation: that is asked for, or ``name``.
        country: of the flag.
        language: of the question.
        fact_language: of names and facts.
        world: whose table holds.
        candidates: countries named behind the question, in order.
        injected: the object of every candidate as it is injected; empty where nothing is.
        answer: by what is injected, or by the table of the world.
        true_answer: by the table of the world.
        variant: which drawing of the flag.
        arm: none, random, swapped, true or oracle.
        middle: of a question of two steps: what the injected facts lead to, and the fact that is injected there.
        bridge: what the fact that answers hangs from: the country, or after a first step the entity it leads to.
    """

    id: str
    relation: str
    country: str
    language: str
    fact_language: str
    world: int
    candidates: tuple[str, ...]
    injected: tuple[str | None, ...]
    answer: str
    true_answer: str
    variant: int
    arm: str = "none"
    middle: tuple[tuple[str, str], ...] = ()
    bridge: str | None = None

    @property
    def all_injected(self) -> tuple[str | None, ...]:
        """The injected objects that may be the answer."""
        return tuple(fact for _, fact in self.middle) if self.relation in TWO_STEPS else self.injected


def table_of(data: AtlasFlagsData, world: int) -> Table:
    """The table of a world: the real one, or objects drawn at random, each as likely as the others."""
    tables: dict[str, Mapping[str, str]] = {}
    for relation in data.steps:
        if relation in TWO_STEPS:
            between, ends = steps_of(data, world, relation)
            tables[relation] = {code: ends[between[code]] for code in data.countries}
        elif world != REAL:
            tables[relation] = _drawn(data, world, relation, data.countries)
        elif relation in data.relations:
            tables[relation] = true_tables(data.atlas, (relation,))[relation]
    if world == REAL:
        for relation in data.relations:
            if relation in TWO_STEPS:
                tables.setdefault(TWO_STEPS[relation].first, real_steps(data.atlas, relation)[0])
    return tables


def steps_of(data: AtlasFlagsData, world: int, relation: str) -> tuple[Mapping[str, str], Mapping[str, str]]:
    """The tables of the two steps of a relation in a world: of countries, and of what the first step leads to."""
    if world == REAL:
        return real_steps(data.atlas, relation)
    first = TWO_STEPS[relation].first
    between = _drawn(data, world, first, data.countries)
    return between, _drawn(data, world, relation, data.objects[first])


def _drawn(data: AtlasFlagsData, world: int, relation: str, subjects: Sequence[str]) -> dict[str, str]:
    objects = data.objects[relation]
    drawn = data.draw("world", world, relation).below(len(objects), len(subjects)).tolist()
    return {subject: objects[number] for subject, number in zip(subjects, drawn, strict=True)}


def generate(data: AtlasFlagsData, side: str) -> list[FlagQuestion]:
    """The questions of a side, with nothing injected yet; those of the real table in another order for every seed.

    Raises:
        UserError: the fold holds out no country, or all.
    """
    count = data.questions if side == "train" else data.eval_questions
    draw = data.draw("flags", side)
    rolls = draw.words(count, 7 + data.distractors).tolist()
    able = _askable(data, side)
    if not able:
        raise UserError(
            f"fold {data.fold} of the split {data.split} leaves nothing to ask in {side} about {len(data.countries)} "
            "countries; take another data.fold, or more data.territories"
        )
    tables: dict[int, Table] = {}
    found = []
    for number, roll in enumerate(rolls):
        relation, country = able[pick(roll[0], len(able))]
        language, injected = _languages(data, side, roll[1], roll[2])
        world = REAL
        if data.graph == "worlds":
            world = _TEST_WORLDS.get(side, 0) + pick(roll[3], data.worlds if side == "train" else 64)
        if world not in tables:
            tables[world] = table_of(data, world)
        answer = tables[world][relation][country]
        bridge = f"territory:{country}"
        if relation in TWO_STEPS:
            bridge = tables[world][TWO_STEPS[relation].first][country]
        found.append(
            FlagQuestion(
                id=f"flag-{data.split}-{side}-{number:06d}",
                relation=relation,
                country=country,
                language=language,
                fact_language=injected,
                world=world,
                candidates=_candidates(data, country, roll[4:]),
                injected=(None,) * (1 + data.distractors),
                answer=answer,
                true_answer=answer,
                variant=pick(roll[5], data.variants) if side == "train" else 0,
                bridge=bridge,
            )
        )
    return found


def name_questions(data: AtlasFlagsData) -> list[FlagQuestion]:
    """Questions for the country itself, with names behind them and nothing injected."""
    named = generate(replace(data, questions=data.num_name_questions, seed=data.seed + 1), "train")
    return [
        replace(
            one,
            id=f"name-{one.id}",
            relation=NAME,
            answer=f"territory:{one.country}",
            true_answer=f"territory:{one.country}",
            bridge=None,
        )
        for one in named
    ]


def inject(data: AtlasFlagsData, questions: Sequence[FlagQuestion], arm: str, draw: RandomStream) -> list[FlagQuestion]:
    """Tell facts at the candidates.

    Args:
        data: the settings.
        questions: from :func:`generate`.
        arm: ``true``: the facts of the question's world; ``swapped``: every object is another one, and the gold
            answer follows it; ``random``: objects drawn at random, and the gold answer stays; ``oracle``: the needed
            fact alone; ``none``: nothing.
        draw: random stream.
    """
    if arm == "none":
        return [replace(one, arm=arm) for one in questions]
    words = draw.words(len(questions), 2 + data.distractors + 1).tolist()
    second = draw.child("second").words(len(questions), 2 + 2 * data.distractors).tolist()
    tables: dict[int, Table] = {}
    found = []
    for one, roll, others in zip(questions, words, second, strict=True):
        if one.relation == NAME:
            found.append(one)
            continue
        if one.relation in TWO_STEPS:
            found.append(_inject_two(data, one, arm, [*roll, *others]))
            continue
        if one.world not in tables:
            tables[one.world] = table_of(data, one.world)
        table, objects = tables[one.world][one.relation], data.objects[one.relation]
        injected: list[str | None] = [table[country] for country in one.candidates]
        answer = one.true_answer
        if arm == "random":
            injected = [objects[pick(word, len(objects))] for word in roll[: len(injected)]]
        elif arm == "oracle":
            injected = [
                fact if country == one.country else None for fact, country in zip(injected, one.candidates, strict=True)
            ]
        elif arm == "swapped":
            injected = [_another(objects, fact, word) for fact, word in zip(injected, roll, strict=False)]
            answer = injected[one.candidates.index(one.country)] or answer
        found.append(replace(one, injected=tuple(injected), answer=answer, arm=arm))
    return found


def _inject_two(data: AtlasFlagsData, one: FlagQuestion, arm: str, roll: Sequence[int]) -> FlagQuestion:
    """Tell both steps: one at the names of countries, the other at what it leads to, in an order of its own."""
    between, ends = steps_of(data, one.world, one.relation)
    middles, objects = data.objects[TWO_STEPS[one.relation].first], data.objects[one.relation]
    first, second = roll[: len(one.candidates)], roll[len(one.candidates) :]
    injected: list[str | None] = [between[country] for country in one.candidates]
    if arm == "random":
        injected = [middles[pick(word, len(middles))] for word in first]
    elif arm == "swapped":
        injected = [_another(middles, fact, word) for fact, word in zip(injected, first, strict=True)]
    elif arm == "oracle":
        injected = [between[country] if country == one.country else None for country in one.candidates]
    reached = dict.fromkeys(fact for fact in injected if fact is not None)
    facts = {middle: ends[middle] for middle in reached}
    if arm == "random":
        facts = {middle: objects[pick(word, len(objects))] for middle, word in zip(reached, second, strict=False)}
    elif arm == "swapped":
        able = {middle: [end for end in objects if end not in (ends[middle], one.true_answer)] for middle in reached}
        facts = {
            middle: able[middle][pick(word, len(able[middle]))] if able[middle] else _another(objects, ends[middle], 0)
            for middle, word in zip(reached, second, strict=False)
        }
    answer, bridge = one.true_answer, one.bridge
    if arm == "swapped":
        bridge = str(injected[one.candidates.index(one.country)])
        answer = facts[bridge]
    order = sorted(facts, key=lambda middle: second[-1 - list(facts).index(middle)])
    shown = tuple((middle, facts[middle]) for middle in order)
    return replace(one, injected=tuple(injected), middle=shown, answer=answer, arm=arm, bridge=bridge)


def _another(objects: Sequence[str], held: str | None, word: int) -> str:
    others = [entity for entity in objects if entity != held]
    return others[pick(word, len(others))] if others else objects[0]


def _askable(data: AtlasFlagsData, side: str) -> list[tuple[str, str]]:
    """Relations and countries that a side asks about; of held-out facts only those whose answer training knows."""
    asked = data.steps if data.split == "hop" else data.relations
    every = [(relation, code) for relation in asked for code in data.countries]
    if data.split not in ("fact", "hop"):
        return every
    if data.split == "hop" and side == "test":
        return [(relation, code) for relation, code in every if data.holds_out(code, relation)]
    real = true_tables(data.atlas, data.relations)
    kept = [(relation, code) for relation, code in every if not data.holds_out(code, relation)]
    if side != "test":
        return kept
    known = {(relation, real[relation][code]) for relation, code in kept}
    return [
        (relation, code)
        for relation, code in every
        if data.holds_out(code, relation) and (relation, real[relation][code]) in known
    ]


def _languages(data: AtlasFlagsData, side: str, first: int, second: int) -> tuple[str, str]:
    """Languages of question and facts; with ``joint`` they are the same in training and never in the test."""
    language = data.languages[pick(first, len(data.languages))]
    if data.split != "joint":
        return language, data.fact_languages[pick(second, len(data.fact_languages))]
    if side != "test":
        return language, language
    others = [one for one in dict.fromkeys((*data.fact_languages, *data.languages)) if one != language]
    return language, others[pick(second, len(others))]


def _candidates(data: AtlasFlagsData, country: str, rolls: Sequence[int]) -> tuple[str, ...]:
    others = [code for code in data.countries if code != country]
    chosen = [country]
    for word in rolls[2 : 2 + data.distractors]:
        chosen.append(others.pop(pick(word, len(others))))
    place = pick(rolls[0], len(chosen))
    chosen[0], chosen[place] = chosen[place], chosen[0]
    return tuple(chosen)
