"""Visual questions about scenes, and the question record."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mm_kptm.errors import UserError
from mm_kptm.random_streams import RandomStream, pick
from mm_kptm.suites.number_world.generator.language import colour_slots, fill, indefinite, words
from mm_kptm.suites.number_world.generator.lexicon import surface
from mm_kptm.suites.number_world.generator.numerals import name
from mm_kptm.suites.number_world.generator.scene import COLOURS, Scenes, Thing, compose
from mm_kptm.suites.number_world.generator.splits import Part, scene_masks
from mm_kptm.suites.number_world.generator.wordings.wording import MORE, MOST, SEEN, SIDES


@dataclass(frozen=True)
class Answer:
    """Gold answer: a language-neutral label and its surface form in the question's language."""

    label: str
    surface: str


@dataclass(frozen=True)
class InjectedFact:
    """Fact injected as in K-BERT: its words, and the index of the word they are attached to."""

    anchor: int
    words: tuple[str, ...]


@dataclass(frozen=True)
class Question:
    """Question about a scene."""

    id: str
    split: str
    side: str
    type: str
    language: str
    scene: int  #: index in its set of scenes
    world: int | None  #: None if no fact is needed
    form: int  #: which of the four templates
    sentence: str  #: question text
    words: tuple[str, ...]  #: model input; with knowledge, the question, [SEP] and the names that carry facts
    answer: Answer
    branches: tuple[InjectedFact, ...] = ()
    subject: int | None = None  #: index of the region asked about, in its scene


@dataclass(frozen=True)
class AskedNumber:
    """Question content for a scene: slots of the template, answer label, region asked about."""

    slots: Mapping[str, str]
    label: str
    subject: int | None = None


def generate(part: Part, count: int, draw: RandomStream, *, numbers: int = 100) -> tuple[Scenes, tuple[Question, ...]]:
    """Draw ``count`` scenes and one question about each.

    Yes and no are equally likely, as are the types; a type that is impossible for a scene (comparing numbers that
    share their colours with others) is replaced by a question about the focus.
    """
    types = TYPES if part.types is None else part.types
    unknown = sorted(set(types) - set(TYPES))
    if unknown:
        raise UserError(f"there is no question of type {unknown[0]!r}; the types are {', '.join(TYPES)}")
    allowed, focus = scene_masks(part, numbers)
    scenes = compose(
        part.side, count, draw.child("scenes"), numbers=numbers, sizes=part.sizes, allowed=allowed, focus=focus
    )
    shown = np.ones_like(allowed) if part.asks_held_cells else allowed
    rolls = draw.child("questions").words(count, 8).tolist()
    languages = part.languages
    questions = []
    for scene in range(count):
        roll = rolls[scene]
        type_, language = types[pick(roll[0], len(types))], languages[pick(roll[1], len(languages))]
        form = part.forms[pick(roll[2], len(part.forms))]
        view = _View(
            scenes.things(scene), int(scenes.focus[scene]), language, roll[3:], numbers, part.asks_held_cells, shown
        )
        asked = _ASK[type_](view)
        if asked is None:
            type_ = "number"
            asked = _number(view)
        sentence = fill(SEEN[language][_WORDING.get(type_, type_)][form], language, **asked.slots)
        questions.append(
            Question(
                id=f"vqa-{part.split}-{part.side}-{scene:06d}",
                split=part.split,
                side=part.side,
                type=type_,
                language=language,
                scene=scene,
                world=None,
                form=form,
                sentence=sentence,
                words=words(sentence, language),
                answer=Answer(asked.label, surface(asked.label, language)),
                subject=asked.subject,
            )
        )
    return scenes, tuple(questions)


@dataclass(frozen=True)
class _View:
    """Scene with the random words for a question about it."""

    things: Sequence[Thing]
    focus: int
    language: str
    rolls: Sequence[int]
    numbers: int
    only_focus: bool
    shown: NDArray[np.bool_]  #: colour-number cells that a question may name, [numbers, 8]

    def some(self, roll: int) -> int:
        """Index of a random region, or of the focus if only it may be asked about."""
        return self.focus if self.only_focus else pick(self.rolls[roll], len(self.things))

    def alone(self) -> list[int]:
        """Indices of the regions with a unique colour."""
        colours = [thing.colour for thing in self.things]
        return [index for index, colour in enumerate(colours) if colours.count(colour) == 1]

    def heads(self, roll: int) -> bool:
        return bool(pick(self.rolls[roll], 2))


def _colour(view: _View) -> AskedNumber:
    subject = view.some(0)
    thing = view.things[subject]
    return AskedNumber({"n": name(thing.value, view.language)}, f"colour:{thing.colour}", subject)


def _number(view: _View) -> AskedNumber:
    alone = [view.focus] if view.only_focus else view.alone()
    subject = alone[pick(view.rolls[0], len(alone))]
    thing = view.things[subject]
    return AskedNumber(colour_slots(thing.colour, view.language), f"number:{thing.value}", subject)


def _count(view: _View) -> AskedNumber:
    return AskedNumber({}, f"count:{len(view.things)}")


def _count_colour(view: _View) -> AskedNumber:
    """Count a colour that is mostly present, so that zero is not the usual answer."""
    here = [thing.colour for thing in view.things]
    colour = (
        here[pick(view.rolls[1], len(here))] if pick(view.rolls[0], 4) else COLOURS[pick(view.rolls[1], len(COLOURS))]
    )
    return AskedNumber(colour_slots(colour, view.language), f"count:{here.count(colour)}")


def _exists(view: _View) -> AskedNumber:
    values = [thing.value for thing in view.things]
    if view.heads(0):
        subject = pick(view.rolls[1], len(values))
        return AskedNumber({"x": indefinite(values[subject], None, view.language)}, "yes", subject)
    absent = pick(view.rolls[1], view.numbers - len(values))
    for value in sorted(values):
        absent += value <= absent  # skip values that are present
    return AskedNumber({"x": indefinite(absent, None, view.language)}, "no")


def _exists_coloured(view: _View) -> AskedNumber | None:
    """Ask for a coloured number; negatives combine a number and a colour of different regions."""
    subject = view.some(1)
    thing = view.things[subject]
    if view.heads(0):
        return AskedNumber({"x": indefinite(thing.value, thing.colour, view.language)}, "yes", subject)
    # held-out cells are not named either, or training would teach that their answer is no
    colours = [c for k, c in enumerate(COLOURS) if c != thing.colour and view.shown[thing.value, k]]
    near = {other.colour for other in view.things}
    colours = [colour for colour in colours if colour in near] or colours
    if not colours:
        return None
    wrong = colours[pick(view.rolls[2], len(colours))]
    return AskedNumber({"x": indefinite(thing.value, wrong, view.language)}, "no", subject)


def _side(view: _View, side: int) -> AskedNumber:
    index = sorted(range(len(view.things)), key=lambda row: view.things[row].box[0])[-side]
    return AskedNumber({"side": SIDES[view.language][side]}, f"number:{view.things[index].value}", index)


def _extreme(view: _View, rank: int) -> AskedNumber:
    index = sorted(range(len(view.things)), key=lambda row: view.things[row].value)[rank - 1]
    return AskedNumber({"most": MOST[view.language][rank]}, f"number:{view.things[index].value}", index)


def _compare(view: _View) -> AskedNumber | None:
    alone = view.alone()
    if len(alone) < 2:
        return None
    first = pick(view.rolls[0], len(alone))
    second = (first + 1 + pick(view.rolls[1], len(alone) - 1)) % len(alone)
    one, other = view.things[alone[first]], view.things[alone[second]]
    smaller = int(view.heads(2))
    holds = (one.value < other.value) == bool(smaller)
    slots = {**colour_slots(one.colour, view.language), **colour_slots(other.colour, view.language, "d")}
    return AskedNumber({**slots, "more": MORE[view.language][smaller]}, _yes(holds), alone[first])


def _beside(view: _View) -> AskedNumber:
    first = pick(view.rolls[0], len(view.things))
    second = (first + 1 + pick(view.rolls[1], len(view.things) - 1)) % len(view.things)
    one, other = view.things[first], view.things[second]
    side = int(view.heads(2))
    holds = (one.box[0] > other.box[0]) == bool(side)
    slots = {"n": name(one.value, view.language), "m": name(other.value, view.language)}
    return AskedNumber({**slots, "side": SIDES[view.language][side]}, _yes(holds), first)


def _yes(holds: bool) -> str:
    return "yes" if holds else "no"


_ASK: Mapping[str, Callable[[_View], AskedNumber | None]] = {
    "colour": _colour,
    "number": _number,
    "count": _count,
    "count-colour": _count_colour,
    "exists": _exists,
    "exists-coloured": _exists_coloured,
    "leftmost": lambda view: _side(view, 0),
    "rightmost": lambda view: _side(view, 1),
    "largest": lambda view: _extreme(view, 0),
    "smallest": lambda view: _extreme(view, 1),
    "compare": _compare,
    "beside": _beside,
}
TYPES = tuple(_ASK)
#: Types that share the templates of another type.
_WORDING = {
    "exists-coloured": "exists", "leftmost": "side", "rightmost": "side", "largest": "extreme", "smallest": "extreme",
}  # fmt: skip
