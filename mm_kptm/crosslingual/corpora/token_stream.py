"""Token streams: a corpus cut into blocks regardless of sentence boundaries (Conneau and Lample 2019, section 5.1).

Shapes: C columns (examples of a batch), N rows of a batch.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from torch import Tensor, from_numpy

from mm_kptm.batch import SequenceLayout, Tokens
from mm_kptm.errors import UserError


@dataclass(frozen=True, eq=False)
class TokenStream:
    """Token stream of one language in parallel columns; every batch is ``length`` rows of all columns.

    As in the released code every column starts with the stop token, which also pads the first one, and the last row is
    never used.
    """

    rows: NDArray[np.int64]  #: [number of batches * N + 1, C]
    length: int  #: N
    language: int | None = None

    @classmethod
    def of(cls, ids: ArrayLike, *, columns: int, length: int, stop: int, language: int | None = None) -> TokenStream:
        """From the concatenated sentences of a corpus, each followed by ``stop``.

        Raises:
            UserError: there is nothing, the last sentence is not closed, or a size is not positive.

        >>> TokenStream.of([7, 8, 1, 9, 1], columns=2, length=2, stop=1).rows.tolist()
        [[1, 1], [1, 8], [1, 1], [1, 9], [7, 1]]
        """
        stream = np.asarray(ids, dtype=np.int64)
        if columns < 1 or length < 1:
            raise UserError(f"a stream has at least one column and one row a batch, not {columns} and {length}")
        if not len(stream) or stream[-1] != stop:
            ending = f"the token {stream[-1]}" if len(stream) else "nothing"
            raise UserError(f"a stream ends with the token {stop} that closes a sentence, but this one has {ending}")
        batches = -(-len(stream) // (columns * length))
        filled = np.full(batches * length * columns, stop, dtype=np.int64)
        filled[len(filled) - len(stream) :] = stream
        first = np.full((1, columns), stop, dtype=np.int64)
        return cls(np.concatenate([first, filled.reshape(columns, -1).T]), length, language)

    def __len__(self) -> int:
        """Number of batches."""
        return (len(self.rows) - 1) // self.length

    def batch(self, number: int) -> Tokens:
        """The tokens of one batch, each column a sequence; positions count from its first row."""
        cut = self.rows[number * self.length : (number + 1) * self.length]
        ids: Tensor = from_numpy(np.ascontiguousarray(cut.T).reshape(-1))
        layout = SequenceLayout((self.length,) * cut.shape[1])
        return Tokens(
            ids=ids,
            layout=layout,
            positions=layout.offsets_in_sequence(ids.device),
            segments=ids.new_zeros(len(ids)),
            languages=None if self.language is None else ids.new_full((len(ids),), self.language),
        )
