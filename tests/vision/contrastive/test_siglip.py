"""SigLIP from Hugging Face's files: its towers, its tokenizer, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import open_clip
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import Siglip2Tokenizer, SiglipConfig, SiglipModel

import mm_kptm
from mm_kptm.batch import Inputs, Tokens
from mm_kptm.data.tokenizers.opening import open_tokenizer
from mm_kptm.data.tokenizers.protocol import framed
from mm_kptm.data.tokenizers.sentencepiece_model import CONTROL, NORMAL, UNKNOWN
from mm_kptm.data.tokenizers.siglip import TOKENIZER_CLASS
from mm_kptm.errors import UserError
from mm_kptm.vision.contrastive.published import architecture
from tests.data.tokenizers.test_sentencepiece import model

TEXT = {
    "vocab_size": 60,
    "hidden_size": 24,
    "intermediate_size": 50,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "max_position_embeddings": 8,
    "projection_size": 32,
    "bos_token_id": 0,
    "eos_token_id": 1,
}
VISION = {
    "hidden_size": 32,
    "intermediate_size": 70,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "image_size": 32,
    "patch_size": 8,
}


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, SiglipModel]:
    """A folder as Hugging Face's, and the model that wrote it."""
    torch.manual_seed(0)
    theirs = SiglipModel(SiglipConfig(text_config=TEXT, vision_config=VISION)).eval()
    for parameter in theirs.parameters():
        parameter.data.add_(0.05 * torch.randn_like(parameter))
    folder = tmp_path_factory.mktemp("siglip")
    theirs.save_pretrained(folder)
    pieces = [("<pad>", 0.0, CONTROL), ("</s>", 0.0, CONTROL), ("<unk>", 0.0, UNKNOWN)]
    words = [("▁", -3.0, NORMAL), ("▁cat", -1.0, NORMAL), ("s", -2.0, NORMAL), ("▁a", -1.5, NORMAL)]
    (folder / "spiece.model").write_bytes(model([*pieces, *words]))
    (folder / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": TOKENIZER_CLASS}))
    return folder, theirs


@pytest.mark.parametrize("name", ["siglip", "open-clip"])
@torch.no_grad()
def test_hugging_face_names_fill_both_towers(name: str, published: tuple[Path, SiglipModel], tmp_path: Path) -> None:
    folder, theirs = published
    system = mm_kptm.load(name, folder)
    pixels = torch.randn(3, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    rows = [[5, 5, 1], [10, 11, 12, 13, 1], list(range(20, 28))]
    ids = torch.tensor([[*row, *[1] * (8 - len(row))] for row in rows])
    images, texts = system.encoder.embed_images(pixels), system.encoder.embed_text(Inputs(text=Tokens.of(rows)))
    expected = theirs(input_ids=ids, pixel_values=pixels)
    normal = torch.nn.functional.normalize
    torch.testing.assert_close(normal(images, dim=-1), expected.image_embeds, atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(normal(texts, dim=-1), expected.text_embeds, atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(system.encoder.scores(images, texts), expected.logits_per_image, atol=1e-4, rtol=1e-5)
    mm_kptm.save(system, tmp_path)
    again = mm_kptm.load(str(tmp_path))
    assert torch.equal(again.encoder.embed_images(pixels), images)
    assert torch.equal(again.encode_text(["a cat"]), system.encode_text(["a cat"]))


def test_texts_are_canonical_and_filled_up_with_the_end(published: tuple[Path, SiglipModel]) -> None:
    folder, theirs = published
    tokenizer = open_tokenizer(folder)
    found = tokenizer.encode("A  CAT's, a_cat!")
    assert found.texts == ("▁a", "▁cat", "s", "▁a", "▁cat")
    assert framed(tokenizer.specials, list(found.ids))[0] == [6, 4, 5, 6, 4, 1], "nothing in front, </s> behind"
    system = mm_kptm.load("siglip", folder)
    with torch.no_grad():
        ids = torch.tensor([[6, 4, 1, 1, 1, 1, 1, 1]])
        expected = theirs.text_model(ids).pooler_output
        torch.testing.assert_close(
            system.encode_text(["A cat."]), torch.nn.functional.normalize(expected, dim=-1), atol=1e-6, rtol=1e-5
        )


def test_texts_of_siglip_2_are_cut_by_gemma_in_small_letters(tmp_path: Path) -> None:
    words = ["<pad>", "<eos>", "<bos>", "<unk>", "<mask>", *"▁actsé.", "at", "cat", "▁cat"]
    merges = [("a", "t"), ("c", "at"), ("▁", "cat")]
    theirs = Siglip2Tokenizer(vocab={word: number for number, word in enumerate(words)}, merges=merges)
    theirs.save_pretrained(tmp_path)
    ours = open_tokenizer(tmp_path)
    for text in ("A Cat sat.", "cats", "É  cat", "<eos>", "a\ncat"):
        if text != "<eos>":  # ours reads it as letters, for a text may hold anything
            assert list(ours.encode(text).ids) == theirs(text, add_special_tokens=False)["input_ids"], text
        assert ours.specials.stop not in ours.encode(text).ids
    assert framed(ours.specials, list(ours.encode("cat").ids))[0][-1] == words.index("<eos>")
    assert (ours.specials.pad, ours.specials.opens) == (0, False)


def test_open_clip_architectures_have_the_padding_of_their_tokenizer() -> None:
    assert architecture("ViT-B-16-SigLIP")["text"]["pad_id"] == 1
    assert architecture("ViT-B-16-SigLIP2")["text"].get("pad_id", 0) == 0, "Gemma's tokenizer"
    assert "pad_id" not in architecture("ViT-B-32")["text"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"text_config": {**TEXT, "projection_size": 16}}, "its own width, 32, but the text tower is projected to 16"),
        ({"vision_config": {**VISION, "vision_use_head": False}}, "ends in its attention pooling"),
        ({"vision_config": {**VISION, "num_attention_heads": 5}}, "timm's backbone vit_base_patch16_siglip_224 cannot"),
    ],
)
def test_what_siglip_has_not_is_refused(
    change: dict[str, Any], message: str, published: tuple[Path, SiglipModel], tmp_path: Path
) -> None:
    folder, _ = published
    config = {**json.loads((folder / "config.json").read_text()), **change}
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "model.safetensors").write_bytes((folder / "model.safetensors").read_bytes())
    with pytest.raises(UserError, match=message):
        mm_kptm.load("siglip", tmp_path)


def test_a_checkpoint_without_a_value_is_refused(published: tuple[Path, SiglipModel], tmp_path: Path) -> None:
    folder, _ = published
    tensors = load_file(folder / "model.safetensors")
    del tensors["text_model.encoder.layers.0.self_attn.v_proj.weight"]
    (tmp_path / "config.json").write_bytes((folder / "config.json").read_bytes())
    save_file(tensors, tmp_path / "model.safetensors")
    with pytest.raises(UserError, match=r"has k, q of text\.transformer\.resblocks\.0\.attn\.in_proj_weight, but q, k"):
        mm_kptm.load("siglip", tmp_path)


@pytest.mark.parametrize("name", [one for one in open_clip.list_models() if one.startswith(("coca", "mt5", "nllb"))])
def test_text_towers_that_are_not_built_are_named(name: str) -> None:
    """Every other architecture of open_clip is built (see the slow test below)."""
    reason = "CoCa's text decoder was asked for" if "coca" in name else "of the hub, which is not built here"
    with pytest.raises(UserError, match=reason) as said:
        mm_kptm.build("open-clip", architecture=name)
    assert "\n" not in str(said.value)


@pytest.mark.slow
def test_every_other_architecture_of_open_clip_is_built() -> None:
    names = [one for one in open_clip.list_models() if not one.startswith(("coca", "mt5", "nllb"))]
    with torch.device("meta"):
        for name in names:
            mm_kptm.build("open-clip", architecture=name)
    assert len(names) > 130
