"""Weight initialisation."""

import torch
from torch import nn


@torch.no_grad()
def bert_init(module: nn.Module, std: float = 0.02) -> None:
    """BERT's initialisation: matrices normal with ``std``, biases zero (Devlin et al. 2019, released code)."""
    for part in module.modules():
        if isinstance(part, nn.Linear | nn.Embedding):
            part.weight.normal_(0.0, std)
        if isinstance(part, nn.Linear) and part.bias is not None:
            part.bias.zero_()
