"""Label smoothing for models that predict tokens.

Shapes: P predicted rows, V vocabulary.
"""

import torch.nn.functional as F
from torch import Tensor

from mm_kptm.batch import Encoded, OutputRows
from mm_kptm.errors import UserError
from mm_kptm.objectives.next_tokens import Continuation, NextTokens
from mm_kptm.systems.system import System


class SmoothedNextTokens(NextTokens):
    r"""Next-token prediction with label smoothing by the uniform distribution over the vocabulary.

    .. math:: -(1 - \epsilon) \log p_y - \frac{\epsilon}{V} \sum_v \log p_v

    (Szegedy et al. 2016, section 7), as in fairseq and in torch's ``label_smoothing``.

    Args:
        smoothing: epsilon.
        head: name of the vocabulary head.

    Raises:
        UserError: ``smoothing`` is outside [0, 1).
    """

    def __init__(self, *, smoothing: float = 0.1, head: str = "next-tokens") -> None:
        super().__init__(head=head)
        if not 0 <= smoothing < 1:
            raise UserError(f"label smoothing is at least 0 and below 1, not {smoothing}")
        self.smoothing = smoothing

    def losses(self, system: System, batch: Continuation) -> Tensor:
        """The smoothed cross-entropy of every predicted token, [P]."""
        encoded: Encoded = system(batch.inputs, OutputRows({batch.stream: batch.rows}, pooled=False))
        scores = system.head(self.head)(encoded[batch.stream])
        return F.cross_entropy(scores, batch.labels, reduction="none", label_smoothing=self.smoothing)
