"""Training texts whose words are replaced by translations anew for every batch (CoSDA-ML, Qin et al. 2020)."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from mm_kptm.crosslingual.corpora.code_switching import CodeSwitcher, read_dictionary
from mm_kptm.data.formats.uer_tsv import ClassifiedText, Tagged
from mm_kptm.data.formats.xnli import SentencePair
from mm_kptm.errors import UserError
from mm_kptm.tasks.example import Example


@dataclass(frozen=True)
class CodeSwitching:
    """Replacement of words of training texts by translations, from dictionaries with a pair of words a line."""

    dictionaries: dict[str, Path] = field(default_factory=dict)  #: a file in MUSE's format by language
    token_rate: float = 0.4  #: the chance of a word to be looked up
    sentence_rate: float = 1.0  #: the chance of a sentence (of a word, where words have labels) to be switched at all

    def __post_init__(self) -> None:
        if not self.dictionaries:
            raise UserError("data.code_switching has no dictionaries; name a file by language, such as {de: en-de.txt}")
        for key in ("token_rate", "sentence_rate"):
            if not 0 <= getattr(self, key) <= 1:
                raise UserError(f"data.code_switching.{key} is {getattr(self, key)} but must lie between 0 and 1")

    def switcher(self, generator: random.Random) -> CodeSwitcher:
        """The switcher of a batch; ``UserError`` where a dictionary cannot be read."""
        return CodeSwitcher(
            self._read, token_rate=self.token_rate, sentence_rate=self.sentence_rate, generator=generator
        )

    @cached_property
    def _read(self) -> list[dict[str, list[str]]]:
        return [read_dictionary(path) for _, path in sorted(self.dictionaries.items())]


@dataclass(frozen=True, eq=False)
class CodeSwitchedSource:
    """Examples that are switched and encoded when a batch is made; lengths are those of the unswitched ones.

    Args:
        examples: the examples of a file.
        make: encodes examples.
        switching: how they are switched.
    """

    examples: Sequence[Any]
    make: Callable[[Sequence[Any]], Any]
    switching: CodeSwitching

    def __post_init__(self) -> None:
        for one in self.examples[:1]:
            switched(one, self.switching.switcher(random.Random(0)))
        if len(self._whole) != len(self.examples):
            raise UserError("data.code_switching needs tasks that use every example of a file; leave it out here")

    @cached_property
    def _whole(self) -> Any:
        return self.make(self.examples)

    @property
    def about(self) -> tuple[Example, ...]:
        """Metadata of the examples."""
        about: tuple[Example, ...] = self._whole.about
        return about

    def __len__(self) -> int:
        return len(self.examples)

    def length(self, index: int) -> int:
        """Tokens of the unswitched example."""
        length: int = self._whole.length(index)
        return length

    def batch(self, indices: Sequence[int], generator: torch.Generator) -> Any:
        """The given examples, switched by draws from the generator."""
        switcher = self.switching.switcher(random.Random(int(torch.randint(2**62, (), generator=generator))))
        made = self.make([switched(self.examples[index], switcher) for index in indices])
        return made.batch(range(len(indices)), generator)


def switched(example: Any, switcher: CodeSwitcher) -> Any:
    """An example with switched words; labels of words stay with them.

    Raises:
        UserError: examples of this kind are not switched.
    """
    match example:
        case SentencePair():
            premise, hypothesis = (switcher.sentence(text).strip() for text in (example.premise, example.hypothesis))
            return replace(example, premise=premise, hypothesis=hypothesis)
        case ClassifiedText():
            return replace(example, texts=tuple(switcher.sentence(text).strip() for text in example.texts))
        case Tagged():
            return replace(example, words=tuple(switcher.words(example.words)))
    raise UserError(
        f"data.code_switching switches sentences, pairs of them and tagged words, but not examples of the kind "
        f"{type(example).__name__}; leave it out"
    )
