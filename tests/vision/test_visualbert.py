"""VisualBERT: regions with the text's norm and positions; what it can be loaded from."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor
from transformers import (
    VisualBertConfig,
    VisualBertForPreTraining,
    VisualBertForQuestionAnswering,
    VisualBertForRegionToPhraseAlignment,
)

import mm_kptm
from mm_kptm.batch import Inputs, Regions, SequenceLayout, Tokens, layout_of
from mm_kptm.errors import UserError
from mm_kptm.systems.pretrained import translated
from mm_kptm.systems.system import System
from mm_kptm.vision.modules.single_stream.mask_readout import answer_mask_rows
from mm_kptm.vision.objectives.soft_targets import answer_kl
from tests.vision.conftest import REGION_DIM, regions_of

GOLDEN = Path(__file__).parents[1] / "golden" / "data"
DTYPES = pytest.mark.parametrize(("dtype", "atol"), [(torch.float32, 1e-5), (torch.float64, 1e-10)])


def small(**sizes: int | float) -> System:
    chosen = {"dim": 16, "num_heads": 2, "num_layers": 2, "ffn_dim": 32, "vocab_size": 40, "max_positions": 20}
    return mm_kptm.build("visualbert", seed=3, **{**chosen, "region_dim": REGION_DIM, "dropout": 0.0, **sizes})


class Drawn:
    """Padded texts and images of another implementation, and the same as inputs of ours."""

    def __init__(self, dtype: torch.dtype) -> None:
        torch.manual_seed(1)
        self.real = torch.tensor([[1] * 6 + [0] * 3, [1] * 9, [1] * 3 + [0] * 6]).bool()
        self.seen = torch.tensor([[1] * 4, [1, 1, 0, 0], [1, 1, 1, 0]]).bool()
        self.ids, self.segments = torch.randint(60, (3, 9)), torch.randint(2, (3, 9))
        self.features = torch.randn(3, 4, REGION_DIM, dtype=dtype)
        self.kinds = torch.randint(2, (3, 4))
        self.words = torch.randint(-1, 9, (3, 4, 2))
        self.words[0, 1] = -1  # a region that no word names

    def theirs(self, *, aligned: bool = True) -> dict[str, Tensor]:
        # the other implementation writes into the alignment that it is given
        return {
            "input_ids": self.ids,
            "token_type_ids": self.segments,
            "attention_mask": self.real.long(),
            "visual_embeds": self.features,
            "visual_attention_mask": self.seen.long(),
            "visual_token_type_ids": self.kinds,
            **({"image_text_alignment": self.words.clone()} if aligned else {}),
        }

    def ours(self, *, aligned: bool = True) -> Inputs:
        regions = Regions(
            self.features[self.seen],
            torch.zeros(int(self.seen.sum()), 4),
            layout_of(self.seen),
            segments=self.kinds[self.seen],
            words=self.words[self.seen] if aligned else None,
        )
        return Inputs(text=Tokens.padded(self.ids, self.real, segments=self.segments), regions=regions)


def written(model: type[torch.nn.Module], folder: Path) -> torch.nn.Module:
    """A model of the other implementation with random weights, saved to a folder."""
    torch.manual_seed(0)
    config = VisualBertConfig(
        vocab_size=60,
        hidden_size=32,
        num_attention_heads=4,
        num_hidden_layers=3,
        intermediate_size=48,
        max_position_embeddings=16,
        visual_embedding_dim=REGION_DIM,
        num_labels=7,
    )
    theirs = model(config).eval()
    for parameter in theirs.parameters():
        torch.nn.init.normal_(parameter, std=0.3)  # biases and norms too, which fresh weights leave at 0 and 1
    config.save_pretrained(folder)
    save_file({name: x.clone() for name, x in theirs.state_dict().items()}, folder / "model.safetensors")
    return theirs


def compare(answers: dict[str, tuple[Tensor, Tensor]], atol: float) -> None:
    for name, (mine, other) in answers.items():
        # relative to the size of the numbers, which such weights make large
        scale = other[other > -1e4].abs().max()
        torch.testing.assert_close(mine / scale, other / scale, atol=atol, rtol=0, msg=lambda m, n=name: f"{n}: {m}")


@DTYPES
@pytest.mark.parametrize("aligned", [True, False])
def test_answers_as_the_independent_implementation(
    dtype: torch.dtype, atol: float, aligned: bool, tmp_path: Path
) -> None:
    """With random weights, text and regions padded, words that name regions: states and all pretraining scores."""
    theirs = written(VisualBertForPreTraining, tmp_path).to(dtype)
    ours = mm_kptm.load("visualbert", tmp_path).to(dtype)
    drawn = Drawn(dtype)
    both = torch.cat([drawn.real, drawn.seen], dim=1)
    with torch.no_grad():
        expected = theirs(**drawn.theirs(aligned=aligned))
        states = theirs.visual_bert(**drawn.theirs(aligned=aligned))
        encoded = ours(drawn.ours(aligned=aligned))
        joint = list(ours.hidden_states(drawn.ours(aligned=aligned)))[-1].x
        answers = {
            "states": (joint, states.last_hidden_state[both]),
            "pooled": (encoded.pooled, states.pooler_output),
            "words": (ours.head("masked-tokens")(joint), expected.prediction_logits[both]),
            "pairs": (ours.head("image-text-matching")(encoded.pooled), expected.seq_relationship_logits),
        }
    compare(answers, atol)


@DTYPES
def test_answers_questions_as_the_independent_implementation(dtype: torch.dtype, atol: float, tmp_path: Path) -> None:
    theirs = written(VisualBertForQuestionAnswering, tmp_path).to(dtype)
    ours = mm_kptm.load("visualbert", tmp_path, heads={"vqa-at-mask": {"num_answers": 7}}).to(dtype)
    drawn = Drawn(dtype)
    worth = torch.rand(3, 7, dtype=dtype)
    with torch.no_grad():
        inputs = drawn.ours()
        scores = ours.head("vqa-at-mask")(ours(inputs).text[answer_mask_rows(inputs.text.layout, worth.device)])
        expected = theirs(**drawn.theirs(), labels=worth)
    # with labels the other one gives the logarithms of the shares
    compare({"scores": (scores.log_softmax(1), expected.logits)}, atol)
    compare({"loss": (answer_kl(scores, worth).mean().reshape(1), expected.loss.reshape(1))}, atol)


@DTYPES
def test_grounds_phrases_as_the_independent_implementation(dtype: torch.dtype, atol: float, tmp_path: Path) -> None:
    theirs = written(VisualBertForRegionToPhraseAlignment, tmp_path).to(dtype)
    ours = mm_kptm.load("visualbert", tmp_path, heads=["phrase-grounding"]).to(dtype)
    drawn = Drawn(dtype)
    places = torch.tensor([[1, 4], [7, 2], [0, 2]])
    with torch.no_grad():
        expected = theirs(**drawn.theirs(), region_to_phrase_position=places).logits
        inputs = drawn.ours()
        encoded = ours(inputs)
        rows = (inputs.text.layout.starts(places.device)[:, None] + places).flatten()
        shown = inputs.regions.layout
        scores = ours.head("phrase-grounding")(encoded.text[rows], encoded.regions, SequenceLayout((2, 2, 2)), shown)
    real = scores > float("-inf")
    assert torch.equal(real, drawn.seen.repeat_interleave(2, dim=0))
    compare({"scores": (scores[real], expected.flatten(0, 1)[real])}, atol)


def test_published_sizes() -> None:
    """A BERT of 109,482,240 parameters and a projection, a table of segments and one of positions."""
    recipe = mm_kptm.catalogue()["visualbert-base"]
    with torch.device("meta"):
        encoder = recipe.build(**recipe.published_sizes())
    regions = (2048 + 1) * 768 + (2 + 512) * 768
    assert sum(parameter.numel() for parameter in encoder.parameters()) == 109_482_240 + regions


def test_words_that_name_a_region_add_the_mean_of_their_positions() -> None:
    """-1 is no word; a region without words adds nothing."""
    system = small()
    embed = system.encoder.embed.regions
    embed.norm = torch.nn.Identity()
    plain = regions_of(3)
    named = replace(plain, words=torch.tensor([[4, 6], [5, -1], [-1, -1]]))
    table = embed.word_position.weight
    added = torch.stack([(table[4] + table[6]) / 2, table[5], torch.zeros_like(table[5])])
    torch.testing.assert_close(embed(named) - embed(plain), added)


def test_boxes_are_not_read_and_order_is_not_known(inputs: Inputs) -> None:
    system = small()
    moved = inputs.with_streams(regions=replace(inputs.regions, boxes=inputs.regions.boxes * 0.5))
    assert torch.equal(system(inputs).pooled, system(moved).pooled)
    order = torch.tensor([1, 0, 4, 2, 5, 3, 8, 6, 7])
    shuffled = inputs.with_streams(regions=replace(inputs.regions, features=inputs.regions.features[order]))
    torch.testing.assert_close(system(inputs).regions[order], system(shuffled).regions)


def test_a_bert_is_a_start_whose_tables_are_copied() -> None:
    """As in the released code, which calls it special_visual_initialize; the projection stays fresh."""
    fresh = ["encoder.embed.regions.feature."]
    started = mm_kptm.load("visualbert", GOLDEN / "bert" / "pretraining", fresh=fresh, region_dim=12, heads=[])
    text, regions = started.encoder.embed.text, started.encoder.embed.regions
    assert torch.equal(text.segment.weight, regions.segment.weight)
    assert torch.equal(text.position.weight, regions.position.weight)
    assert text.position.weight is not regions.position.weight
    given = Inputs(text=Tokens.of([[2, 7, 8, 3], [2, 9, 3]]))
    torch.testing.assert_close(
        started(given).pooled, mm_kptm.load("bert", GOLDEN / "bert" / "pretraining")(given).pooled
    )


def test_every_published_key_is_placed() -> None:
    for case in ("pretrain", "vqa", "nlvr2", "vcr", "flickr"):
        translation = translated("visualbert", GOLDEN / "visualbert" / case)
        assert translation.strangers == []
        unused = {f"bert.flickr_attention.value.{leaf}" for leaf in ("weight", "bias")}
        assert set(translation.left) <= {"bert.cls.predictions.decoder.weight", *unused}


def test_the_form_that_hides_regions_from_the_layers_is_refused(tmp_path: Path) -> None:
    case = GOLDEN / "visualbert" / "pretrain"
    config = json.loads((case / "config.json").read_text()) | {"bypass_transformer": True}
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "weights.safetensors").write_bytes((case / "weights.safetensors").read_bytes())
    with pytest.raises(UserError, match=r"the configuration sets bypass_transformer, in which the regions skip all"):
        mm_kptm.load("visualbert", tmp_path)


def test_a_question_without_a_place_for_its_answer_is_refused() -> None:
    with pytest.raises(UserError, match=r"a text has fewer than two tokens; end every question with \[MASK\] \[SEP\]"):
        answer_mask_rows(SequenceLayout((4, 1)), torch.device("cpu"))


def test_a_word_behind_the_last_position_is_refused(inputs: Inputs) -> None:
    named = replace(inputs.regions, words=torch.full((9, 1), 20))
    with pytest.raises(UserError, match="named by the word at position 20, but the model has 20 positions; cut the"):
        small()(inputs.with_streams(regions=named))
