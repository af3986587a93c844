"""The baseline that sees which relations the facts of a text have, and not what the facts say.

What it scores is given away by the shape of the knowledge: swapped and random facts have the same shape, and what a
model scores above it comes from the facts themselves.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Hashable, Iterator, Sequence

from mm_kptm.data.formats.uer_tsv import Tagged
from mm_kptm.knowledge.injection.fact_injector import FactInjector
from mm_kptm.knowledge.linking.segmenter import running

RELATIONS_ALONE = "relations-alone"  #: its name among the baselines


def by_shape(shapes: Sequence[Hashable], answers: Sequence[str], asked: Sequence[Hashable]) -> list[str]:
    """The answer that training examples of the same shape have most often; the usual one of all for a new shape.

    >>> by_shape(["is", "is", "has"], ["fruit", "fruit", "tool"], ["has", "is", "eats"])
    ['tool', 'fruit', 'fruit']
    """
    counts: defaultdict[Hashable, Counter[str]] = defaultdict(Counter)
    for shape, answer in zip(shapes, answers, strict=True):
        counts[shape][answer] += 1
    usual = Counter(answers).most_common(1)[0][0]
    return [counts[shape].most_common(1)[0][0] if shape in counts else usual for shape in asked]


def word_shapes(sentences: Sequence[Tagged], injector: FactInjector) -> Iterator[tuple[Hashable, str]]:
    """Of every tagged word: the relations of the name that it is part of and whether it begins it; and its tag."""
    for one in sentences:
        text, end = running(one.words), 0
        (mentions,) = injector.mentions([text], one.language)
        for word, tag in zip(one.words, one.tags or (), strict=False):
            start = text.index(word, end)
            end = start + len(word)
            inside = next((name for name in mentions if name.start <= start < name.end), None)
            shape = None if inside is None else (injector.relations([inside.entity]), start == inside.start)
            yield shape, tag
