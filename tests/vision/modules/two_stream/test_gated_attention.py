"""VOLTA's gates: equal to the single-stream and the two-stream layers that they stand for."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

import mm_kptm
from mm_kptm.batch import EVERY_ROW, NO_ROWS, Inputs, Regions, SequenceLayout
from mm_kptm.errors import UserError
from mm_kptm.nn.assembly import join
from mm_kptm.nn.init import bert_init
from mm_kptm.nn.ragged import self_attention_layout
from mm_kptm.nn.steps import Pair, PairRows, Stream
from mm_kptm.nn.sublayers import attention_sublayer
from mm_kptm.nn.visibility import Branches
from mm_kptm.systems.system import System
from mm_kptm.vision.modules.two_stream.gated_attention import GatedStep
from tests.vision.conftest import REGION_DIM
from tests.vision.small import DRY, SIZES, small_vilbert, three_texts

TEXT, IMAGES = SequenceLayout((2, 4, 1)), SequenceLayout((3, 2, 2))


def drawn(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


def step(reads: str, *, shared: bool = False) -> GatedStep:
    torch.manual_seed(0)
    left, right = (attention_sublayer(8, 2, dropout=0.0) for _ in range(2))
    gated = GatedStep(left, left if shared else right, frozenset(reads.split("+")))
    bert_init(gated, 0.5)
    return gated.eval()


def pair() -> Pair:
    return Pair(Stream.of(drawn(7, 8), TEXT), Stream.of(-drawn(7, 8), IMAGES))


@torch.no_grad()
def test_all_gates_open_and_shared_are_one_layer_over_one_sequence() -> None:
    gated, streams = step("tt+tv+vt+vv", shared=True), pair()
    joint = join(TEXT, IMAGES, torch.device("cpu"))
    whole = gated.left(joint.rows(streams.left.x, streams.right.x), self_attention_layout(joint.layout))
    after = gated(streams)
    torch.testing.assert_close(after.left.x, whole[joint.left])
    torch.testing.assert_close(after.right.x, whole[joint.right])


@torch.no_grad()
def test_only_own_gates_are_a_layer_of_each_stream() -> None:
    gated, streams = step("tt+vv"), pair()
    after = gated(streams)
    torch.testing.assert_close(after.left.x, gated.left(streams.left.x, streams.left.attention))
    torch.testing.assert_close(after.right.x, gated.right(streams.right.x, streams.right.attention))


@pytest.mark.parametrize("reads", ["tt+tv+vt+vv", "tv+vt", "tt+tv+vv", "tt+vt+vv", "tt+tv+vt"])
@torch.no_grad()
def test_a_gate_lets_through_what_it_names_and_no_more(reads: str) -> None:
    """Change one stream in sequence 1: who reads it changes there, and nowhere else."""
    gated, streams = step(reads), pair()
    before = gated(streams)
    for changed, own, gates in ((0, streams.left, ("tt", "vt")), (1, streams.right, ("vv", "tv"))):
        x = own.x.clone()
        rows = slice(own.layout.offsets[1], own.layout.offsets[2])
        x[rows.start] += 1.0  # the other rows of the sequence see it through the gate alone
        after = gated(Pair(*(s._replace(x=x) if i == changed else s for i, s in enumerate(streams))))
        for reader, gate in ((changed, gates[0]), (1 - changed, gates[1])):
            here, there = before[reader], after[reader]
            lines = slice(here.layout.offsets[1] + (reader == changed), here.layout.offsets[2])
            moved = not torch.allclose(here.x[lines], there.x[lines], atol=1e-6)
            assert moved == (gate in reads.split("+")), (gate, reads)
            elsewhere = [slice(0, here.layout.offsets[1]), slice(here.layout.offsets[2], None)]
            assert all(torch.equal(here.x[part], there.x[part]) for part in elsewhere)


@pytest.mark.parametrize("reads", ["tt+tv+vt+vv", "tv+vt"])
@torch.no_grad()
def test_a_branch_is_hidden_from_both_streams(reads: str) -> None:
    """Row 3 hangs from row 2 of sequence 1: only the two of them may see it."""
    words, branches = torch.tensor([0, 1, 0, 1, 1, 2, 0]), torch.tensor([0, 0, 0, 0, 1, 0, 0])
    gated, streams = step(reads), pair()
    tree = streams.left._replace(attention=Stream.of(streams.left.x, TEXT, Branches(words, branches)).attention)
    x = tree.x.clone()
    x[4] += 1.0
    before, after = gated(Pair(tree, streams.right)), gated(Pair(tree._replace(x=x), streams.right))
    moved = (before.left.x - after.left.x).abs().amax(1) > 1e-6
    assert moved.nonzero().flatten().tolist() == ([3, 4] if "tt" in reads else [4])
    assert torch.equal(before.right.x, after.right.x)


@pytest.mark.parametrize("reads", ["tt+tv+vt+vv", "tv+vt", "tt+tv+vv"])
@torch.no_grad()
def test_only_the_rows_asked_for_are_finished(reads: str) -> None:
    gated, streams = step(reads), pair()
    whole, rows = gated(streams), torch.tensor([0, 3, 6])
    some = gated(streams, PairRows(rows, NO_ROWS))
    torch.testing.assert_close(some.left.x, whole.left.x[rows])
    assert some.left.layout == SequenceLayout((1, 1, 1)) and len(some.right.x) == 0
    torch.testing.assert_close(gated(streams, PairRows(NO_ROWS, rows)).right.x, whole.right.x[rows])
    assert gated.needs(PairRows(NO_ROWS, NO_ROWS)) == PairRows(NO_ROWS, NO_ROWS)
    assert gated.needs(PairRows(rows, NO_ROWS)) == PairRows(EVERY_ROW, EVERY_ROW)


def test_streams_that_differ_in_width_cannot_read_each_other() -> None:
    message = "that of text has 8 and 2, that of regions 12 and 2"
    with pytest.raises(UserError, match=message):
        GatedStep(attention_sublayer(8, 2), attention_sublayer(8, 2, width=12), frozenset(("tv", "vt")))
    with pytest.raises(UserError, match="each stream has to read something, but the open gates are tt, tv"):
        GatedStep(attention_sublayer(8, 2), attention_sublayer(8, 2), frozenset(("tt", "tv")))


def volta_as_vilbert(theirs: System) -> System:
    """VOLTA's encoder with ViLBERT's widths and weights: three text layers, two co-attentions before the last ones."""
    ours = mm_kptm.build(
        "volta-vilbert",
        heads=[],
        schedule="tt t tv+vt t+v tt+vv t+v tv+vt t+v tt+vv t+v",
        region_states=24,
        region_heads=3,
        region_ffn_dim=20,
        pooled_dim=8,
        region_dim=REGION_DIM,
        own_sizes={number: {"width": 8, "num_heads": 2, "region_width": 8, "region_heads": 2} for number in ("2", "6")},
        **SIZES,
        **DRY,
    )
    given = {name.removeprefix("encoder."): x for name, x in theirs.state_dict().items() if name.startswith("encoder.")}
    state = {name: x for name, x in given.items() if not name.startswith("steps.")}
    for (place, side), (attend, feed) in {
        ("text-0", "left"): (0, 1),
        ("cross-0", "left"): (2, 3),
        ("cross-0", "right"): (2, 3),
        ("text-1", "left"): (4, 5),
        ("regions-0", "right"): (4, 5),
        ("cross-1", "left"): (6, 7),
        ("cross-1", "right"): (6, 7),
        ("text-2", "left"): (8, 9),
        ("regions-1", "right"): (8, 9),
    }.items():
        for name, x in given.items():
            if not name.startswith(f"steps.{place}.{side}."):
                continue
            part, rest = name.removeprefix(f"steps.{place}.{side}.").split(".", 1)
            source = side
            if place.startswith("cross") and (".key." in name or ".value." in name):
                source = {"left": "right", "right": "left"}[side]  # there the source makes them, whoever reads
            state[f"steps.{attend if part == 'self_attention' else feed}.{source}.{rest}"] = x
    ours.encoder.load_state_dict(state)
    return ours


@pytest.mark.parametrize(("dtype", "atol"), [(torch.float32, 1e-5), (torch.float64, 1e-10)])
@torch.no_grad()
def test_the_gated_encoder_holds_the_original_vilbert(dtype: torch.dtype, atol: float) -> None:
    """Two implementations of one model at random weights, co-attention between streams of different widths."""
    vilbert = small_vilbert(heads={})
    gated = volta_as_vilbert(vilbert).to(dtype)
    vilbert = vilbert.to(dtype)
    inputs = three_texts()
    regions = inputs.regions
    regions = Regions(regions.features.to(dtype), regions.boxes.to(dtype), regions.layout)
    ours, theirs = (vars(system(Inputs(text=inputs.text, regions=regions))) for system in (gated, vilbert))
    for name, states in ours.items():
        torch.testing.assert_close(states, theirs[name], atol=atol, rtol=atol, msg=lambda m, n=name: f"{n}: {m}")
