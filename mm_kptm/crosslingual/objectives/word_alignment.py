"""XLM-Align: word alignment by optimal transport, and prediction of aligned words by a pointer network.

Shapes: m source tokens, n target tokens, P pointers, B pairs, T rows, D dim.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import islice

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mm_kptm.batch import Inputs, Movable, SequenceLayout, Tokens
from mm_kptm.crosslingual.corpora.token_pairs import both_sides, concatenated
from mm_kptm.crosslingual.objectives.masking import xlm_masking
from mm_kptm.errors import UserError
from mm_kptm.models.single import SingleStream
from mm_kptm.nn.init import bert_init
from mm_kptm.objectives.next_tokens import TARGETS
from mm_kptm.objectives.rows import mean, mean_of_each
from mm_kptm.objectives.spec import ObjectiveContext, ObjectiveSpec
from mm_kptm.objectives.tokens import TokenMasker
from mm_kptm.systems.encoder import layer_at
from mm_kptm.systems.recipe import Addition
from mm_kptm.systems.system import System


def sinkhorn(similarity: Tensor, *, iterations: int = 2) -> Tensor:
    """Normalise similarities [m, n] by columns, then by rows, several times (Chi et al. 2021, section 3.1.1).

    Non-positive values are set to 1e-6 first, as in the released code; rows sum to one.
    """
    plan = similarity.clamp(min=0).masked_fill(similarity <= 0, 1e-6)
    for _ in range(iterations):
        plan = plan / plan.sum(0, keepdim=True)
        plan = plan / plan.sum(1, keepdim=True)
    return plan


def align_words(plan: Tensor, *, rounds: int = 2, decay: float = 0.9) -> Tensor:
    """Mutual argmax alignments over several rounds: source and target indices in order, [pairs, 2].

    After the first round, scores of rows and columns that are aligned already are scaled by ``decay``, and cells whose
    row and column both are cannot be chosen (Jalili Sabet et al. 2020, Itermax). Texts of up to two tokens have one
    round.
    """
    if not plan.numel():
        return torch.zeros(0, 2, dtype=torch.long, device=plan.device)
    found = _mutual(plan)
    if min(plan.shape) > 2:
        for _ in range(rounds - 1):
            rows, columns = found.any(1, keepdim=True), found.any(0, keepdim=True)
            if rows.all() or columns.all():
                break
            new = _mutual(torch.where(rows | columns, plan * decay, plan) * ~(rows & columns)) & ~(rows & columns)
            if not (new & ~found).any():
                break
            found = found | new
    return found.nonzero()


def _mutual(scores: Tensor) -> Tensor:
    """True where a cell is the argmax of its row and of its column, [m, n]."""
    rows, columns = torch.zeros_like(scores, dtype=torch.bool), torch.zeros_like(scores, dtype=torch.bool)
    rows[torch.arange(scores.shape[0]), scores.argmax(1)] = True
    columns[scores.argmax(0), torch.arange(scores.shape[1])] = True
    return rows & columns


class Pointer(nn.Module):
    """Bilinear attention of masked tokens over the other sentence of a pair (Chi et al. 2021, eq. 9)."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.query = nn.Linear(dim, dim)
        self.key = nn.Linear(dim, dim)

    def forward(self, masked: Tensor, other: Tensor) -> Tensor:
        """Scores of every row of ``other`` [n, D] for every row of ``masked`` [P, D]: [P, n]."""
        return self.query(masked) @ self.key(other).T / masked.shape[-1] ** 0.5


@dataclass(frozen=True, eq=False)
class Pointers(Movable):
    """Masked tokens of one side and their aligned tokens on the other, as rows of the batch."""

    rows: Tensor  #: [P]
    gold: Tensor  #: [P]


@dataclass(frozen=True, eq=False)
class MaskedPairs(Movable):
    """Translation pairs with masked tokens, the unmasked ids, and the spans of the two sentences."""

    hidden: Tokens
    clean: Tokens
    rows: Tensor  #: masked rows, [P]
    spans: Tensor  #: first source row, end of source, first target row, end of target, over the batch, [B, 4]

    def __len__(self) -> int:
        return len(self.hidden.layout)


def pointers(alignments: Sequence[Tensor], hidden: Tensor, *, total: int) -> tuple[Pointers, Pointers]:
    """Pointers of aligned masked tokens, from source to target and back.

    A token that is aligned with several points to the last of them, as in the released code.

    Args:
        alignments: source and target row of every aligned pair, each [pairs, 2].
        hidden: masked rows in order, [H].
        total: number of rows of the batch.
    """
    pairs = torch.cat([*alignments, hidden.new_zeros(0, 2)])
    made = []
    for mine, other in ((0, 1), (1, 0)):
        gold = torch.full((total,), -1, device=hidden.device)
        for row, target in zip(pairs[:, mine].tolist(), pairs[:, other].tolist(), strict=True):
            gold[row] = target
        rows = hidden[gold[hidden] >= 0]
        made.append(Pointers(rows, gold[rows]))
    return made[0], made[1]


class WordAlignment:
    """Masked tokens in translation pairs, and the aligned token of each masked one (Chi et al. 2021, section 3).

    The loss is the mean over targets of both kinds. Sources are the text of the inputs, translations their target,
    framed separately; a pair is ``<s> a </s> b </s>`` with continued positions. Heads:
    ``word-alignment`` and ``masked-tokens``.

    Args:
        masking: masks tokens of the pair.
        layer: depth whose states are aligned (10 of 12 in the recipe); default: at five sixths of the layers.
        iterations: of :func:`sinkhorn`.
        rounds: of :func:`align_words`.
        opens: whether sentences begin with ``<s>``.
    """

    name = "word-alignment"
    heads = ("word-alignment", "masked-tokens")

    def __init__(
        self,
        masking: TokenMasker,
        *,
        layer: int | None = None,
        iterations: int = 2,
        rounds: int = 2,
        opens: bool = True,
    ) -> None:
        self.masking = masking
        self.layer = layer
        self.iterations = iterations
        self.rounds = rounds
        self.opens = opens

    def prepare(self, inputs: Inputs, generator: torch.Generator) -> MaskedPairs:
        """Pairs with masked tokens.

        Raises:
            UserError: there is no text or no target, or they differ in number.
        """
        pairs = concatenated(*both_sides(inputs, self.name), opens=self.opens)
        hidden, rows = self.masking.mask(pairs.tokens, generator)
        return MaskedPairs(hidden, pairs.tokens, rows, pairs.spans)

    @torch.no_grad()
    def align(self, system: System, batch: MaskedPairs) -> list[Tensor]:
        """The aligned rows of every pair, from the clean text and without dropout, each [pairs, 2]."""
        training = system.training
        layer = self.layer if self.layer is not None else layer_at(system.encoder, 5 / 6, self.name)
        system.eval()
        depths = list(islice(system.hidden_states(Inputs(text=batch.clean)), layer, layer + 1))
        system.train(training)
        if not depths:
            raise UserError(f"word-alignment reads layer {layer}, which is deeper than the encoder")
        states, found = depths[0].x, []
        for begin, end, other, last in batch.spans.tolist():
            plan = sinkhorn(states[begin:end] @ states[other:last].T, iterations=self.iterations)
            found.append(align_words(plan, rounds=self.rounds) + plan.new_tensor([begin, other], dtype=torch.long))
        return found

    def pointer_losses(self, system: System, states: Tensor, spans: Tensor, pointed: Pointers, *, back: bool) -> Tensor:
        """The cross-entropy of every pointer among the tokens of the other sentence, [P], in order.

        Args:
            system: has the head.
            states: of the masked pairs, [T, D].
            spans: of the pairs, [B, 4].
            pointed: masked rows and their aligned ones.
            back: whether masked tokens of the translations point to the sources.
        """
        head = system.head(self.name)
        losses = [states.new_zeros(0)]
        for begin, end, other, last in spans.tolist():
            mine, theirs = ((other, last), (begin, end)) if back else ((begin, end), (other, last))
            here = (pointed.rows >= mine[0]) & (pointed.rows < mine[1])
            if here.any():
                scores = head(states[pointed.rows[here]], states[theirs[0] : theirs[1]])
                losses.append(F.cross_entropy(scores, pointed.gold[here] - theirs[0], reduction="none"))
        return torch.cat(losses)

    def parts(
        self, system: System, batch: MaskedPairs, alignments: Sequence[Tensor]
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Losses of forward pointers, backward pointers and masked tokens, each [P], and the example of each."""
        states: Tensor = system(Inputs(text=batch.hidden)).text
        forward, back = pointers(alignments, batch.rows, total=len(states))
        scores = system.head("masked-tokens")(states[batch.rows])
        sequence_ids = batch.hidden.layout.sequence_ids(states.device)[torch.cat([forward.rows, back.rows, batch.rows])]
        return (
            self.pointer_losses(system, states, batch.spans, forward, back=False),
            self.pointer_losses(system, states, batch.spans, back, back=True),
            F.cross_entropy(scores, batch.clean.ids[batch.rows], reduction="none"),
            sequence_ids,
        )

    def loss(self, system: System, batch: MaskedPairs) -> Tensor:
        """The mean over all targets of the batch."""
        *losses, _ = self.parts(system, batch, self.align(system, batch))
        return mean(torch.cat(losses))

    def measure(self, system: System, batch: MaskedPairs) -> Tensor:
        """The mean over the targets of each pair, [B]."""
        *losses, sequence_ids = self.parts(system, batch, self.align(system, batch))
        return mean_of_each(torch.cat(losses), sequence_ids, len(batch))


def pairs_of(tokens: Tokens, clean: Tensor, rows: Tensor, spans: Tensor) -> MaskedPairs:
    """Pairs from externally masked tokens.

    Args:
        tokens: tokens with masks.
        clean: unmasked ids, [T].
        rows: masked rows, [P].
        spans: half-open spans of the sentences, counted from the first token of each pair, [B, 4].
    """
    firsts = SequenceLayout(tokens.layout.lengths).starts(rows.device)
    return MaskedPairs(tokens, replace(tokens, ids=clean), rows, spans + firsts[:, None])


PAPER = (
    "Chi et al. 2021, Improving Pretrained Cross-Lingual Language Models via Self-Labeled Word Alignment, ACL, "
    "arXiv:2106.06381"
)


def word_alignment(encoder: SingleStream) -> Pointer:
    """The pointer from a masked token to its translation (Chi et al. 2021, section 3.2)."""
    head = Pointer(encoder.dim)
    bert_init(head)
    return head


def _from_context(context: ObjectiveContext) -> WordAlignment:
    masking = xlm_masking(context.specials, context.vocab_size, rate=context.mask_rate)
    return WordAlignment(masking, opens=context.specials.opens, **context.arguments)


POINTER = Addition(WordAlignment.name, PAPER, heads={WordAlignment.name: word_alignment})
WORD_ALIGNMENT = ObjectiveSpec(
    WordAlignment.name, PAPER, _from_context, needs=(TARGETS,), arguments=("layer", "iterations", "rounds")
)
