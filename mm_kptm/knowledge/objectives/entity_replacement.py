"""Is each entity the one that stood there? Told by what stands around its mention (Xiong et al. 2020, WKLM).

Shapes: T token rows, P hidden rows, M mentions, B examples, D dim.
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
from mm_kptm.objectives.spec import ObjectiveContext, ObjectiveSpec
from mm_kptm.objectives.tokens import Bernoulli, Masking, TokenMasker, mean, mean_of_each
from mm_kptm.systems.system import System

NO_MENTION = -1
REPLACED_ENTITIES = "mentions of which some name another entity"


def packed(texts: Sequence[Replaced], tokenizer: Tokenizer, *, max_length: int = 512) -> Packed:
    """Texts in pieces that know which mention they are in, and whether it names what it did.

    The pieces of mentions are in no unit, so that no masking engine hides them. A text is cut at ``max_length``, and a
    mention that is cut is none.

    Returns:
        columns ids, positions, units, mark_mention (-1 outside mentions) and mark_true, one sequence a text.
    """
    columns: dict[str, list[Sequence[int]]] = {name: [] for name in ("ids", "units", "mark_mention", "mark_true")}
    for text in texts:
        pieces = tokenizer.encode(text.text)
        owners = _owners(pieces.spans, text)
        room = max_length - 2
        kept = set(owners[:room]) - set(owners[room:])
        ids, _ = framed(tokenizer.specials, pieces.ids[:room])
        inside = [NO_MENTION, *owners[:room], NO_MENTION]
        columns["ids"].append(ids)
        columns["units"].append([NO_GROUP if owner != NO_MENTION else place for place, owner in enumerate(inside)])
        columns["mark_mention"].append([owner if owner in kept else NO_MENTION for owner in inside])
        columns["mark_true"].append([int(owner != NO_MENTION and text.true[owner]) for owner in inside])
    return Packed.of(**columns, positions=[range(len(ids)) for ids in columns["ids"]])


def _owners(spans: Sequence[tuple[int, int]], text: Replaced) -> list[int]:
    """The mention that each piece stands in; one that is partly in it is in it."""
    owners = [NO_MENTION] * len(spans)
    for number, mention in enumerate(text.mentions):
        for place, (start, stop) in enumerate(spans):
            if start < mention.end and mention.start < stop:
                owners[place] = number
    return owners


@dataclass(frozen=True, eq=False)
class Doubted(Movable):
    """Inputs with hidden tokens, and mentions of which some name another entity than they did."""

    inputs: Inputs
    rows: Tensor  #: the hidden ones, [P]
    labels: Tensor  #: what stood there, [P]
    owners: Tensor  #: the example of each, [P]
    around: Tensor  #: the rows before and behind every mention, [M, 2]
    true: Tensor  #: whether it names what it did, [M]
    mentioned_by: Tensor  #: the example of each mention, [M]

    def __len__(self) -> int:
        return len(self.inputs)


class EntityReplacement:
    """Tell true from replaced entities, and predict a few hidden words outside them from the same text.

    The sum of two means, where the paper sums over mentions: lengths of texts do not weigh the two against each other.

    Args:
        masking: hides tokens that are in no mention, 5 % in the paper.
    """

    name = "entity-replacement"
    heads = ("entity-replacement", "masked-tokens")

    def __init__(self, masking: TokenMasker) -> None:
        self.masking = masking

    def prepare(self, inputs: Inputs, generator: torch.Generator) -> Doubted:
        """Hide some tokens; the entities were replaced when the texts were made.

        Raises:
            UserError: the text does not say which mentions it has.
        """
        text = inputs.text
        if text is None or text.token_labels is None or not {"mention", "true"} <= text.token_labels.keys():
            raise UserError(
                "entity-replacement doubts the mentions of a text, but the inputs mark none; take data that do, as "
                "linked-texts do"
            )
        shown, rows = self.masking.mask(text, generator)
        owners = text.layout.sequence_ids(text.ids.device)
        around, first = mentions_of(text.token_labels["mention"])
        return Doubted(
            inputs.with_streams(text=shown),
            rows,
            text.ids[rows],
            owners[rows],
            around,
            text.token_labels["true"][first].float(),
            owners[first],
        )

    def losses(self, system: System, batch: Doubted) -> tuple[Tensor, Tensor]:
        """The binary cross-entropy of every mention [M], and the cross-entropy of every hidden token [P]."""
        rows = torch.cat([batch.rows, batch.around.flatten()])
        encoded: Encoded = system(batch.inputs, OutputRows({"text": rows}, pooled=False))
        hidden, around = encoded.text.split([len(batch.rows), 2 * len(batch.around)])
        scores = system.head(self.name)(around.reshape(-1, 2 * hidden.shape[1])).squeeze(1)
        doubted = F.binary_cross_entropy_with_logits(scores, batch.true, reduction="none")
        return doubted, F.cross_entropy(system.head("masked-tokens")(hidden), batch.labels, reduction="none")

    def loss(self, system: System, batch: Doubted) -> Tensor:
        """The mean over mentions plus the mean over hidden tokens."""
        doubted, hidden = self.losses(system, batch)
        return mean(doubted) + mean(hidden)

    def measure(self, system: System, batch: Doubted) -> Tensor:
        """The same two means for each example, [B]."""
        doubted, hidden = self.losses(system, batch)
        of_mentions = mean_of_each(doubted, batch.mentioned_by, len(batch))
        return of_mentions + mean_of_each(hidden, batch.owners, len(batch))


def mentions_of(marks: Tensor) -> tuple[Tensor, Tensor]:
    """The rows before and behind every mention [M, 2], and its first row [M].

    Args:
        marks: the mention of every row, numbered in each sequence by itself, -1 outside; no mention stands at the edge
            of a sequence, [T].
    """
    begins = marks >= 0
    begins[1:] &= marks[1:] != marks[:-1]
    first = begins.nonzero().squeeze(1)
    number = begins.cumsum(0)[marks >= 0] - 1
    lengths = torch.bincount(number, minlength=len(first))
    return torch.stack([first - 1, first + lengths], -1), first


def _entity_replacement(context: ObjectiveContext) -> EntityReplacement:
    specials, policy = context.specials, Bernoulli(context.mask_rate)
    return EntityReplacement(Masking(specials.mask, (0, context.vocab_size), specials.never_hidden, policy=policy))


ENTITY_REPLACEMENT = ObjectiveSpec(
    EntityReplacement.name,
    "Xiong et al. 2020, WKLM: Pretrained Encyclopedia, ICLR, section 2",
    _entity_replacement,
    needs=(REPLACED_ENTITIES,),
)
