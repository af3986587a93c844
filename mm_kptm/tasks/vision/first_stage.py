"""First stage of retrieval: vectors of texts and of images by themselves, whose products choose what is re-ranked.

Shapes: S texts, P images, D and R dims of the states of text and regions, E dim of the vectors.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mm_kptm.batch import EVERY_ROW, Inputs, OutputRows, Regions, SequenceLayout, Tokens
from mm_kptm.errors import UserError
from mm_kptm.nn.init import bert_init
from mm_kptm.systems.system import System

_TEMPERATURE = 0.07  #: at the start, as in Radford et al. (2021)


class DualScorer(nn.Module):
    """Scores by the cosine of a text vector and an image vector, each from its modality alone.

    The cross-encoder reads a text without an image, and an image without a text, and the mean of the final states of
    each is projected. Image vectors can be kept, so that a text is compared with all images by one product.

    Args:
        system: the cross-encoder.
        width: E; at most 256 unless given.
    """

    def __init__(self, system: System, *, width: int | None = None) -> None:
        super().__init__()
        width = min(system.dim, 256) if width is None else width
        self.text = nn.Linear(system.dim, width)
        self.regions = nn.Linear(getattr(system.encoder, "region_states", system.dim), width)
        bert_init(self)
        self.log_scale = nn.Parameter(torch.tensor(1 / _TEMPERATURE).log())

    def texts(self, system: System, tokens: Tokens) -> Tensor:
        """Unit vectors of texts, [S, E].

        Raises:
            UserError: the encoder reads no text without an image.
        """
        states = _alone(system, Inputs(text=tokens), "text")
        return F.normalize(self.text(_means(states, tokens.layout)), dim=1)

    def images(self, system: System, regions: Regions) -> Tensor:
        """Unit vectors of images, [P, E].

        Raises:
            UserError: the encoder reads no image without a text.
        """
        states = _alone(system, Inputs(regions=regions), "regions")
        return F.normalize(self.regions(_means(states, regions.layout)), dim=1)

    def loss(self, texts: Tensor, images: Tensor, same: Tensor) -> Tensor:
        """Cross-entropy of the own image among those of the batch and of the own text, averaged over both ways.

        Args:
            texts: vectors of the texts of a batch, [S, E].
            images: vectors of their images, [S, E].
            same: whether text i is about image j, [S, S]; true on the diagonal. Others that are true are left out.
        """
        own = torch.eye(len(same), dtype=torch.bool, device=same.device)
        scores = (self.log_scale.exp().clamp(max=100) * texts @ images.T).masked_fill(same & ~own, float("-inf"))
        places = torch.arange(len(texts), device=texts.device)
        return (F.cross_entropy(scores, places) + F.cross_entropy(scores.T, places)) / 2


def _alone(system: System, inputs: Inputs, stream: str) -> Tensor:
    try:
        return system(inputs, OutputRows({stream: EVERY_ROW}, pooled=False))[stream]
    except UserError as error:
        raise UserError(
            f"the first stage of retrieval reads {stream} alone, which {system.recipe} does not ({error}); rank all "
            "pairs with data.rerank null, or take an encoder such as uniter-base or lxmert-base"
        ) from None


def _means(states: Tensor, layout: SequenceLayout) -> Tensor:
    sums = states.new_zeros(len(layout), states.shape[1]).index_add(0, layout.sequence_ids(states.device), states)
    return sums / torch.tensor(layout.lengths, device=states.device, dtype=states.dtype).clamp(min=1)[:, None]
