"""Fitting of a map on the aligned word pieces of translations: CLBT (Wang et al. 2019, section 3).

Shapes: N aligned pairs of pieces, D dim.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mm_kptm.batch import EVERY_ROW, Encoded, OutputRows, SequenceLayout
from mm_kptm.crosslingual.alignment.contextual_maps import (
    AttentionMap,
    LinearMap,
    cosine_loss,
    margin_loss,
    mean_cosine,
    procrustes,
    squared_distance,
)
from mm_kptm.crosslingual.alignment.word_pairs import Policy, piece_pairs
from mm_kptm.errors import UserError
from mm_kptm.nn.assembly import required_text
from mm_kptm.nn.ragged import self_attention_layout
from mm_kptm.systems.system import System

Loss = Literal["squared-distance", "cosine", "margin"]
LOSSES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "squared-distance": squared_distance,
    "cosine": cosine_loss,
    "margin": partial(margin_loss, k=10),
}


@dataclass(frozen=True)
class AlignedVectors:
    """The last states of aligned pieces in two encoders; the pairs of a sentence lie together.

    Attributes:
        source: of the encoder that is mapped, [N, D].
        target: of the one whose space it is mapped to, [N, D].
        counts: pairs of every sentence, their sum N.
        sentences: all states of every source sentence, [its tokens, D]; empty where none were kept.
        places: of the aligned pieces among these, for every sentence.
    """

    source: Tensor
    target: Tensor
    counts: tuple[int, ...]
    sentences: tuple[Tensor, ...] = ()
    places: tuple[Tensor, ...] = ()

    @classmethod
    def of(
        cls,
        source: System,
        target: System,
        pairs: Sequence[tuple[str, str]],
        alignments: Sequence[str],
        *,
        languages: tuple[str, str],
        policy: Policy = "1to1",
        batch_size: int = 32,
        whole: bool = False,
        file: object = "the alignments",
    ) -> AlignedVectors:
        """Read sentences and their translations with both encoders.

        Args:
            source: encoder of the first language, with its tokenizer.
            target: encoder of the second one, with its own.
            pairs: sentences of the first language with their translations.
            alignments: of every pair the line ``i-j ...`` of fast_align on the pieces of either tokenizer.
            languages: codes of the two.
            policy: what is done with pieces that stand in several pairs, see :func:`~.word_pairs.piece_pairs`.
            batch_size: pairs that are read at a time.
            whole: whether all states of the source sentences are kept, for a map with attention.
            file: of the alignments, for messages.

        Raises:
            UserError: there are more or fewer alignments than pairs, one names a piece that is not there, states of
                other widths, or no pair is left.
        """
        if len(alignments) != len(pairs):
            raise UserError(
                f"there are {len(pairs)} sentence pairs, but {file} has {len(alignments)} lines; align the pieces of "
                "the same bitext"
            )
        if source.dim != target.dim:
            raise UserError(f"states of {source.dim} dims cannot be mapped to {target.dim}; take encoders of one width")
        places = [
            piece_pairs(line, policy, offset=0, place=f"{file}, line {number}, ")
            for number, line in enumerate(alignments, 1)
        ]
        kept, sides = _kept(places, [_texts(source, pairs, languages, 0), _texts(target, pairs, languages, 1)], file)
        if not any(map(len, kept)):
            raise UserError("no aligned pair of pieces is left of the alignments; look at them, or choose a policy")
        positions = [[pair[:, side] for pair in kept] for side in (0, 1)]
        read = _sentences(source, sides[0], batch_size)
        vectors, sentences = [], []
        for states, rows in zip(read, positions[0], strict=True):
            vectors.append(states[rows])
            sentences += [states] if whole else []
        theirs = zip(_sentences(target, sides[1], batch_size), positions[1], strict=True)
        other = torch.cat([states[rows] for states, rows in theirs])
        counts = tuple(map(len, kept))
        return cls(torch.cat(vectors), other, counts, tuple(sentences), tuple(positions[0]) if whole else ())


@dataclass(frozen=True)
class _Texts:
    """Texts of one language, cut for one encoder."""

    texts: Sequence[str]
    languages: Sequence[str] | None
    pieces: Sequence[int]  #: of every text, as its tokenizer has them
    room: int  #: pieces that the encoder reads
    opens: int  #: tokens before the first piece


def pieces_of(system: System, text: str, language: str) -> tuple[str, ...]:
    """The pieces of a text, which an aligner reads in place of its words."""
    return system.tokenizer.pieces.encode(text, language).texts


def _texts(system: System, pairs: Sequence[tuple[str, str]], languages: tuple[str, str], side: int) -> _Texts:
    texts, language = [pair[side] for pair in pairs], languages[side]
    counts = [len(pieces_of(system, text, language)) for text in texts]
    spoken = [language] * len(texts) if system.tokenizer.languages else None
    specials = system.tokenizer.pieces.specials
    return _Texts(texts, spoken, counts, system.tokenizer.max_length - specials.around(1), int(specials.opens))


def _kept(places: Sequence[Tensor], sides: Sequence[_Texts], file: object) -> tuple[list[Tensor], Sequence[_Texts]]:
    """The pairs whose pieces both encoders read.

    Raises:
        UserError: a pair names a piece that a text does not have.
    """
    kept = []
    for number, pairs in enumerate(places):
        for side, texts in enumerate(sides):
            if len(pairs) and (last := int(pairs[:, side].max())) >= texts.pieces[number]:
                raise UserError(
                    f"{file}, line {number + 1} names piece {last} of {texts.texts[number]!r}, which has "
                    f"{texts.pieces[number]} pieces, counted from 0; align the pieces of this tokenizer"
                )
        there = (pairs < torch.tensor([texts.room for texts in sides])).all(1)
        kept.append(pairs[there] + torch.tensor([texts.opens for texts in sides]))
    return kept, sides


def _sentences(system: System, texts: _Texts, batch_size: int) -> Iterator[Tensor]:
    """Iterate over the last states of every text, [its tokens, D]."""
    device = next(system.parameters()).device
    for first in range(0, len(texts.texts), batch_size):
        part = slice(first, first + batch_size)
        spoken = None if texts.languages is None else texts.languages[part]
        inputs = system.tokenizer(texts.texts[part], languages=spoken).to(device)
        with torch.no_grad():
            encoded: Encoded = system(inputs, OutputRows({"text": EVERY_ROW}, pooled=False))
        yield from encoded.text.float().cpu().split(required_text(inputs).layout.lengths)


def fit(
    mapping: nn.Module,
    vectors: AlignedVectors,
    *,
    method: Literal["procrustes", "gradient"],
    loss: Loss = "squared-distance",
    normalise: bool = False,
    epochs: int = 50,
    batch_size: int = 64,
    lr: float = 0.01,
    seed: int = 0,
) -> nn.Module:
    """Fit a map in place: at once by the singular value decomposition, or by Adam, where the best epoch is kept.

    Args:
        mapping: :class:`~.contextual_maps.LinearMap`, or for ``gradient`` any module from [N, D] to [N, D].
        vectors: of aligned pieces.
        method: orthogonal map in closed form, or training.
        loss: that training minimises.
        normalise: whether vectors have length 1 on both sides before they are compared (and mapped, by ``procrustes``).
        epochs: passes over the sentences.
        batch_size: sentences in a step.
        lr: learning rate of Adam.
        seed: of the order of the sentences.

    Raises:
        UserError: an orthogonal map was asked of another module.
    """
    source, target = (F.normalize(side) if normalise else side for side in (vectors.source, vectors.target))
    if method == "procrustes":
        if not isinstance(mapping, LinearMap):
            raise UserError("Procrustes gives a linear map; take the gradient for another")
        with torch.no_grad():
            mapping.weight.copy_(procrustes(source, target))
        return mapping
    objective = LOSSES[loss]
    optimizer = torch.optim.Adam(mapping.parameters(), lr=lr)
    draws = torch.Generator().manual_seed(seed)
    firsts = torch.tensor([0, *vectors.counts]).cumsum(0)
    best, kept = -2.0, copy.deepcopy(mapping.state_dict())
    for _ in range(epochs):
        for chosen in torch.randperm(len(vectors.counts), generator=draws).split(batch_size):
            rows = torch.cat([torch.arange(int(firsts[one]), int(firsts[one + 1])) for one in chosen.tolist()])
            if not len(rows):
                continue
            mapped = _mapped(mapping, vectors, source, rows, chosen.tolist())
            mapped = F.normalize(mapped) if normalise else mapped
            optimizer.zero_grad()
            objective(mapped, target[rows]).backward()
            optimizer.step()
        with torch.no_grad():
            reached = mapped_cosine(mapping, vectors)
        if reached > best:
            best, kept = reached, copy.deepcopy(mapping.state_dict())
    mapping.load_state_dict(kept)
    return mapping


@torch.no_grad()
def mapped_cosine(mapping: nn.Module, vectors: AlignedVectors) -> float:
    """The mean cosine of the mapped vectors and their targets."""
    training = mapping.training
    mapping.eval()
    every = torch.arange(len(vectors.source))
    mapped = _mapped(mapping, vectors, vectors.source, every, range(len(vectors.counts)))
    mapping.train(training)
    return float(mean_cosine(mapped, vectors.target))


def _mapped(mapping: nn.Module, vectors: AlignedVectors, source: Tensor, rows: Tensor, chosen: Sequence[int]) -> Tensor:
    """The mapped vectors of the given rows, those of the chosen sentences, of which attention reads all states."""
    if not isinstance(mapping, AttentionMap):
        mapped: Tensor = mapping(source[rows])
        return mapped
    if not vectors.sentences:
        raise UserError("a map with attention reads whole sentences, but only vectors of aligned pieces were kept")
    layout = SequenceLayout(tuple(len(vectors.sentences[one]) for one in chosen))
    states = mapping(torch.cat([vectors.sentences[one] for one in chosen]), self_attention_layout(layout))
    places = [start + vectors.places[one] for start, one in zip(layout.starts(states.device), chosen, strict=True)]
    found: Tensor = states[torch.cat(places)]
    return found
