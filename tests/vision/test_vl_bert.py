"""VL-BERT: words with vision, regions with language; what it can be loaded from."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

import mm_kptm
from mm_kptm.batch import POOLED_ONLY, Inputs, Regions, SequenceLayout, Tokens
from mm_kptm.errors import UserError
from mm_kptm.nn.visibility import Branches
from mm_kptm.systems.pretrained import translated
from mm_kptm.systems.system import System
from mm_kptm.vision.boxes import sinusoidal_boxes
from mm_kptm.vision.modules.single_stream.visual_features import with_whole_image
from mm_kptm.vision.modules.single_stream.vl_bert_embedding import REGION_LABEL
from tests.vision.conftest import REGION_DIM, regions_of

GOLDEN = Path(__file__).parents[1] / "golden" / "data" / "vlbert"


def small(**sizes: int | float | str | bool) -> System:
    chosen = {"dim": 16, "num_heads": 2, "num_layers": 2, "ffn_dim": 32, "vocab_size": 40, "max_positions": 20}
    system = mm_kptm.build(
        "vl-bert",
        heads={"masked-tokens": {}, "masked-region-classes": {"num_classes": 7}},
        seed=3,
        **{**chosen, "region_dim": REGION_DIM, "visual_dim": 16, "dropout": 0.0, **sizes},
    )
    for part in (system.encoder.embed.of_words, system.encoder.embed.of_regions):
        torch.nn.init.ones_(part.norm.weight)  # fresh ones are zero, and vision would not be read
    return system


def changed(case: str, folder: Path, field: str, value: Any) -> Path:
    """The folder of a golden case with one field of its configuration changed."""
    config = json.loads((GOLDEN / case / "config.json").read_text())
    *outer, last = field.split(".")
    inner = config
    for name in outer:
        inner = inner[name]
    inner[last] = value
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "weights.safetensors").write_bytes((GOLDEN / case / "weights.safetensors").read_bytes())
    return folder


def test_waves_of_a_box() -> None:
    """Centre and size in percent, 256 sines then 256 cosines each, over a base of 1000."""
    waves = sinusoidal_boxes(torch.tensor([[0.2, 0.1, 0.6, 0.4]], dtype=torch.double)).view(4, 2, 256)
    for number, value in enumerate((40.0, 25.0, 40.0, 30.0)):
        angles = torch.tensor([value / 1000 ** (i / 256) for i in range(256)], dtype=torch.double)
        torch.testing.assert_close(waves[number], torch.stack([angles.sin(), angles.cos()]))


def test_the_whole_image_is_the_mean_of_the_regions_that_are_not_hidden() -> None:
    regions = regions_of(2, 3)
    whole = with_whole_image(regions)
    assert whole.layout.lengths == (3, 4)
    torch.testing.assert_close(whole.features[0], regions.features[:2].mean(0))
    torch.testing.assert_close(whole.features[3], regions.features[2:].mean(0))
    assert whole.boxes[[0, 3]].tolist() == [[0.0, 0.0, 1.0, 1.0]] * 2
    assert torch.equal(whole.features[[1, 2, 4, 5, 6]], regions.features)
    masked = replace(regions, masked=torch.tensor([True, False, True, True, True]))
    covered = with_whole_image(masked)
    torch.testing.assert_close(covered.features[0], regions.features[1] / (1 + 1e-5))
    assert covered.features[3].tolist() == [0.0] * REGION_DIM
    assert covered.masked.tolist() == [False, True, False, False, True, True, True]


def test_the_whole_image_may_be_made_or_given(inputs: Inputs) -> None:
    """Made of the regions it has no row of its own among them; given it is one of them."""
    made, given = small(), small(whole_image="first")
    whole = inputs.with_streams(regions=with_whole_image(inputs.regions))
    a, b = made(inputs), given(whole)
    torch.testing.assert_close(a.text, b.text)
    assert a.regions.shape == (9, 16) and b.regions.shape == (12, 16)
    torch.testing.assert_close(a.regions, b.regions[[1, 2, 4, 5, 6, 7, 9, 10, 11]])


def test_regions_are_a_set(inputs: Inputs) -> None:
    """All regions share one position: reordering them reorders their states and nothing else."""
    system = small()
    order = torch.tensor([1, 0, 4, 2, 5, 3, 8, 6, 7])
    regions = inputs.regions
    shuffled = Regions(regions.features[order], regions.boxes[order], regions.layout)
    a, b = system(inputs), system(inputs.with_streams(regions=shuffled))
    torch.testing.assert_close(a.pooled, b.pooled)
    torch.testing.assert_close(a.regions[order], b.regions)


def test_company_changes_nothing(inputs: Inputs) -> None:
    system = small()
    together = system(inputs)
    texts = list(inputs.text.layout.split(inputs.text.ids))
    features, boxes = (list(inputs.regions.layout.split(x)) for x in (inputs.regions.features, inputs.regions.boxes))
    for number in range(3):
        image = Regions(features[number], boxes[number], SequenceLayout((len(boxes[number]),)))
        alone = system(Inputs(text=Tokens.of([texts[number].tolist()]), regions=image))
        torch.testing.assert_close(alone.text, list(inputs.text.layout.split(together.text))[number])
        torch.testing.assert_close(alone.regions, list(inputs.regions.layout.split(together.regions))[number])


def test_a_word_carries_the_region_that_it_names(inputs: Inputs) -> None:
    """Region 0 is the whole image, which every other word carries."""
    system = small()
    marks = torch.zeros(14, dtype=torch.long)
    plain = next(system.hidden_states(inputs)).x
    marked = inputs.with_streams(text=replace(inputs.text, token_labels={REGION_LABEL: marks}))
    assert torch.equal(next(system.hidden_states(marked)).x, plain)
    marks = marks.clone()
    marks[4] = 3  # the second word of the second text
    named = inputs.with_streams(text=replace(inputs.text, token_labels={REGION_LABEL: marks}))
    changed_rows = (next(system.hidden_states(named)).x != plain).any(1).nonzero().squeeze(1).tolist()
    assert changed_rows == [3 + 3 + 1 + 1], "behind text, whole image, regions and end of the first, one word further"
    torch.testing.assert_close(system(named, POOLED_ONLY).pooled.shape, (3, 16))


def test_an_image_is_embedded_once_however_many_texts_ask(inputs: Inputs) -> None:
    system = small()
    counted: list[int] = []
    system.encoder.embed.regions.project.register_forward_hook(lambda _m, given, _o: counted.append(len(given[0])))
    shared = replace(inputs.with_streams(regions=regions_of(4, 2)), image_of=torch.tensor([1, 0, 1]))
    rows = torch.tensor([4, 5, 0, 1, 2, 3, 4, 5])
    regions = shared.regions
    repeated = inputs.with_streams(
        regions=Regions(regions.features[rows], regions.boxes[rows], SequenceLayout((2, 4, 2)))
    )
    a, b = system(shared), system(repeated)
    assert counted == [6 + 2, 8 + 3]
    for ours, theirs in ((a.text, b.text), (a.regions, b.regions), (a.pooled, b.pooled)):
        torch.testing.assert_close(ours, theirs)


def test_a_branch_hides_from_regions(inputs: Inputs) -> None:
    """K-BERT's branches reach regions only through their word, in a model of one layer not at all."""
    system = small(num_layers=1)
    sees = Branches(words=torch.tensor([0, 1, 1, 2]), branches=torch.tensor([0, 0, 1, 0]))
    given = [
        Inputs(
            text=Tokens.of([[2, 7, branch, 3]], positions=[[0, 1, 2, 2]], attention_mask=sees),
            regions=regions_of(2),
        )
        for branch in (20, 30)
    ]
    before, after = system(given[0]), system(given[1])
    assert torch.equal(before.regions, after.regions)
    assert (before.text != after.text).any(1).tolist() == [False, True, True, False]


def test_a_fresh_model_ignores_vision(inputs: Inputs) -> None:
    """The visual norms begin with weight 0, so all images look alike."""
    system = mm_kptm.build(
        "vl-bert",
        heads=[],
        seed=3,
        dim=16,
        num_heads=2,
        num_layers=1,
        ffn_dim=32,
        vocab_size=40,
        region_dim=REGION_DIM,
        visual_dim=16,
        dropout=0.0,
    )
    other = inputs.with_streams(regions=regions_of(2, 4, 3, seed=9))
    assert torch.equal(system(inputs).pooled, system(other).pooled)


@pytest.mark.parametrize(
    ("name", "dim", "bert"), [("vl-bert-base", 768, 109_482_240), ("vl-bert-large", 1024, 335_141_888)]
)
def test_published_sizes(name: str, dim: int, bert: int) -> None:
    """A BERT with a third segment and without a pooler, the projection of 4096 numbers, two norms, five rows."""
    recipe = mm_kptm.catalogue()[name]
    with torch.device("meta"):
        encoder = recipe.build(**recipe.published_sizes())
    text = bert - (dim + 1) * dim + dim
    vision = (2048 + 2048 + 1) * dim + 2 * 2 * dim + 2048 + 4 * dim
    assert sum(parameter.numel() for parameter in encoder.parameters()) == text + vision


def test_every_published_key_is_placed() -> None:
    for folder in sorted(GOLDEN.iterdir()):
        translation = translated("vl-bert", folder)
        assert translation.strangers == []
        assert set(translation.left) <= {"vlbert.mlm_head.predictions.decoder.weight"}


def test_the_extractor_of_a_checkpoint_trained_end_to_end_stays_behind(tmp_path: Path) -> None:
    weights = load_file(GOLDEN / "vqa" / "weights.safetensors")
    names = (
        "backbone.conv1.weight",
        "backbone.layer1.0.bn1.running_mean",
        "roi_head_feature_extractor.0.conv1.weight",
    )
    weights |= {f"module.image_feature_extractor.{name}": torch.zeros(2) for name in names}
    save_file(weights, tmp_path / "weights.safetensors")
    (tmp_path / "config.json").write_bytes((GOLDEN / "vqa" / "config.json").read_bytes())
    translation = translated("vl-bert", tmp_path)
    assert translation.strangers == []
    assert all(translation.placed[f"image_feature_extractor.{name}"].startswith("frontends.rois.") for name in names)
    system = mm_kptm.load("vl-bert", tmp_path, heads={"vqa-at-mask": {"num_answers": 13}})
    assert not system.frontends and not system.sizes["masks_regions"] and not system.sizes["reads_text_alone"]


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("NETWORK.CLASSIFIER_TYPE", "2fc", "sets NETWORK.CLASSIFIER_TYPE to '2fc', but the heads of vl-bert are 'mlm'"),
        (
            "NETWORK.BLIND",
            True,
            "sets NETWORK.BLIND to True, with which the image is not read at all; vl-bert is built",
        ),
        ("NETWORK.ANSWER_FIRST", True, "with which the answer stands before the question"),
        ("NETWORK.QA_ONE_SENT", True, "with which question and answer are one segment"),
        ("NETWORK.NO_GROUNDING", True, "sets NETWORK.NO_GROUNDING to True, with which words do not carry the regions"),
        ("NETWORK.NO_OBJ_ATTENTION", True, "sets NETWORK.NO_OBJ_ATTENTION to True"),
        ("NETWORK.IMAGE_SEMANTIC", True, "sets NETWORK.IMAGE_SEMANTIC to True, with which regions carry the embedding"),
        (
            "NETWORK.VLBERT.obj_pos_id_relative",
            False,
            "obj_pos_id_relative to False, with which regions have positions",
        ),
        ("NETWORK.VLBERT.object_word_embed_mode", 1, "object_word_embed_mode to 1, with which regions carry another"),
        ("NETWORK.VLBERT.word_embedding_frozen", True, "word_embedding_frozen to True, with which the first thousand"),
    ],
)
def test_what_is_not_built_is_refused(field: str, value: Any, message: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=message):
        mm_kptm.load("vl-bert", changed("pretrain_rel", tmp_path, field, value))


def test_visual_vectors_may_be_scaled_by_a_number_in_place_of_a_norm(tmp_path: Path) -> None:
    """``visual_ln`` false: the projection times ``visual_scale_text`` or ``visual_scale_object``."""
    folder = changed("pretrain_rel", tmp_path, "NETWORK.VLBERT.visual_ln", False)
    weights = {name: x for name, x in load_file(folder / "weights.safetensors").items() if "visual_ln" not in name}
    weights |= {"vlbert.visual_scale_text": torch.tensor(0.7), "vlbert.visual_scale_object": torch.tensor(-1.3)}
    save_file(weights, folder / "weights.safetensors")
    system = mm_kptm.load("vl-bert", folder, heads={"masked-region-classes": {"num_classes": 11}})
    vectors = torch.randn(5, 20)
    for part, name, scale in (("of_words", "text", 0.7), ("of_regions", "object", -1.3)):
        projection = [weights[f"vlbert.visual_1x1_{name}.{leaf}"] for leaf in ("weight", "bias")]
        expected = torch.nn.functional.linear(vectors, *projection) * scale
        torch.testing.assert_close(getattr(system.encoder.embed, part)(vectors), expected)
    assert not system.sizes["visual_norm"]


def test_positions_may_begin_behind_the_padding(tmp_path: Path) -> None:
    """As those of a RoBERTa do: its padding stands at 1, the first token at 2."""
    folder = changed("pretrain_rel", tmp_path, "NETWORK.VLBERT.position_padding_idx", 1)
    heads = {"masked-region-classes": {"num_classes": 11}}
    shifted = mm_kptm.load("vl-bert", folder, heads=heads)
    plain = mm_kptm.load("vl-bert", GOLDEN / "pretrain_rel", heads=heads)
    text = Tokens.of([[2, 7, 8, 3]])
    moved = replace(text, positions=text.positions + 2)
    ours, theirs = shifted.encoder.embed.text(text), plain.encoder.embed.text(moved)
    torch.testing.assert_close(ours, theirs)


def test_what_cannot_be_read_is_refused(inputs: Inputs) -> None:
    alone = inputs.with_streams(regions=None)
    with pytest.raises(
        UserError, match="no regions, but this model was built without the vector that stands for a miss"
    ):
        small(reads_text_alone=False)(alone)
    assert small()(alone).regions.shape == (0, 16)
    masked = inputs.with_streams(regions=replace(inputs.regions, masked=torch.ones(9, dtype=torch.bool)))
    with pytest.raises(
        UserError, match="built without rows that stand for masked regions; build it with masks_regions"
    ):
        small(masks_regions=False)(masked)
    with pytest.raises(UserError, match="this model reads text, regions or both, but the inputs have neither"):
        small()(Inputs())
    named = inputs.with_streams(text=replace(inputs.text, token_labels={REGION_LABEL: torch.full((14,), 3)}))
    with pytest.raises(
        UserError, match="a word of text 0 names region 3, but its image has 3 regions, the whole image"
    ):
        small()(named)
    with pytest.raises(UserError, match="the sequence ends at position 7, but the model has 7 positions; cut the text"):
        small(max_positions=7)(inputs)
    with pytest.raises(UserError, match="regions and the end have segment 2, so num_segments must be at least 3"):
        small(num_segments=2)
    with pytest.raises(UserError, match="whole_image is 'last', but it can be 'mean'"):
        small(whole_image="last")
