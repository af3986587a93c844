"""Text generation with a decoder: greedy search, sampling, and XLM's beam search.

Shapes: B sources, K hypotheses, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from mm_kptm.batch import Inputs, SequenceLayout, Tokens
from mm_kptm.errors import UserError
from mm_kptm.models.score_filters import ScoreFilter, filtered
from mm_kptm.models.seq2seq import Seq2Seq
from mm_kptm.systems.system import System


@dataclass(frozen=True)
class Writing:
    """Generation settings: start token, stop token and maximum length; longer texts are truncated and stopped.

    Raises:
        UserError: ``max_length`` is below 2.
    """

    start: int
    stop: int
    max_length: int  #: tokens, the first and the last included
    language: int | None = None  #: language id of every generated token

    def __post_init__(self) -> None:
        if self.max_length < 2:
            raise UserError(f"a written text has a first and a last token, but max_length is {self.max_length}")

    def row(self, ids: Tensor, place: int) -> Tokens:
        """The token at position ``place`` of every hypothesis, [K]."""
        return Tokens(
            ids=ids,
            layout=SequenceLayout((1,) * len(ids)),
            positions=torch.full_like(ids, place),
            segments=torch.zeros_like(ids),
            languages=None if self.language is None else torch.full_like(ids, self.language),
        )


def greedy(system: System, inputs: Inputs, writing: Writing, *, filters: Sequence[ScoreFilter] = ()) -> list[list[int]]:
    """Greedy decoding: the text of every source with the most probable next token at each position.

    A text that reaches the maximum length has its last token replaced by the stop token.

    Raises:
        UserError: the system has no decoder, or the filters leave no token.
    """
    return _written(system, inputs, writing, filters, lambda scores: scores.argmax(-1))


def sample(
    system: System,
    inputs: Inputs,
    writing: Writing,
    *,
    generator: torch.Generator,
    filters: Sequence[ScoreFilter] = (),
) -> list[list[int]]:
    """Sampling: the next token is drawn by its probability among those that the filters leave.

    Args:
        system: has a decoder and the head ``next-tokens``.
        inputs: the sources; give a source several times for several texts.
        writing: start token, stop token and maximum length.
        generator: source of the draws, on the CPU.
        filters: such as :class:`~mm_kptm.models.score_filters.Temperature`, then
            :class:`~mm_kptm.models.score_filters.TopK` and :class:`~mm_kptm.models.score_filters.TopP`.

    Raises:
        UserError: the system has no decoder, or the filters leave no token.
    """

    def draw(scores: Tensor) -> Tensor:
        shares = scores.double().softmax(-1).cpu()
        return torch.multinomial(shares, 1, generator=generator)[:, 0].to(scores.device)

    return _written(system, inputs, writing, filters, draw)


@torch.no_grad()
def _written(
    system: System,
    inputs: Inputs,
    writing: Writing,
    filters: Sequence[ScoreFilter],
    choose: Callable[[Tensor], Tensor],
) -> list[list[int]]:
    """One text per source; ``choose`` takes scores [K, V] to the next tokens [K]."""
    model, score = writer_of(system)
    source = model.read(inputs)
    count = len(source.aligned_layout)
    texts = [[writing.start] for _ in range(count)]
    memory = model.target.begin(source)
    live = torch.arange(count, device=source.x.device)  # the sources whose text is not finished
    ids = torch.full_like(live, writing.start)
    for place in range(writing.max_length - 1):
        states, memory = model.target.step(writing.row(ids, place), memory)
        source_ids = live.tolist()
        scores = filtered(score(states), [texts[owner] for owner in source_ids], source_ids, filters)
        ids = choose(some_token(scores))
        for text, token in zip(source_ids, ids.tolist(), strict=True):
            texts[text].append(token)
        unfinished = (ids != writing.stop).nonzero().squeeze(1)
        if not len(unfinished):
            return texts
        live, ids = live[unfinished], ids[unfinished]
        memory = memory.select(unfinished, SequenceLayout(tuple(torch.bincount(live, minlength=count).tolist())))
    for text in live.tolist():
        texts[text][-1] = writing.stop
    return texts


def some_token(scores: Tensor) -> Tensor:
    """The scores [K, V] as they are, once every hypothesis has a token to go on with.

    Raises:
        UserError: the filters refuse every token.
    """
    if bool((scores == float("-inf")).all(1).any()):
        raise refused()
    return scores


def refused() -> UserError:
    """What is said where a text can neither go on nor end."""
    return UserError("every next token of a text is refused, so that it cannot go on; allow its stop token at least")


@dataclass
class _Finished:
    """The best finished texts of one source."""

    most: int
    length_penalty: float
    texts: list[tuple[float, list[int]]] = field(default_factory=list)

    def add(self, text: list[int], log_likelihood: float) -> None:
        """Add a text without its stop token, if it is among the best."""
        self.texts.append((log_likelihood / len(text) ** self.length_penalty, text))
        self.texts.sort(key=lambda scored: scored[0], reverse=True)  # stable: ties keep the earlier one
        del self.texts[self.most :]

    def beaten_by(self, log_likelihood: float, length: int) -> bool:
        """Whether a hypothesis of this length could still enter the best texts."""
        return len(self.texts) < self.most or self.texts[-1][0] < log_likelihood / length**self.length_penalty


@dataclass(frozen=True)
class _Hypothesis:
    text: list[int]
    log_likelihood: float
    parent: int  #: index of the hypothesis that it extends, counted over all sources


@torch.no_grad()
def beam(
    system: System,
    inputs: Inputs,
    writing: Writing,
    *,
    width: int,
    length_penalty: float = 1.0,
    stop_early: bool = False,
    filters: Sequence[ScoreFilter] = (),
) -> list[list[int]]:
    """Beam search: the best-scored text of every source among ``width`` hypotheses.

    The released search of Conneau and Lample (2019): a text scores its log-likelihood, stop token included, divided by
    its length to the power of ``length_penalty``. At the maximum length the stop token replaces the next token, whose
    likelihood still counts.

    Args:
        system: has a decoder and the head ``next-tokens``.
        inputs: the sources.
        writing: start token, stop token and maximum length.
        width: beam size, and number of finished texts to collect.
        length_penalty: above 1 favours long texts.
        stop_early: stop at ``width`` finished texts, even if a better one could still follow.
        filters: of log-likelihoods.

    Raises:
        UserError: the system has no decoder, ``width`` is below 1, or the filters leave no token.
    """
    if width < 1:
        raise UserError(f"a beam holds at least one hypothesis, not {width}")
    model, score = writer_of(system)
    source = model.read(inputs)
    device, count = source.x.device, len(source.aligned_layout)
    finished = [_Finished(width, length_penalty) for _ in range(count)]
    alive = [[_Hypothesis([writing.start], 0.0, number)] for number in range(count)]
    memory = model.target.begin(source)
    for place in range(writing.max_length - 1):
        ids = torch.tensor([hypothesis.text[-1] for beam in alive for hypothesis in beam], device=device)
        states, memory = model.target.step(writing.row(ids, place), memory)
        written = [hypothesis.text for beam in alive for hypothesis in beam]
        source_ids = [number for number, beam in enumerate(alive) for _ in beam]
        likelihoods = filtered(score(states).log_softmax(-1), written, source_ids, filters)
        totals = likelihoods + torch.tensor(
            [hypothesis.log_likelihood for beam in alive for hypothesis in beam], device=device, dtype=states.dtype
        ).unsqueeze(1)  # [K, V]
        first, extended = 0, []
        for done, beam, scores in zip(finished, alive, totals.split([len(beam) for beam in alive]), strict=True):
            extended.append(_grow(beam, first, scores, done, writing, stop_early=stop_early))
            if not extended[-1] and not done.texts:
                raise refused()
            first += len(beam)
        alive = extended
        if not any(alive):
            break
        parents = torch.tensor([hypothesis.parent for beam in alive for hypothesis in beam], device=device)
        memory = memory.select(parents, SequenceLayout(tuple(map(len, alive))))
    return [[*done.texts[0][1], writing.stop] for done in finished]


def _grow(
    beam: list[_Hypothesis], first: int, scores: Tensor, done: _Finished, writing: Writing, *, stop_early: bool
) -> list[_Hypothesis]:
    """The hypotheses of one source extended by one token; those that finish go to ``done``.

    Args:
        beam: the hypotheses so far.
        first: index of the first of them among those of all sources.
        scores: log-likelihoods of all continuations, [len(beam), V].
        done: the finished texts.
        writing: the settings of the search.
        stop_early: whether a source is done once it has ``done.most`` finished texts.
    """
    if not beam:
        return []
    # twice the beam size: each hypothesis finishes at most once
    values, places = (x.tolist() for x in scores.flatten().topk(min(2 * done.most, scores.numel())))
    length = len(beam[0].text)
    enough = len(done.texts) == done.most and stop_early
    if enough or not done.beaten_by(values[0], writing.max_length - 1):
        return []
    extended: list[_Hypothesis] = []
    for value, place in zip(values, places, strict=True):
        if value == float("-inf"):  # refused, as is all that follows
            break
        number, token = divmod(place, scores.shape[1])
        text = beam[number].text
        if token == writing.stop or length + 1 == writing.max_length:
            done.add(text, value)
        else:
            extended.append(_Hypothesis([*text, token], value, first + number))
        if len(extended) == done.most:
            break
    return extended


def writer_of(system: System) -> tuple[Seq2Seq, nn.Module]:
    """The encoder-decoder of a system and its head of next tokens.

    Raises:
        UserError: the system has no decoder.
    """
    if not isinstance(system.encoder, Seq2Seq):
        raise UserError(f"{system.recipe} has no decoder to write with; a system with one, such as xlm-mt, does")
    return system.encoder, system.head("next-tokens")
