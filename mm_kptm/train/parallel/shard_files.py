"""Sharded tensor files, one per process, readable by any number of processes.

The format is torch's distributed checkpoint in safetensors; its pickle form could execute code of an untrusted file. A
sharded tensor is written by all processes, each its own rows.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from torch import Tensor
from torch.distributed.checkpoint.hf_storage import HuggingFaceStorageReader, HuggingFaceStorageWriter
from torch.distributed.checkpoint.metadata import TensorStorageMetadata
from torch.distributed.checkpoint.state_dict_loader import load
from torch.distributed.checkpoint.state_dict_saver import save

from mm_kptm.errors import UserError
from mm_kptm.train.optim import OptimizerState

SHARDS = "shards"  #: folder inside a checkpoint
MODEL, OPTIMIZER = "model.", "optimizer."  #: prefixes of the tensor names


def write_shards(tensors: Mapping[str, Tensor], folder: Path) -> None:
    """Write the local part of ``tensors``; must be called by every process with the same names."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch warns about a single process
        save(dict(tensors), storage_writer=HuggingFaceStorageWriter(str(folder), save_distributed=True))


def sizes_of(folder: Path) -> dict[str, torch.Size]:
    """Global shape of every tensor in a folder of shards."""
    try:
        entries = HuggingFaceStorageReader(str(folder)).read_metadata().state_dict_metadata
    except (OSError, SafetensorError) as error:
        raise UserError(f"{folder} cannot be read as shards of tensors ({error})") from error
    return {name: entry.size for name, entry in entries.items() if isinstance(entry, TensorStorageMetadata)}


def read_shards(tensors: Mapping[str, Tensor], folder: Path) -> None:
    """Fill ``tensors`` in place from a folder of shards, with any device and sharding.

    Every process reads the parts it needs; must be called by all processes that hold a sharded tensor.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch warns about a single process
        load(dict(tensors), storage_reader=HuggingFaceStorageReader(str(folder)))


def named_in_shards(model: Mapping[str, Tensor], optimizer: OptimizerState) -> dict[str, Tensor]:
    """Model and optimiser tensors by their names in the shards."""
    states = {f"{name}.{key}": value for name, values in optimizer.items() for key, value in values.items()}
    return {MODEL + name: tensor for name, tensor in model.items()} | {
        OPTIMIZER + name: value for name, value in states.items()
    }


def read_optimizer(folder: Path, parameters: Mapping[str, Tensor]) -> OptimizerState:
    """Read the optimiser state from a folder of shards, sharded like the parameters."""
    state: OptimizerState = {}
    for name, size in sizes_of(folder).items():
        if name.startswith(OPTIMIZER):
            parameter, _, key = name.removeprefix(OPTIMIZER).rpartition(".")
            alike = parameter in parameters and parameters[parameter].shape == size
            value = torch.empty_like(parameters[parameter], requires_grad=False) if alike else torch.empty(size)
            state.setdefault(parameter, {})[key] = value
    read_shards(named_in_shards({}, state), folder)
    return state
