"""Hugging Face transformers at random weights, and their weights in our models.

Shapes: B sentences, N padded length.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import torch
import transformers
from safetensors.torch import save_file
from torch import nn

import mm_kptm
from mm_kptm.systems.system import System

VERSION = {"transformers": transformers.__version__}


def bert_config(*, dim: int, num_heads: int, num_layers: int, vocab_size: int, **more: Any) -> transformers.BertConfig:
    """A BERT of these sizes that attends through SDPA and drops nothing, so that losses can be compared."""
    return transformers.BertConfig(
        hidden_size=dim,
        num_attention_heads=num_heads,
        num_hidden_layers=num_layers,
        intermediate_size=4 * dim,
        vocab_size=vocab_size,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
        attn_implementation="sdpa",
        **more,
    )


def seeded(kind: type[nn.Module], config: transformers.PretrainedConfig, seed: int) -> nn.Module:
    """A model of theirs with random weights."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return kind(config)


def part_of(whole: nn.Module, kind: type[nn.Module], config: transformers.PretrainedConfig) -> nn.Module:
    """A smaller model of theirs with the weights it shares with ``whole``."""
    part = kind(config)
    missing, _ = part.load_state_dict(whole.state_dict(), strict=False)
    if missing:
        raise ValueError(f"{type(whole).__name__} has no weights for {', '.join(missing)}")
    return part


def ours_of(theirs: nn.Module, family: str, heads: list[str], **sizes: Any) -> System:
    """The same weights in our system, through the published key names as a user would load them."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "model.safetensors"
        save_file({name: tensor.detach().clone() for name, tensor in theirs.named_parameters()}, file)
        return mm_kptm.load(family, file, heads=heads, **sizes)
