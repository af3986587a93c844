"""Entity replacement: detect replaced mentions from their context (Xiong et al. 2020, WKLM).

Shapes: T token rows, P masked rows, M mentions, B examples, D dim.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from mm_kptm.batch import Encoded, Inputs, Movable, OutputRows
from mm_kptm.data.masking.units import NO_GROUP
from mm_kptm.data.packing import Packed
from mm_kptm.data.tokenizers.protocol import Tokenizer, framed
from mm_kptm.errors import UserError
from mm_kptm.knowledge.objectives.entity_replacement_data import Replaced
from mm_kptm.objectives.rows import mean, mean_of_each
from mm_kptm.objectives.spec import ObjectiveContext, ObjectiveSpec
from mm_kptm.objectives.tokens import Masking, TokenMasker
from mm_kptm.systems.system import System

NO_MENTION = -1
REPLACED_ENTITIES = "mentions of which some name another entity"


def packed(texts: Sequence[Replaced], tokenizer: Tokenizer, *, max_length: int = 512) -> Packed:
    """Tokenize texts with replaced mentions: mention index and label of every token.

    Tokens of mentions are in no masking unit, so that they are never masked. A text is truncated at ``max_length``, and
    a truncated mention is dropped.

    Returns:
        columns ids, positions, units, mark_mention (-1 outside mentions) and mark_true, one sequence per text.
    """
    columns: dict[str, list[Sequence[int]]] = {name: [] for name in ("ids", "units", "mark_mention", "mark_true")}
    for text in texts:
        pieces = tokenizer.encode(text.text)
        mention_ids = _mention_ids(pieces.spans, text)
        max_tokens = max_length - tokenizer.specials.around(1)
        kept = set(mention_ids[:max_tokens]) - set(mention_ids[max_tokens:])
        if not tokenizer.specials.opens:
            kept -= set(mention_ids[:1])  # before which no token stands
        ids, _ = framed(tokenizer.specials, pieces.ids[:max_tokens])
        inside = [*[NO_MENTION] * tokenizer.specials.opens, *mention_ids[:max_tokens], NO_MENTION]
        columns["ids"].append(ids)
        columns["units"].append([NO_GROUP if id_ != NO_MENTION else place for place, id_ in enumerate(inside)])
        columns["mark_mention"].append([id_ if id_ in kept else NO_MENTION for id_ in inside])
        columns["mark_true"].append([int(id_ != NO_MENTION and text.true[id_]) for id_ in inside])
    return Packed.of(**columns, positions=[range(len(ids)) for ids in columns["ids"]])


def _mention_ids(spans: Sequence[tuple[int, int]], text: Replaced) -> list[int]:
    """Mention index of every token; a partly covered token counts."""
    mention_ids = [NO_MENTION] * len(spans)
    for number, mention in enumerate(text.mentions):
        for place, (start, stop) in enumerate(spans):
            if start < mention.end and mention.start < stop:
                mention_ids[place] = number
    return mention_ids


@dataclass(frozen=True, eq=False)
class ReplacementTargets(Movable):
    """Batch of entity replacement: inputs with masked tokens and partly replaced mentions."""

    inputs: Inputs
    rows: Tensor  #: masked rows, [P]
    labels: Tensor  #: original token ids, [P]
    sequence_ids: Tensor  #: example of each masked row, [P]
    around: Tensor  #: rows before and after every mention, [M, 2]
    true: Tensor  #: whether the mention is the original one, [M]
    mentioned_by: Tensor  #: example of each mention, [M]

    def __len__(self) -> int:
        return len(self.inputs)


class EntityReplacement:
    """Binary classification of true and replaced entities, with masked language modelling outside mentions.

    The loss is the sum of two means, where the paper sums over mentions: text length does not weigh the two against
    each other.

    Args:
        masking: masks tokens outside mentions, 5 % in the paper.
    """

    name = "entity-replacement"
    heads = ("entity-replacement", "masked-tokens")

    def __init__(self, masking: TokenMasker) -> None:
        self.masking = masking

    def prepare(self, inputs: Inputs, generator: torch.Generator) -> ReplacementTargets:
        """Mask some tokens; the entities were already replaced in the dataset.

        Raises:
            UserError: the text has no mention labels.
        """
        text = inputs.text
        if text is None or text.token_labels is None or not {"mention", "true"} <= text.token_labels.keys():
            raise UserError(
                "entity-replacement classifies the mentions of a text, but the inputs have no mention labels; use a "
                "dataset that has them, such as linked-texts"
            )
        masked, rows = self.masking.mask(text, generator)
        sequence_ids = text.layout.sequence_ids(text.ids.device)
        around, first = mentions_of(text.token_labels["mention"])
        return ReplacementTargets(
            inputs.with_streams(text=masked),
            rows,
            text.ids[rows],
            sequence_ids[rows],
            around,
            text.token_labels["true"][first].float(),
            sequence_ids[first],
        )

    def losses(self, system: System, batch: ReplacementTargets) -> tuple[Tensor, Tensor]:
        """Binary cross-entropy of every mention [M], and cross-entropy of every masked token [P]."""
        rows = torch.cat([batch.rows, batch.around.flatten()])
        encoded: Encoded = system(batch.inputs, OutputRows({"text": rows}, pooled=False))
        masked, around = encoded.text.split([len(batch.rows), 2 * len(batch.around)])
        scores = system.head(self.name)(around.reshape(-1, 2 * masked.shape[1])).squeeze(1)
        mention_losses = F.binary_cross_entropy_with_logits(scores, batch.true, reduction="none")
        return mention_losses, F.cross_entropy(system.head("masked-tokens")(masked), batch.labels, reduction="none")

    def loss(self, system: System, batch: ReplacementTargets) -> Tensor:
        """Mean over mentions plus mean over masked tokens."""
        mention_losses, token_losses = self.losses(system, batch)
        return mean(mention_losses) + mean(token_losses)

    def measure(self, system: System, batch: ReplacementTargets) -> Tensor:
        """The same sum for each example, [B]."""
        mention_losses, token_losses = self.losses(system, batch)
        of_mentions = mean_of_each(mention_losses, batch.mentioned_by, len(batch))
        return of_mentions + mean_of_each(token_losses, batch.sequence_ids, len(batch))


def mentions_of(marks: Tensor) -> tuple[Tensor, Tensor]:
    """Rows before and after every mention [M, 2], and its first row [M].

    Args:
        marks: mention index of every row, numbered within each sequence, -1 outside; no mention is at the edge of a
            sequence, [T].
    """
    begins = marks >= 0
    begins[1:] &= marks[1:] != marks[:-1]
    first = begins.nonzero().squeeze(1)
    number = begins.cumsum(0)[marks >= 0] - 1
    lengths = torch.bincount(number, minlength=len(first))
    return torch.stack([first - 1, first + lengths], -1), first


def _entity_replacement(context: ObjectiveContext) -> EntityReplacement:
    return EntityReplacement(Masking.of(context))


ENTITY_REPLACEMENT = ObjectiveSpec(
    EntityReplacement.name,
    "Xiong et al. 2020, WKLM: Pretrained Encyclopedia, ICLR, section 2",
    _entity_replacement,
    needs=(REPLACED_ENTITIES,),
)
