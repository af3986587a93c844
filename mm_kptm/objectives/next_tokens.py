"""Next-token prediction: causal language models, and decoders that translate or caption.

Shapes: T token rows, P predicted rows, B examples, V vocabulary.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from mm_kptm.batch import Encoded, Inputs, OutputRows, Tokens
from mm_kptm.errors import UserError
from mm_kptm.nn.visibility import Causal
from mm_kptm.objectives.rows import RowObjective, RowTargets
from mm_kptm.objectives.spec import ObjectiveContext, ObjectiveSpec
from mm_kptm.objectives.vocabulary_loss import vocabulary_losses
from mm_kptm.systems.system import System


@dataclass(frozen=True, eq=False)
class Continuation(RowTargets):
    """Inputs with a causal text, the rows to predict from, and the next token of each."""

    stream: str = "text"  #: stream of the rows


class NextTokens(RowObjective[Continuation]):
    """Next-token prediction on the target, or on the text itself without a target.

    Args:
        head: name of the vocabulary head; XLM's causal models share theirs with masked tokens.
        backward: whether the token before is predicted, by an encoder that reads texts from their end.
    """

    name = "next-tokens"

    def __init__(self, *, head: str = "next-tokens", backward: bool = False) -> None:
        self.head = head
        self.backward = backward

    def prepare(self, inputs: Inputs, generator: torch.Generator | None = None) -> Continuation:
        """The inputs under a causal mask, with the next tokens as labels; deterministic.

        Raises:
            UserError: there is neither text nor target.
        """
        if inputs.target is not None:
            stream, tokens = "target", inputs.target
        elif inputs.text is not None:
            stream, tokens = "text", inputs.text
            inputs = inputs.with_streams(text=replace(tokens, attention_mask=Causal()))
        else:
            raise UserError("next-tokens continues a text, but the inputs have none")
        sequence_ids = tokens.layout.sequence_ids(tokens.ids.device)
        rows = (sequence_ids[:-1] == sequence_ids[1:]).nonzero().squeeze(1)
        if self.backward:
            return Continuation(inputs, rows + 1, tokens.ids[rows], sequence_ids[rows], stream)
        return Continuation(inputs, rows, tokens.ids[rows + 1], sequence_ids[rows], stream)

    def losses(self, system: System, batch: Continuation) -> Tensor:
        """The cross-entropy of every predicted token, [P].

        Raises:
            UserError: the encoder reads texts in the other direction, where it sees what it is to predict.
        """
        if self.backward != bool(getattr(system.encoder, "backward", False)):
            raise UserError(
                f"next-tokens has backward: {str(self.backward).lower()}, but {system.recipe} reads texts the other way"
                " and would see what it is to predict; set backward as its encoder reads"
            )
        encoded: Encoded = system(batch.inputs, OutputRows({batch.stream: batch.rows}, pooled=False))
        return vocabulary_losses(system.head(self.head), encoded[batch.stream], batch.labels)


def with_start(tokens: Tokens, start: int) -> Tokens:
    """Texts that a decoder writes, out of texts without a first token: ``start`` stands before each.

    >>> with_start(Tokens.of([[7, 8], [9]]), 0).ids.tolist()
    [0, 7, 8, 0, 9]
    """
    ids = [[start, *part.tolist()] for part in tokens.layout.split(tokens.ids)]
    spoken = None if tokens.languages is None else [part.tolist() for part in tokens.layout.split(tokens.languages)]
    languages = None if spoken is None else [[*one[:1], *one] for one in spoken]
    return Tokens.of(ids, languages=languages).to(tokens.ids.device)


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


TARGETS = "source and target texts"


def _next_tokens(context: ObjectiveContext) -> NextTokens:
    recipe = context.recipe
    if recipe is not None and "target" in recipe.reads and TARGETS not in context.offers.has:
        raise UserError(
            f"next-tokens of {recipe.name} writes a target while it reads a source, but the data set "
            f"{context.offers.data} does not have {TARGETS}; take multilingual-text with languages that are aligned"
        )
    return NextTokens(**context.arguments)


NEXT_TOKENS = ObjectiveSpec(
    NextTokens.name,
    "Conneau and Lample 2019, Cross-lingual Language Model Pretraining, NeurIPS, sections 3.2 and 4.2",
    _next_tokens,
)
