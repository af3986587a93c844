"""How a launch trains follows from the settings and the launcher; contradictions are told."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from mm_kptm.errors import UserError
from mm_kptm.nn.embeddings import TextEmbedding
from mm_kptm.train import TrainSettings
from mm_kptm.train.evaluation import shard_batches
from mm_kptm.train.optim import load_state, optimizer_for, state_of
from mm_kptm.train.parallel.protocol import accelerator_for, parallel_strategy
from mm_kptm.train.parallel.shard_files import read_optimizer, sizes_of, write_shards
from mm_kptm.train.parallel.sharded import _agree_on_unused, mesh_sizes, precision_policy, units
from tests.train.toy import Deep, Line


@pytest.fixture
def several(monkeypatch):
    monkeypatch.setattr(torch.distributed, "is_initialized", lambda: True)


def test_without_a_launcher_there_is_one_process_whatever_the_file_says():
    assert {parallel_strategy(TrainSettings(parallel=parallel)) for parallel in ("auto", "ddp", "fsdp")} == {
        "one process"
    }


def test_the_file_or_the_launcher_asks_for_sharded_weights(several, monkeypatch):
    ways = {parallel: parallel_strategy(TrainSettings(parallel=parallel)) for parallel in ("auto", "ddp", "fsdp")}
    assert ways == {"auto": "ddp", "ddp": "ddp", "fsdp": "fsdp"}
    monkeypatch.setenv("ACCELERATE_USE_FSDP", "true")
    assert {parallel_strategy(TrainSettings(parallel=parallel)) for parallel in ("auto", "fsdp")} == {"fsdp"}


def test_a_launcher_that_shards_what_the_file_wants_whole_is_refused(several, monkeypatch):
    monkeypatch.setenv("ACCELERATE_USE_FSDP", "true")
    with pytest.raises(
        UserError, match=r"train.parallel is ddp, but this launch asks for fsdp; launch without --use_f"
    ):
        parallel_strategy(TrainSettings(parallel="ddp"))


def test_fsdp_of_version_1_is_refused(monkeypatch):
    monkeypatch.setenv("ACCELERATE_USE_FSDP", "true")
    monkeypatch.setenv("FSDP_VERSION", "1")
    with pytest.raises(UserError, match=r"asks for fsdp of version 1, .* add --fsdp_version 2"):
        accelerator_for(TrainSettings())


def test_a_torch_that_cannot_agree_on_unused_parameters_is_named():
    with pytest.raises(UserError, match=r"need a newer torch than [\d.]+.*; say train.unused_parameters false where"):
        _agree_on_unused(nn.Linear(2, 2))


def test_a_layer_that_is_also_reached_in_another_way_is_no_unit():
    """Nobody puts its weights together for a module that reaches into it, or that shares one of them."""
    reached, shared, fine = Deep(), Deep(), Deep()
    reached.door = nn.Sequential(reached.layers[0])
    shared.first.bias = shared.layers[1].self_attention.bias
    assert units(reached) == [reached.layers[1]]
    assert units(shared) == [shared.layers[0]]
    assert units(fine) == list(fine.layers)
    assert units(Line()) == []


def stepped(model):
    optimizer = optimizer_for(model, TrainSettings(lr=0.1))
    model(torch.randn(3, 4)).sum().backward()
    optimizer.step()
    return optimizer


def test_what_an_optimizer_remembers_goes_by_names():
    """So it comes back when the parameters stand in another order."""
    model = Line()
    optimizer = stepped(model)
    state = state_of(optimizer, model)
    assert state.keys() == dict(model.named_parameters()).keys()
    torch.testing.assert_close(state["last.bias"]["exp_avg"], optimizer.state[model.last.bias]["exp_avg"])
    fresh = Line()
    fresh.last.weight, fresh.last.bias = (
        nn.Parameter(p.detach().clone()) for p in (fresh.last.weight, fresh.last.bias)
    )
    again = optimizer_for(nn.ModuleList([fresh.last, fresh]), TrainSettings(lr=0.1))
    load_state(again, fresh, state)
    torch.testing.assert_close(state_of(again, fresh), state)


def test_a_parameter_that_was_trained_and_is_frozen_now_is_named():
    model = Line()
    state = state_of(stepped(model), model)
    model.norm.requires_grad_(False)
    with pytest.raises(UserError, match=r"the run to resume trained norm.bias, norm.weight, but this model does not"):
        load_state(optimizer_for(model, TrainSettings()), model, state)


def test_shards_of_one_process_come_back(tmp_path):
    model = Line()
    state = state_of(stepped(model), model)
    named = {f"optimizer.{name}.{key}": value for name, values in state.items() for key, value in values.items()}
    write_shards(named, tmp_path / "shards")
    assert sizes_of(tmp_path / "shards") == {name: value.shape for name, value in named.items()}
    torch.testing.assert_close(read_optimizer(tmp_path / "shards", dict(model.named_parameters())), state)


def test_shards_that_are_no_tensors_are_named(tmp_path):
    (tmp_path / "shard.safetensors").write_bytes(b"no")
    with pytest.raises(UserError, match=r"cannot be read as shards of tensors \("):
        sizes_of(tmp_path)


@pytest.mark.parametrize(("batches", "processes"), [(1, 3), (3, 3), (4, 3), (7, 2)])
def test_every_process_is_dealt_as_many_batches_and_all_are_dealt(monkeypatch, batches, processes):
    made = [(number,) for number in range(batches)]
    hands = []
    for rank in range(processes):
        monkeypatch.setattr("mm_kptm.train.evaluation.rank_and_world_size", lambda rank=rank: (rank, processes))
        hands.append(shard_batches(made))
    assert len({len(hand) for hand in hands}) == 1
    assert {number for hand in hands for number, _ in hand} == set(range(batches))
    assert sum(map(len, hands)) - batches < processes
    assert all(made[number] == indices for hand in hands for number, indices in hand)


def test_processes_fall_into_groups_that_hold_one_copy() -> None:
    assert [mesh_sizes(8, group) for group in (None, 8, 4, 1)] == [(8,), (8,), (2, 4), (8, 1)]
    for group in (3, 16):
        with pytest.raises(UserError, match=rf"^train.shard_group is {group}, but 8 processes do not fall into groups"):
            mesh_sizes(8, group)


def test_weights_are_gathered_in_bfloat16_where_they_compute_in_it_and_gradients_summed_in_32_bits() -> None:
    assert precision_policy(TrainSettings()).param_dtype is None
    assert precision_policy(TrainSettings(precision="fp16")).param_dtype is None  # autocast narrows all but norms
    policy = precision_policy(TrainSettings(precision="bf16"))
    assert (policy.param_dtype, policy.reduce_dtype) == (torch.bfloat16, torch.float32)
    assert not policy.cast_forward_inputs


def test_a_large_table_is_a_unit_unless_a_head_shares_it() -> None:
    model, small = Deep(), Deep()
    model.embed, small.embed = (TextEmbedding(words, 8, max_positions=4, num_segments=2) for words in (1000, 5))
    assert units(model) == [*model.layers, model.embed.word] and units(small) == list(small.layers)
    model.head = nn.Linear(8, 1000, bias=False)
    model.head.weight = model.embed.word.weight
    assert units(model) == list(model.layers)
    model.head = VocabularyHead(model.embed.word)
    assert units(model) == list(model.layers)


class VocabularyHead(nn.Module):
    """Reads the weights of the table without calling it."""

    def __init__(self, word: nn.Embedding) -> None:
        super().__init__()
        self.word = word
