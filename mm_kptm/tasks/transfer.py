"""Cross-lingual transfer protocols: which languages a task is learnt from, and as what its test is read.

One model is trained per setting; the examples of training are chosen by their language, those of other splits stay.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Literal

import torch

from mm_kptm.batch import Inputs
from mm_kptm.errors import UserError
from mm_kptm.tasks.example import Example
from mm_kptm.train.protocol import Source

Protocol = Literal["zero-shot", "few-shot", "translate-train", "translate-train-all", "translate-test"]


@dataclass(frozen=True)
class TransferSettings:
    """Cross-lingual transfer: a protocol of Hu et al. (2020, XTREME, section 4) or Lauscher et al. (2020, few-shot).

    ``zero-shot`` trains on examples in the source language; ``few-shot`` adds some of every target language;
    ``translate-train`` trains on those in one target language, ``translate-train-all`` on all (both need training
    files with translations); ``translate-test`` trains on the source and reads every test as text in the source
    language (its files hold translations into it, under the language that they were in).
    """

    protocol: Protocol  #: which examples are trained on, and as what a test is read
    source: str = "en"  #: language of the supervision
    targets: tuple[str, ...] = ()  #: other languages; all when empty. `translate-train` takes one
    shots: int = 0  #: examples of every target language, for `few-shot`
    seed: int = 0  #: which of them are drawn

    def __post_init__(self) -> None:
        if (self.protocol == "few-shot") != (self.shots > 0):
            raise UserError(
                f"transfer.shots is {self.shots}, but few-shot takes 1 example or more of every target language and "
                "other protocols take none"
            )
        if self.protocol == "translate-train" and len(self.targets) != 1:
            raise UserError(
                f"transfer.targets has {len(self.targets)} languages, but translate-train trains a model for one; "
                "name it, or take translate-train-all"
            )
        if self.source in self.targets:
            raise UserError(f"transfer.targets has the source {self.source!r}; name other languages")


@dataclass(frozen=True, eq=False)
class SelectedExamples:
    """Some examples of a source."""

    whole: Source[Any]
    numbers: Sequence[int]

    def __len__(self) -> int:
        return len(self.numbers)

    def length(self, index: int) -> int:
        """As that of the example."""
        return self.whole.length(self.numbers[index])

    @property
    def about(self) -> tuple[Example, ...]:
        """Metadata of the examples."""
        about = _about(self.whole)
        return tuple(about[number] for number in self.numbers)

    def batch(self, indices: Sequence[int], generator: torch.Generator) -> Any:
        """The examples of the given indices."""
        return self.whole.batch([self.numbers[index] for index in indices], generator)


@dataclass(frozen=True, eq=False)
class ReadAs:
    """Examples whose text is read as one language, whatever language they are reported in."""

    whole: Source[Any]
    language: int  #: its id

    def __len__(self) -> int:
        return len(self.whole)

    def length(self, index: int) -> int:
        """As that of the example."""
        return self.whole.length(index)

    @property
    def about(self) -> tuple[Example, ...]:
        """Metadata of the examples."""
        return _about(self.whole)

    def batch(self, indices: Sequence[int], generator: torch.Generator) -> Any:
        """The examples of the given indices."""
        batch = self.whole.batch(indices, generator)
        inputs: Inputs = batch.inputs
        if inputs.text is None or inputs.text.languages is None:
            return batch
        text = replace(inputs.text, languages=torch.full_like(inputs.text.languages, self.language))
        return replace(batch, inputs=inputs.with_streams(text=text))


def transferred(
    sources: Mapping[str, Callable[[], Source[Any]]], settings: TransferSettings, languages: Sequence[str]
) -> dict[str, Callable[[], Source[Any]]]:
    """The sources of a task under a transfer protocol.

    Args:
        sources: of every split.
        settings: the protocol.
        languages: of the data, in the order of their ids; empty where the encoder reads none.

    Raises:
        UserError: when a split is opened: its examples name no language, or none is in a language that is asked for.
    """

    def opened(split: str, opener: Callable[[], Source[Any]]) -> Source[Any]:
        source = opener()
        if split == "train":
            return _trained_on(source, settings)
        if settings.protocol == "translate-test" and languages:
            return ReadAs(source, languages.index(settings.source) if settings.source in languages else 0)
        return source

    return {split: partial(opened, split, opener) for split, opener in sources.items()}


def _trained_on(source: Source[Any], settings: TransferSettings) -> SelectedExamples:
    spoken = [about.language for about in _about(source)]
    there = tuple(dict.fromkeys(spoken))
    targets = settings.targets or tuple(language for language in there if language != settings.source)
    match settings.protocol:
        case "zero-shot" | "translate-test" | "few-shot":
            wanted: tuple[str, ...] = (settings.source,)
        case "translate-train":
            wanted = targets
        case _:
            wanted = (settings.source, *targets)
    few = targets if settings.protocol == "few-shot" else ()
    if missing := [language for language in (*wanted, *few) if language not in there]:
        raise UserError(
            f"{settings.protocol} trains on examples in {missing[0]!r}, but data.train has {', '.join(there)}"
        )
    numbers = [number for number, language in enumerate(spoken) if language in wanted]
    generator = torch.Generator().manual_seed(settings.seed)
    for language in few:
        mine = [number for number, said in enumerate(spoken) if said == language]
        if len(mine) < settings.shots:
            raise UserError(
                f"{settings.shots} shots in {language!r} were asked for, but data.train has {len(mine)} examples in it"
            )
        drawn = torch.randperm(len(mine), generator=generator)[: settings.shots].tolist()
        numbers += [mine[place] for place in sorted(drawn)]
    return SelectedExamples(source, numbers)


def _about(source: Source[Any]) -> tuple[Example, ...]:
    about = getattr(source, "about", None)
    if not isinstance(about, tuple) or not all(isinstance(one, Example) for one in about):
        raise UserError(
            "transfer chooses examples by their language, but those of this task name none; it serves tasks whose "
            "examples are in one language each"
        )
    return about
