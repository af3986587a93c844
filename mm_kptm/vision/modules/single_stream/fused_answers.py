"""Answer head on two states of one sequence (VLP).

Shapes: B texts, T token rows, D dim, A answers.
"""

import torch
from torch import Tensor, nn

from mm_kptm.batch import SequenceLayout


class FusedAnswers(nn.Module):
    """Answer logits from the product of the states of [CLS] and of the [SEP] after the image (Zhou et al. 2020, VQA).

    Answer 0 is no answer of VQA v2 and is never predicted in the released code.
    """

    def __init__(self, dim: int, num_answers: int) -> None:
        super().__init__()
        self.up_proj = nn.Linear(dim, 2 * dim)
        self.out = nn.Linear(2 * dim, num_answers)

    def forward(self, tokens: Tensor, layout: SequenceLayout) -> Tensor:
        """[B, A] from all final states of the texts [T, D], which begin with [CLS] [SEP]."""
        firsts = layout.starts(tokens.device)
        return self.out(torch.relu(self.up_proj(tokens[firsts] * tokens[firsts + 1])))
