"""M3P's refiner against its equations on padded images, with the weights of a published layout."""

import json
import math
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file

import mm_kptm
from mm_kptm.batch import Inputs, Regions, SequenceLayout, Tokens
from mm_kptm.errors import UserError

FOLDER = Path(__file__).parents[2] / "golden" / "data" / "iglue" / "m3p"
LENGTHS = (4, 2, 3)


def inputs(image_of: list[int] | None = None) -> Inputs:
    draws = torch.Generator().manual_seed(0)
    width = load_file(FOLDER / "weights.safetensors")["encoder.image_embeddings.image_embeddings.weight"].shape[1]
    regions = Regions(
        torch.rand(sum(LENGTHS), width, generator=draws),
        torch.rand(sum(LENGTHS), 4, generator=draws),
        SequenceLayout(LENGTHS),
        geometry=torch.rand(sum(LENGTHS), 5, generator=draws),
    )
    texts = [[5, 6, 7], [8, 9], [4]] if image_of is None else [[5, 6]] * len(image_of)
    return Inputs(text=Tokens.of(texts), regions=regions, image_of=None if image_of is None else torch.tensor(image_of))


def by_equations(x: torch.Tensor, weights: dict[str, torch.Tensor], heads: int) -> torch.Tensor:
    """One image [R, D] through the layers of AoANet's refiner, written out."""

    def linear(name: str, rows: torch.Tensor) -> torch.Tensor:
        return rows @ weights[f"{name}.weight"].T + weights[f"{name}.bias"]

    def norm(name: str, rows: torch.Tensor) -> torch.Tensor:
        return F.layer_norm(rows, rows.shape[-1:], weights[f"{name}.weight"], weights[f"{name}.bias"], 1e-12)

    layers = {name.split(".")[1] for name in weights if name.startswith("layers.")}
    for layer in sorted(layers):
        start = f"layers.{layer}"
        read = norm(f"{start}.sublayer.0.norm", x)
        q, k, v = (linear(f"{start}.self_attn.linears.{n}", read).view(len(x), heads, -1) for n in range(3))
        found = []
        for head in range(heads):
            share = (q[:, head] @ k[:, head].T / math.sqrt(q.shape[-1])).softmax(-1)
            found.append(share @ v[:, head])
        both = linear(f"{start}.self_attn.aoa_layer.0", torch.cat([*found, read], 1))
        information, gate = both.chunk(2, 1)
        x = x + information * gate.sigmoid()
        inner = F.gelu(linear(f"{start}.feed_forward.lin1", norm(f"{start}.sublayer.1.norm", x)))
        x = x + linear(f"{start}.feed_forward.lin2", inner)
    return norm("norm", x)


@torch.no_grad()
def test_the_refiner_follows_its_equations() -> None:
    plain, refined = (mm_kptm.load(name, FOLDER) for name in ("m3p", "m3p-refined"))
    assert plain.sizes["refine_layers"] == 0 and refined.sizes["refine_layers"] == 1
    start = "encoder.refine_embeddings."
    weights = {
        name.removeprefix(start): tensor
        for name, tensor in load_file(FOLDER / "weights.safetensors").items()
        if name.startswith(start)
    }
    shown = inputs()
    assert shown.regions is not None
    embedded = plain.encoder.embed.regions(shown.regions)  # type: ignore[union-attr, operator]
    ours = refined.encoder.embed.refiner(embedded, shown.regions.layout)  # type: ignore[union-attr, operator]
    expected = [by_equations(image, weights, refined.sizes["num_heads"]) for image in embedded.split(LENGTHS)]
    torch.testing.assert_close(ours, torch.cat(expected), atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_refined_regions_are_what_the_encoder_reads() -> None:
    plain, refined = (mm_kptm.load(name, FOLDER) for name in ("m3p", "m3p-refined"))
    first, second = (system(inputs()) for system in (plain, refined))
    assert not torch.allclose(first.text, second.text)
    together, alone = refined(inputs([0, 1, 1])), refined(inputs())
    torch.testing.assert_close(together.regions[:4], refined(inputs([0])).regions[:4])
    assert together.regions.shape == (8, refined.dim) and alone.regions.shape == (9, refined.dim)


def test_the_plain_model_leaves_the_refiner_behind() -> None:
    state = mm_kptm.load("m3p", FOLDER).state_dict()
    assert not any("refiner" in name for name in state)
    assert any("refiner" in name for name in mm_kptm.load("m3p-refined", FOLDER).state_dict())


def test_the_published_size_is_six_layers() -> None:
    published = mm_kptm.catalogue()
    assert published["m3p-refined"].published_sizes()["refine_layers"] == 6
    assert published["m3p"].published_sizes()["refine_layers"] == 0


@pytest.mark.parametrize("layers", [1, 2])
def test_a_saved_refiner_comes_back(layers: int, tmp_path: Path) -> None:
    sizes = {"dim": 8, "num_heads": 2, "num_layers": 1, "vocab_size": 20, "max_positions": 12, "region_dim": 6}
    system = mm_kptm.build("m3p-refined", seed=0, heads=[], refine_layers=layers, **sizes)
    mm_kptm.save(system, tmp_path / "m")
    again = mm_kptm.load(str(tmp_path / "m"))
    ours = dict(system.named_parameters())
    assert all(torch.equal(parameter, ours[name]) for name, parameter in again.named_parameters())


def test_a_configuration_that_refines_is_read_by_the_refined_model_alone(tmp_path: Path) -> None:
    for name in ("weights.safetensors", "config.json"):
        (tmp_path / name).write_bytes((FOLDER / name).read_bytes())
    config = json.loads((tmp_path / "config.json").read_text("utf-8"))
    (tmp_path / "config.json").write_text(json.dumps({**config, "refine_image": True}), "utf-8")
    with pytest.raises(UserError, match="the configuration says refine_image=True, but m3p is built with"):
        mm_kptm.load("m3p", tmp_path)
    assert mm_kptm.load("m3p-refined", tmp_path).sizes["refine_layers"] == 1
