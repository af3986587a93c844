"""Beam search as in Hugging Face's ``generate``: finished texts are ranked, the last token is forced.

Shapes: K hypotheses, V vocabulary, D dim.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from math import inf

import torch
from torch import Tensor, nn

from mm_kptm.batch import Inputs, SequenceLayout
from mm_kptm.errors import UserError
from mm_kptm.models.generation import Writing
from mm_kptm.models.seq2seq import Seq2Seq
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
    closed: list[tuple[float, list[int]]] = field(default_factory=list)
    hopeless: bool = False  #: no live hypothesis can still enter the finished ones

    def full(self) -> bool:
        return len(self.closed) == self.width

    def grow(self, scores: Tensor, first: int, writing: Writing) -> None:
        """Extend the live hypotheses by one token; ``scores`` are log-likelihoods, [K, V]."""
        values, places = (x.tolist() for x in scores.flatten().topk(min(2 * self.width, scores.numel())))
        length = len(self.alive[0].text)  # counted as in ``generate``: without the start token, with the new one
        takes = not self.hopeless and not (self.full() and self.stop_early)
        grown: list[_Hypothesis] = []
        for rank, (value, place) in enumerate(zip(values, places, strict=True)):
            number, token = divmod(place, scores.shape[1])
            text = [*self.alive[number].text, token]
            if token != writing.stop and len(text) < writing.max_length:
                grown.append(_Hypothesis(text, value, first + number))
            elif takes and rank < self.width and value > -inf:
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
) -> list[list[int]]:
    """The best text of every source, from its start token to its stop token.

    A finished text scores its log-likelihood divided by its length, start token not counted, to the power of
    ``length_penalty``. At the maximum length the stop token is forced at log-likelihood 0. Only the ``width`` best
    continuations of a step may finish.

    Args:
        system: has a decoder and the head ``next-tokens``.
        inputs: the sources.
        writing: start token, stop token and maximum length.
        width: beam size, and number of finished texts that are ranked.
        length_penalty: above 0 favours long texts.
        stop_early: stop at ``width`` finished texts, even if a better one could still follow.
        first: token forced after the start token, such as mBART-50's target language.

    Raises:
        UserError: the system has no decoder, or ``width`` is below 1.
    """
    if width < 1:
        raise UserError(f"a beam holds at least one hypothesis, not {width}")
    if not isinstance(system.encoder, Seq2Seq):
        raise UserError(f"{system.recipe} has no decoder to write with; a system with one, such as mbart, does")
    model, score = system.encoder, system.head("next-tokens")
    source = model.read(inputs)
    beams = [
        _Beam(width, length_penalty, stop_early, [_Hypothesis([writing.start], 0.0, number)])
        for number in range(len(source.aligned_layout))
    ]
    memory = model.target.begin(source)
    for place in range(writing.max_length - 1):
        alive = [one for beam in beams for one in beam.alive]
        ids = torch.tensor([one.text[-1] for one in alive], device=source.x.device)
        states, memory = model.target.step(writing.row(ids, place), memory)
        forced = writing.stop if place == writing.max_length - 2 else first if place == 0 else None
        totals = _likelihoods(score, states, forced) + states.new_tensor([[one.log_likelihood] for one in alive])
        start = 0
        for beam, scores in zip(beams, totals.split([len(beam.alive) for beam in beams]), strict=True):
            count = len(beam.alive)
            if count:
                beam.grow(scores, start, writing)
            start += count
        parents = [one.parent for beam in beams for one in beam.alive]
        if not parents:
            break
        counts = SequenceLayout(tuple(len(beam.alive) for beam in beams))
        memory = memory.select(torch.tensor(parents, device=source.x.device), counts)
    return [beam.closed[0][1] for beam in beams]


def _likelihoods(score: nn.Module, states: Tensor, forced: int | None) -> Tensor:
    """Log-likelihood of every next token, [K, V]; a forced one has probability 1."""
    scores: Tensor = score(states).log_softmax(-1)
    if forced is None:
        return scores
    certain = torch.full_like(scores, -inf)
    certain[:, forced] = 0.0
    return certain
