"""Phrase grounding by the scores of one attention head.

Shapes: P phrases, R regions expanded per text, B texts, M maximum number of regions per image, D dim, E head dim.
"""

import torch
from torch import Tensor, nn

from mm_kptm.batch import SequenceLayout, pad


class PhraseAttention(nn.Module):
    """Scaled dot products of phrases and regions, without softmax (Li et al. 2019, section 4.4).

    Args:
        dim: D.
        width: E; a released VisualBERT has that of one of the encoder's heads.
        region_dim: width of the regions' states; D unless given.
    """

    def __init__(self, dim: int, width: int, *, region_dim: int | None = None) -> None:
        super().__init__()
        self.query = nn.Linear(dim, width)
        self.key = nn.Linear(dim if region_dim is None else region_dim, width)

    def forward(self, phrases: Tensor, regions: Tensor, asked: SequenceLayout, shown: SequenceLayout) -> Tensor:
        """The score of every region of the image for every phrase, [P, M]; minus infinity where there is no region.

        Args:
            phrases: states of the phrases (of their last pieces), [P, D].
            regions: states of the regions, [R, D].
            asked: number of phrases of each text.
            shown: number of regions of each text.
        """
        query = self.query(phrases)
        keys = pad(self.key(regions), shown)[asked.sequence_ids(phrases.device)]  # [P, M, E]
        scores = torch.einsum("pe,pme->pm", query, keys) / query.shape[-1] ** 0.5
        real = pad(torch.ones(len(regions), dtype=torch.bool, device=regions.device), shown)
        return scores.masked_fill(~real[asked.sequence_ids(phrases.device)], float("-inf"))
