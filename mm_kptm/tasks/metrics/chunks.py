"""Chunk F1 as seqeval computes it, by which XTREME scores both entities and parts of speech.

A tag is cut after its first character: ``B-PER`` is position B and type PER, a bare ``NOUN`` position N and type OUN.
So a run of equal parts of speech is one chunk, while ``SCONJ`` and ``SYM`` stand alone because S is the position of a
single. The F1 of parts of speech is therefore not their accuracy.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from mm_kptm.errors import UserError


class Chunk(NamedTuple):
    """A typed run of tags, with the index of its first and of its last tag."""

    type: str
    first: int
    last: int


def chunks(tags: Sequence[str]) -> list[Chunk]:
    """The chunks of a sentence, by the rules of conlleval (Tjong Kim Sang and Buchholz 2000) as in seqeval.

    >>> [tuple(chunk) for chunk in chunks(["I-LOC", "O", "NOUN", "NOUN", "SYM", "SYM"])]
    [('LOC', 0, 0), ('OUN', 2, 3), ('YM', 4, 4), ('YM', 5, 5)]
    """
    found: list[Chunk] = []
    before, kind, first = "O", "_", 0
    for place, tag in enumerate((*tags, "O")):
        position, own = tag[:1] or "O", tag[1:].split("-", maxsplit=1)[-1] or "_"
        changed = own != kind
        if _ends(before, position, changed):
            found.append(Chunk(kind, first, place - 1))
        if _starts(before, position, changed):
            first = place
        before, kind = position, own
    return found


def _ends(before: str, now: str, changed: bool) -> bool:
    if before in ("E", "S"):
        return True
    return (before in ("B", "I") and now in ("B", "S", "O")) or (before not in ("O", ".") and changed)


def _starts(before: str, now: str, changed: bool) -> bool:
    if now in ("B", "S"):
        return True
    return (before in ("E", "S", "O") and now in ("E", "I")) or (now not in ("O", ".") and changed)


def chunk_scores(predictions: Sequence[Sequence[str]], gold: Sequence[Sequence[str]]) -> dict[str, float]:
    """Micro-averaged precision, recall and F1 of chunks over all sentences, in per cent; 0 where nothing is counted.

    Args:
        predictions: tags of every sentence.
        gold: gold tags of the same sentences.

    Raises:
        UserError: the numbers of sentences differ, or a sentence has another number of tags than its gold.

    >>> chunk_scores([["B-PER", "O", "B-LOC"]], [["B-PER", "O", "B-ORG"]])
    {'precision': 50.0, 'recall': 50.0, 'f1': 50.0}
    """
    if len(predictions) != len(gold):
        raise UserError(
            f"{len(predictions)} sentences are predicted and {len(gold)} are gold; predict each sentence once, in order"
        )
    right = num_predicted = num_gold = 0
    for number, (ours, theirs) in enumerate(zip(predictions, gold, strict=True), 1):
        if len(ours) != len(theirs):
            raise UserError(
                f"sentence {number} has {len(ours)} predicted and {len(theirs)} gold tags; predict one tag per word"
            )
        predicted, true = set(chunks(ours)), set(chunks(theirs))
        right += len(predicted & true)
        num_predicted += len(predicted)
        num_gold += len(true)
    precision = right / num_predicted if num_predicted else 0.0
    recall = right / num_gold if num_gold else 0.0
    both = precision + recall
    f1 = 2 * precision * recall / both if both else 0.0
    return {"precision": 100 * precision, "recall": 100 * recall, "f1": 100 * f1}
