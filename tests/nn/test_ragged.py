"""The attention entry point: every back end reads the same, whatever stands beside a sequence."""

import pytest
import torch
from torch import Tensor
from torch.nn.attention.flex_attention import flex_attention

from mm_kptm.batch import AttentionMask, SequenceLayout
from mm_kptm.nn.kernels import block_masks
from mm_kptm.nn.ragged import (
    AttentionLayout,
    attend,
    cross_attention_layout,
    masked_self_attention_layout,
    padded_attend,
    runs,
    self_attention_layout,
    weights,
)
from mm_kptm.nn.visibility import Branches, Causal, Matrix, Prefix

LENGTHS = (1, 3, 3, 0, 4, 4, 6)
LAYOUT = SequenceLayout(LENGTHS)


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def chance(*shape: int, seed: int) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


FORMS: dict[str, AttentionMask | None] = {
    "everything": None,
    "causal": Causal(),
    "prefix": Prefix(chance(LAYOUT.total, seed=1) < 0.5),
    "branches": Branches(
        words=(chance(LAYOUT.total, seed=2) * 3).long(), branches=(chance(LAYOUT.total, seed=3) * 3).long()
    ),
    # some of these rows see nothing at all
    "matrix": Matrix.of([chance(n, n, seed=4 + n) < 0.3 for n in LENGTHS]),
}


@pytest.fixture(params=FORMS)
def mask(request: pytest.FixtureRequest) -> AttentionMask | None:
    return FORMS[request.param]


def test_runs_read_as_the_padded_form_does(mask: AttentionMask | None) -> None:
    reading = masked_self_attention_layout(LAYOUT, mask)
    query, key, value = (draw(LAYOUT.total, 2, 4, seed=seed) for seed in range(3))
    torch.testing.assert_close(attend(query, key, value, reading), padded_attend(query, key, value, reading))


def test_gradients_are_those_of_the_padded_form(mask: AttentionMask | None) -> None:
    reading = masked_self_attention_layout(LAYOUT, mask)
    streams = [draw(LAYOUT.total, 2, 4, seed=seed).double().requires_grad_() for seed in range(3)]
    direction = draw(LAYOUT.total, 2, 4, seed=3).double()
    ours = torch.autograd.grad((attend(*streams, reading) * direction).sum(), streams)
    plain = torch.autograd.grad((padded_attend(*streams, reading) * direction).sum(), streams)
    torch.testing.assert_close(ours, plain)


def test_some_rows_read_what_they_read_among_all(mask: AttentionMask | None) -> None:
    reading = masked_self_attention_layout(LAYOUT, mask)
    query, key, value = (draw(LAYOUT.total, 2, 4, seed=seed) for seed in range(3))
    everything = attend(query, key, value, reading)
    rows = torch.tensor([0, 2, 5, 6, 9, 19, 20])
    narrow = reading.restrict_queries(rows)
    torch.testing.assert_close(attend(narrow.query_states(query), key, value, narrow), everything[rows])
    torch.testing.assert_close(padded_attend(narrow.query_states(query), key, value, narrow), everything[rows])


def test_one_stream_reads_another() -> None:
    sources = SequenceLayout((2, 2, 2, 5, 0, 3, 3))
    reading = cross_attention_layout(LAYOUT, sources)
    query, key, value = draw(LAYOUT.total, 2, 4), draw(sources.total, 2, 4, seed=1), draw(sources.total, 2, 4, seed=2)
    ours = attend(query, key, value, reading)
    torch.testing.assert_close(ours, padded_attend(query, key, value, reading))
    nothing_to_read = slice(LAYOUT.offsets[4], LAYOUT.offsets[5])
    assert (ours[nothing_to_read] == 0).all()


def test_neighbours_change_nothing(mask: AttentionMask | None) -> None:
    """What a sequence reads does not depend on which sequences share its batch."""
    query, key, value = (draw(LAYOUT.total, 2, 4, seed=seed) for seed in range(3))
    reading = masked_self_attention_layout(LAYOUT, mask)
    together = attend(query, key, value, reading)
    others = torch.ones(LAYOUT.total, dtype=torch.bool)
    mine = slice(LAYOUT.offsets[4], LAYOUT.offsets[5])
    others[mine] = False
    noisy = [torch.where(others[:, None, None], 1e3, stream) for stream in (query, key, value)]
    torch.testing.assert_close(attend(*noisy, reading)[mine], together[mine])


def test_a_row_that_sees_nothing_reads_everything() -> None:
    blind = Matrix.of([torch.zeros(3, 3, dtype=torch.bool)])
    query, key, value = (draw(3, 2, 4, seed=seed) for seed in range(3))
    read = attend(query, key, value, masked_self_attention_layout(SequenceLayout((3,)), blind))
    assert read.isfinite().all()
    torch.testing.assert_close(read, attend(query, key, value, self_attention_layout(SequenceLayout((3,)))))


def test_weights_are_shares(mask: AttentionMask | None) -> None:
    query, key, value = (draw(LAYOUT.total, 2, 4, seed=seed) for seed in range(3))
    reading = masked_self_attention_layout(LAYOUT, mask)
    shares = weights(query, key, reading)
    assert [tuple(share.shape) for share in shares] == [(2, n, n) for n in LENGTHS]
    read = torch.cat([share @ own.transpose(0, 1) for share, own in zip(shares, LAYOUT.split(value), strict=True)], 1)
    torch.testing.assert_close(read.transpose(0, 1), attend(query, key, value, reading))
    for share in shares:
        torch.testing.assert_close(share.sum(-1), torch.ones(share.shape[:2]))


@pytest.mark.parametrize("lengths", [(), (0,), (0, 0), (5,)])
def test_small_batches_are_read(lengths: tuple[int, ...]) -> None:
    layout = SequenceLayout(lengths)
    rows = draw(layout.total, 2, 4)
    assert attend(rows, rows, rows, self_attention_layout(layout)).shape == rows.shape


def test_runs_join_neighbours_of_equal_lengths() -> None:
    found = [(rows.start, rows.stop, count) for rows, _, count in runs(LAYOUT, LAYOUT)]
    assert found == [(0, 1, 1), (1, 7, 2), (7, 7, 1), (7, 15, 2), (15, 21, 1)]


def test_equal_lengths_apart_on_the_other_side_are_no_run() -> None:
    assert [count for _, _, count in runs(SequenceLayout((2, 2, 2)), SequenceLayout((1, 1, 4)))] == [2, 1]


def test_a_reading_is_made_once_per_layout() -> None:
    assert self_attention_layout(SequenceLayout((2, 3))) is self_attention_layout(SequenceLayout((2, 3)))
    assert self_attention_layout(SequenceLayout((2, 3))) is not self_attention_layout(SequenceLayout((3, 2)))


def test_dropout_drops() -> None:
    rows = draw(LAYOUT.total, 2, 4)
    torch.manual_seed(0)
    dropped = attend(rows, rows, rows, self_attention_layout(LAYOUT), dropout=0.5)
    assert not torch.allclose(dropped, attend(rows, rows, rows, self_attention_layout(LAYOUT)))


@pytest.mark.filterwarnings("ignore:flex_attention called without torch.compile")
@pytest.mark.parametrize("narrow", [False, True])
def test_the_block_mask_reads_as_the_padded_form_does(
    mask: AttentionMask | None, narrow: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a GPU is given for structured visibility, here through FlexAttention's plain form."""
    monkeypatch.setattr(block_masks, "compiled_flex", lambda: flex_attention)
    reading = masked_self_attention_layout(LAYOUT, mask)
    query, key, value = (draw(LAYOUT.total, 2, 16, seed=seed) for seed in range(3))
    if narrow:
        reading = reading.restrict_queries(torch.tensor([0, 2, 5, 6, 9, 19, 20]))
    asked = reading.query_states(query)
    torch.testing.assert_close(
        block_masks.compute_flex(asked, key, value, reading.blocks(asked.device)),
        padded_attend(asked, key, value, reading),
    )


@pytest.mark.gpu
@pytest.mark.parametrize("form", FORMS)
def test_the_gpu_reads_as_the_cpu_does(form: str) -> None:
    mask = FORMS[form]
    reading = masked_self_attention_layout(LAYOUT, mask)
    query, key, value = (draw(LAYOUT.total, 2, 64, seed=seed) for seed in range(3))
    expected = padded_attend(query, key, value, reading)
    there = AttentionLayout(LAYOUT, LAYOUT, None if mask is None else mask.to("cuda"))
    ours = attend(*(stream.to("cuda", torch.bfloat16) for stream in (query, key, value)), there)
    torch.testing.assert_close(ours.float().cpu(), expected, atol=3e-2, rtol=3e-2)
