"""Large contrastive batches on one device: the towers run in chunks whose activations are made again when needed.

Shapes: B examples, D dim.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TypeVar

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from mm_kptm.batch import Images, Inputs, SequenceLayout, Tokens
from mm_kptm.errors import UserError

Chunk = TypeVar("Chunk")


def embed_in_chunks(embed: Callable[[Chunk], Tensor], chunks: Sequence[Chunk]) -> Tensor:
    """The vectors of all chunks, [B, D]; at any time the activations of one chunk alone are kept.

    The loss sees all vectors at once and its gradient with regard to them is taken first; the backward pass then embeds
    one chunk after the other again (Gao et al. 2021, Scaling Deep Contrastive Learning Batch Size under Memory Limited
    Peak Setup). Dropout is repeated as it was; batch norm counts every chunk twice in its running statistics.

    Args:
        embed: from a chunk to its vectors.
        chunks: of the batch, in order.

    Raises:
        UserError: there is no chunk.
    """
    if not chunks:
        raise UserError("a batch of no chunk was to be embedded; a batch has one chunk at least")
    if not torch.is_grad_enabled():
        return torch.cat([embed(chunk) for chunk in chunks])
    return torch.cat([checkpoint(embed, chunk, use_reentrant=False) for chunk in chunks])


def chunks_of_images(inputs: Inputs, size: int) -> list[Inputs]:
    """Runs of at most ``size`` images of pixels.

    Raises:
        UserError: images come with boxes or as regions.
    """
    images = inputs.get("images", Images)
    if images is None or type(images) is not Images:
        raise UserError("images are embedded in chunks where they are pixels; leave chunk_size out for other forms")
    return [Inputs(images=replace(images, pixels=part)) for part in images.pixels.split(_positive(size))]


def chunks_of_texts(inputs: Inputs, size: int) -> list[Inputs]:
    """Runs of at most ``size`` texts; a mask that speaks of rows of the whole batch cannot be cut.

    Raises:
        UserError: there is no text, or texts have facts beside them.
    """
    tokens = inputs.required("text", Tokens)
    if tokens.attention_mask is not None or inputs.candidates or len(inputs.streams) > 1:
        raise UserError("texts with facts or other streams beside them are embedded at once; leave chunk_size out")
    step = _positive(size)
    return [
        Inputs(text=_taken(tokens, start, min(start + step, len(tokens.layout))))
        for start in range(0, len(tokens.layout), step)
    ]


def _taken(tokens: Tokens, start: int, stop: int) -> Tokens:
    rows = slice(tokens.layout.offsets[start], tokens.layout.offsets[stop])
    cut = {
        name: value[rows]
        for name in ("ids", "positions", "segments", "languages", "vectors", "mask_groups", "tasks")
        if (value := getattr(tokens, name)) is not None
    }
    layout = SequenceLayout(tokens.layout.lengths[start:stop])
    return replace(tokens, layout=layout, token_labels=None, **cut)


def _positive(size: int) -> int:
    if size < 1:
        raise UserError(f"a chunk holds one example at least, but its size is {size}")
    return size
