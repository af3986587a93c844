"""Number World's sentences and scenes as sources of the tasks beside its questions.

What is asked about is set between signs that no statement holds: the mention of entity typing and the head of a
relation between inverted question marks, the tail between full-width ones.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

import numpy as np

from mm_kptm.data.packing import Packed
from mm_kptm.data.tokenizers.protocol import framed
from mm_kptm.errors import UserError
from mm_kptm.preprocessing.inputs import InputSource, RegionCrops
from mm_kptm.random_streams import RandomStream
from mm_kptm.suites.number_world.datasets import sources as number_world
from mm_kptm.suites.number_world.datasets.sources import Vision
from mm_kptm.suites.number_world.generator.captions import Caption, Referring
from mm_kptm.suites.number_world.generator.language import vocabulary
from mm_kptm.suites.number_world.generator.numerals import LANGUAGES
from mm_kptm.suites.number_world.generator.scene import Scenes
from mm_kptm.suites.number_world.generator.statements import (
    ENTITY_TYPES,
    STATED_RELATIONS,
    VERDICTS,
    EntailmentPair,
    Related,
    Typing,
)
from mm_kptm.tasks.example import Example
from mm_kptm.tasks.labelling import SEPARATOR, LabelledSource
from mm_kptm.tasks.vision.grounding import ExpressionSource
from mm_kptm.tasks.vision.retrieval import Captioned, CaptionSource

HEAD, TAIL = "¿", "？"


def seen(scenes: Scenes, vision: Vision, draw: RandomStream) -> RegionCrops:
    """The scenes as pictures; ``blank``: every crop is black, ``shuffled``: crops of all scenes change places.

    Boxes stay in either arm, so that there is still something to point at.
    """
    crops = number_world.pictures(scenes)
    match vision:
        case "blank":
            return replace(crops, pixels=np.zeros_like(crops.pixels))
        case "shuffled":
            return replace(crops, pixels=crops.pixels[draw.orders(1, len(crops.pixels))[0]])
        case _:
            return crops


def captions(
    pictures: RegionCrops, described: Sequence[Caption], languages: Sequence[str], *, pool: int
) -> CaptionSource:
    """Every caption in one of the languages in turn, with its near misses.

    Args:
        pictures: region features of the scenes.
        described: captions with their near misses, each in all languages.
        languages: taken in turn.
        pool: captions of one language are searched so many at a time.

    Raises:
        UserError: fewer than two captions in a pool.
    """
    if pool < 2:
        raise UserError(f"retrieval among {pool} captions was asked for, but a pool holds 2 at least")
    chosen = [(place, caption, languages[place % len(languages)]) for place, caption in enumerate(described)]
    texts = number_world.sentences((caption.sentences[language].words, language) for _, caption, language in chosen)
    missed = [
        (place, negative, language) for place, caption, language in chosen for negative in caption.negatives[language]
    ]
    wrong = number_world.sentences((negative.sentence.words, language) for _, negative, language in missed)
    about = [caption.scene for caption in described]
    about += [about[place] for place, _, _ in missed]
    return CaptionSource(
        shown=InputSource(Packed.joined(texts, wrong), pictures, np.array(about, np.int64)),
        captions=tuple(Captioned(caption.id, language, f"scene-{caption.scene}") for _, caption, language in chosen),
        pools=_pools(len(chosen), len(languages), pool),
        misses=tuple((place, negative.kind) for place, negative, _ in missed),
    )


def expressions(pictures: RegionCrops, pointed: Sequence[Referring]) -> ExpressionSource:
    """Expressions that point at one number of a scene."""
    texts = number_world.sentences((referring.sentence.words, referring.language) for referring in pointed)
    about = np.array([referring.scene for referring in pointed], dtype=np.int64)
    counts = pictures.lengths[about].tolist()
    right = [[int(row == one.target) for row in range(count)] for one, count in zip(pointed, counts, strict=True)]
    return ExpressionSource(
        InputSource(texts, pictures, about),
        Packed.of(right=right),
        tuple(referring.target for referring in pointed),
        tuple(Example(one.id, one.type, one.language, f"scene-{one.scene}", str(one.target)) for one in pointed),
    )


def entailment(examples: Sequence[EntailmentPair]) -> LabelledSource:
    """Premise and hypothesis in a row, each in its language."""
    texts = _packed(
        [[(one.premise.words, one.languages[0]), (one.hypothesis.words, one.languages[1])] for one in examples]
    )
    about = tuple(Example(one.id, "-".join(one.languages), one.languages[0], one.id, one.verdict) for one in examples)
    return _labelled(texts, VERDICTS, [(one.verdict,) for one in examples], about)


def typing(examples: Sequence[Typing]) -> LabelledSource:
    """Sentences whose mention is marked; numbers are what is not independent."""
    texts = _packed([[(_marked(one.sentence.words, {one.mention: HEAD}), one.language)] for one in examples])
    about = tuple(
        Example(one.id, "number", one.language, f"number-{one.number}", SEPARATOR.join(one.types)) for one in examples
    )
    return _labelled(texts, ENTITY_TYPES, [one.types for one in examples], about)


def related(examples: Sequence[Related]) -> LabelledSource:
    """Sentences whose two mentions are marked."""
    texts = _packed(
        [[(_marked(one.sentence.words, {one.head: HEAD, one.tail: TAIL}), one.language)] for one in examples]
    )
    about = tuple(
        Example(one.id, one.relation, one.language, one.id if one.world is None else f"world-{one.world}", one.relation)
        for one in examples
    )
    return _labelled(texts, STATED_RELATIONS, [(one.relation,) for one in examples], about)


def _labelled(
    texts: Packed, labels: Sequence[str], held: Iterable[Sequence[str]], about: tuple[Example, ...]
) -> LabelledSource:
    places = {label: place for place, label in enumerate(labels)}
    truth = Packed.of(labels=[[places[label] for label in one] for one in held])
    return LabelledSource(InputSource(texts), tuple(labels), truth, about)


def _marked(spoken: Sequence[str], marks: dict[int, str]) -> list[str]:
    marked: list[str] = []
    for place, word in enumerate(spoken):
        marked += [marks[place], word, marks[place]] if place in marks else [word]
    return marked


def _packed(rows: Sequence[Sequence[tuple[Sequence[str], str]]]) -> Packed:
    """Texts of one or two parts, each in its language."""
    ids, segments, languages = [], [], []
    for row in rows:
        pieces, parts = framed(number_world.specials(), *(vocabulary().encode(spoken) for spoken, _ in row))
        ids.append(pieces)
        segments.append(parts)
        languages.append([LANGUAGES.index(row[part][1]) for part in parts])
    positions = [range(len(sequence)) for sequence in ids]
    return Packed.of(ids=ids, positions=positions, segments=segments, languages=languages)


def _pools(count: int, languages: int, size: int) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """A number per caption, shared by ``size`` neighbours of one language; a rest joins the last of its language."""
    turn, language = np.divmod(np.arange(count), languages)
    rounds = max(-(-count // languages) // size, 1)
    return np.minimum(turn // size, rounds - 1) * languages + language
