"""Decoding as settings: greedy search, sampling, and the beam searches of three families."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch

from mm_kptm.batch import Inputs
from mm_kptm.errors import UserError
from mm_kptm.models.beam_search import beam_search
from mm_kptm.models.generation import Writing, beam, greedy, sample
from mm_kptm.models.score_filters import (
    BadWords,
    MinLength,
    NoRepeatedNgrams,
    Prefixes,
    ScoreFilter,
    Temperature,
    TopK,
    TopP,
)
from mm_kptm.systems.system import System

METHODS = ("greedy", "beam", "sample")


@dataclass(frozen=True)
class Decoding:
    """How texts are written.

    Raises:
        UserError: a value that no search takes.
    """

    method: Literal["greedy", "beam", "sample"] = "greedy"  #: the likeliest next token, the best of several, or drawn
    beam_size: int = 4  #: hypotheses of beam search
    family: Literal["hugging-face", "fairseq", "xlm"] = "hugging-face"
    """Whose beam search: the three differ in how lengths are counted and in when and how a text may end."""
    length_penalty: float = 1.0  #: power of the length that a log-likelihood is divided by; larger: longer texts
    stop_early: bool = False  #: whether a beam ends at ``beam_size`` finished texts; fairseq's always does
    max_length: int = 128  #: tokens of a text at most, the first and the last included
    min_length: int = 0  #: tokens of a text at least, the first included
    temperature: float = 1.0  #: of sampling; below 1 likely tokens become likelier
    top_k: int = 0  #: sampling among so many best tokens; 0: all
    top_p: float = 1.0  #: sampling among the best tokens of this probability together
    no_repeat_ngram: int = 0  #: no sequence of so many tokens twice; 0: any
    seed: int = 0  #: of sampling

    def __post_init__(self) -> None:
        if self.method not in METHODS:
            raise UserError(f"texts are written by {', '.join(METHODS)}, not by {self.method!r}")
        if self.beam_size < 1:
            raise UserError(f"a beam holds at least one hypothesis, not {self.beam_size}")
        if self.max_length < 2 or self.min_length > self.max_length:
            raise UserError(
                f"max_length is {self.max_length} and min_length {self.min_length}; a text has two tokens at least, "
                "and no more than max_length"
            )
        self.sampling()

    def sampling(self) -> list[ScoreFilter]:
        """The filters of sampling, in their order.

        Raises:
            UserError: a temperature or a share that no draw can have.
        """
        filters: list[ScoreFilter] = []
        if self.temperature != 1:
            filters.append(Temperature(self.temperature))
        if self.top_k:
            filters.append(TopK(self.top_k))
        if self.top_p != 1:
            filters.append(TopP(self.top_p))
        return filters


@dataclass(frozen=True)
class Request:
    """What is asked of one batch of sources.

    Args:
        start: first token of every text.
        stop: last token.
        language: language id of every generated token, for systems that read it.
        first: token forced after the first one, such as mBART-50's target language.
        prefixes: tokens that each text begins with, the start token first; they may differ in length.
        bad_words: token ids of words that are never written.
    """

    start: int
    stop: int
    language: int | None = None
    first: int | None = None
    prefixes: Sequence[Sequence[int]] | None = None
    bad_words: Sequence[Sequence[int]] = ()


def check_prefixes(prefixes: Sequence[Sequence[int]], how: Decoding) -> None:
    """Refuse what texts are to begin with if it leaves no place for a last token.

    Raises:
        UserError: it does.
    """
    if (longest := max(map(len, prefixes), default=0)) >= how.max_length:
        raise UserError(
            f"a text is to begin with {longest} tokens, the first one and a language included, but max_length is "
            f"{how.max_length}; it must be {longest + 1} at least"
        )


def generate(system: System, inputs: Inputs, asked: Request, how: Decoding) -> list[list[int]]:
    """A text for every source, from its start token to its stop token.

    Args:
        system: has a decoder and the head ``next-tokens``.
        inputs: the sources, without a target.
        asked: tokens that texts begin and end with, and those that they must or may not have.
        how: the search.

    Raises:
        UserError: the system has no decoder, or what is asked leaves no token to go on with.
    """
    writing = Writing(asked.start, asked.stop, how.max_length, asked.language)
    filters: list[ScoreFilter] = []
    if asked.bad_words:
        filters.append(BadWords(asked.bad_words))
    if how.min_length:
        filters.append(MinLength(how.min_length, asked.stop))
    if how.no_repeat_ngram:
        filters.append(NoRepeatedNgrams(how.no_repeat_ngram))
    prefixes = asked.prefixes
    if asked.first is not None and prefixes is None and (how.method != "beam" or how.family == "xlm"):
        prefixes = [(asked.start, asked.first)] * len(inputs)
    check_prefixes(prefixes or (), how)
    begun = [] if prefixes is None else [Prefixes(prefixes)]
    if how.method == "greedy":
        return greedy(system, inputs, writing, filters=[*filters, *begun])
    if how.method == "sample":
        generator = torch.Generator().manual_seed(how.seed)
        return sample(system, inputs, writing, generator=generator, filters=[*filters, *how.sampling(), *begun])
    if how.family == "xlm":
        return beam(
            system,
            inputs,
            writing,
            width=how.beam_size,
            length_penalty=how.length_penalty,
            stop_early=how.stop_early,
            filters=[*filters, *begun],
        )
    fairseq = how.family == "fairseq"
    return beam_search(
        system,
        inputs,
        writing,
        width=how.beam_size,
        length_penalty=how.length_penalty,
        stop_early=how.stop_early or fairseq,
        scored_stop=fairseq,
        first=asked.first,
        prefixes=asked.prefixes,
        filters=filters,
    )
