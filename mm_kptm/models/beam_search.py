"""Beam search as in Hugging Face's ``generate`` and in fairseq: finished texts are ranked, the last token is forced.

Shapes: K hypotheses, V vocabulary, D dim.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import inf

import torch
from torch import Tensor

from mm_kptm.batch import Inputs, SequenceLayout
from mm_kptm.errors import UserError
from mm_kptm.models.generation import Writing, refused, writer_of
from mm_kptm.models.score_filters import Prefixes, ScoreFilter, filtered
from mm_kptm.systems.system import System


@dataclass(frozen=True)
class _Hypothesis:
    text: list[int]
    log_likelihood: float
    parent: int  #: index of the hypothesis that it extends, counted over all sources


@dataclass
class _Beam:
    """The live and the finished hypotheses of one source."""

    width: int
    length_penalty: float
    stop_early: bool
    alive: list[_Hypothesis]
    prompt: int = 1  #: tokens that the text was begun with and that its length does not count
    closed: list[tuple[float, list[int]]] = field(default_factory=list)
    hopeless: bool = False  #: no live hypothesis can still enter the finished ones

    def full(self) -> bool:
        return len(self.closed) == self.width

    def grow(self, scores: Tensor, first: int, writing: Writing) -> None:
        """Extend the live hypotheses by one token; ``scores`` are log-likelihoods, [K, V]."""
        values, places = (x.tolist() for x in scores.flatten().topk(min(2 * self.width, scores.numel())))
        length = len(self.alive[0].text) + 1 - self.prompt  # the new token counts, those of the prompt do not
        length = max(length, 1)
        takes = not self.hopeless and not (self.full() and self.stop_early)
        grown: list[_Hypothesis] = []
        for rank, (value, place) in enumerate(zip(values, places, strict=True)):
            if value == -inf:  # refused, as is all that follows
                break
            number, token = divmod(place, scores.shape[1])
            text = [*self.alive[number].text, token]
            begun = len(text) <= self.prompt  # a prefix may hold the stop token
            if begun or (token != writing.stop and len(text) < writing.max_length):
                grown.append(_Hypothesis(text, value, first + number))
            elif takes and rank < self.width:
                self.closed.append((value / length**self.length_penalty, text))
        self.closed.sort(key=lambda scored: scored[0], reverse=True)  # stable: ties keep the earlier one
        del self.closed[self.width :]
        self.alive = grown[: self.width]
        best = max((one.log_likelihood for one in self.alive), default=-inf) / length**self.length_penalty
        self.hopeless |= self.full() and best <= self.closed[-1][0]
        if self.hopeless or (self.full() and self.stop_early):
            self.alive = []


@torch.no_grad()
def beam_search(
    system: System,
    inputs: Inputs,
    writing: Writing,
    *,
    width: int,
    length_penalty: float = 1.0,
    stop_early: bool = False,
    first: int | None = None,
    prefixes: Sequence[Sequence[int]] | None = None,
    filters: Sequence[ScoreFilter] = (),
    scored_stop: bool = False,
) -> list[list[int]]:
    """The best text of every source, from its start token to its stop token.

    A finished text scores its log-likelihood divided by its length, start token not counted, to the power of
    ``length_penalty``. At the maximum length the stop token is forced. Only the ``width`` best continuations of a step
    may finish. fairseq's search is that with ``stop_early`` and ``scored_stop``.

    Args:
        system: has a decoder and the head ``next-tokens``.
        inputs: the sources.
        writing: start token, stop token and maximum length.
        width: beam size, and number of finished texts that are ranked.
        length_penalty: above 0 favours long texts.
        stop_early: stop at ``width`` finished texts, even if a better one could still follow.
        first: token forced after the start token, such as mBART-50's target language.
        prefixes: tokens that each text begins with, the start token first; they may differ in length, have probability
            1 and count nothing in the length.
        filters: of log-likelihoods.
        scored_stop: whether a stop token that is forced at the maximum length has its own log-likelihood, as in
            fairseq, and not 0.

    Raises:
        UserError: the system has no decoder, ``width`` is below 1, there are more or fewer prefixes than sources, or
            the filters leave no token.
    """
    if width < 1:
        raise UserError(f"a beam holds at least one hypothesis, not {width}")
    model, score = writer_of(system)
    source = model.read(inputs)
    count = len(source.aligned_layout)
    begun = [(writing.start,)] * count if prefixes is None else prefixes
    if len(begun) != count:
        raise UserError(f"{count} texts are to be written, but there are {len(begun)} prefixes; give one for each")
    beams = [
        _Beam(width, length_penalty, stop_early, [_Hypothesis([writing.start], 0.0, number)], len(prefix))
        for number, prefix in enumerate(begun)
    ]
    filters = filters if prefixes is None else (*filters, Prefixes(begun))
    memory = model.target.begin(source)
    for place in range(writing.max_length - 1):
        alive = [one for beam in beams for one in beam.alive]
        ids = torch.tensor([one.text[-1] for one in alive], device=source.x.device)
        states, memory = model.target.step(writing.row(ids, place), memory)
        texts = [one.text for one in alive]
        source_ids = [number for number, beam in enumerate(beams) for _ in beam.alive]
        free = score(states).log_softmax(-1)
        likelihoods = filtered(free, texts, source_ids, filters)
        if place == 0 and first is not None:
            likelihoods = _forced(likelihoods, first)
        if place == writing.max_length - 2:  # whatever the filters refuse, a minimum length among them
            likelihoods = _forced(free, writing.stop, scored=scored_stop)
        totals = likelihoods + states.new_tensor([[one.log_likelihood] for one in alive])
        start = 0
        for beam, scores in zip(beams, totals.split([len(beam.alive) for beam in beams]), strict=True):
            count = len(beam.alive)
            if count:
                beam.grow(scores, start, writing)
                if not beam.alive and not beam.closed:
                    raise refused()
            start += count
        parents = [one.parent for beam in beams for one in beam.alive]
        if not parents:
            break
        counts = SequenceLayout(tuple(len(beam.alive) for beam in beams))
        memory = memory.select(torch.tensor(parents, device=source.x.device), counts)
    return [beam.closed[0][1] for beam in beams]


def _forced(likelihoods: Tensor, token: int, *, scored: bool = False) -> Tensor:
    """Log-likelihoods [K, V] that allow one token, at its own or at 0."""
    certain = torch.full_like(likelihoods, -inf)
    certain[:, token] = likelihoods[:, token] if scored else 0.0
    return certain
