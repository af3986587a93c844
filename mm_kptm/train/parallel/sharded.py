"""Sharded weights (FSDP, Zhao et al. 2023): every process holds its rows of every tensor.

Weights are gathered only while they are used, so weights, gradients and optimiser state take the memory of one model
over all processes. Layers and large tables are gathered one by one, in bfloat16 where they compute in it; other
weights (small embeddings, heads, tables that a head shares) stay gathered for the whole step. With
``train.shard_group`` several groups of processes hold a copy each, and gradients are averaged between them (HSDP,
section 3.2.2): gathering stays inside a node.
"""

from __future__ import annotations

import copy
import math
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Generic

import torch
import torch.distributed
from accelerate import Accelerator
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, MixedPrecisionPolicy, fully_shard, register_fsdp_forward_method
from torch.distributed.tensor import DTensor, distribute_tensor

from mm_kptm.errors import UserError
from mm_kptm.nn.embeddings import TextEmbedding
from mm_kptm.nn.steps import Step
from mm_kptm.nn.sublayers import Layer
from mm_kptm.train.checkpoint import Checkpoints, TrainerState, check_fit, load_weights
from mm_kptm.train.optim import OptimizerState, load_state, optimizer_for, state_of
from mm_kptm.train.parallel.processes import barrier, is_main_process, rank_and_world_size
from mm_kptm.train.parallel.replicated import LossModule
from mm_kptm.train.parallel.shard_files import (
    MODEL,
    SHARDS,
    named_in_shards,
    read_optimizer,
    read_shards,
    sizes_of,
    write_shards,
)
from mm_kptm.train.protocol import BatchT, Trainable, module_of
from mm_kptm.train.settings import TrainSettings


class FullySharded(Generic[BatchT]):
    """Several processes with sharded weights.

    A sharded copy is trained; the model itself receives the weights with every checkpoint and at the end. Every method
    is collective.
    """

    def __init__(self, model: Trainable[BatchT], accelerator: Accelerator, settings: TrainSettings) -> None:
        self._whole = module_of(model)
        self._scored = LossModule(copy.deepcopy(model), accelerator.device, settings)
        self._module = self._scored.model
        sizes = mesh_sizes(rank_and_world_size()[1], settings.shard_group)
        mesh = init_device_mesh(accelerator.device.type, sizes, mesh_dim_names=("replicate", "shard")[-len(sizes) :])
        policy = precision_policy(settings)
        for unit in units(self._module):
            fully_shard(unit, mesh=mesh, mp_policy=policy)
        self._root = fully_shard(self._scored, mesh=mesh, mp_policy=policy)
        register_fsdp_forward_method(self._scored, "measure")
        self._may_be_unused = bool(settings.unused_parameters)
        if self._may_be_unused:
            _agree_on_unused(self._root)
        self.measured: Trainable[BatchT] = self._scored
        self.optimizer = optimizer_for(self._module, settings)

    def loss(self, batch: BatchT) -> Tensor:
        """Loss of a micro-batch."""
        loss: Tensor = self._scored(batch)
        return loss

    @contextmanager
    def no_sync(self) -> Iterator[None]:
        """Context manager: accumulate gradients locally; the last micro-batch of a step synchronises them."""
        self._root.set_requires_gradient_sync(False)
        try:
            yield
        finally:
            self._root.set_requires_gradient_sync(True)

    def clip_grad_norm(self, max_length: float | None) -> Tensor:
        """Clip the gradient norm to ``max_length`` (None: do not clip) and return the norm before clipping."""
        if self._may_be_unused:
            self._forget_zeros()
        norm = nn.utils.clip_grad_norm_(self._module.parameters(), math.inf if max_length is None else max_length)
        return norm.full_tensor() if isinstance(norm, DTensor) else norm

    def save(self, checkpoints: Checkpoints, trainer: TrainerState, extra: Mapping[str, str]) -> Path | None:
        """Write a checkpoint: every process its shards, the first one also the full weights."""
        self._root.reshard()  # weights outside of the layers are still gathered after an evaluation
        draft = checkpoints.draft(trainer["step"])
        if is_main_process():
            checkpoints.begin(draft)
        barrier()
        state = state_of(self.optimizer, self._module)
        write_shards(named_in_shards(self._tensors(), state), draft / SHARDS)
        self._gather(keep=is_main_process())
        return checkpoints.finish(draft, self._whole.state_dict(), trainer, extra) if is_main_process() else None

    def restore(self, checkpoint: Path, state: OptimizerState | None) -> None:
        """Load weights and optimiser state from a checkpoint; ``state`` None: read both from the shards."""
        if state is None:
            folder, tensors = checkpoint / SHARDS, self._tensors()
            there = {
                name.removeprefix(MODEL): size for name, size in sizes_of(folder).items() if name.startswith(MODEL)
            }
            check_fit(folder, there, {name: tensor.shape for name, tensor in tensors.items()})
            read_shards(named_in_shards(tensors, {}), folder)
            state = read_optimizer(folder, dict(self._module.named_parameters()))
        else:
            load_weights(checkpoint, self._whole)
            whole, parameters = self._whole.state_dict(), dict(self._module.named_parameters())
            for name, tensor in self._tensors().items():
                tensor.copy_(_like(tensor, whole[name]))
            state = {
                name: {key: _like(parameters.get(name, value), value) for key, value in values.items()}
                for name, values in state.items()
            }
        load_state(self.optimizer, self._module, state)

    def gather_weights(self) -> None:
        """Copy the trained weights into the model, in every process."""
        self._root.reshard()
        self._gather(keep=True)
        self._whole.train()

    def _forget_zeros(self) -> None:
        """Set gradients that are zero in every process to None, so that unused parameters do not decay."""
        reached = {
            parameter: grad for parameter in self._module.parameters() if isinstance(grad := parameter.grad, DTensor)
        }
        moves = torch.stack([gradient.to_local().any() for gradient in reached.values()]).int()
        torch.distributed.all_reduce(moves, torch.distributed.ReduceOp.MAX)
        for parameter, moved in zip(reached, moves.tolist(), strict=True):
            if not moved:
                parameter.grad = None

    def _tensors(self) -> dict[str, Tensor]:
        """Tensors of the model in a checkpoint: parameters (tied ones once) and persistent buffers."""
        repeated = dict(self._module.named_parameters(remove_duplicate=False))
        parameters = dict(self._module.named_parameters())
        buffers = {name: tensor for name, tensor in self._module.state_dict().items() if name not in repeated}
        return {name: parameter.detach() for name, parameter in parameters.items()} | buffers

    @torch.no_grad()
    def _gather(self, *, keep: bool) -> None:
        """Gather the weights tensor by tensor; with ``keep``, copy them into the model."""
        whole = self._whole.state_dict()
        for name, tensor in self._tensors().items():
            full = tensor.full_tensor() if isinstance(tensor, DTensor) else tensor
            if keep:
                whole[name].copy_(full)


def mesh_sizes(processes: int, shard_group: int | None) -> tuple[int, ...]:
    """Copies and the processes that hold one between them; one number where there is one copy.

    Raises:
        UserError: the processes do not fall into groups of that size.
    """
    if shard_group is None or shard_group == processes:
        return (processes,)
    if shard_group > processes or processes % shard_group:
        raise UserError(
            f"train.shard_group is {shard_group}, but {processes} processes do not fall into groups of that size; take "
            "a divisor of their number, such as the number of devices of a node"
        )
    return processes // shard_group, shard_group


def precision_policy(settings: TrainSettings) -> MixedPrecisionPolicy:
    """Policy that gathers weights in bfloat16 where they compute in it; gradients are summed in 32 bits.

    In float16 the weights of norms would lose range, so weights are gathered whole and autocast narrows the others.
    """
    if settings.precision != "bf16":
        return MixedPrecisionPolicy()
    return MixedPrecisionPolicy(param_dtype=torch.bfloat16, reduce_dtype=torch.float32, cast_forward_inputs=False)


def units(model: nn.Module) -> list[nn.Module]:
    """FSDP units of a model, whose weights are gathered at a time: its steps, the layers of its stacks, large tables.

    A unit must be called through its forward pass only and share no weight with the rest; so a layer qualifies only if
    it is held by module lists alone, and the table of a text embedding by that alone. A table is large if it has as
    many weights as a layer.
    """
    modules = dict(model.named_modules(remove_duplicate=False))
    holders: dict[nn.Module, list[nn.Module]] = {}
    for name, module in modules.items():
        if name:
            holders.setdefault(module, []).append(modules[name.rpartition(".")[0]])
    candidates: list[nn.Module] = []
    for module in model.modules():
        listed = isinstance(module, Layer) and all(isinstance(at, nn.ModuleList) for at in holders.get(module, []))
        if (isinstance(module, Step) or listed) and not any(module in set(outer.modules()) for outer in candidates):
            candidates.append(module)
    least = min((sum(p.numel() for p in unit.parameters()) for unit in candidates), default=0)
    candidates += [
        embedding.word
        for embedding in model.modules()
        # a subclass, or a head that holds the table too, may read its weights without calling it
        if type(embedding) is TextEmbedding
        and holders[embedding.word] == [embedding]
        and embedding.word.weight.numel() >= least > 0
    ]
    holders_of = Counter(id(p) for part in _parts(model, candidates) for p in part)
    return [unit for unit in candidates if {holders_of[id(p)] for p in unit.parameters()} == {1}]


def _parts(model: nn.Module, units: list[nn.Module]) -> Iterator[list[nn.Parameter]]:
    """Parameters of each unit, then those outside of all units."""
    inside: set[nn.Module] = set()
    for unit in units:
        inside |= set(unit.modules())
        yield list(unit.parameters())
    outside = (p for module in model.modules() if module not in inside for p in module.parameters(recurse=False))
    yield list(dict.fromkeys(outside))


def _like(tensor: Tensor, value: Tensor) -> Tensor:
    """Shard ``value`` like ``tensor`` if their shapes agree; every process must have the full ``value``."""
    if not isinstance(tensor, DTensor) or value.shape != tensor.shape:
        return value
    # every process has read the same file: no communication
    return distribute_tensor(value.to(tensor.device), tensor.device_mesh, tensor.placements, src_data_rank=None)


def _agree_on_unused(root: FSDPModule) -> None:
    """Make every process reduce a gradient for every parameter, zeros where it had none."""
    if not hasattr(root, "set_reduce_scatter_unused_params"):
        raise UserError(
            f"sharded weights with train.unused_parameters need a newer torch than {torch.__version__}; say "
            "train.unused_parameters false where every example reaches the same parameters, or train.parallel ddp"
        )
    root.set_reduce_scatter_unused_params(True)
