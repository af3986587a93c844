"""The states and attentions of a trace are those of transformers, and their rows are weights."""

from __future__ import annotations

import pytest
import torch
import transformers
from torch import Tensor

import mm_kptm
from mm_kptm.batch import Inputs, Regions, SequenceLayout, Tokens, unpad
from mm_kptm.errors import UserError
from mm_kptm.systems.encoder import LayeredEncoder
from mm_kptm.systems.recipe import Recipe
from tests.models.test_catalogue import RECIPES, inputs_for, tiny

IDS = [[2, 7, 9, 11, 3], [2, 8, 3]]
REAL = torch.tensor([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0]]).bool()
PADDED = torch.tensor([[2, 7, 9, 11, 3], [2, 8, 3, 0, 0]])


def save(model: torch.nn.Module, folder: object) -> None:
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    model.eval().save_pretrained(folder)


def equal(ours: Tensor, theirs: Tensor, rows: Tensor = REAL) -> None:
    torch.testing.assert_close(unpad(ours, rows), unpad(theirs, rows), atol=1e-5, rtol=0)


def equal_weights(ours: tuple[Tensor, ...], theirs: tuple[Tensor, ...], rows: Tensor = REAL) -> None:
    """Both [B, H, N, M]; padded queries are no rows, padded sources have no weight."""
    assert len(ours) == len(theirs)
    for mine, other in zip(ours, theirs, strict=True):
        assert mine.shape == other.shape
        equal(mine.transpose(1, 2), other.transpose(1, 2), rows)


def test_bert_is_traced_as_transformers_does(tmp_path) -> None:
    config = transformers.BertConfig(
        hidden_size=8, num_hidden_layers=3, num_attention_heads=2, intermediate_size=12, vocab_size=30,
        max_position_embeddings=20, attn_implementation="eager",
    )  # fmt: skip
    model = transformers.BertModel(config)
    save(model, tmp_path)
    with torch.no_grad():
        theirs = model(PADDED, REAL.long(), output_hidden_states=True, output_attentions=True)
    system = mm_kptm.load("bert-base", tmp_path).eval()
    found = mm_kptm.trace(system, Inputs(text=Tokens.of(IDS)))
    assert torch.equal(found.attention_mask, REAL) and torch.equal(found.parts["text"], REAL)
    assert len(found.hidden_states) == len(theirs.hidden_states) == 4
    for ours, other in zip(found.hidden_states, theirs.hidden_states, strict=True):
        equal(ours, other)
    equal_weights(found.attentions, theirs.attentions)
    assert list(found.by_module) == [f"layers.{layer}.self_attention.attention" for layer in range(3)]
    torch.testing.assert_close(unpad(found.hidden_states[-1], REAL), system(Inputs(text=Tokens.of(IDS))).text)


@pytest.mark.parametrize("num_regions", [4, 5], ids=["other length", "length of the text"])
def test_lxmert_is_traced_as_transformers_does(tmp_path, num_regions: int) -> None:
    config = transformers.LxmertConfig(
        hidden_size=8, num_attention_heads=2, intermediate_size=12, vocab_size=30, max_position_embeddings=20,
        l_layers=2, r_layers=1, x_layers=2, visual_feat_dim=6,
    )  # fmt: skip
    model = transformers.LxmertModel(config)
    save(model, tmp_path)
    features, boxes = torch.randn(2, num_regions, 6), torch.rand(2, num_regions, 4)
    ids = PADDED[:1].expand(2, -1)
    with torch.no_grad():
        theirs = model(ids, features, boxes, output_hidden_states=True, output_attentions=True)
    system = mm_kptm.load("lxmert-base", tmp_path, heads=[]).eval()
    regions = Regions(features.flatten(0, 1), boxes.flatten(0, 1), SequenceLayout((num_regions,) * 2))
    found = mm_kptm.trace(system, Inputs(text=Tokens.of(IDS[:1] * 2), regions=regions))
    text, seen = found.streams["text"], found.streams["regions"]
    whole, shown = REAL[:1].expand(2, -1), torch.ones(2, num_regions, dtype=torch.bool)
    # theirs: after each layer; ours: as embedded first, and after both steps of a cross-modality layer
    assert (len(text.hidden_states), len(seen.hidden_states)) == (1 + 2 + 2 * 2, 1 + 1 + 2 * 2)
    for ours, other in zip(
        (*text.hidden_states[1:3], *text.hidden_states[4::2]), theirs.language_hidden_states, strict=True
    ):
        equal(ours, other, whole)
    for ours, other in zip(
        (seen.hidden_states[1], *seen.hidden_states[3::2]), theirs.vision_hidden_states, strict=True
    ):
        equal(ours, other, shown)
    equal_weights(text.attentions[:2], theirs.language_attentions, whole)
    equal_weights(seen.attentions[:1], theirs.vision_attentions, shown)
    equal_weights(text.cross_attentions, theirs.cross_encoder_attentions, whole)
    assert len(text.attentions) == 4 and len(seen.attentions) == 3 and len(seen.cross_attentions) == 2
    assert "steps.cross-0.right.attention" in found.by_module  # though both sides are one module


def test_mbart_is_traced_as_transformers_does(tmp_path) -> None:
    config = transformers.MBartConfig(
        d_model=8, encoder_layers=2, decoder_layers=2, encoder_attention_heads=2, decoder_attention_heads=2,
        encoder_ffn_dim=12, decoder_ffn_dim=12, vocab_size=30, max_position_embeddings=20,
        attn_implementation="eager",
    )  # fmt: skip
    model = transformers.MBartForConditionalGeneration(config)
    save(model, tmp_path)
    target = torch.tensor([[4, 8, 6], [5, 7, 9]])
    with torch.no_grad():
        theirs = model.model(
            PADDED, REAL.long(), decoder_input_ids=target, output_hidden_states=True, output_attentions=True
        )
    system = mm_kptm.load("mbart-large-cc25", tmp_path).eval()
    found = mm_kptm.trace(system, Inputs(text=Tokens.of(IDS), target=Tokens.of(target.tolist())))
    written, all_rows = found.streams["target"], torch.ones(2, 3, dtype=torch.bool)
    equal_weights(found.attentions, theirs.encoder_attentions)
    equal_weights(written.attentions, theirs.decoder_attentions, all_rows)
    equal_weights(written.cross_attentions, theirs.cross_attentions, all_rows)
    for ours, other in zip(found.hidden_states[1:-1], theirs.encoder_hidden_states[1:-1], strict=True):
        equal(ours, other)
    equal(found.hidden_states[-1], theirs.encoder_last_hidden_state)
    equal(written.hidden_states[-1], theirs.last_hidden_state, all_rows)


def test_t5_is_traced_with_its_bias_by_distance_as_transformers_does(tmp_path) -> None:
    config = transformers.T5Config(
        d_model=8, num_layers=2, num_decoder_layers=2, num_heads=2, d_kv=4, d_ff=12, vocab_size=30,
        relative_attention_num_buckets=4, relative_attention_max_distance=6, decoder_start_token_id=0,
        attn_implementation="eager",
    )  # fmt: skip
    model = transformers.T5ForConditionalGeneration(config)
    save(model, tmp_path)
    target = torch.tensor([[4, 8, 6], [5, 7, 9]])
    with torch.no_grad():
        theirs = model(PADDED, REAL.long(), decoder_input_ids=target, output_attentions=True)
    found = mm_kptm.trace(
        mm_kptm.load("t5-base", tmp_path).eval(), Inputs(text=Tokens.of(IDS), target=Tokens.of(target.tolist()))
    )
    written, all_rows = found.streams["target"], torch.ones(2, 3, dtype=torch.bool)
    equal_weights(found.attentions, theirs.encoder_attentions)
    equal_weights(written.attentions, theirs.decoder_attentions, all_rows)
    equal_weights(written.cross_attentions, theirs.cross_attentions, all_rows)


#: One size a family; towers of images and texts show no states.
FAMILIES = {recipe.family: recipe for recipe in RECIPES if "images" not in recipe.reads}.values()


@pytest.mark.parametrize("recipe", FAMILIES, ids=lambda recipe: recipe.name)
def test_every_system_can_be_traced(recipe: Recipe) -> None:
    system = tiny(recipe).eval()
    if not isinstance(system.encoder, LayeredEncoder):
        with pytest.raises(UserError, match=rf"the states of every depth were asked of {recipe.name}"):
            mm_kptm.trace(system, inputs_for(recipe))
        return
    found = mm_kptm.trace(system, inputs_for(recipe))
    for stream in found.streams.values():
        depths = len(stream.hidden_states) - 1
        assert depths >= 1 and stream.hidden_states[-1].shape[:2] == stream.attention_mask.shape
        assert len(stream.attentions) <= depths
        if recipe.family not in ("dual-bert", "multifit"):  # whose attention is its own; which has none
            assert stream.attentions
        for weights in (*stream.attentions, *stream.cross_attentions):
            sums = weights.sum(-1)
            assert torch.all((sums - 1).abs().lt(1e-5) | sums.eq(0))  # a padded row has no weights
    for name, weights in found.by_module.items():
        assert system.encoder.get_submodule(name) is not None and all(one.isfinite().all() for one in weights)


def test_another_value_than_a_system_is_refused() -> None:
    with pytest.raises(
        UserError, match=r"a system of mm_kptm.build or mm_kptm.load can be traced, not a value of type str"
    ):
        mm_kptm.trace("bert-base", Inputs())  # type: ignore[arg-type]
    with pytest.raises(UserError, match=r"bert-base reads Inputs, not a value of type list; make them of texts with"):
        mm_kptm.trace(tiny(mm_kptm.catalogue()["bert-base"]), ["a text"])  # type: ignore[arg-type]
