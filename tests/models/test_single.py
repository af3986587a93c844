"""One stack over one sequence: what is not asked for is not computed, and nothing else changes."""

import pytest
import torch

import mm_kptm
from mm_kptm.batch import ALL_ROWS, EVERY_ROW, POOLED_ONLY, AttentionMask, Inputs, OutputRows, Tokens
from mm_kptm.errors import UserError
from mm_kptm.nn.visibility import Causal, Matrix
from mm_kptm.systems.system import System

SENTENCES = [[2, 7, 7, 3], [2, 9, 3], [2, 4, 5, 6, 8, 3], [2, 3]]
FORMS: dict[str, AttentionMask | None] = {
    "everything": None,
    "causal": Causal(),
    "matrix": Matrix.of(
        [torch.rand(len(s), len(s), generator=torch.Generator().manual_seed(1)) < 0.5 for s in SENTENCES]
    ),
}


@pytest.fixture(scope="module")
def system() -> System:
    return mm_kptm.build(
        "bert-base", seed=0, dim=16, num_heads=2, num_layers=3, ffn_dim=24, vocab_size=12, max_positions=16
    )


@pytest.fixture(params=FORMS)
def inputs(request: pytest.FixtureRequest) -> Inputs:
    return Inputs(text=Tokens.of(SENTENCES, attention_mask=FORMS[request.param]))


def test_wanted_rows_are_those_of_the_whole_run(system: System, inputs: Inputs) -> None:
    everything = system(inputs)
    rows = torch.tensor([9, 1, 1, 14])  # any order, repeats allowed
    some = system(inputs, OutputRows({"text": rows}))
    torch.testing.assert_close(some.text, everything.text[rows])
    torch.testing.assert_close(some.pooled, everything.pooled)


def test_pooled_alone_is_that_of_the_whole_run(system: System, inputs: Inputs) -> None:
    pooled = system(inputs, POOLED_ONLY)
    torch.testing.assert_close(pooled.pooled, system(inputs).pooled)
    assert not pooled.states


def test_a_stream_that_is_not_asked_for_is_left_out(system: System, inputs: Inputs) -> None:
    nothing = system(inputs, OutputRows({}, pooled=False))
    assert not nothing.states and nothing.pooled.shape == (0, system.dim)


def test_a_text_encoder_has_no_states_of_other_streams(system: System, inputs: Inputs) -> None:
    encoded = system(inputs, OutputRows({"text": EVERY_ROW, "regions": EVERY_ROW}))
    assert list(encoded.states) == ["text"]
    with pytest.raises(UserError, match=r"^the states of regions are read, but the encoder gave text; ask for them"):
        _ = encoded.regions


def test_gradients_do_not_depend_on_what_else_is_computed(system: System, inputs: Inputs) -> None:
    rows = torch.tensor([2, 8])
    parameters = [p for name, p in system.encoder.named_parameters() if "pooler" not in name]
    whole = torch.autograd.grad(system(inputs).text[rows].pow(2).sum(), parameters)
    part = torch.autograd.grad(system(inputs, OutputRows({"text": rows}, pooled=False)).text.pow(2).sum(), parameters)
    torch.testing.assert_close(part, whole)


def test_a_walk_ends_where_a_run_does(system: System, inputs: Inputs) -> None:
    depths = [stream.x for stream in system.hidden_states(inputs)]
    assert len(depths) == 4
    torch.testing.assert_close(depths[-1], system(inputs, ALL_ROWS).text)


def test_padding_changes_nothing(system: System) -> None:
    """In front, behind or in between: only the real columns count, and their positions are given."""
    real = torch.tensor([[1, 1, 1, 1, 0, 0, 0], [0, 0, 1, 1, 1, 0, 0], [1, 0, 1, 1, 1, 1, 1], [0, 1, 0, 0, 0, 0, 1]])
    real = real.bool()
    ids = torch.full(real.shape, 11)
    ids[real] = torch.tensor([i for sentence in SENTENCES for i in sentence])
    positions = real.long().cumsum(1) - 1
    padded = system(Inputs(text=Tokens.padded(ids, real, positions=positions.clamp(min=0))))
    plain = system(Inputs(text=Tokens.of(SENTENCES)))
    assert torch.equal(padded.text, plain.text) and torch.equal(padded.pooled, plain.pooled)


def test_company_changes_nothing(system: System) -> None:
    together = system(Inputs(text=Tokens.of(SENTENCES)))
    rows = Tokens.of(SENTENCES).layout.split(together.text)
    for number, (sentence, expected) in enumerate(zip(SENTENCES, rows, strict=True)):
        alone = system(Inputs(text=Tokens.of([sentence])))
        torch.testing.assert_close(alone.text, expected)
        torch.testing.assert_close(alone.pooled[0], together.pooled[number])


def test_order_of_examples_is_kept(system: System) -> None:
    forward, backward = (system(Inputs(text=Tokens.of(order))).pooled for order in (SENTENCES, SENTENCES[::-1]))
    torch.testing.assert_close(forward, backward.flip(0))


def test_an_encoder_without_layers_is_refused() -> None:
    with pytest.raises(UserError, match=r"^an encoder needs at least one layer, but num_layers is 0$"):
        mm_kptm.build("bert-base", num_layers=0, dim=8, num_heads=2)


def test_a_head_that_was_not_built_is_refused(system: System) -> None:
    output_rows = r"^bert-base was built without the head 'vqa'; it has masked-tokens, next-sentence$"
    with pytest.raises(UserError, match=output_rows):
        system.head("vqa")
