from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

import mm_kptm
from mm_kptm.batch import Entities, Inputs, OutputRows, Regions, Tokens
from mm_kptm.errors import UserError
from mm_kptm.knowledge.fusion.ernie import FusedStream, fuse, published_kinds
from mm_kptm.recipes.bert import bert
from mm_kptm.systems.system import System

SMALL: dict[str, Any] = {"dim": 16, "num_heads": 2, "ffn_dim": 24, "vocab_size": 40, "max_positions": 32}
WIDTH = 8
TEXTS = [[1, 5, 6, 7, 2], [1, 9, 8, 2], [1, 5, 9, 30, 31, 2]]
LINKED = [1, 3, 7, 10, 12]  # rows of the three texts


def fused(num_layers: int = 3, **choices: Any) -> FusedStream:
    """An encoder with weights large enough for every part of it to show in the result."""
    torch.manual_seed(0)
    encoder = bert(**SMALL, num_layers=num_layers, dropout=0.0)
    encoder = fuse(encoder, entity_dim=WIDTH, entity_heads=2, dropout=0.0, **choices)
    with torch.no_grad():
        for parameter in encoder.parameters():
            parameter.normal_(std=0.4)
    return encoder.eval()


def entities(rows: list[int] = LINKED, total: int = 15) -> Entities:
    linked = torch.zeros(total, dtype=torch.bool)
    linked[rows] = True
    vectors = torch.randn(total, WIDTH, generator=torch.Generator().manual_seed(1))
    return Entities(vectors=vectors * linked[:, None], linked=linked)


def inputs(found: Entities | None) -> Inputs:
    return Inputs(text=Tokens.of(TEXTS), entities=found)


@torch.no_grad()
def states(encoder: FusedStream, found: Entities | None) -> Tensor:
    tokens: Tensor = encoder(inputs(found)).text
    return tokens


def test_entities_change_the_tokens_of_their_sentence_and_no_other() -> None:
    moved = (states(fused(), entities([1])) - states(fused(), None)).abs().amax(1) > 1e-4
    assert moved.tolist() == [True] * 5 + [False] * 10


def test_no_linked_entity_is_no_entities() -> None:
    encoder = fused()
    nothing = Entities(vectors=torch.zeros(15, WIDTH), linked=torch.zeros(15, dtype=torch.bool))
    assert torch.equal(states(encoder, nothing), states(encoder, None))


def test_the_first_token_counts_as_linked_with_a_zero_vector() -> None:
    encoder, found = fused(), entities()
    firsts = [0, 5, 9]
    told = replace(found, linked=found.linked.index_fill(0, torch.tensor(firsts), True))
    assert torch.equal(states(encoder, told), states(encoder, found))
    counted = next(encoder.fused_states(inputs(found))).linked
    assert counted.rows.tolist() == sorted(LINKED + firsts)
    assert not counted.x[[0, 3, 5]].any()


def test_unlinked_entities_do_not_touch_tokens() -> None:
    encoder, found = fused(), entities()
    noisy = replace(found, vectors=torch.where(found.linked[:, None], found.vectors, 1e3))
    assert torch.equal(states(encoder, noisy), states(encoder, found))


def test_without_entity_weights_it_is_the_plain_encoder() -> None:
    encoder = fused()
    with torch.no_grad():
        for layer in encoder.fusions.values():
            layer.fuse.entity_in.weight.zero_()
            layer.fuse.entity_in.bias.zero_()
    torch.manual_seed(0)
    plain = bert(**SMALL, num_layers=3, dropout=0.0).eval()
    missing = plain.load_state_dict(encoder.state_dict(), strict=False).missing_keys
    assert not missing
    with torch.no_grad():
        torch.testing.assert_close(states(encoder, entities()), plain(inputs(None)).text)


def test_padding_changes_nothing() -> None:
    encoder, found = fused(), entities()
    real = torch.tensor([[1, 1, 0, 1, 1, 1, 0, 0], [1, 1, 1, 0, 0, 1, 0, 0], [1, 1, 1, 1, 1, 1, 0, 0]]).bool()
    ids = torch.full(real.shape, 39)
    ids[real] = torch.tensor([token for text in TEXTS for token in text])
    vectors = torch.full((*real.shape, WIDTH), 9.0)
    vectors[real] = found.vectors
    flags = torch.ones_like(real)
    flags[real] = found.linked
    counted = (real.cumsum(1) - 1).clamp(min=0)
    text = Tokens.padded(ids, real, positions=counted)
    given = Inputs(text=text, entities=Entities(vectors=vectors[real], linked=flags[real]))
    with torch.no_grad():
        assert torch.equal(encoder(given).text, states(encoder, found))


def test_batch_composition_changes_nothing() -> None:
    encoder, found = fused(), entities()
    together, start = states(encoder, found), 0
    for text in TEXTS:
        rows = slice(start, start + len(text))
        alone = Inputs(text=Tokens.of([text]), entities=Entities(found.vectors[rows], found.linked[rows]))
        with torch.no_grad():
            torch.testing.assert_close(encoder(alone).text, together[rows])
        start = rows.stop


@pytest.mark.parametrize("kinds", [("mix", "norm"), ("norm", "norm"), ("mix", "sim"), ("sim", "mix")])
def test_asking_for_some_rows_gives_the_same_rows(kinds: tuple[str, ...]) -> None:
    encoder, found = fused(2, kinds=kinds), entities()
    rows = torch.tensor([1, 2, 12, 13])
    with torch.no_grad():
        everything = encoder(inputs(found))
        some = encoder(inputs(found), OutputRows({"text": rows}))
    torch.testing.assert_close(some.text, everything.text[rows])
    torch.testing.assert_close(some.pooled, everything.pooled)


def test_walking_ends_at_the_final_states() -> None:
    encoder, found = fused(), entities()
    with torch.no_grad():
        depths = list(encoder.hidden_states(inputs(found)))
    assert len(depths) == 4
    assert torch.equal(depths[-1].x, states(encoder, found))


def test_gradient_reaches_every_parameter_but_what_makes_the_last_entities() -> None:
    encoder = fused(4)
    with torch.enable_grad():
        encoded = encoder(inputs(entities()))
        (encoded.text.square().sum() + encoded.pooled.sum()).backward()
    reached = {name for name, parameter in encoder.named_parameters() if parameter.grad is not None}
    frozen = {name for name, parameter in encoder.named_parameters() if not parameter.requires_grad}
    assert reached | frozen == {name for name, _ in encoder.named_parameters()}
    assert frozen == {
        f"fusions.3.fuse.entity_{part}" for part in ("out.weight", "out.bias", "norm.weight", "norm.bias")
    }
    silent = {n for n, p in encoder.named_parameters() if p.grad is not None and not p.grad.any()}
    assert silent <= {"embed.text.word.weight"}


def test_entities_join_a_question_about_an_image() -> None:
    system = mm_kptm.build("uniter", heads=(), seed=0, **SMALL, num_layers=2, region_dim=4, dropout=0.0)
    encoder = fuse(system.encoder, entity_dim=WIDTH, entity_heads=2)  # type: ignore[arg-type]
    fused_system = System(encoder, {}, recipe="uniter-base", sizes={}, head_sizes={}).eval()
    with torch.no_grad():
        for parameter in encoder.parameters():
            parameter.normal_(std=0.4)
        seen = Regions.padded(torch.rand(3, 2, 4), torch.tensor([0.1, 0.1, 0.5, 0.5]).expand(3, 2, 4), torch.ones(3, 2))
        given = inputs(entities([1])).with_streams(regions=seen)
        told, without_facts = fused_system(given), fused_system(given.with_streams(entities=None))
    assert ((told.text - without_facts.text).abs().amax(1) > 1e-4).tolist() == [True] * 5 + [False] * 10
    assert ((told.regions - without_facts.regions).abs().amax(1) > 1e-4).tolist() == [True] * 2 + [False] * 4


def test_a_plain_checkpoint_fills_all_but_the_fusions() -> None:
    plain = {name for name, _ in bert(**SMALL, num_layers=3).named_parameters()}
    ours = {name for name, _ in fused().named_parameters()}
    assert plain == {name for name in ours if not name.startswith("fusions.")}


def test_kinds_keep_the_proportions_of_the_released_model() -> None:
    assert published_kinds(12) == ("sim",) * 5 + ("mix",) + ("norm",) * 6
    assert published_kinds(2) == ("mix", "norm")
    assert published_kinds(1) == ("mix",)


def test_what_cannot_be_fused_is_said() -> None:
    encoder = bert(**SMALL, num_layers=1)
    with pytest.raises(UserError, match="layer 0 cannot be of type 'max'; there are sim, mix, norm"):
        fuse(encoder, kinds=("max",))
    with pytest.raises(UserError, match="2 layer types are given for 1 layers; give at most one a layer"):
        fuse(encoder, kinds=("sim", "mix"))
    encoder.layers[0] = torch.nn.Identity()
    with pytest.raises(UserError, match="layer 0 cannot be fused with entities: it has no post-norm feed-forward half"):
        fuse(encoder)


def test_entities_that_do_not_fit_are_said() -> None:
    encoder = fused()
    with pytest.raises(UserError, match="there are 15 tokens, 14 entity vectors and 14 linked flags"):
        encoder(inputs(entities(total=14)))
    wide = replace(entities(), vectors=torch.zeros(15, 9))
    with pytest.raises(UserError, match=r"are 9 wide, but .* entities of width 8; build it with entity_dim=9"):
        encoder(inputs(wide))
