"""Sources of Number World's tasks other than question answering.

Mentions are enclosed in marker tokens that no statement contains: the mention of entity typing and the head of a
relation in inverted question marks, the tail in full-width ones.
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
    """Scenes as region crops; ``blank``: all crops are black, ``shuffled``: crops are permuted over all scenes.

    Boxes are kept in both null arms, so that there are regions to refer to.
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
    """Source of captions with hard negatives; languages alternate.

    Args:
        pictures: region features of the scenes.
        described: captions with hard negatives, in all languages.
        languages: assigned to captions in turn.
        pool: size of a retrieval pool, captions of one language.

    Raises:
        UserError: fewer than two captions in a pool.
    """
    if pool < 2:
        raise UserError(f"retrieval among {pool} captions was asked for, but a pool holds 2 at least")
    chosen = [(index, caption, languages[index % len(languages)]) for index, caption in enumerate(described)]
    texts = number_world.sentences((caption.sentences[language].words, language) for _, caption, language in chosen)
    missed = [
        (index, negative, language) for index, caption, language in chosen for negative in caption.negatives[language]
    ]
    wrong = number_world.sentences((negative.sentence.words, language) for _, negative, language in missed)
    about = [caption.scene for caption in described]
    about += [about[index] for index, _, _ in missed]
    return CaptionSource(
        shown=InputSource(Packed.joined(texts, wrong), pictures, np.array(about, np.int64)),
        captions=tuple(Captioned(caption.id, language, f"scene-{caption.scene}") for _, caption, language in chosen),
        pools=pools(len(chosen), len(languages), pool),
        misses=tuple((index, negative.kind) for index, negative, _ in missed),
    )


def expressions(pictures: RegionCrops, pointed: Sequence[Referring]) -> ExpressionSource:
    """Source of referring expressions to one number of a scene."""
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
    """Source of entailment pairs, premise and hypothesis each in its language."""
    texts = _packed(
        [[(one.premise.words, one.languages[0]), (one.hypothesis.words, one.languages[1])] for one in examples]
    )
    about = tuple(Example(one.id, "-".join(one.languages), one.languages[0], one.id, one.verdict) for one in examples)
    return _labelled(texts, VERDICTS, [(one.verdict,) for one in examples], about)


def typing(examples: Sequence[Typing]) -> LabelledSource:
    """Source of entity typing: sentences with a marked mention, grouped by number for resampling."""
    texts = _packed([[(_marked(one.sentence.words, {one.mention: HEAD}), one.language)] for one in examples])
    about = tuple(
        Example(one.id, "number", one.language, f"number-{one.number}", SEPARATOR.join(one.types)) for one in examples
    )
    return _labelled(texts, ENTITY_TYPES, [one.types for one in examples], about)


def related(examples: Sequence[Related]) -> LabelledSource:
    """Source of relation classification: sentences with two marked mentions."""
    texts = _packed(
        [[(_marked(one.sentence.words, {one.head: HEAD, one.tail: TAIL}), one.language)] for one in examples]
    )
    about = tuple(
        Example(one.id, one.relation, one.language, one.id if one.world is None else f"world-{one.world}", one.relation)
        for one in examples
    )
    return _labelled(texts, STATED_RELATIONS, [(one.relation,) for one in examples], about)


def _labelled(
    texts: Packed, labels: Sequence[str], gold: Iterable[Sequence[str]], about: tuple[Example, ...]
) -> LabelledSource:
    indices = {label: index for index, label in enumerate(labels)}
    gold_indices = Packed.of(labels=[[indices[label] for label in one] for one in gold])
    return LabelledSource(InputSource(texts), tuple(labels), gold_indices, about)


def _marked(words: Sequence[str], markers: dict[int, str]) -> list[str]:
    marked: list[str] = []
    for index, word in enumerate(words):
        marked += [markers[index], word, markers[index]] if index in markers else [word]
    return marked


def _packed(rows: Sequence[Sequence[tuple[Sequence[str], str]]]) -> Packed:
    """Pack texts of one or two parts, each in its language."""
    ids, segments, languages = [], [], []
    for row in rows:
        pieces, parts = framed(number_world.specials(), *(vocabulary().encode(spoken) for spoken, _ in row))
        ids.append(pieces)
        segments.append(parts)
        languages.append([LANGUAGES.index(row[part][1]) for part in parts])
    positions = [range(len(sequence)) for sequence in ids]
    return Packed.of(ids=ids, positions=positions, segments=segments, languages=languages)


def pools(count: int, languages: int, size: int) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """Pool id of every caption: ``size`` consecutive ones of a language; a remainder joins the last pool, [N]."""
    turn, language = np.divmod(np.arange(count), languages)
    rounds = max(-(-count // languages) // size, 1)
    return np.minimum(turn // size, rounds - 1) * languages + language
