"""Blocks of a token corpus by index, drawn by language; no tensor library is needed to read them.

Shapes: N blocks.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from mm_kptm.crosslingual.corpora.language_sampling import shares
from mm_kptm.crosslingual.corpora.token_corpus import TokenCorpus


class Block(NamedTuple):
    """Successive tokens of a language."""

    language: str
    ids: NDArray[np.int64]  #: [block or fewer]


@dataclass(frozen=True, eq=False)
class SampledBlocks:
    """Blocks of a corpus as one list, every language with its share of it (Conneau and Lample 2019, section 3.1).

    With shares the list is as long as the corpus, and its blocks are drawn with replacement within a language; every
    language has at least one.

    Args:
        corpus: the corpus.
        factor: exponent of the shares of languages; None: every block once, in order.
        seed: of the draws.
    """

    corpus: TokenCorpus
    factor: float | None = None
    seed: int = 0

    @cached_property
    def _drawn(self) -> dict[str, NDArray[np.int64]]:
        blocks = self.corpus.blocks
        if self.factor is None:
            return {language: np.arange(count) for language, count in blocks.items()}
        draws = np.random.default_rng(self.seed)
        total = sum(blocks.values())
        return {
            language: draws.integers(blocks[language], size=max(1, round(share * total)))
            for language, share in shares(blocks, self.factor).items()
        }

    @cached_property
    def _firsts(self) -> NDArray[np.int64]:
        """Index of the first block of every language, and the end."""
        return np.cumsum([0, *map(len, self._drawn.values())])

    def __len__(self) -> int:
        return int(self._firsts[-1])

    def place(self, index: int) -> tuple[str, int]:
        """Language of a block, and its number within the language.

        Raises:
            IndexError: there is no block of the index.
        """
        if not 0 <= index < len(self):
            raise IndexError(f"there is no block {index} among {len(self)}")
        at = int(np.searchsorted(self._firsts, index, side="right")) - 1
        language = self.corpus.languages[at]
        return language, int(self._drawn[language][index - int(self._firsts[at])])

    def length(self, index: int) -> int:
        """Tokens of a block."""
        return self.corpus.length(self.place(index)[0])

    @property
    def lengths(self) -> NDArray[np.int64]:
        """Tokens of every block, [N]."""
        lengths = [self.corpus.length(language) for language in self.corpus.languages]
        return np.repeat(np.array(lengths, dtype=np.int64), np.diff(self._firsts))

    def batch(self, indices: Sequence[int]) -> list[Block]:
        """The blocks of the given indices; pages of the file that were read for them are given back."""
        places = [self.place(index) for index in indices]
        read = [Block(language, self.corpus.read(language, number)) for language, number in places]
        self.corpus.release()
        return read
