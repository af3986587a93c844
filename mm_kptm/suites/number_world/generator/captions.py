"""Texts about scenes: captions, hard negative captions, and referring expressions."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from mm_kptm.random_streams import RandomStream, pick
from mm_kptm.suites.number_world.generator.language import colour_slots, fill, indefinite, words
from mm_kptm.suites.number_world.generator.numerals import LANGUAGES, name
from mm_kptm.suites.number_world.generator.scene import COLOURS, Scenes, Thing, compose
from mm_kptm.suites.number_world.generator.splits import Part, scene_masks
from mm_kptm.suites.number_world.generator.wordings.statement_wording import JOINTS, REFERRED, STATED
from mm_kptm.suites.number_world.generator.wordings.wording import MOST, SIDES


@dataclass(frozen=True)
class CaptionText:
    """Text with its words as a model reads them."""

    text: str
    words: tuple[str, ...]


@dataclass(frozen=True)
class Negative:
    """Hard negative caption with one error: ``colour``, ``number``, ``colours`` (two exchanged) or ``order``."""

    kind: str
    sentence: CaptionText


@dataclass(frozen=True)
class Caption:
    """Caption of a scene in several languages, with hard negatives in each."""

    id: str
    split: str
    side: str
    scene: int
    sentences: Mapping[str, CaptionText]  #: by language
    negatives: Mapping[str, tuple[Negative, ...]]  #: by language, of the same kinds in each


@dataclass(frozen=True)
class Referring:
    """Expression that refers to one region of a scene."""

    id: str
    split: str
    side: str
    type: str
    language: str
    scene: int
    sentence: CaptionText
    target: int  #: index of the region in its scene


def describe(things: Sequence[Thing], language: str, form: int) -> CaptionText:
    """Describe a scene from left to right.

    >>> describe([Thing(8, "orange", (0, 0, 8, 8)), Thing(27, "red", (20, 0, 36, 8))], "en", 0).text
    'From left to right there is an orange eight and a red twenty-seven.'
    """
    ordered = sorted(things, key=lambda thing: thing.box[0])
    items = [indefinite(thing.value, thing.colour, language) for thing in ordered]
    if language == "zh":
        items = [f"一个{item}" for item in items]
    comma, last = JOINTS[language]
    listed = items[0] if len(items) == 1 else comma.join(items[:-1]) + last + items[-1]
    return _sentence(fill(STATED[language]["caption"][form], language, list=listed), language)


def captions(
    part: Part, count: int, draw: RandomStream, *, numbers: int = 100, languages: Sequence[str] = LANGUAGES
) -> tuple[Scenes, tuple[Caption, ...]]:
    """Draw ``count`` scenes with a caption in every language, by the same template."""
    allowed, focus = scene_masks(part, numbers)
    scenes = compose(
        part.side, count, draw.child("scenes"), numbers=numbers, sizes=part.sizes, allowed=allowed, focus=focus
    )
    rolls = draw.child("captions").words(count, 8).tolist()
    described = []
    for scene, roll in enumerate(rolls):
        things = scenes.things(scene)
        form = part.forms[pick(roll[0], len(part.forms))]
        wrong = _near_misses(things, numbers, roll[1:])
        described.append(
            Caption(
                id=f"caption-{part.split}-{part.side}-{scene:06d}",
                split=part.split,
                side=part.side,
                scene=scene,
                sentences={language: describe(things, language, form) for language in languages},
                negatives={
                    language: tuple(Negative(kind, describe(other, language, form)) for kind, other in wrong.items())
                    for language in languages
                },
            )
        )
    return scenes, tuple(described)


def _near_misses(things: Sequence[Thing], numbers: int, rolls: Sequence[int]) -> dict[str, list[Thing]]:
    """Scenes that differ in one respect, by kind; a kind that is impossible for the scene is left out."""
    index = pick(rolls[0], len(things))
    thing = things[index]
    colours = [colour for colour in COLOURS if colour != thing.colour]
    values = [value for value in range(numbers) if all(value != other.value for other in things)]
    other = next((k for k, one in enumerate(things) if one.colour != thing.colour), None)
    neighbours = sorted(range(len(things)), key=lambda row: things[row].box[0])
    first = pick(rolls[3], len(things) - 1)
    left, right = neighbours[first], neighbours[first + 1]
    misses = {
        "colour": _changed(things, {index: replace(thing, colour=colours[pick(rolls[1], len(colours))])}),
        "number": _changed(things, {index: replace(thing, value=values[pick(rolls[2], len(values))])}),
        "order": _changed(
            things,
            {left: replace(things[left], box=things[right].box), right: replace(things[right], box=things[left].box)},
        ),
    }
    if other is not None:
        misses["colours"] = _changed(
            things,
            {index: replace(thing, colour=things[other].colour), other: replace(things[other], colour=thing.colour)},
        )
    return misses


def _changed(things: Sequence[Thing], changes: Mapping[int, Thing]) -> list[Thing]:
    return [changes.get(index, thing) for index, thing in enumerate(things)]


def referring(
    part: Part, count: int, draw: RandomStream, *, numbers: int = 100
) -> tuple[Scenes, tuple[Referring, ...]]:
    """Draw ``count`` scenes with one unambiguous referring expression each."""
    allowed, focus = scene_masks(part, numbers)
    scenes = compose(
        part.side, count, draw.child("scenes"), numbers=numbers, sizes=part.sizes, allowed=allowed, focus=focus
    )
    rolls = draw.child("referring").words(count, 6).tolist()
    languages = part.languages
    expressions = []
    for scene, roll in enumerate(rolls):
        language = languages[pick(roll[0], len(languages))]
        kind = tuple(REFERRED["en"])[pick(roll[1], len(REFERRED["en"]))]
        things, chosen = scenes.things(scene), int(scenes.focus[scene])
        slots, target = _pointed(kind, things, chosen, language, roll[3:])
        forms = REFERRED[language][kind]
        text = forms[pick(roll[2], len(forms))].format_map(slots)
        expressions.append(
            Referring(
                id=f"referring-{part.split}-{part.side}-{scene:06d}",
                split=part.split,
                side=part.side,
                type=kind,
                language=language,
                scene=scene,
                sentence=_sentence(text, language),
                target=target,
            )
        )
    return scenes, tuple(expressions)


def _pointed(
    kind: str, things: Sequence[Thing], focus: int, language: str, rolls: Sequence[int]
) -> tuple[Mapping[str, str], int]:
    """Slots of an expression and the index of the region it refers to."""
    across = sorted(range(len(things)), key=lambda row: things[row].box[0])
    upward = sorted(range(len(things)), key=lambda row: things[row].value)
    way = pick(rolls[0], 2)
    match kind:
        case "colour":
            return colour_slots(things[focus].colour, language), focus
        case "name":
            target = pick(rolls[1], len(things))
            return {"n": name(things[target].value, language)}, target
        case "side":
            return {"side": SIDES[language][way]}, across[-way]
        case "extreme":
            return {"most": MOST[language][way]}, upward[way - 1]
        case _:  # the neighbour of the focus
            index = across.index(focus)
            if not 0 <= index + (1 if way else -1) < len(things):
                way = 1 - way
            target = across[index + (1 if way else -1)]
            return {**colour_slots(things[focus].colour, language), "side": SIDES[language][way]}, target


def _sentence(text: str, language: str) -> CaptionText:
    return CaptionText(text, words(text, language))
