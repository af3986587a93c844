"""Position ids counted over non-padding tokens instead of columns.

Shapes: B sequences, N padded length.
"""

from torch import Tensor


def counted_positions(ids: Tensor, pad: int) -> Tensor:
    """Number of non-padding tokens before each token of its row, -1 for padding, [B, N].

    The rule of fairseq (RoBERTa, XLM-R, mBART) and of Hugging Face's RoBERTa: a table with ``position_offset`` of the
    padding id + 1 then gives padding the row of the padding id. Left padding and inner padding are not counted.

    Args:
        ids: padded token ids, [B, N].
        pad: the padding id.

    >>> import torch
    >>> counted_positions(torch.tensor([[1, 5, 6], [5, 1, 6]]), pad=1)
    tensor([[-1,  0,  1],
            [ 0, -1,  1]])
    """
    real = (ids != pad).long()
    return real.cumsum(1) * real - 1
