"""Contrastive losses over one process or many, over queues, over blocks and over chunks of a batch."""

from typing import TYPE_CHECKING

from mm_kptm.lazy import lazy

if TYPE_CHECKING:
    from mm_kptm.vision.contrastive.losses.gathering import GatheredRows, gather_rows
    from mm_kptm.vision.contrastive.losses.gradient_cache import embed_in_chunks
    from mm_kptm.vision.contrastive.losses.info_nce import contrast_losses, queue_losses
    from mm_kptm.vision.contrastive.losses.queues import KeyQueue
    from mm_kptm.vision.contrastive.losses.sigmoid import sigmoid_losses
    from mm_kptm.vision.contrastive.losses.streamed import streamed_contrast
    from mm_kptm.vision.contrastive.losses.views import nt_xent, supervised_contrast
else:
    __getattr__ = lazy(
        __name__,
        {
            "gathering": ["GatheredRows", "gather_rows"],
            "gradient_cache": ["embed_in_chunks"],
            "info_nce": ["contrast_losses", "queue_losses"],
            "queues": ["KeyQueue"],
            "sigmoid": ["sigmoid_losses"],
            "streamed": ["streamed_contrast"],
            "views": ["nt_xent", "supervised_contrast"],
        },
    )

__all__ = [
    "GatheredRows",
    "KeyQueue",
    "contrast_losses",
    "embed_in_chunks",
    "gather_rows",
    "nt_xent",
    "queue_losses",
    "sigmoid_losses",
    "streamed_contrast",
    "supervised_contrast",
]
