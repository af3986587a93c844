"""Token classification by the labels of the source: capitalisation and token-document relation of ERNIE 2.0.

ERNIE 2.0 (Sun et al. 2020, section 4.2.1) predicts whether a word is capitalised, which an uncased vocabulary does not
show, and whether a token of a segment also occurs in other segments of its document.

Shapes: T token rows, P labelled rows, B examples.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from mm_kptm.batch import Encoded, Inputs, OutputRows
from mm_kptm.errors import UserError
from mm_kptm.objectives.rows import RowObjective, RowTargets
from mm_kptm.objectives.spec import DOCUMENTS, ObjectiveSpec
from mm_kptm.systems.system import System


class TokenClasses(RowObjective[RowTargets]):
    """Classification of every token by the token label of the objective's name; -1 is ignored.

    Args:
        name: name of the objective, its head and the label: ``capitalization`` or ``document-words`` of ERNIE 2.0.
    """

    def __init__(self, name: str) -> None:
        self.name = name

    def prepare(self, inputs: Inputs, generator: torch.Generator) -> RowTargets:
        """The labelled rows and their classes; deterministic.

        Raises:
            UserError: the text has no such label.
        """
        text = inputs.text
        if text is None or text.token_labels is None or self.name not in text.token_labels:
            raise UserError(
                f"{self.name} reads token labels {self.name}, but the inputs have none; take data with them, such as "
                "documents"
            )
        rows = (text.token_labels[self.name] >= 0).nonzero().squeeze(1)
        return RowTargets(inputs, rows, text.token_labels[self.name][rows], text.layout.sequence_ids(rows.device)[rows])

    def losses(self, system: System, batch: RowTargets) -> Tensor:
        """The cross-entropy of every labelled token, [P]."""
        encoded: Encoded = system(batch.inputs, OutputRows({"text": batch.rows}, pooled=False))
        scores = system.head(self.name)(encoded.text)
        return F.cross_entropy(scores, batch.labels, reduction="none")


def _of_tokens(name: str) -> ObjectiveSpec:
    paper = "Sun et al. 2020, ERNIE 2.0, AAAI, section 4.2.1"
    return ObjectiveSpec(name, paper, lambda context: TokenClasses(name), needs=(DOCUMENTS,))


CAPITALIZATION = _of_tokens("capitalization")
DOCUMENT_WORDS = _of_tokens("document-words")
