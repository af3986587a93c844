"""A checkpoint of InfoXLM's training, saved and loaded again."""

from pathlib import Path

import torch

import mm_kptm

SMALL = {"dim": 8, "num_heads": 2, "num_layers": 2, "ffn_dim": 8, "vocab_size": 12, "max_positions": 10}


def test_the_queue_goes_on_where_it_stopped(tmp_path: Path) -> None:
    system = mm_kptm.build("infoxlm", heads={"xlco": {"queue_size": 3}}, seed=0, **SMALL)
    system.head("xlco").enqueue(torch.arange(16.0).view(2, 8))
    mm_kptm.save(system, tmp_path)
    head = mm_kptm.load("infoxlm", tmp_path).head("xlco")
    assert (head.pointer.tolist(), head.count.tolist()) == ([2], [2])
    assert torch.equal(head.negatives(), torch.arange(16.0).view(2, 8))


def test_only_the_fast_side_is_trained() -> None:
    head = mm_kptm.build("infoxlm", heads={"xlco": {"queue_size": 3}}, **SMALL).head("xlco")
    assert [name for name, parameter in head.named_parameters() if parameter.requires_grad] == ["projection"]
