"""A checkpoint of InfoXLM's training, saved and loaded again, and what its kin refuse."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

import mm_kptm
from mm_kptm.errors import UserError

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


@pytest.mark.parametrize(
    ("name", "field", "value"),
    [
        ("infoxlm", "use_proj", False),
        ("infoxlm", "position_embedding_type", "relative_key"),
        ("xlm-align", "no_linear_proj", True),
        ("xlm-k", "sa_lg_bn", True),
        ("xlm-k", "enable_projection_head", False),
        ("dual-bert", "is_decoder", True),
    ],
)
def test_a_configuration_that_asks_for_more_is_refused(name: str, field: str, value: Any, tmp_path: Path) -> None:
    save_file({"bert/embeddings/word_embeddings": torch.zeros(5, 8)}, tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text(json.dumps({field: value}))
    with pytest.raises(UserError, match=f"the configuration says {field}={value!r}, but "):
        mm_kptm.load(name, tmp_path)
