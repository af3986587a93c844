"""Pixel-BERT: cells of feature maps as regions, and a random share of them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

import mm_kptm
from mm_kptm.batch import Inputs, SequenceLayout, Tokens
from mm_kptm.errors import UserError
from mm_kptm.objectives.pairs import ImageTextMatching
from mm_kptm.systems.pretrained import translated
from mm_kptm.systems.system import System
from mm_kptm.vision.modules.single_stream.grid_features import cells_of, grid_places, sampled_cells, select_cells
from mm_kptm.vision.objectives.random_pixel_sampling import RandomPixelSampling

CASE = Path(__file__).parents[1] / "golden" / "data" / "pixel_bert" / "pretrain"


def small() -> System:
    sizes = {"dim": 16, "num_heads": 2, "num_layers": 2, "ffn_dim": 32, "vocab_size": 40, "max_positions": 20}
    return mm_kptm.build("pixel-bert", seed=3, **sizes, max_rows=4, max_columns=5, dropout=0.0)


def maps(count: int = 2, height: int = 3, width: int = 4) -> torch.Tensor:
    return torch.randn(count, height, width, 16, generator=torch.Generator().manual_seed(0))


def texts(count: int = 2) -> Tokens:
    return Tokens.of([[2, 7 + number, 3] for number in range(count)])


def test_cells_are_read_row_by_row_and_know_their_share_of_the_image() -> None:
    cells = cells_of(maps())
    assert cells.layout.lengths == (12, 12)
    assert torch.equal(cells.features[12 + 4 + 2], maps()[1, 1, 2])
    torch.testing.assert_close(cells.boxes[4 + 2], torch.tensor([0.5, 1 / 3, 0.75, 2 / 3]))


@pytest.mark.parametrize(("height", "width"), [(1, 1), (3, 4), (7, 100), (100, 13)])
def test_places_in_a_grid_follow_from_the_boxes(height: int, width: int) -> None:
    row, column = grid_places(cells_of(torch.zeros(1, height, width, 1)).boxes)
    assert torch.equal(row * width + column, torch.arange(height * width))


def test_a_share_of_the_cells_is_drawn_without_repeats_in_order_and_alike_for_equal_maps() -> None:
    cells = cells_of(maps(3))
    fewer = sampled_cells(cells, 5, torch.Generator().manual_seed(1))
    row, column = grid_places(fewer.boxes)
    places = (row * 4 + column).view(3, 5)
    assert torch.equal(places[0], places[1]) and torch.equal(places[0], places[2])
    assert (places.diff() > 0).all()
    assert torch.equal(fewer.features[5:10], cells.features[12 + places[1]])
    again, other = (sampled_cells(cells, 5, torch.Generator().manual_seed(seed)) for seed in (1, 2))
    assert torch.equal(again.boxes, fewer.boxes) and not torch.equal(other.boxes, fewer.boxes)


def test_every_cell_is_drawn_as_often_as_any_other() -> None:
    generator = torch.Generator().manual_seed(0)
    cells = cells_of(torch.zeros(1, 3, 4, 1))
    counts = torch.zeros(12)
    for _ in range(600):
        row, column = grid_places(sampled_cells(cells, 5, generator).boxes)
        counts[row * 4 + column] += 1
    assert (counts - 250).abs().max() < 4 * (600 * 5 / 12 * 7 / 12) ** 0.5


def test_small_maps_are_kept_whole() -> None:
    cells = cells_of(maps())
    assert torch.equal(sampled_cells(cells, 12, torch.Generator()).features, cells.features)


def test_a_cell_is_embedded_alike_with_and_without_the_others() -> None:
    system = small()
    cells = cells_of(maps())
    rows = torch.tensor([1, 6, 11, 13, 18, 23])
    embed = system.encoder.embed.regions
    torch.testing.assert_close(embed(select_cells(cells, rows, SequenceLayout((3, 3)))), embed(cells)[rows])


def test_pretraining_sees_a_share_and_all_else_everything() -> None:
    system = small()
    objective = RandomPixelSampling(ImageTextMatching(), count=5)
    inputs = Inputs(text=texts(), regions=cells_of(maps()))
    batch = objective.prepare(inputs, torch.Generator().manual_seed(0))
    assert batch.inputs.regions.layout.lengths == (5, 5) and objective.name == "image-text-matching"
    torch.testing.assert_close(objective.loss(system, batch), objective.measure(system, batch).mean())
    assert system(inputs).regions.shape == (24, 16)
    with pytest.raises(UserError, match="cells of images are sampled for image-text-matching, but the inputs have no"):
        objective.prepare(Inputs(text=texts()), torch.Generator())


def test_a_larger_map_is_refused() -> None:
    with pytest.raises(
        UserError, match="a cell stands in place 4 of its map's rows, but the model has 4; shrink the im"
    ):
        small()(Inputs(text=texts(), regions=cells_of(maps(height=5))))
    with pytest.raises(UserError, match=r"place 5 of its map's columns, but the model has 5; shrink .* max_columns=6"):
        small()(Inputs(text=texts(), regions=cells_of(maps(width=6))))


def test_the_names_of_the_whole_model_and_of_its_encoder_are_read_alike(tmp_path: Path) -> None:
    weights = load_file(CASE / "weights.safetensors")
    named = {f"transformer.{name}": tensor for name, tensor in weights.items()}
    named |= {f"cnn.{name}": torch.zeros(2) for name in ("conv1.weight", "layer1.0.bn1.running_mean")}
    save_file(named, tmp_path / "weights.safetensors")
    (tmp_path / "config.json").write_bytes((CASE / "config.json").read_bytes())
    assert translated("pixel-bert", tmp_path).strangers == []
    plain, whole = mm_kptm.load("pixel-bert", CASE), mm_kptm.load("pixel-bert", tmp_path)
    assert list(plain.heads) == list(whole.heads) == ["masked-tokens", "image-text-matching"]
    inputs = Inputs(text=texts(), regions=replace(cells_of(torch.randn(2, 3, 4, 24))))
    assert torch.equal(plain(inputs).pooled, whole(inputs).pooled)
