"""Text embeddings by a trained run or a saved model, for the context of entity mentions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from mm_kptm.batch import Inputs, Tokens
from mm_kptm.data.tokenizers.opening import holds_tokenizer, open_tokenizer
from mm_kptm.data.tokenizers.protocol import Tokenizer, framed
from mm_kptm.datasets.protocol import ReadsText
from mm_kptm.errors import UserError
from mm_kptm.experiment.run import opened
from mm_kptm.experiment.run_state import CONFIG
from mm_kptm.models.sentence_embedding import mean_state
from mm_kptm.systems import pretrained
from mm_kptm.systems.discovery import find
from mm_kptm.systems.system import System

_AT_ONCE = 64  # texts
_LONGEST = 128  # tokens of a text


@dataclass(frozen=True, eq=False)
class TextVectors:
    """Text embedding: mean of the encoder's final hidden states."""

    system: System
    tokenizer: Tokenizer

    @property
    def max_length(self) -> int:
        """Longest input in tokens, special ones included; RoBERTa's positions begin at 2."""
        return min(_LONGEST, self.system.sizes.get("max_positions", _LONGEST + 2) - 2)

    @torch.no_grad()
    def __call__(self, texts: Sequence[str]) -> Tensor:
        """Embed texts: [N] -> [N, D]."""
        room = self.max_length - self.tokenizer.specials.around(1)
        whole = (text.encode("utf-8", "replace").decode("utf-8") for text in texts)  # no lone surrogates
        ids = [framed(self.tokenizer.specials, self.tokenizer.encode(text).ids[:room])[0] for text in whole]
        order = sorted(range(len(ids)), key=lambda index: len(ids[index]))
        parts = [
            mean_state(self.system, Inputs(text=Tokens.of([ids[index] for index in order[first : first + _AT_ONCE]])))
            for first in range(0, len(order), _AT_ONCE)
        ]
        vectors = torch.zeros(len(ids), self.system.dim)
        if parts:
            vectors[order] = torch.cat(parts).to(vectors)
        return vectors


def text_vectors(folder: str | Path) -> TextVectors:
    """Open a text embedder from a run folder, or from a folder of :func:`mm_kptm.save` with its tokenizer file.

    The tokenizer file is ``tokenizer.json``, ``vocab.txt`` or another one of :mod:`mm_kptm.data.tokenizers.opening`. A
    ``vocab.txt`` with capital letters is taken to be that of a cased model.

    Raises:
        UserError: the folder is neither, or its model needs more than text.
    """
    folder = Path(folder)
    if (folder / CONFIG).is_file():
        settings, built = opened(folder)
        return _readable(TextVectors(built.system.eval(), _tokenizer(settings.data, folder)), folder)
    tokenizer = _beside(folder)
    return _readable(TextVectors(pretrained.load(str(folder)), tokenizer), folder)


def _beside(folder: Path) -> Tokenizer:
    """Tokenizer of a saved model, from its folder."""
    if not holds_tokenizer(folder):
        raise UserError(
            f"{folder} is no encoder of texts: neither a run folder nor a saved model with the tokenizer.json or "
            "vocab.txt of its pieces"
        )
    return open_tokenizer(folder)


def _tokenizer(data: object, folder: Path) -> Tokenizer:
    if isinstance(data, ReadsText):
        return data.tokenizer()
    raise UserError(f"{folder} was trained on data whose texts this cannot cut into pieces; take a run on text files")


def _readable(vectors: TextVectors, folder: Path) -> TextVectors:
    reads = find(vectors.system.recipe).reads
    if "text" not in reads or reads & {"regions", "images"}:
        raise UserError(
            f"{folder} holds {vectors.system.recipe}, which reads {', '.join(sorted(reads))}; an encoder that reads "
            "text alone was expected"
        )
    return vectors
