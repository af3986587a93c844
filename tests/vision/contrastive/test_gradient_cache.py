"""Chunks of a batch give the gradients of the whole, and keep the activations of one chunk alone."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

import mm_kptm
from benchmarks.counts.memory import peak_bytes
from mm_kptm.batch import Images, Inputs, Tokens
from mm_kptm.errors import UserError
from mm_kptm.vision.contrastive.losses.gradient_cache import chunks_of_images, chunks_of_texts, embed_in_chunks
from mm_kptm.vision.contrastive.losses.info_nce import contrast_losses
from mm_kptm.vision.contrastive.losses.streamed import streamed_contrast
from mm_kptm.vision.objectives.image_text_contrast import ImageTextContrastive
from tests.small_towers import CLIP


def inputs(count: int) -> Inputs:
    generator = torch.Generator().manual_seed(0)
    lengths = torch.randint(1, 9, (count,), generator=generator).tolist()
    ids = [[*torch.randint(5, 40, (length,), generator=generator).tolist(), 49] for length in lengths]
    return Inputs(text=Tokens.of(ids), images=Images(pixels=torch.rand(count, 3, 16, 16, generator=generator)))


def gradients(chunk_size: int | None, count: int = 13) -> tuple[Tensor, dict[str, Tensor]]:
    system = mm_kptm.build("clip", seed=0, **CLIP).train()
    loss = ImageTextContrastive(chunk_size=chunk_size).loss(system, inputs(count))
    loss.backward()
    return loss.detach(), {name: one.grad for name, one in system.named_parameters() if one.grad is not None}


@pytest.mark.parametrize("chunk_size", [1, 4, 13, 20])
def test_chunks_give_the_gradients_of_the_batch(chunk_size: int) -> None:
    (loss, whole), (chunked_loss, chunked) = gradients(None), gradients(chunk_size)
    torch.testing.assert_close(chunked_loss, loss)
    assert whole.keys() == chunked.keys()
    for name, gradient in whole.items():
        largest = max(1.0, float(gradient.abs().max()))
        torch.testing.assert_close(chunked[name], gradient, atol=1e-5 * largest, rtol=0, msg=name)


def test_dropout_is_repeated_in_the_second_pass() -> None:
    tower = nn.Sequential(nn.Linear(4, 4), nn.Dropout(0.5))
    x = torch.rand(6, 4, requires_grad=True)
    torch.manual_seed(0)
    vectors = embed_in_chunks(tower, x.split(2))
    (gradient,) = torch.autograd.grad(vectors.sum(), x)
    kept = (vectors.detach() != 0).float()
    torch.testing.assert_close(gradient, 2 * kept @ tower[0].weight.detach(), atol=1e-6, rtol=0)


def test_a_batch_eight_times_larger_takes_little_more_memory() -> None:
    """Of forward and backward pass together, in chunks of the small batch."""
    width, depth, small = 64, 12, 32
    layers = (nn.Sequential(nn.Linear(width, width), nn.GELU()) for _ in range(depth))
    tower = nn.Sequential(*layers, nn.Linear(width, 8))
    x = torch.rand(8 * small, width)

    def step(rows: Tensor) -> None:
        tower.zero_grad()
        left, right = (embed_in_chunks(tower, side.split(small)) for side in (rows, rows.flip(1)))
        streamed_contrast(left, right, 2.0, block=small).backward()

    def whole() -> None:
        tower.zero_grad()
        contrast_losses(tower(x[:small]), tower(x[:small].flip(1)), 2.0).mean().backward()

    assert peak_bytes(lambda: step(x)) < 1.5 * peak_bytes(whole)


def test_chunks_are_runs() -> None:
    given = inputs(5)
    assert [len(one) for one in chunks_of_images(given.with_streams(text=None), 2)] == [2, 2, 1]
    parts = chunks_of_texts(given.with_streams(images=None), 2)
    assert torch.equal(torch.cat([part.text.ids for part in parts]), given.text.ids)
    assert sum((part.text.layout.lengths for part in parts), ()) == given.text.layout.lengths
    with pytest.raises(UserError, match="a chunk holds one example at least, but its size is 0"):
        chunks_of_images(given, 0)
    with pytest.raises(UserError, match="texts with facts or other streams beside them are embedded at once"):
        chunks_of_texts(given, 2)
    with pytest.raises(UserError, match="images are embedded in chunks where they are pixels"):
        chunks_of_images(given.with_streams(images=None), 2)
    with pytest.raises(UserError, match="a batch of no chunk was to be embedded"):
        embed_in_chunks(nn.Identity(), [])
