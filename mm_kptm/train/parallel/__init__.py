"""Training over several processes: replicated (DDP) or sharded (FSDP2) weights, process groups."""

from typing import TYPE_CHECKING

from mm_kptm.lazy import lazy

if TYPE_CHECKING:
    from mm_kptm.train.parallel.processes import (
        all_gather_object,
        barrier,
        is_main_process,
        process_group,
        rank_and_world_size,
    )
    from mm_kptm.train.parallel.protocol import Parallel, accelerator_for, parallel_for, parallel_strategy
else:
    __getattr__ = lazy(
        __name__,
        {
            "processes": ["all_gather_object", "barrier", "is_main_process", "process_group", "rank_and_world_size"],
            "protocol": ["Parallel", "accelerator_for", "parallel_for", "parallel_strategy"],
        },
    )

__all__ = [
    "Parallel",
    "accelerator_for",
    "all_gather_object",
    "barrier",
    "is_main_process",
    "parallel_for",
    "parallel_strategy",
    "process_group",
    "rank_and_world_size",
]
