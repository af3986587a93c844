"""Texts without images beside captions, as VL-BERT reads books and Wikipedia.

Shapes: N texts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from mm_kptm.batch import Inputs
from mm_kptm.data.formats.documents import read_sentences
from mm_kptm.data.masking.units import joins
from mm_kptm.data.packing import Packed
from mm_kptm.data.token_store import stored, tokenized
from mm_kptm.data.tokenizers.protocol import Tokenizer
from mm_kptm.datasets.pretraining.document_segments import Chunks
from mm_kptm.datasets.settings import TextSettings, fingerprints
from mm_kptm.preprocessing.inputs import InputSource
from mm_kptm.preprocessing.tokenized_documents import SentenceTokenizer, TokenizedDocuments


@dataclass(frozen=True, eq=False)
class PlainTexts:
    """Neighbouring sentences in a row, as many as fit, without special tokens (Su et al. 2020, section 3.3).

    The released code reads on into the next document and cuts the last sentence; here texts end with a sentence.

    Args:
        documents: in sentences.
        max_length: pieces of a text; a longer sentence is cut.
    """

    documents: TokenizedDocuments
    chunks: Chunks
    max_length: int

    @classmethod
    def of(cls, documents: TokenizedDocuments, max_length: int) -> PlainTexts:
        """Every sentence is in one text."""
        return cls(documents, Chunks.of(documents, max_length), max_length)

    def __len__(self) -> int:
        return len(self.chunks)

    @property
    def lengths(self) -> NDArray[np.int64]:
        """Pieces of every text, [N]."""
        return self.chunks.pieces

    def length(self, index: int) -> int:
        """Pieces of a text."""
        return int(self.chunks.pieces[index])

    def batch(self, indices: Sequence[int], generator: torch.Generator) -> Inputs:
        """The texts of the given indices."""
        bounds = ((int(self.chunks.firsts[index]), int(self.chunks.ends[index])) for index in indices)
        ids = [self.documents.ids(*bound)[: self.max_length] for bound in bounds]
        packed = Packed.of(ids=ids, positions=[range(len(one)) for one in ids])
        return InputSource(packed).batch(range(len(packed)), generator)


def plain_texts(
    data: TextSettings, tokenizer: Tokenizer, path: Path, *, max_length: int, folder: Path | None
) -> PlainTexts:
    """The texts of a file, a sentence a line and a blank line between documents.

    Args:
        data: settings of the tokenizer.
        tokenizer: that they make.
        path: the file.
        max_length: pieces of a text.
        folder: of a token store; None: in memory.

    Raises:
        UserError: the file cannot be read, or the store was built from something else.
    """
    tokenize = SentenceTokenizer(tokenizer, blanks := not joins(tokenizer.vocabulary))
    items = partial(read_sentences, path)
    if folder is None:
        return PlainTexts.of(TokenizedDocuments.read(tokenized(items(), tokenize)), max_length)
    source = {
        **fingerprints({"texts": path, **data.tokenizer_files}),
        "lowercase": data.lowercase,
        "ideographs": data.ideographs,
        "words_are_space_separated": blanks,
    }
    return PlainTexts.of(TokenizedDocuments.read(stored(folder, items, tokenize, source=source)), max_length)
