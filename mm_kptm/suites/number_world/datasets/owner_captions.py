"""Captions that call the numbers of a scene by their owners, and the facts that say what these own.

"Here is Anna, Boris and Clara, seen from left to right" fits a scene only for those who know which numbers are Anna's.
Owners are drawn afresh for every world, and a caption does not name its world: without facts nobody can know.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mm_kptm.errors import UserError
from mm_kptm.random_streams import RandomStream, pick
from mm_kptm.suites.number_world.generator.captions import CaptionText, captions
from mm_kptm.suites.number_world.generator.facts import World, Worlds
from mm_kptm.suites.number_world.generator.knowledge import ARMS
from mm_kptm.suites.number_world.generator.language import fill, words
from mm_kptm.suites.number_world.generator.lexicon import surface
from mm_kptm.suites.number_world.generator.numerals import name
from mm_kptm.suites.number_world.generator.questions import InjectedFact
from mm_kptm.suites.number_world.generator.scene import Scenes
from mm_kptm.suites.number_world.generator.splits import Part
from mm_kptm.suites.number_world.generator.wordings.statement_wording import JOINTS, STATED


@dataclass(frozen=True)
class TreeCaption:
    """Caption in one language with the facts that hang from its words."""

    id: str
    scene: int
    language: str
    words: tuple[str, ...]
    branches: tuple[InjectedFact, ...] = ()
    world: int | None = None  #: None: it means the same in every world


def owner_captions(
    part: Part,
    count: int,
    draw: RandomStream,
    worlds: Worlds,
    *,
    facts: str = "true",
    languages: Sequence[str],
) -> tuple[Scenes, tuple[TreeCaption, ...]]:
    """Draw ``count`` scenes with a caption that names the owners of their numbers; languages take turns.

    Every owner carries what he owns: in the ``true`` world of the caption, in another one (``swapped``), at ``random``,
    in the scene alone (``oracle``), or nothing (``none``).

    Raises:
        UserError: there are no such facts.
    """
    if facts not in ARMS:
        raise UserError(f"there are no facts called {facts!r} to inject; there are {', '.join(ARMS)}")
    numbers = worlds.all[0].numbers
    scenes, _ = captions(part, count, draw, numbers=numbers, languages=languages)
    known, rolls = worlds.of(part.worlds), draw.child("owners").words(count, 3).tolist()
    fact_rolls = draw.child("told").words(count, 8).tolist()
    found = []
    for scene, (world_roll, form_roll, other_roll) in enumerate(rolls):
        world, language = known[pick(world_roll, len(known))], languages[scene % len(languages)]
        shown = [thing.value for thing in sorted(scenes.things(scene), key=lambda one: one.box[0])]
        owners = [str(world.object(number, "owner")) for number in shown]
        said = _said(owners, language, part.forms[pick(form_roll, len(part.forms))])
        others = [one for one in known if one.id != world.id] or [world]
        source = {"none": None, "swapped": others[pick(other_roll, len(others))]}.get(facts, world)
        owned = {owner: _owned(source, owner, shown, facts, fact_rolls[scene]) for owner in owners}
        found.append(
            TreeCaption(
                id=f"owners-{part.split}-{part.side}-{scene:06d}",
                scene=scene,
                language=language,
                words=said.words,
                branches=_branches(said.words, owned, language),
                world=world.id,
            )
        )
    return scenes, tuple(found)


def _said(owners: Sequence[str], language: str, form: int) -> CaptionText:
    comma, last = JOINTS[language]
    items = [surface(owner, language) for owner in owners]
    listed = items[0] if len(items) == 1 else comma.join(items[:-1]) + last + items[-1]
    text = fill(STATED[language]["caption"][form], language, list=listed)
    return CaptionText(text, words(text, language))


def _owned(world: World | None, owner: str, shown: Sequence[int], facts: str, rolls: Sequence[int]) -> tuple[int, ...]:
    """The numbers that a caption states of an owner."""
    if world is None:
        return ()
    owned = tuple(number for number in range(world.numbers) if world.object(number, "owner") == owner)
    if facts == "oracle":
        return tuple(number for number in owned if number in shown)
    if facts == "random":
        start = sum(map(ord, owner))  # another roll for every owner
        return tuple(
            sorted({(rolls[place % len(rolls)] + start * (place + 1)) % world.numbers for place in range(len(owned))})
        )
    return owned


def _branches(spoken: Sequence[str], owned: dict[str, tuple[int, ...]], language: str) -> tuple[InjectedFact, ...]:
    """One branch for every number, at every place of its owner's name."""
    heads = {words(surface(owner, language), language)[0]: numbers for owner, numbers in owned.items()}
    return tuple(
        InjectedFact(place, words(name(number, language), language))
        for place, word in enumerate(spoken)
        for number in heads.get(word, ())
    )
