"""Heads of fine-tuning that start from heads of pretraining, as the published training does."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

import mm_kptm
from mm_kptm.errors import UserError

SIZES = {"dim": 8, "num_heads": 2, "num_layers": 1, "ffn_dim": 12, "vocab_size": 20, "max_positions": 12}
GOLDEN = Path(__file__).parents[1] / "golden" / "data"


def test_uniters_score_of_a_pair_starts_from_its_match(tmp_path: Path) -> None:
    """Zero-shot retrieval ranks by it (Chen et al. 2020, released code: ``init_output``)."""
    pretrained = mm_kptm.build("uniter", heads=["image-text-matching"], seed=0, **SIZES)
    mm_kptm.save(pretrained, tmp_path)
    tuned = mm_kptm.load("uniter", tmp_path, heads=["retrieval"])
    match, score = pretrained.head("image-text-matching"), tuned.head("retrieval")
    assert torch.equal(score.weight, match.weight[1:]) and torch.equal(score.bias, match.bias[1:])


def test_a_published_checkpoint_does_so_too() -> None:
    case = GOLDEN / "uniter" / "pretrain"
    tuned = mm_kptm.load("uniter", case, heads=["retrieval"])
    published = load_file(case / "weights.safetensors")
    assert torch.equal(tuned.head("retrieval").weight, published["itm_output.weight"][1:])


def test_a_head_that_is_in_the_file_is_taken_as_it_is(tmp_path: Path) -> None:
    both = mm_kptm.build("uniter", heads=["image-text-matching", "retrieval"], seed=0, **SIZES)
    mm_kptm.save(both, tmp_path)
    tuned = mm_kptm.load("uniter", tmp_path, heads=["retrieval"])
    assert torch.equal(tuned.head("retrieval").weight, both.head("retrieval").weight)


def test_vl_berts_answers_start_from_the_words_and_its_boxes_from_the_classes() -> None:
    case = GOLDEN / "vlbert" / "pretrain_multitask"
    published = load_file(case / "weights.safetensors")
    for head, theirs in (("vqa-at-mask", "mlm_head.predictions.transform"), ("grounding", "mvrc_head.transform")):
        tuned = mm_kptm.load("vl-bert", case, heads=[head], fresh=[f"heads.{head}.out."])
        found = tuned.head(head).transform.dense.weight
        assert torch.equal(found, published[f"vlbert.{theirs}.dense.weight"])


def test_what_has_no_start_must_be_named_as_fresh() -> None:
    case = GOLDEN / "vlbert" / "pretrain_multitask"
    with pytest.raises(UserError, match=r"heads\.vqa-at-mask\.out\.weight"):
        mm_kptm.load("vl-bert", case, heads=["vqa-at-mask"])


def test_lxmerts_answers_start_from_those_of_pretraining() -> None:
    case = GOLDEN / "lxmert" / "pretrain"
    layers = {"num_layers": 3, "num_region_layers": 2, "num_cross_layers": 2}
    tuned = mm_kptm.load("lxmert", case, heads=["vqa"], fresh=["heads.vqa.out."], **layers)
    published = load_file(case / "weights.safetensors")
    assert torch.equal(tuned.head("vqa").transform.dense.weight, published["answer_head.logit_fc.0.weight"])
