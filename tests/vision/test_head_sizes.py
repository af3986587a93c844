"""A published file says the sizes of its heads: nobody has to count its answers or classes."""

from __future__ import annotations

import json
import warnings
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file

import mm_kptm
from mm_kptm.errors import UserError, UserNotice

GOLDEN = Path(__file__).parents[1] / "golden" / "data"


@pytest.mark.parametrize(
    ("recipe", "case", "head", "sizes"),
    [
        ("vilbert", "vilbert/pretrain", "masked-regions", {"num_classes": 11}),
        ("vilbert", "vilbert/pretrain_featreg_sum", "masked-regions", {"num_classes": 20, "target": "features"}),
        ("12-in-1", "vilbert/vl_tasks", "gqa", {"num_answers": 9}),
        (
            "volta-vl-bert",
            "volta/ctrl_vl-bert",
            "masked-regions",
            {"num_classes": 9, "targets": "distributions", "normalized": False},
        ),
        ("vl-bert", "vlbert/pretrain_rel", "masked-region-classes", {"num_classes": 11}),
        ("vl-bert", "vlbert/vqa", "vqa-at-mask", {"num_answers": 13}),
        ("oscar", "oscar/vqa", "vqa", {"num_answers": 15}),
        ("oscar-plus", "oscar/nlvr2_plus", "nlvr2", {"inner_scale": 2}),
        ("vlp", "vlp/vqa", "fused-answers", {"num_answers": 11}),
        ("uniter", "uniter/vqa", "vqa", {"num_answers": 17}),
        ("visualbert", "visualbert/vqa", "vqa-at-mask", {"num_answers": 14}),
    ],
)
def test_sizes_of_heads_follow_from_the_file(recipe: str, case: str, head: str, sizes: dict[str, object]) -> None:
    assert mm_kptm.load(recipe, GOLDEN / case).head_sizes[head] == sizes


def test_two_classes_of_retrieval_are_no_answers() -> None:
    """Oscar's head of retrieval has the published name of that of VQA."""
    with pytest.raises(UserError, match=r"heads.vqa.bias \[2\] instead of \[3129\]"):
        mm_kptm.load("oscar-plus", GOLDEN / "oscar" / "retrieval")
    assert (
        "image-text-matching"
        in mm_kptm.load("oscar-plus", GOLDEN / "oscar/retrieval", heads=["image-text-matching"]).heads
    )


@pytest.mark.parametrize(
    ("recipe", "case"),
    [
        ("vilbert", "vilbert/pretrain"),
        ("volta-uniter", "volta/ctrl_uniter"),
        ("oscar-plus", "oscar/pretrain_plus"),
        ("vlp", "vlp/pretrain"),
    ],
)
def test_fields_that_nothing_reads_are_named(recipe: str, case: str, tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserNotice)
        mm_kptm.load(recipe, GOLDEN / case)
    save_file(load_file(GOLDEN / case / "weights.safetensors"), tmp_path / "weights.safetensors")
    config = json.loads((GOLDEN / case / "config.json").read_text()) | {"attends_twice": 3}
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.warns(UserNotice, match=r"has fields that .* does not read: attends_twice$"):
        mm_kptm.load(recipe, tmp_path)
