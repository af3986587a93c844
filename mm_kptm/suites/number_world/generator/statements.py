"""Text-only tasks: entity typing, relation classification, natural language inference."""

from collections.abc import Sequence
from dataclasses import dataclass

from mm_kptm.random_streams import RandomStream, pick
from mm_kptm.suites.number_world.generator.captions import CaptionText
from mm_kptm.suites.number_world.generator.facts import World, Worlds
from mm_kptm.suites.number_world.generator.language import fill, words
from mm_kptm.suites.number_world.generator.lexicon import surface
from mm_kptm.suites.number_world.generator.numerals import name
from mm_kptm.suites.number_world.generator.parallel import say, side_of
from mm_kptm.suites.number_world.generator.scene import COLOURS
from mm_kptm.suites.number_world.generator.splits import Part
from mm_kptm.suites.number_world.generator.wordings.statement_wording import STATED

#: Types of numbers (multi-label).
ENTITY_TYPES = ("even", "odd", "multiple-of-three", "prime", "square", "one-digit", "two-digit")
#: Relations that a sentence may state between its two mentions.
STATED_RELATIONS = ("owner", "guild", "home", "parity", "successor", "roman", "larger", "left-of", "right-of")
VERDICTS = ("entailment", "neutral", "contradiction")


@dataclass(frozen=True)
class Typing:
    """Entity typing example: a mentioned number and its types (Ling and Weld 2012; Zhang et al. 2019, section 4.3)."""

    id: str
    side: str
    language: str
    sentence: CaptionText
    mention: int  #: index of the word that names the number
    number: int
    types: tuple[str, ...]


@dataclass(frozen=True)
class Related:
    """Relation classification example: a sentence with two mentions and the stated relation."""

    id: str
    side: str
    language: str
    world: int | None
    sentence: CaptionText
    head: int  #: word index of the first mention
    tail: int  #: word index of the second mention
    relation: str


@dataclass(frozen=True)
class EntailmentPair:
    """Premise and hypothesis, possibly in two languages, as in XNLI (Conneau et al. 2018)."""

    id: str
    side: str
    languages: tuple[str, str]  #: of premise and hypothesis
    premise: CaptionText
    hypothesis: CaptionText
    verdict: str


def types_of(number: int, world: World) -> tuple[str, ...]:
    """Types of a number, in the order of ``ENTITY_TYPES``.

    >>> from mm_kptm.suites.number_world.generator.facts import draw_fixed
    >>> types_of(9, draw_fixed(RandomStream(0)).all[0])
    ('odd', 'multiple-of-three', 'square', 'one-digit')
    """
    truths = {
        "even": world.object(number, "parity") == "parity:even",
        "odd": world.object(number, "parity") == "parity:odd",
        "multiple-of-three": world.object(number, "multiple") == "yes",
        "prime": world.object(number, "prime") == "yes",
        "square": world.object(number, "square") == "yes",
        "one-digit": number < 10,
        "two-digit": number >= 10,
    }
    return tuple(type_ for type_ in ENTITY_TYPES if truths[type_])


def typing(part: Part, count: int, draw: RandomStream, worlds: Worlds) -> tuple[Typing, ...]:
    """Draw sentences about the colour of a number; the types follow from the number, never from the sentence."""
    world, languages = worlds.all[0], part.languages
    examples = []
    for index, roll in enumerate(draw.child("typing").words(count, 4).tolist()):
        language = languages[pick(roll[0], len(languages))]
        number = pick(roll[1], world.numbers)
        sentence = say(("colour", number, COLOURS[pick(roll[2], len(COLOURS))]), language, pick(roll[3], 2))
        mention = _place(sentence, name(number, language), language)
        id = f"typing-{part.side}-{index:06d}"
        examples.append(Typing(id, part.side, language, sentence, mention, number, types_of(number, world)))
    return tuple(examples)


def related(part: Part, count: int, draw: RandomStream, worlds: Worlds) -> tuple[Related, ...]:
    """Draw sentences that state a relation of two mentions: a fact of one of the part's worlds, or a comparison."""
    known, languages = worlds.of(part.worlds), part.languages
    numbers = known[0].numbers
    examples = []
    for index, roll in enumerate(draw.child("related").words(count, 6).tolist()):
        language = languages[pick(roll[0], len(languages))]
        relation = STATED_RELATIONS[pick(roll[1], len(STATED_RELATIONS))]
        number = 1 + pick(roll[2], numbers - 2)  # with a successor and a Roman numeral
        form = pick(roll[4], 2)
        if relation in ("larger", "left-of", "right-of"):
            world, other = None, pick(roll[3], number)
            meaning: tuple[str | int, ...] = ("larger", number, other)
            if relation != "larger":
                meaning = ("beside", number, int(relation == "right-of"), other)
            sentence, tail = say(meaning, language, form), name(other, language)
        else:
            world = known[pick(roll[5], len(known))]
            tail = surface(world.object(number, relation) or "", language)
            wording = STATED[language][relation][form]
            text = fill(wording, language, n=name(number, language), o=tail)
            sentence = CaptionText(text, words(text, language))
        examples.append(
            Related(
                id=f"related-{part.side}-{index:06d}",
                side=part.side,
                language=language,
                world=None if world is None else world.id,
                sentence=sentence,
                head=_place(sentence, name(number, language), language),
                tail=_place(sentence, tail, language),
                relation=relation,
            )
        )
    return tuple(examples)


def entailment(part: Part, count: int, draw: RandomStream, *, numbers: int = 100) -> tuple[EntailmentPair, ...]:
    """Draw entailment pairs about the positions or sizes of two numbers.

    Entailment: the converse (*the 5 is to the right of the 27*). Contradiction: the same claim with the sides
    exchanged. Neutral: the same claim about a third number. The sides of the split share no premise.
    """
    stream, pairs = draw.child("entailment"), part.pairs
    examples: list[EntailmentPair] = []
    while len(examples) < count:
        for roll in stream.words(256, 10).tolist():
            one, other, third = _three(roll[:3], numbers)
            side = pick(roll[3], 2)
            if side_of(("beside", one, side, other)) != part.side or len(examples) == count:
                continue
            verdict = VERDICTS[pick(roll[4], 3)]
            languages = pairs[pick(roll[5], len(pairs))]
            meant = {
                "entailment": ("beside", other, 1 - side, one),
                "contradiction": ("beside", other, side, one),
                "neutral": ("beside", third, (side, 1 - side)[pick(roll[6], 2)], one),
            }[verdict]
            examples.append(
                EntailmentPair(
                    id=f"entailment-{part.side}-{len(examples):06d}",
                    side=part.side,
                    languages=languages,
                    premise=say(("beside", one, side, other), languages[0], pick(roll[7], 2)),
                    hypothesis=say(meant, languages[1], pick(roll[8], 2)),
                    verdict=verdict,
                )
            )
    return tuple(examples)


def _three(rolls: Sequence[int], numbers: int) -> tuple[int, int, int]:
    """Draw three different numbers."""
    first = pick(rolls[0], numbers)
    second = (first + 1 + pick(rolls[1], numbers - 1)) % numbers
    third = pick(rolls[2], numbers - 2)
    for other in sorted((first, second)):
        third += other <= third
    return first, second, third


def _place(sentence: CaptionText, mention: str, language: str) -> int:
    """Word index of a one-word mention in its sentence."""
    (word,) = words(mention, language)
    return sentence.words.index(word)
