"""LXMERT: what it can be loaded from, and two streams about images."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import LxmertConfig, LxmertForPreTraining

import mm_kptm
from mm_kptm.batch import Inputs, Regions, Tokens
from mm_kptm.errors import UserError
from mm_kptm.systems.keymap import UnmappedKeys
from mm_kptm.systems.pretrained import translated
from mm_kptm.systems.system import System
from tests.vision.conftest import REGION_DIM, small_lxmert

GOLDEN = Path(__file__).parents[1] / "golden" / "data" / "lxmert"
LAYERS = {"num_layers": 3, "num_region_layers": 2, "num_cross_layers": 2}


@pytest.fixture
def lxmert() -> System:
    return small_lxmert()


@pytest.mark.parametrize(("dtype", "atol"), [(torch.float32, 1e-5), (torch.float64, 1e-10)])
def test_answers_as_the_independent_implementation(dtype: torch.dtype, atol: float, tmp_path: Path) -> None:
    """With random weights, text and regions padded: states and the scores of every pretraining head."""
    torch.manual_seed(0)
    config = LxmertConfig(
        vocab_size=60,
        hidden_size=32,
        num_attention_heads=4,
        intermediate_size=48,
        max_position_embeddings=16,
        l_layers=3,
        r_layers=2,
        x_layers=2,
        visual_feat_dim=REGION_DIM,
        num_object_labels=11,
        num_attr_labels=5,
        num_qa_labels=7,
        task_obj_predict=True,
    )
    theirs = LxmertForPreTraining(config).eval()
    for parameter in theirs.parameters():
        torch.nn.init.normal_(parameter, std=0.3)  # biases and norms too, which fresh weights leave at 0 and 1
    config.save_pretrained(tmp_path)
    save_file({name: x.clone() for name, x in theirs.state_dict().items()}, tmp_path / "model.safetensors")
    heads = {"masked-tokens": {}, "image-text-matching": {}, "question-answering": {"num_answers": 7}}
    ours = mm_kptm.load(
        "lxmert", tmp_path, heads={**heads, "masked-objects": {"num_objects": 11, "num_attributes": 5}}
    ).to(dtype)
    theirs = theirs.to(dtype)
    real = torch.tensor([[1] * 6 + [0] * 3, [1] * 9, [1] * 3 + [0] * 6]).bool()
    seen = torch.tensor([[1] * 4, [1, 1, 0, 0], [1, 1, 1, 0]]).bool()
    ids, segments = torch.randint(60, (3, 9)), torch.randint(2, (3, 9))
    features, boxes = torch.randn(3, 4, REGION_DIM, dtype=dtype), torch.rand(3, 4, 4, dtype=dtype)
    with torch.no_grad():
        expected = theirs(
            input_ids=ids,
            token_type_ids=segments,
            attention_mask=real.long(),
            visual_feats=features,
            visual_pos=boxes,
            visual_attention_mask=seen.long(),
        )
        states = theirs.lxmert(
            input_ids=ids,
            token_type_ids=segments,
            attention_mask=real.long(),
            visual_feats=features,
            visual_pos=boxes,
            visual_attention_mask=seen.long(),
        )
        objects = theirs.obj_predict_head(states.vision_output)
        inputs = Inputs(text=Tokens.padded(ids, real, segments=segments), regions=Regions.padded(features, boxes, seen))
        encoded = ours(inputs)
    answers = {
        "tokens": (encoded.text, states.language_output[real]),
        "regions": (encoded.regions, states.vision_output[seen]),
        "pooled": (encoded.pooled, states.pooled_output),
        "words": (ours.head("masked-tokens")(encoded.text), expected.prediction_logits[real]),
        "matching": (ours.head("image-text-matching")(encoded.pooled), expected.cross_relationship_score),
        "answers": (ours.head("question-answering")(encoded.pooled), expected.question_answering_score),
        "objects": (
            ours.head("masked-objects")(encoded.regions),
            torch.cat([objects[kind][seen] for kind in ("obj", "attr", "feat")], dim=1),
        ),
    }
    for name, (mine, other) in answers.items():
        # relative to the size of the numbers, which such weights make large
        scale = other.abs().max()
        torch.testing.assert_close(mine / scale, other / scale, atol=atol, rtol=0, msg=lambda m, n=name: f"{n}: {m}")


def test_published_sizes() -> None:
    """14 layers of BERT; a cross layer has two of them and one attention for both directions."""
    recipe = mm_kptm.catalogue()["lxmert-base"]
    with torch.device("meta"):
        encoder = recipe.build(**recipe.published_sizes())
    attention, feed = 4 * (768 * 768 + 768) + 2 * 768, 768 * 3072 + 3072 + 3072 * 768 + 768 + 2 * 768
    text = (30522 + 512 + 2) * 768 + 2 * 768
    regions = (2048 + 1) * 768 + (4 + 1) * 768 + 4 * 768
    layers = (9 + 5) * (attention + feed) + 5 * (3 * attention + 2 * feed)
    assert sum(parameter.numel() for parameter in encoder.parameters()) == text + regions + layers + 768 * 768 + 768


def test_the_mark_of_several_gpus_may_stand_anywhere(tmp_path: Path) -> None:
    weights = load_file(GOLDEN / "vqa" / "weights.safetensors")
    moved = {name.replace("lxrt_encoder.model.", "lxrt_encoder.model.module."): x for name, x in weights.items()}
    save_file({f"module.{name}": x for name, x in moved.items()}, tmp_path / "weights.safetensors")
    (tmp_path / "config.json").write_text((GOLDEN / "vqa" / "config.json").read_text())
    plain, marked = (
        mm_kptm.load("lxmert", folder, heads={"vqa": {"num_answers": 19}}, **LAYERS)
        for folder in (GOLDEN / "vqa", tmp_path)
    )
    ours, theirs = plain.state_dict(), marked.state_dict()
    assert ours.keys() == theirs.keys() and all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_every_published_key_is_placed() -> None:
    for case in ("pretrain", "vqa", "nlvr2"):
        translation = translated("lxmert", GOLDEN / case)
        assert translation.strangers == []
        assert set(translation.left) <= {"cls.predictions.decoder.weight"}


def test_a_fine_tuned_file_fills_the_head_that_is_asked_for(tmp_path: Path) -> None:
    """All tasks call their head logit_fc; VQA is meant unless another is named."""
    assert list(mm_kptm.load("lxmert", GOLDEN / "nlvr2", heads=["nlvr2"], **LAYERS).heads) == ["nlvr2"]
    with pytest.raises(UnmappedKeys, match=r"other shapes than this model has: heads\.vqa\.out\.bias \[2\] instead"):
        mm_kptm.load("lxmert", GOLDEN / "nlvr2", **LAYERS)
    weights = load_file(GOLDEN / "vqa" / "weights.safetensors")
    weights |= {"logit_fc.3.weight": torch.zeros(3129, 64), "logit_fc.3.bias": torch.zeros(3129)}
    save_file(weights, tmp_path / "weights.safetensors")
    (tmp_path / "config.json").write_text((GOLDEN / "vqa" / "config.json").read_text())
    assert list(mm_kptm.load("lxmert", tmp_path, **LAYERS).heads) == ["vqa"]


def test_fine_tuning_starts_from_pretraining_with_a_fresh_head() -> None:
    tuned = mm_kptm.load(
        "lxmert", GOLDEN / "pretrain", heads={"vqa": {"num_answers": 5}}, fresh=["heads.vqa."], seed=1, **LAYERS
    )
    assert tuned.head("vqa")(torch.randn(2, 32)).shape == (2, 5)


def test_an_odd_number_of_readings_is_refused(lxmert: System) -> None:
    with pytest.raises(UserError, match="two images a text need an even number of sequences, but there are 3"):
        lxmert.head("nlvr2")(torch.randn(3, 16))


def test_left_and_right_image_keep_their_places(lxmert: System) -> None:
    head, pooled = lxmert.head("nlvr2"), torch.randn(4, 16)
    scores = head(pooled)
    torch.testing.assert_close(head(pooled[2:]), scores[1:])
    assert not torch.allclose(head(pooled[[1, 0, 2, 3]])[0], scores[0])


def test_regions_are_a_set(lxmert: System, inputs: Inputs) -> None:
    order = torch.tensor([1, 0, 4, 2, 5, 3, 8, 6, 7])
    regions = inputs.regions
    shuffled = replace(regions, features=regions.features[order], boxes=regions.boxes[order])
    a, b = lxmert(inputs), lxmert(inputs.with_streams(regions=shuffled))
    torch.testing.assert_close(a.text, b.text)
    torch.testing.assert_close(a.pooled, b.pooled)
    torch.testing.assert_close(a.regions[order], b.regions)


def test_padding_changes_nothing_wherever_it_stands(lxmert: System, inputs: Inputs) -> None:
    text, regions = inputs.text, inputs.regions
    ids, features, boxes = torch.full((3, 8), 39), torch.full((3, 6, REGION_DIM), 1e3), torch.full((3, 6, 4), 1e3)
    real_ids = torch.tensor([[0, 1, 0, 1, 0, 0, 1, 0], [0, 0, 0, 1, 1, 1, 1, 1], [1, 1, 1, 1, 1, 1, 0, 0]]).bool()
    real = torch.tensor([[0, 0, 1, 0, 0, 1], [1, 1, 1, 1, 0, 0], [1, 0, 1, 0, 1, 0]]).bool()
    ids[real_ids], features[real], boxes[real] = text.ids, regions.features, regions.boxes
    positions = (real_ids.cumsum(1) - 1).clamp(min=0)
    padded = Inputs(
        text=Tokens.padded(ids, real_ids, positions=positions), regions=Regions.padded(features, boxes, real)
    )
    for ours, theirs in zip(vars(lxmert(padded)).values(), vars(lxmert(inputs)).values(), strict=True):
        torch.testing.assert_close(ours, theirs)


def test_feature_and_box_have_equal_say(lxmert: System, inputs: Inputs) -> None:
    """The mean of two normed vectors: with norms as they start, its two halves have one length."""
    embed = lxmert.encoder.embed.regions
    halves = embed.feature_norm(embed.feature(inputs.regions.features)), embed.box_norm(embed.box(inputs.regions.boxes))
    torch.testing.assert_close(embed(inputs.regions), sum(halves) / 2)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"features": torch.zeros(9, 5)}, r"reads region features of 12 numbers, but these have 5; build it with"),
        ({"boxes": torch.full((9, 4), 640.0)}, r"boxes are x1 y1 x2 y2 as fractions of the image, but one has"),
    ],
)
def test_unreadable_regions_are_refused(
    lxmert: System, inputs: Inputs, change: dict[str, torch.Tensor], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        lxmert(inputs.with_streams(regions=replace(inputs.regions, **change)))


def test_every_head_can_be_saved_and_loaded(lxmert: System, inputs: Inputs, tmp_path: Path) -> None:
    mm_kptm.save(lxmert, tmp_path)
    again = mm_kptm.load(str(tmp_path))
    assert list(again.heads) == list(lxmert.heads)
    assert torch.equal(again(inputs).pooled, lxmert(inputs).pooled)
