"""What UNITER can be loaded from."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

import mm_kptm
from mm_kptm.batch import Inputs, Tokens
from mm_kptm.errors import UserError
from mm_kptm.systems.keymap import UnmappedKeys
from tests.vision.conftest import regions_of, small_uniter

GOLDEN = Path(__file__).parents[1] / "golden" / "data"
TEXT = Inputs(text=Tokens.of([[2, 7, 8, 3], [2, 9, 3]]))


@pytest.mark.parametrize(
    ("name", "dim", "bert"), [("uniter-base", 768, 108_310_272), ("uniter-large", 1024, 333_579_264)]
)
def test_published_sizes_are_a_cased_bert_and_its_regions(name: str, dim: int, bert: int) -> None:
    recipe = mm_kptm.catalogue()[name]
    with torch.device("meta"):
        encoder = recipe.build(**recipe.published_sizes())
    regions = (2048 + 1) * dim + (7 + 1) * dim + 3 * 2 * dim + 2048  # features, boxes, three norms, the mask
    assert sum(parameter.numel() for parameter in encoder.parameters()) == bert + regions


def test_a_bert_is_a_start_whose_regions_are_fresh() -> None:
    folder = GOLDEN / "bert" / "pretraining"
    bert = mm_kptm.load("bert", folder)
    started = mm_kptm.load("uniter", folder, fresh=["encoder.embed.regions."], seed=1, region_dim=12)
    torch.testing.assert_close(started(TEXT).pooled, bert(TEXT).pooled)
    assert list(started.heads) == ["masked-tokens"]
    again = mm_kptm.load("uniter", folder, fresh=["encoder.embed.regions."], seed=1, region_dim=12)
    both = Inputs(text=TEXT.text, regions=regions_of(2, 3))
    assert torch.equal(started(both).pooled, again(both).pooled)


def test_a_bert_without_leave_for_fresh_regions_is_refused() -> None:
    with pytest.raises(UnmappedKeys, match=r"nothing fills our parameters: encoder\.embed\.regions\.box"):
        mm_kptm.load("uniter", GOLDEN / "bert" / "pretraining")


def test_a_new_head_may_stay_fresh_on_a_pretrained_encoder() -> None:
    folder = GOLDEN / "uniter" / "pretrain"
    tuned = mm_kptm.load("uniter", folder, heads={"vqa": {"num_answers": 5}}, fresh=["heads.vqa."], seed=2)
    pretrained = mm_kptm.load("uniter", folder, heads=[])
    torch.testing.assert_close(tuned(TEXT).pooled, pretrained(TEXT).pooled)
    assert tuned.head("vqa")(tuned(TEXT).pooled).shape == (2, 5)


def test_a_fresh_part_that_does_not_exist_is_refused() -> None:
    with pytest.raises(UserError, match=r"no parameter of uniter-base begins with 'heads\.vqq\.', so nothing there"):
        mm_kptm.load("uniter", GOLDEN / "uniter" / "pretrain", heads=[], fresh=["heads.vqq."])


def test_the_unused_row_of_the_mask_table_stays_behind() -> None:
    folder = GOLDEN / "uniter" / "pretrain"
    table = load_file(folder / "weights.safetensors")["uniter.img_embeddings.mask_embedding.weight"]
    system = mm_kptm.load("uniter", folder, heads=[])
    assert table[0].any() and torch.equal(system.encoder.embed.regions.mask.detach(), table[1:])


def test_grounding_with_two_layers_is_placed(tmp_path: Path) -> None:
    folder = GOLDEN / "uniter" / "refexp"
    weights = {name: x for name, x in load_file(folder / "weights.safetensors").items() if "re_output" not in name}
    torch.manual_seed(0)
    theirs = nn.Sequential(nn.Linear(32, 32), nn.GELU(), nn.LayerNorm(32, eps=1e-12), nn.Linear(32, 1))
    weights |= {f"re_output.{name}": x.clone() for name, x in theirs.state_dict().items()}
    save_file(weights, tmp_path / "weights.safetensors")
    (tmp_path / "config.json").write_text((folder / "config.json").read_text())
    system = mm_kptm.load("uniter", tmp_path, heads=["grounding"])  # the file says how many layers
    rows = torch.randn(4, 32)
    torch.testing.assert_close(system.head("grounding")(rows), theirs(rows))


def test_grounding_with_three_layers_is_refused() -> None:
    with pytest.raises(UserError, match="the head grounding has 1 or 2 layers, not 3"):
        mm_kptm.build("uniter", heads={"grounding": {"num_layers": 3}}, num_layers=1, dim=12, vocab_size=5)


def test_every_head_can_be_built_saved_and_loaded(tmp_path: Path) -> None:
    heads = mm_kptm.catalogue()["uniter-base"].heads
    sizes = {"dim": 16, "num_heads": 2, "num_layers": 1, "ffn_dim": 32, "vocab_size": 40, "region_dim": 12}
    system = mm_kptm.build("uniter", heads=list(heads), seed=0, **sizes)
    mm_kptm.save(system, tmp_path)
    again = mm_kptm.load(str(tmp_path))
    assert list(again.heads) == list(heads)
    assert all(torch.equal(a, b) for a, b in zip(system.parameters(), again.parameters(), strict=True))


def test_a_saved_pretraining_takes_a_fresh_head(tmp_path: Path) -> None:
    pretrained = small_uniter()
    mm_kptm.save(pretrained, tmp_path)
    tuned = mm_kptm.load(
        "uniter", tmp_path, heads={"vqa": {"num_answers": 5}, "masked-region-classes": {}}, fresh=["heads.vqa."], seed=0
    )
    assert list(tuned.heads) == ["vqa", "masked-region-classes"]
    torch.testing.assert_close(tuned(TEXT).pooled, pretrained(TEXT).pooled)
    rows = torch.randn(2, 16)
    torch.testing.assert_close(
        tuned.head("masked-region-classes")(rows), pretrained.head("masked-region-classes")(rows)
    )


def test_a_saved_folder_keeps_its_sizes(tmp_path: Path) -> None:
    mm_kptm.save(small_uniter(), tmp_path)
    with pytest.raises(UserError, match="was saved with its sizes, so num_layers cannot be chosen; build another"):
        mm_kptm.load("uniter", tmp_path, num_layers=3)


def test_a_checkpoint_tells_how_far_its_tables_were_grown() -> None:
    nlvr2, vcr = (mm_kptm.load("uniter", GOLDEN / "uniter" / case, heads=[]) for case in ("nlvr2_paired_attn", "vcr"))
    assert (nlvr2.sizes["num_segments"], nlvr2.sizes["vocab_size"], nlvr2.sizes["region_dim"]) == (3, 120, 24)
    assert (vcr.sizes["num_segments"], vcr.sizes["vocab_size"]) == (4, 125)


def test_half_precision_checkpoints_load(tmp_path: Path) -> None:
    folder = GOLDEN / "uniter" / "vqa"
    weights = {name: x.half() for name, x in load_file(folder / "weights.safetensors").items()}
    torch.save(weights, tmp_path / "model.pt")
    (tmp_path / "config.json").write_text((folder / "config.json").read_text())
    system = mm_kptm.load("uniter", tmp_path, heads={"vqa": {"num_answers": 17}})
    assert {parameter.dtype for parameter in system.parameters()} == {torch.float32}


def test_a_segment_is_shared_by_text_and_regions() -> None:
    system = small_uniter()
    assert system.encoder.embed.regions.segment is system.encoder.embed.text.segment
