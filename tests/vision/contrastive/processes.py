"""A function run by several gloo processes, each with its rank, and what it returned in each."""

from __future__ import annotations

import socket
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
import torch.multiprocessing as multiprocessing
from torch import Tensor

from mm_kptm.vision.contrastive.losses.info_nce import contrast_losses, whole_batch_contrast


def in_processes(function: Callable[..., Any], count: int, *arguments: Any) -> list[Any]:
    """What ``function(rank, *arguments)`` returns in each of ``count`` processes; it must be importable."""
    with tempfile.TemporaryDirectory() as folder:
        multiprocessing.spawn(_run, (count, _free_port(), folder, function, arguments), nprocs=count)
        return [torch.load(Path(folder) / f"{rank}.pt", weights_only=True) for rank in range(count)]


def _run(rank: int, count: int, port: int, folder: str, function: Callable[..., Any], arguments: tuple[Any]) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"tcp://127.0.0.1:{port}", rank=rank, world_size=count)
    torch.save(function(rank, *arguments), Path(folder) / f"{rank}.pt")
    dist.barrier()
    dist.destroy_process_group()


def _free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def clip_modes(rank: int, images: Tensor, texts: Tensor, log_scale: float, share: int) -> dict[str, Tensor]:
    """Loss and gradients of one process in each of open_clip's four modes."""
    mine = slice(rank * share, (rank + 1) * share)
    found: dict[str, Tensor] = {}
    for local in (0, 1):
        for told in (0, 1):
            image, text = (side[mine].clone().requires_grad_() for side in (images, texts))
            scale = torch.tensor(log_scale, requires_grad=True)
            if local:
                loss = contrast_losses(image, text, scale.exp(), gradient="summed" if told else "none").mean()
            else:
                loss = whole_batch_contrast(image, text, scale.exp(), gradient="summed" if told else "own")
            loss.backward()
            start = f"local{local}_grad{told}"
            found |= {f"{start}_loss": loss.detach(), f"{start}_grad_image": image.grad}
            found |= {f"{start}_grad_text": text.grad, f"{start}_grad_logit_scale": scale.grad}
    return found


def gathered_losses(given: Mapping[str, Tensor], config: Mapping[str, Any]) -> dict[str, Tensor]:
    """The official outputs of a case of distributed losses: of one process, then of all in every mode."""
    processes, log_scale = config["world_size"], float(config["log_logit_scale"])
    images, texts = given["image"], given["text"]
    image, text = images.clone().requires_grad_(), texts.clone().requires_grad_()
    scale = torch.tensor(log_scale, requires_grad=True)
    with torch.enable_grad():
        loss = contrast_losses(image, text, scale.exp()).mean()
        loss.backward()
    found = {"single_loss": loss.detach(), "single_grad_image": image.grad, "single_grad_text": text.grad}
    found["single_grad_logit_scale"] = scale.grad
    each = in_processes(clip_modes, processes, images, texts, log_scale, config["batch_per_rank"])
    for name in each[0]:
        parts = [one[name] for one in each]
        found[name] = torch.cat(parts) if parts[0].dim() else torch.stack(parts)
    return found
