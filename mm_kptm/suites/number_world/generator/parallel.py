"""Parallel sentences in five languages, with dev and test sets disjoint from the training data.

Every sentence has a meaning (a tuple of numbers and labels). A hash of the meaning alone decides its side: 80 % train,
10 % dev and 10 % test. A held-out sentence is therefore held out in all languages and templates.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from zlib import crc32

from mm_kptm.errors import UserError
from mm_kptm.random_streams import RandomStream, pick
from mm_kptm.suites.number_world.generator.captions import CaptionText, describe
from mm_kptm.suites.number_world.generator.facts import RANGES
from mm_kptm.suites.number_world.generator.language import colour_slots, fill, words
from mm_kptm.suites.number_world.generator.lexicon import surface
from mm_kptm.suites.number_world.generator.numerals import LANGUAGES, name
from mm_kptm.suites.number_world.generator.scene import COLOURS, SIZES, SLOT_WIDTH, Thing
from mm_kptm.suites.number_world.generator.wordings.statement_wording import STATED
from mm_kptm.suites.number_world.generator.wordings.wording import SIDES

#: Topics of sentences.
TOPICS = ("caption", "colour", "beside", "larger", *RANGES)


@dataclass(frozen=True)
class ParallelCorpus:
    """Parallel sentence: one meaning in several languages."""

    id: str
    side: str
    type: str
    meaning: tuple[str | int, ...]
    sentences: Mapping[str, CaptionText]  #: by language; templates differ


def corpus(
    side: str,
    count: int,
    draw: RandomStream,
    *,
    numbers: int = 100,
    languages: Sequence[str] = LANGUAGES,
    topics: Sequence[str] = TOPICS,
    sizes: Sequence[int] = SIZES,
) -> tuple[ParallelCorpus, ...]:
    """Draw ``count`` different parallel sentences of one side.

    The statements belong to no particular world: that the 27 belongs to Anna holds in some. With few numbers the short
    topics run out, and the remaining sentences are captions.

    Raises:
        UserError: an unknown topic, or more sentences than the topics have.
    """
    unknown = sorted(set(topics) - set(TOPICS))
    if unknown:
        raise UserError(f"there are no sentences about {unknown[0]!r}; the topics are {', '.join(TOPICS)}")
    stream = draw.child("corpus", side)
    seen: set[tuple[str | int, ...]] = set()
    sentences: list[ParallelCorpus] = []
    fruitless = 0
    while len(sentences) < count:
        before = len(sentences)
        for roll in stream.words(1024, 24).tolist():
            meaning = _meaning(topics[pick(roll[0], len(topics))], roll[1:14], numbers, sizes)
            if meaning in seen or side_of(meaning) != side or len(sentences) == count:
                continue
            seen.add(meaning)
            said = {
                language: say(meaning, language, pick(word, len(STATED[language][str(meaning[0])])))
                for language, word in zip(languages, roll[14:], strict=False)
            }
            sentences.append(
                ParallelCorpus(f"parallel-{side}-{len(sentences):06d}", side, str(meaning[0]), meaning, said)
            )
        fruitless = fruitless + 1 if len(sentences) == before else 0
        if fruitless == 16:
            raise UserError(
                f"{count} different sentences were asked for, but only {len(sentences)} were found about "
                f"{', '.join(topics)}; ask for fewer or add the topic caption"
            )
    return tuple(sentences)


def side_of(meaning: tuple[str | int, ...]) -> str:
    """Side of a meaning: train, dev or test."""
    tenth = crc32("|".join(map(str, meaning)).encode()) % 10
    return ("test", "dev")[tenth] if tenth < 2 else "train"


def say(meaning: tuple[str | int, ...], language: str, form: int) -> CaptionText:
    """Render a meaning in one language and template.

    >>> say(("owner", 27, "person:anna"), "fr", 0).text, say(("colour", 27, "red"), "de", 1).text
    ('Le vingt-sept appartient à Anna.', 'Die Farbe der Siebenundzwanzig ist Rot.')
    """
    topic, *rest = meaning
    if topic == "caption":
        things = [
            Thing(int(value), str(colour), (index * SLOT_WIDTH, 0, index * SLOT_WIDTH + 1, 1))
            for index, (value, colour) in enumerate(zip(rest[::2], rest[1::2], strict=True))
        ]
        return describe(things, language, form)
    slots = {"n": name(int(rest[0]), language)}
    match topic:
        case "colour":
            slots |= colour_slots(str(rest[1]), language)
        case "beside":
            slots |= {"side": SIDES[language][int(rest[1])], "m": name(int(rest[2]), language)}
        case "larger":
            slots |= {"m": name(int(rest[1]), language)}
        case _:
            slots |= {"o": surface(str(rest[1]), language)}
    text = fill(STATED[language][str(topic)][form], language, **slots)
    return CaptionText(text, words(text, language))


def _meaning(topic: str, rolls: Sequence[int], numbers: int, sizes: Sequence[int]) -> tuple[str | int, ...]:
    first = pick(rolls[0], numbers)
    second = (first + 1 + pick(rolls[1], numbers - 1)) % numbers
    match topic:
        case "caption":
            size = sizes[pick(rolls[2], len(sizes))]
            values: list[int] = []
            for roll in rolls[3 : 3 + size]:
                value = pick(roll, numbers - len(values))
                for other in sorted(values):
                    value += other <= value  # skip values that are present
                values.append(value)
            colours = [COLOURS[pick(roll, len(COLOURS))] for roll in rolls[8 : 8 + size]]
            return (topic, *(item for pair in zip(values, colours, strict=True) for item in pair))
        case "colour":
            return (topic, first, COLOURS[pick(rolls[2], len(COLOURS))])
        case "beside":
            return (topic, first, pick(rolls[2], 2), second)
        case "larger":
            return (topic, max(first, second), min(first, second))
        case _:
            return (topic, first, RANGES[topic][pick(rolls[2], len(RANGES[topic]))])
