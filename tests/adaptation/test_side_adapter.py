"""K-Adapter: sets of adapters beside an encoder."""

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

import mm_kptm
from mm_kptm.adaptation.side_adapter import AdaptedStream, Adapter, AdapterSet, adapt
from mm_kptm.batch import ALL_ROWS, Encoded, Inputs, OutputRows, Regions, Tokens
from mm_kptm.errors import UserError
from mm_kptm.knowledge.objectives.mention_classification import (
    DependencyHead,
    DependencyTargets,
    Marked,
    MarkedRelation,
    MarkedTyping,
)
from mm_kptm.nn.visibility import Causal
from mm_kptm.recipes.bert import bert
from mm_kptm.systems.system import System

SMALL: dict[str, Any] = {
    "dim": 16,
    "num_heads": 2,
    "num_layers": 4,
    "ffn_dim": 24,
    "vocab_size": 40,
    "max_positions": 32,
    "dropout": 0.0,
    "adapter_dim": 8,
    "adapter_heads": 2,
    "adapter_ffn_dim": 12,
}
TEXTS = [[0, 5, 6, 7, 2], [0, 9, 8, 2], [0, 5, 9, 30, 31, 2]]
INPUTS = Inputs(text=Tokens.of(TEXTS))
WEIGHTS = Path(__file__).parents[1] / "golden/data/k_adapter/tiny"


def adapted(name: str = "k_adapter", **sizes: Any) -> System:
    """A system with weights large enough for every part of it to show in the result."""
    system = mm_kptm.build(name, seed=0, heads=(), **{**SMALL, **sizes})
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in system.parameters():
            parameter.normal_(std=0.3)
    return system


@torch.no_grad()
def encoded(system: System, inputs: Inputs = INPUTS, output_rows: OutputRows = ALL_ROWS) -> Encoded:
    return system(inputs, output_rows)


@torch.no_grad()
def test_sets_without_knowledge_sum_up_the_states_that_they_read() -> None:
    system = adapted(fusion="add", adapter_depths=[0, 2, 4])
    for side in system.encoder.sides.values():
        for adapter in side.adapters:
            adapter.up.weight.zero_()
            adapter.up.bias.zero_()
    *depths, fused = [stream.x for stream in system.hidden_states(INPUTS)]
    torch.testing.assert_close(fused, depths[4] + 2 * (depths[0] + depths[2] + depths[4]))


@torch.no_grad()
def test_adapters_never_change_the_encoder() -> None:
    system = adapted()
    before = [stream.x for stream in system.hidden_states(INPUTS)]
    for parameter in system.encoder.sides.parameters():
        parameter.normal_()
    after = [stream.x for stream in system.hidden_states(INPUTS)]
    assert all(torch.equal(one, other) for one, other in zip(before[:-1], after[:-1], strict=True))
    assert not torch.allclose(before[-1], after[-1])


def test_walking_ends_at_the_final_states() -> None:
    for depths in ([0, 2, 4], [0, 1, 3]):
        system = adapted(adapter_depths=depths)
        with torch.no_grad():
            *_, last = system.hidden_states(INPUTS)
        torch.testing.assert_close(last.x, encoded(system).text)
        torch.testing.assert_close(last.x[[0, 5, 9]], encoded(system).pooled)


@pytest.mark.parametrize("depths", [[0, 2, 4], [1, 2], [4]])
@pytest.mark.parametrize("fusion", ["add", "concat"])
def test_asking_for_some_rows_gives_the_same_rows(depths: list[int], fusion: str) -> None:
    system, rows = adapted(adapter_depths=depths, fusion=fusion), torch.tensor([1, 6, 13])
    torch.testing.assert_close(encoded(system, output_rows=OutputRows({"text": rows})).text, encoded(system).text[rows])
    torch.testing.assert_close(encoded(system, output_rows=OutputRows({"text": rows})).pooled, encoded(system).pooled)


def test_padding_and_batch_composition_change_nothing() -> None:
    system = adapted()
    together = encoded(system).text
    real = torch.tensor([[1, 1, 0, 1, 1, 1, 0, 0], [0, 0, 1, 1, 0, 1, 1, 0], [1, 1, 1, 1, 1, 1, 0, 0]]).bool()
    ids = torch.ones_like(real, dtype=torch.long)
    ids[real] = torch.tensor([token for text in TEXTS for token in text])
    padded = Inputs(text=Tokens.padded(ids, real, positions=real.long().cumsum(1) - 1))
    assert torch.equal(encoded(system, padded).text, together)
    for text, rows in zip(TEXTS, INPUTS.text.layout.split(together), strict=True):
        torch.testing.assert_close(encoded(system, Inputs(text=Tokens.of([text]))).text, rows)


def test_adapters_see_what_the_encoder_sees_or_everything() -> None:
    ids = [*TEXTS[0][:-1], 33]
    for sight, moved in (("visible", [False] * 4 + [True]), ("everything", [True] * 5)):
        system = adapted(adapter_sight=sight)
        one, other = (
            encoded(system, Inputs(text=Tokens.of([text], attention_mask=Causal()))).text for text in (TEXTS[0], ids)
        )
        assert ((one - other).abs().amax(1) > 1e-5).tolist() == moved, sight


def test_a_gradient_reaches_every_parameter() -> None:
    system = mm_kptm.build("k_adapter", seed=0, heads=("marked-typing",), **SMALL)
    batch = Marked(INPUTS, torch.tensor([[1], [6], [10]]), torch.eye(9)[:3])
    MarkedTyping().loss(system, batch).backward()
    for name, parameter in system.named_parameters():
        assert parameter.grad is not None, name
        assert name.endswith("key.bias") or parameter.grad.any(), name


def test_a_frozen_encoder_costs_no_gradient_and_the_set_still_learns() -> None:
    system = mm_kptm.build("k-adapter-factual", seed=0, heads={"marked-relation": {"num_classes": 3}}, **SMALL)
    system.encoder.requires_grad_(False)
    for part in (system.encoder.sides, system.encoder.fusion):
        part.requires_grad_(True)
    *depths, fused = system.hidden_states(INPUTS)
    assert not any(stream.x.requires_grad for stream in depths) and fused.x.requires_grad
    batch = Marked(INPUTS, torch.tensor([[1, 3], [6, 7], [10, 13]]), torch.tensor([0, 1, 2]))
    learning = [parameter for parameter in system.parameters() if parameter.requires_grad]
    optimiser = torch.optim.Adam(learning, lr=0.01)
    relation = MarkedRelation()
    first = relation.loss(system, batch).item()
    for _ in range(40):
        optimiser.zero_grad()
        relation.loss(system, batch).backward()
        optimiser.step()
    assert relation.loss(system, batch).item() < 0.2 * first
    assert relation.measure(system, batch).shape == (3,)


def test_governors_are_learnt() -> None:
    system = mm_kptm.build("k-adapter-linguistic", seed=0, heads={"dependency-heads": {"max_length": 8}}, **SMALL)
    rows = torch.tensor([1, 2, 3, 6, 10, 11])
    batch, objective = DependencyTargets(INPUTS, rows, torch.tensor([2, 0, 2, 1, 3, 0])), DependencyHead()
    optimiser = torch.optim.Adam(system.parameters(), lr=0.01)
    first = objective.loss(system, batch).item()
    for _ in range(40):
        optimiser.zero_grad()
        objective.loss(system, batch).backward()
        optimiser.step()
    assert objective.loss(system, batch).item() < 0.2 * first
    each = objective.losses(system, batch)
    expected = torch.stack([each[:3].mean(), each[3], each[4:].mean()])
    torch.testing.assert_close(objective.measure(system, batch), expected)


def test_skipping_adds_an_earlier_adapter() -> None:
    def halves() -> AdapterSet:
        torch.manual_seed(0)
        return AdapterSet([Adapter(4, 4, []) for _ in range(3)], [0, 1, 2])

    states = {depth: torch.randn(5, 4, generator=torch.Generator().manual_seed(depth)) for depth in range(3)}
    plain, skipping = halves(), halves()
    skipping.skip = 3
    reading = next(adapted().hidden_states(INPUTS)).attention
    made = list(plain.outputs(states, reading))
    torch.testing.assert_close(skipping(states, reading), made[2] + made[1])
    assert all(torch.equal(a, b) for a, b in zip(skipping.outputs(states, reading), made, strict=True))


@torch.no_grad()
def test_adapters_stand_beside_any_plain_encoder() -> None:
    """UNITER too: its regions are read and told as the words are."""
    torch.manual_seed(0)
    sizes = {"dim": 16, "num_heads": 2, "num_layers": 4, "ffn_dim": 24, "vocab_size": 40, "max_positions": 8}
    system = mm_kptm.build("uniter", seed=0, heads=(), region_dim=4, **sizes)
    encoder = adapt(system.encoder, ["facts"], width=8, num_heads=2, fusion="add").eval()  # type: ignore[arg-type]
    boxes = torch.tensor([0.1, 0.1, 0.5, 0.5]).expand(3, 2, 4)
    given = INPUTS.with_streams(regions=Regions.padded(torch.rand(3, 2, 4), boxes, torch.ones(3, 2)))
    plain, told = system.encoder(given), encoder(given)
    states = [stream.x for stream in system.hidden_states(given)]
    joined = states[0] + states[1] + states[3]
    # fresh adapters hardly add anything of their own
    firsts = next(iter(system.hidden_states(given))).layout.starts(joined.device)
    torch.testing.assert_close(encoder.pooler((states[4] + joined)[firsts]), told.pooled, atol=1e-2, rtol=1e-2)
    assert told.regions.shape == plain.regions.shape and not torch.allclose(told.regions, plain.regions)


@torch.no_grad()
def test_a_text_without_padding_is_read_as_in_the_released_code() -> None:
    given, expected = (load_file(WEIGHTS / f"{name}.safetensors") for name in ("inputs", "outputs"))
    whole = int(given["attention_mask"].all(1).nonzero()[0])
    sizes = {"dim": 32, "num_heads": 4, "num_layers": 4, "ffn_dim": 32, "adapter_heads": 4, "adapter_depths": [0, 2, 4]}
    files = {"": WEIGHTS / "weights.safetensors", "fac_adapter.": WEIGHTS / "weights_fac_adapter.safetensors"}
    system = mm_kptm.load("k-adapter-factual", files, heads=(), **sizes)
    text = Inputs(text=Tokens.of([given["input_ids"][whole].tolist()]))
    for number, rows in enumerate(system.encoder.adapted(text)["factual"]):
        torch.testing.assert_close(rows, expected[f"fac.adapter.{number}"][whole], atol=1e-5, rtol=1e-4)


def test_released_files_make_one_system(tmp_path: Path) -> None:
    """The encoder and both released sets, and fresh parts for a new task."""
    files = {
        "": WEIGHTS / "weights.safetensors",
        "fac_adapter.": WEIGHTS / "weights_fac_adapter.safetensors",
        "lin_adapter.": WEIGHTS / "weights_lin_adapter.safetensors",
    }
    sizes = {"dim": 32, "num_heads": 4, "num_layers": 4, "ffn_dim": 32, "adapter_heads": 4, "adapter_depths": [0, 2, 4]}
    fresh = ("encoder.fusion.", "heads.")
    system = mm_kptm.load("k_adapter", files, heads=("marked-typing",), fresh=fresh, seed=0, **sizes)
    assert system.sizes["adapter_dim"] == 24 and system.sizes["num_segments"] == 1
    facts = load_file(files["fac_adapter."])["adapter.1.up_project.weight"]
    assert torch.equal(system.encoder.sides["factual"].adapters[1].up.weight, facts)
    mm_kptm.save(system, tmp_path)
    back = mm_kptm.load(str(tmp_path))
    assert torch.equal(encoded(back).text, encoded(system).text)


def test_two_files_with_the_same_names_are_told_apart(tmp_path: Path) -> None:
    name = "adapter.0.down_project.bias"
    save_file({f"fac_adapter.{name}": torch.zeros(2)}, tmp_path / "a.safetensors")
    save_file({name: torch.ones(2)}, tmp_path / "b.safetensors")
    with pytest.raises(UserError, match=f"b.safetensors holds {name} like another file; tell them apart by what their"):
        mm_kptm.load("k_adapter", {"": tmp_path / "a.safetensors", "fac_adapter.": tmp_path / "b.safetensors"})


def test_what_does_not_fit_is_said() -> None:
    for sizes, said in (
        ({"fusion": "mean"}, "fusion is one of concat, add, not 'mean'"),
        ({"adapter_sight": "nothing"}, "adapter_sight is one of visible, everything, not 'nothing'"),
        ({"adapters": []}, "there is no set of adapters; name at least one"),
        ({"adapter_depths": [0, 5]}, "the factual adapters read depths 0, 5, but this encoder has depths 0 to 4"),
        (
            {"adapter_skip": 1},
            "an adapter_skip of 1 would add an adapter that comes later; give 0 for none, or 2 or more",
        ),
    ):
        with pytest.raises(UserError, match=said):
            mm_kptm.build("k_adapter", heads=(), **{**SMALL, **sizes})
    side = AdapterSet([Adapter(16, 8, [])], [0])
    once = AdaptedStream(bert(dim=16, num_heads=2, num_layers=2, vocab_size=9), {"facts": side})
    with pytest.raises(
        UserError, match="shows its states layer by layer, which a AdaptedStream does not; put them besi"
    ):
        AdaptedStream(once, {"syntax": side})


def test_published_depths_keep_their_proportion() -> None:
    assert adapted().encoder.sides["factual"].depths == (0, 1, 3)
