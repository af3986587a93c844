"""Pretraining on text larger than memory: blocks of a token corpus that is built once, drawn by language."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray

from mm_kptm.batch import Inputs, SequenceLayout, Tokens
from mm_kptm.crosslingual.corpora.sampled_blocks import SampledBlocks
from mm_kptm.crosslingual.corpora.token_corpus import TokenCorpus, build_corpus
from mm_kptm.crosslingual.objectives.masking import xlm_masking
from mm_kptm.data.token_store import once
from mm_kptm.datasets.protocol import DataRequest, PreparedData, TaskDataset
from mm_kptm.datasets.settings import TextSettings, check_mask_rate, fingerprints
from mm_kptm.errors import UserError
from mm_kptm.objectives.mixture import Mixture, Objectives
from mm_kptm.objectives.spec import LANGUAGE_IDS, TEXTS, Offers
from mm_kptm.objectives.tokens import MaskedTokens
from mm_kptm.tasks.pretraining import ObjectiveSource, heads_of


@dataclass(frozen=True, kw_only=True)
class TokenCorpusData(TextSettings):
    """Text of any size, a file by language, read as streams of tokens; the corpus lies in a folder of its own."""

    name: Literal["token-corpus"]
    train: dict[str, Path]  #: files by language, such as {en: wiki.en.txt.gz, de: wiki.de.txt.gz}
    folder: Path  #: of the corpus; built when it is not there
    max_length: int = 256  #: tokens of a block
    language_sampling: float | None = None
    """Exponent of the shares of languages: 1 as in the files, 0 all alike, 0.7 as XLM, 0.3 as XLM-R; null: every block
    once an epoch."""
    mask_rate: float = 0.15  #: the share of tokens that is masked
    seed: int = 0  #: which blocks are drawn where languages have shares

    def __post_init__(self) -> None:
        super().__post_init__()
        check_mask_rate(self.mask_rate)
        if self.language_sampling is not None and not 0 <= self.language_sampling <= 1:
            raise UserError(f"data.language_sampling is {self.language_sampling} but must lie between 0 and 1")
        if not self.train:
            raise UserError("data.train is empty; name a file by language")
        if strange := [language for language in self.train if language not in self.spoken]:
            raise UserError(
                f"data.languages has no {strange[0]!r}, which a file is in; it has {', '.join(self.languages)}"
            )

    @property
    def spoken(self) -> tuple[str, ...]:
        """The languages as set, or in alphabetical order."""
        return self.languages or tuple(sorted(self.train))

    @cached_property
    def fingerprints(self) -> dict[str, str]:
        """Fingerprint of the text and the tokenizer."""
        return fingerprints({**{f"train.{key}": path for key, path in self.train.items()}, **self.tokenizer_files})

    def corpus(self) -> TokenCorpus:
        """The corpus, built first if its folder is not there, by one process while others wait."""
        once(self.folder, partial(build_corpus, source=self.fingerprints), self.train, self.tokenizer(), self.folder)
        return TokenCorpus(self.folder, self.max_length, self.fingerprints)


@dataclass(frozen=True, eq=False)
class BlockSource:
    """Blocks of a corpus as texts.

    Args:
        corpus: the corpus.
        languages: in the order of their ids.
        factor: exponent of the shares of languages; None: every block once.
        seed: of the draws.
    """

    corpus: TokenCorpus
    languages: Sequence[str]
    factor: float | None = None
    seed: int = 0

    @cached_property
    def _blocks(self) -> SampledBlocks:
        return SampledBlocks(self.corpus, self.factor, self.seed)

    def __len__(self) -> int:
        return len(self._blocks)

    def length(self, index: int) -> int:
        """Tokens of a block."""
        return self._blocks.length(index)

    @property
    def lengths(self) -> NDArray[np.int64]:
        """Tokens of every block, [N]."""
        return self._blocks.lengths

    def batch(self, indices: Sequence[int], generator: torch.Generator) -> Inputs:
        """The blocks of the given indices; positions count from the first token of each."""
        blocks = self._blocks.batch(indices)
        layout = SequenceLayout(tuple(len(block.ids) for block in blocks))
        ids = torch.from_numpy(np.concatenate([block.ids for block in blocks]))
        spoken = torch.tensor([self.languages.index(block.language) for block in blocks])
        return Inputs(
            text=Tokens(
                ids=ids,
                layout=layout,
                positions=layout.offsets_in_sequence(ids.device),
                segments=torch.zeros_like(ids),
                languages=spoken[layout.sequence_ids(ids.device)],
            )
        )


def pretraining(data: TokenCorpusData, request: DataRequest) -> PreparedData:
    """Objectives on blocks of text."""
    data = replace(data, languages=data.language_ids(request.recipe, data.spoken))
    tokenizer = data.tokenizer()
    offers = Offers(
        data.name,
        {TEXTS: None, LANGUAGE_IDS: lambda: len(data.spoken)},
        remedy="take multilingual-text for translations, documents for sentences in order",
        variants={
            MaskedTokens.name: lambda context: MaskedTokens(
                xlm_masking(context.specials, context.vocab_size, rate=context.mask_rate)
            )
        },
    )
    objectives = request.built_objectives(offers, tokenizer, data.mask_rate)

    def source() -> ObjectiveSource:
        blocks = BlockSource(data.corpus(), data.spoken, data.language_sampling, data.seed)
        return ObjectiveSource(blocks, Objectives(objectives))

    languages = {"num_languages": len(data.spoken)} if "languages" in request.recipe.reads else {}
    return PreparedData(
        sources={"train": partial(source)},
        model=lambda system: Mixture(system, objectives, request.objectives),
        sizes={"vocab_size": len(tokenizer), "mask_id": tokenizer.specials.mask, **languages},
        heads=heads_of(objectives),
        fingerprints=data.fingerprints,
    )


PRETRAINING_SUPPLY = TaskDataset(None, TokenCorpusData, pretraining)
