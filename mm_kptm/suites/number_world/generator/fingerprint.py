"""Fingerprint of the generator's output, to verify that two machines produce the same benchmark."""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import fields, is_dataclass

import numpy as np

from mm_kptm.random_streams import RandomStream
from mm_kptm.suites.number_world.generator import WORLD_VERSION, captions, knowledge, parallel, questions, statements
from mm_kptm.suites.number_world.generator.facts import draw_worlds
from mm_kptm.suites.number_world.generator.language import vocabulary
from mm_kptm.suites.number_world.generator.scene import Scenes
from mm_kptm.suites.number_world.generator.splits import LATER, SIDES_OF_A_SPLIT, SPLITS, part


def scene_bytes(scenes: Scenes) -> bytes:
    """Serialise scenes to bytes of a fixed order and width."""
    arrays = (scenes.offsets, scenes.values, scenes.colours, scenes.boxes, scenes.written, scenes.focus)
    return b"".join(np.ascontiguousarray(array, dtype="<i8").tobytes() for array in arrays) + scenes.crops.tobytes()


def digest(parts: Iterable[bytes | str]) -> str:
    """SHA-256 of bytes and strings, each preceded by its length."""
    hashed = hashlib.sha256()
    for one in parts:
        data = one.encode() if isinstance(one, str) else one
        hashed.update(len(data).to_bytes(8, "little") + data)
    return hashed.hexdigest()


def _text(value: object) -> str:
    """Serialise a value to text, independent of class and field names."""
    return repr(_plain(value))


def _plain(value: object) -> object:
    if is_dataclass(value) and not isinstance(value, type):
        return tuple(_plain(getattr(value, field.name)) for field in fields(value))
    if isinstance(value, Mapping):
        return tuple((_plain(key), _plain(inner)) for key, inner in value.items())
    if isinstance(value, tuple | list):
        return tuple(map(_plain, value))
    return value


def fingerprint(seed: int = 0, *, numbers: int = 100, count: int = 20) -> str:
    """Hash of ``count`` examples of every task on every side of every split of the version."""

    def everything() -> Iterable[bytes | str]:
        yield WORLD_VERSION
        yield from vocabulary().words
        draw = RandomStream(seed)
        worlds = draw_worlds(draw.child("facts"), numbers=numbers)
        for world in worlds.all:
            yield _text(world.triples())
        for split in (name for name in SPLITS if name not in LATER):
            for side in SIDES_OF_A_SPLIT:
                side_of_split, stream = part(split, side), draw.child(split, side)
                scenes, asked = questions.generate(side_of_split, count, stream.child("seen"), numbers=numbers)
                yield scene_bytes(scenes)
                yield _text(asked)
                scenes, known = knowledge.generate(side_of_split, count, stream.child("known"), worlds)
                yield scene_bytes(scenes)
                yield _text(known)
                yield _text(knowledge.inject(known, "swapped", worlds, stream.child("swapped")))
        for side in SIDES_OF_A_SPLIT:
            side_of_split, stream = part("iid", side), draw.child("iid", side)
            yield _text(captions.captions(side_of_split, count, stream, numbers=numbers)[1])
            yield _text(captions.referring(side_of_split, count, stream, numbers=numbers)[1])
            yield _text(parallel.corpus(side, count, stream, numbers=numbers))
            yield _text(statements.typing(side_of_split, count, stream, worlds))
            yield _text(statements.related(side_of_split, count, stream, worlds))
            yield _text(statements.entailment(side_of_split, count, stream, numbers=numbers))

    return digest(everything())
