"""Answer prediction from a [MASK] at the end of the question.

Shapes: B texts.
"""

import torch
from torch import Tensor

from mm_kptm.batch import SequenceLayout
from mm_kptm.errors import UserError


def answer_mask_rows(layout: SequenceLayout, device: torch.device) -> Tensor:
    """The token row of the [MASK] before the last [SEP] of every question, [B].

    The input is ``[CLS] question ? [MASK] [SEP]`` in VisualBERT and ``[CLS] question [SEP] [MASK] [SEP]`` in VL-BERT;
    in both the answer is predicted from the last token but one.

    Raises:
        UserError: a text has fewer than two tokens.
    """
    if min(layout.lengths, default=2) < 2:
        raise UserError(
            "an answer is read off the [MASK] before the last [SEP], but a text has fewer than two tokens; end every "
            "question with [MASK] [SEP]"
        )
    return layout.cu_seqlens(device)[1:].long() - 2
