"""Statements, choices and phrases about scenes, each with its truth known from the scene."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from mm_kptm.random_streams import RandomStream, pick
from mm_kptm.suites.number_world.generator.captions import CaptionText, describe
from mm_kptm.suites.number_world.generator.language import indefinite, words
from mm_kptm.suites.number_world.generator.lexicon import answers, surface
from mm_kptm.suites.number_world.generator.parallel import say
from mm_kptm.suites.number_world.generator.questions import generate
from mm_kptm.suites.number_world.generator.scene import COLOURS, Scenes, Thing, compose
from mm_kptm.suites.number_world.generator.splits import Part, scene_masks
from mm_kptm.suites.number_world.generator.statements import VERDICTS

CHOICES = 4  #: most answers to choose from


@dataclass(frozen=True)
class PairStatement:
    """A number, and whether both of two scenes show it (as NLVR2: Suhr et al. 2019)."""

    id: str
    language: str
    left: int
    right: int
    words: tuple[str, ...]
    holds: bool


@dataclass(frozen=True)
class SceneStatement:
    """A sentence about a scene that it entails, contradicts or leaves open (as SNLI-VE: Xie et al. 2019)."""

    id: str
    language: str
    scene: int
    sentence: CaptionText
    verdict: str


@dataclass(frozen=True)
class Choosing:
    """A question about a scene with candidates in words; the right one is at ``right``."""

    id: str
    type: str
    language: str
    scene: int
    question: tuple[str, ...]
    candidates: tuple[tuple[str, ...], ...]
    right: int


@dataclass(frozen=True)
class Phrases:
    """A caption of a scene; each phrase ends at a word and means a region."""

    id: str
    language: str
    scene: int
    words: tuple[str, ...]
    ends: tuple[int, ...]  #: index of the last word of each phrase
    regions: tuple[int, ...]


def drawn(part: Part, count: int, draw: RandomStream, numbers: int) -> Scenes:
    """Scenes of one side of a split."""
    allowed, focus = scene_masks(part, numbers)
    return compose(part.side, count, draw, numbers=numbers, sizes=part.sizes, allowed=allowed, focus=focus)


def pair_statements(
    part: Part, count: int, draw: RandomStream, *, numbers: int = 100
) -> tuple[Scenes, tuple[PairStatement, ...]]:
    """Statements about two scenes each: a number that both show, or only one of them; half of them are true."""
    scenes = drawn(part, count, draw.child("scenes"), numbers)
    shown = [{thing.value for thing in scenes.things(scene)} for scene in range(count)]
    languages, found = part.languages, []
    for left, roll in enumerate(draw.child("statements").words(count, 4).tolist()):
        language = languages[pick(roll[0], len(languages))]
        turn = 1 + pick(roll[1], max(count - 1, 1))
        others = [(left + turn + step) % count for step in range(count)]
        partners = [other for other in others if other != left] or [left]
        shared = next((other for other in partners if shown[left] & shown[other]), None)
        apart = next((other for other in partners if shown[left] - shown[other]), None)
        holds = shared is not None and (roll[2] % 2 == 0 or apart is None)
        right = shared if holds else apart
        if right is None:  # one scene alone
            right, holds = left, True
        values = sorted(shown[left] & shown[right] if holds else shown[left] - shown[right])
        value = values[pick(roll[3], len(values))]
        ends = (left, right) if holds or roll[2] % 4 < 2 else (right, left)
        said = words(indefinite(value, None, language), language)
        found.append(PairStatement(f"pair-{part.split}-{part.side}-{left:06d}", language, *ends, said, holds))
    return scenes, tuple(found)


def entailed(
    part: Part, count: int, draw: RandomStream, *, numbers: int = 100
) -> tuple[Scenes, tuple[SceneStatement, ...]]:
    """Statements about the colour of a number: the true one, a false one, or of a number that is not there."""
    scenes = drawn(part, count, draw.child("scenes"), numbers)
    languages, found = part.languages, []
    for scene, roll in enumerate(draw.child("statements").words(count, 5).tolist()):
        language = languages[pick(roll[0], len(languages))]
        things = scenes.things(scene)
        verdict = VERDICTS[pick(roll[1], len(VERDICTS))]
        thing = things[pick(roll[2], len(things))]
        value, colour = thing.value, thing.colour
        if verdict == "neutral":
            absent = [other for other in range(numbers) if all(other != one.value for one in things)]
            value = absent[pick(roll[3], len(absent))]
        elif verdict == "contradiction":
            colour = _another(thing, roll[3])
        said = say(("colour", value, colour), language, pick(roll[4], 2))
        found.append(SceneStatement(f"entailed-{part.split}-{part.side}-{scene:06d}", language, scene, said, verdict))
    return scenes, tuple(found)


def choosing(
    part: Part, count: int, draw: RandomStream, *, numbers: int = 100, types: Sequence[str] | None = None
) -> tuple[Scenes, tuple[Choosing, ...]]:
    """Visual questions with up to four candidate answers of one kind."""
    scenes, asked = generate(part if types is None else replace(part, types=tuple(types)), count, draw, numbers=numbers)
    found = []
    for one, roll in zip(asked, draw.child("candidates").words(count, 8).tolist(), strict=True):
        label = one.answer.label
        alike = [other for other in answers(numbers) if _kind(other) == _kind(label) and other != label]
        wrong = []
        for word in roll[1:CHOICES]:
            if alike:
                wrong.append(alike.pop(pick(word, len(alike))))
        right = pick(roll[0], len(wrong) + 1)
        labels = [*wrong[:right], label, *wrong[right:]]
        candidates = tuple(words(surface(other, one.language), one.language) for other in labels)
        found.append(Choosing(one.id, one.type, one.language, one.scene, one.words, candidates, right))
    return scenes, tuple(found)


def reasoned(
    part: Part, count: int, draw: RandomStream, *, numbers: int = 100
) -> tuple[Scenes, tuple[tuple[Choosing, Choosing], ...]]:
    """Questions about a colour, with candidate answers, and with candidate rationales once the answer is known.

    The right rationale states the colour of the number asked about. The others are true of another number, and false of
    the number asked about and of another.
    """
    scenes, asked = choosing(part, count, draw, numbers=numbers, types=("colour",))
    found = []
    for one, roll in zip(asked, draw.child("rationales").words(count, 6).tolist(), strict=True):
        things, language = scenes.things(one.scene), one.language
        meant = next((thing for thing in things if _names(one, thing)), things[int(scenes.focus[one.scene])])
        other = next(thing for thing in things if thing is not meant)
        named = [
            (other.value, other.colour),
            (meant.value, _another(meant, roll[0])),
            (other.value, _another(other, roll[1])),
        ]
        right = pick(roll[2], CHOICES)
        named.insert(right, (meant.value, meant.colour))
        rationales = tuple(say(("colour", value, colour), language, pick(roll[3], 2)).words for value, colour in named)
        found.append((one, Choosing(one.id, "rationale", language, one.scene, one.question, rationales, right)))
    return scenes, tuple(found)


def phrased(part: Part, count: int, draw: RandomStream, *, numbers: int = 100) -> tuple[Scenes, tuple[Phrases, ...]]:
    """Captions of scenes whose phrases, a colour and a number, mean one region each."""
    scenes = drawn(part, count, draw.child("scenes"), numbers)
    languages, found = part.languages, []
    for scene, roll in enumerate(draw.child("captions").words(count, 2).tolist()):
        language = languages[pick(roll[0], len(languages))]
        things = scenes.things(scene)
        caption = describe(things, language, pick(roll[1], 4)).words
        ends, regions, start = [], [], 0
        for region in sorted(range(len(things)), key=lambda row: things[row].box[0]):
            phrase = words(indefinite(things[region].value, things[region].colour, language), language)
            first = next(at for at in range(start, len(caption)) if caption[at : at + len(phrase)] == phrase)
            start = first + len(phrase)
            ends.append(start - 1)
            regions.append(region)
        id_ = f"phrases-{part.split}-{part.side}-{scene:06d}"
        found.append(Phrases(id_, language, scene, caption, tuple(ends), tuple(regions)))
    return scenes, tuple(found)


def _names(one: Choosing, thing: Thing) -> bool:
    """Whether a question is about a thing: its name is among the words."""
    (name,) = words(surface(f"number:{thing.value}", one.language), one.language)
    return name in one.question


def _another(thing: Thing, roll: int) -> str:
    colours = [colour for colour in COLOURS if colour != thing.colour]
    return colours[pick(roll, len(colours))]


def _kind(label: str) -> str:
    return label.partition(":")[0] if ":" in label else "word"
