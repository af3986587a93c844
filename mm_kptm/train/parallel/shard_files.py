"""Named tensors on disk in as many parts as there are processes, readable by any other number of them.

The files are those of torch's distributed checkpoint in its safetensors form, whose pickled form would run whatever a
stranger put into it. A tensor that is sharded over the processes is written by all of them, each its own rows.
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

SHARDS = "shards"  #: the folder inside a checkpoint
MODEL, OPTIMIZER = "model.", "optimizer."  #: what the names inside begin with


def write_shards(tensors: Mapping[str, Tensor], folder: Path) -> None:
    """Write what this process holds of ``tensors``; to be called by every process, with the same names."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # one process is no mistake
        save(dict(tensors), storage_writer=HuggingFaceStorageWriter(str(folder), save_distributed=True))


def sizes_of(folder: Path) -> dict[str, torch.Size]:
    """The whole size of every tensor in a folder of shards."""
    try:
        found = HuggingFaceStorageReader(str(folder)).read_metadata().state_dict_metadata
    except (OSError, SafetensorError) as error:
        raise UserError(f"{folder} cannot be read as shards of tensors ({error})") from error
    return {name: entry.size for name, entry in found.items() if isinstance(entry, TensorStorageMetadata)}


def read_shards(tensors: Mapping[str, Tensor], folder: Path) -> None:
    """Fill ``tensors`` from a folder of shards, wherever and however sharded they lie.

    Every process reads the parts it needs; sharded tensors must be asked for by all their processes together.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # one process is no mistake
        load(dict(tensors), storage_reader=HuggingFaceStorageReader(str(folder)))


def named_in_shards(model: Mapping[str, Tensor], optimizer: OptimizerState) -> dict[str, Tensor]:
    """A model's tensors and the state of its optimiser under the names that they have in shards."""
    states = {f"{name}.{key}": value for name, values in optimizer.items() for key, value in values.items()}
    return {MODEL + name: tensor for name, tensor in model.items()} | {
        OPTIMIZER + name: value for name, value in states.items()
    }


def read_optimizer(folder: Path, parameters: Mapping[str, Tensor]) -> OptimizerState:
    """The state of an optimiser in a folder of shards, as whole or as sharded as the parameters are."""
    state: OptimizerState = {}
    for name, size in sizes_of(folder).items():
        if name.startswith(OPTIMIZER):
            owner, _, key = name.removeprefix(OPTIMIZER).rpartition(".")
            alike = owner in parameters and parameters[owner].shape == size
            value = torch.empty_like(parameters[owner], requires_grad=False) if alike else torch.empty(size)
            state.setdefault(owner, {})[key] = value
    read_shards(named_in_shards({}, state), folder)
    return state
