"""Images at the tokens that speak of them (B2T2).

Shapes: T rows, D dim, F features of an image.
"""

import torch
from torch import Tensor, nn

from mm_kptm.nn.sublayers import bert_norm


class ImageAtTokens(nn.Module):
    r"""The normalised embedding of a token plus its image (Alberti et al. 2019, section 3.2).

    .. math:: \mathrm{LN}(x) + \tanh(W v + b)

    The image enters behind the norm, and at every token: those without an image have v = 0 and get tanh(b).
    """

    def __init__(self, image_dim: int, dim: int) -> None:
        super().__init__()
        self.norm = bert_norm(dim)
        self.project = nn.Linear(image_dim, dim)

    def forward(self, embedded: Tensor, images: Tensor) -> Tensor:
        """From summed embeddings [T, D] and the image of every token [T, F] to [T, D]."""
        mixed: Tensor = self.norm(embedded) + torch.tanh(self.project(images))
        return mixed
