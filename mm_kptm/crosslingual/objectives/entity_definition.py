"""XLM-K: contrast of masked mentions and entity descriptions in both directions, with queues of negatives.

Shapes: B sentences, n sentences with an entity, D dim, P masked rows.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mm_kptm.batch import Inputs, Movable, Tokens
from mm_kptm.crosslingual.corpora.token_pairs import both_sides
from mm_kptm.crosslingual.modules.queued_contrast import DefinitionContrast, Spoken, queued_contrast
from mm_kptm.crosslingual.objectives.masking import xlm_masking
from mm_kptm.errors import UserError
from mm_kptm.objectives.rows import mean_of_each
from mm_kptm.objectives.spec import ObjectiveContext, ObjectiveSpec
from mm_kptm.objectives.tokens import TokenMasker
from mm_kptm.systems.encoder import Encoder
from mm_kptm.systems.recipe import Addition
from mm_kptm.systems.system import System
from mm_kptm.train.parallel.processes import all_gather_rows


@dataclass(frozen=True, eq=False)
class DefinedMentions(Movable):
    """Sentences with masked tokens, descriptions of an entity of each, and the start of its mention."""

    text: Tokens
    rows: Tensor  #: masked rows, [P]
    labels: Tensor  #: labels, [P]
    documents: Tokens
    starts: Tensor  #: row of the first token of the mention, -1 where a sentence has none, [B]
    languages: Tensor | None = None  #: of the sentences, [B]; None: negatives are of every language

    def __len__(self) -> int:
        return len(self.text.layout)


class EntityDefinition:
    """Masked tokens, and contrast of a mention and the description of its entity (Jiang et al. 2022, section 3.2).

    The inputs have a text and, as target, one description per sentence, possibly in another language;
    ``token_labels["mention"]`` of the text is 1 at the first token of the mention. Heads: ``entity-definition`` and
    ``masked-tokens``. The released training keeps ``multi_queue`` off; its classes have it.

    Args:
        masking: masks tokens of the sentences; descriptions are not masked.
        layer: depth whose states are contrasted, 0 being the embeddings; -1 the last.
        temperature: divides the scores.
        normalised: whether vectors are L2-normalised.
        word_scale: weight of the loss from words to descriptions.
        document_scale: weight of the loss from descriptions to words.
        queue_size: negatives that are kept of either side; as published unless given.
        multi_queue: whether negatives are sentences of the same language and their descriptions alone;
            ``token_labels["language"]`` of the text then numbers the language of every token.
        sync_bn: whether the projections normalise by the statistics of the batches of all processes.
    """

    name = "entity-definition"
    heads = ("entity-definition", "masked-tokens")

    def __init__(
        self,
        masking: TokenMasker,
        *,
        layer: int = -1,
        temperature: float = 0.1,
        normalised: bool = True,
        word_scale: float = 1.0,
        document_scale: float = 1.0,
        queue_size: int | None = None,
        multi_queue: bool = False,
        sync_bn: bool = False,
    ) -> None:
        self.masking = masking
        self.layer = layer
        self.temperature = temperature
        self.normalised = normalised
        self.word_scale = word_scale
        self.document_scale = document_scale
        self.multi_queue = multi_queue
        self.head_sizes = {self.name: {**_sizes(queue_size, sync_bn), **({"multi_queue": True} if multi_queue else {})}}

    def prepare(self, inputs: Inputs, generator: torch.Generator) -> DefinedMentions:
        """Mask tokens of the sentences; the descriptions are unchanged.

        Raises:
            UserError: there is no text, no description, or no label of mentions or of languages where these are read;
                or they differ in number.
        """
        text, documents = inputs.text, inputs.target
        if text is None or documents is None or text.token_labels is None or "mention" not in text.token_labels:
            raise UserError(
                "entity-definition reads sentences and descriptions, so the inputs need a text with the token label "
                "mention and a target"
            )
        if len(text.layout) != len(documents.layout):
            raise UserError(
                f"every sentence needs a description, but there are {len(text.layout)} and {len(documents.layout)}"
            )
        languages = text.token_labels.get("language") if self.multi_queue else None
        if self.multi_queue and languages is None:
            raise UserError(
                "multi_queue tells languages apart, so the text needs the token label language, which a token store of "
                "an earlier version lacks; build it again"
            )
        hidden, rows = self.masking.mask(text, generator)
        firsts = text.token_labels["mention"].bool().nonzero().squeeze(1)
        starts = torch.full((len(text.layout),), -1, device=text.ids.device)
        starts[text.layout.sequence_ids(firsts.device)[firsts].flip(0)] = firsts.flip(0)
        if languages is not None:
            languages = languages[text.layout.starts(languages.device)]
        return DefinedMentions(replace(hidden, token_labels=None), rows, text.ids[rows], documents, starts, languages)

    def states(self, system: System, batch: DefinedMentions) -> tuple[Tensor, Tensor, Tensor]:
        """Final states of the sentences, [T, D], and the states of mentions and documents to project, [B, D] each."""
        depths = [stream.x for stream in system.hidden_states(Inputs(text=batch.text))]
        documents = [stream.x for stream in system.hidden_states(Inputs(text=batch.documents))]
        firsts = batch.text.layout.starts(batch.starts.device)
        words = depths[self.layer][torch.where(batch.starts < 0, firsts, batch.starts)]
        return depths[-1], words, documents[self.layer][batch.documents.layout.starts(firsts.device)]

    def losses(self, system: System, batch: DefinedMentions) -> dict[str, Tensor]:
        """Cross-entropies of ``masked`` tokens [P], of ``word2doc`` and of ``doc2word``, [2 n] each.

        In training the projected states join the queues afterwards.
        """
        final, words, documents = self.states(system, batch)
        head = cast(DefinitionContrast, system.head(self.name))
        words, documents = head.word(words), head.document(documents)
        scores = system.head("masked-tokens")(final[batch.rows])
        linked = batch.starts >= 0
        spoken = None
        if batch.languages is not None and head.languages is not None:
            spoken = Spoken(batch.languages[linked], head.languages.detach().clone())
        contrast = partial(queued_contrast, temperature=self.temperature, normalised=self.normalised, spoken=spoken)
        queues = head.documents.detach().clone(), head.words.detach().clone()
        found = {
            "masked": F.cross_entropy(scores, batch.labels, reduction="none"),
            "word2doc": contrast(words[linked], documents[linked], queues[0]),
            "doc2word": contrast(documents[linked], words[linked], queues[1]),
        }
        if system.training:
            languages = None if spoken is None else all_gather_rows(cast(Tensor, batch.languages))
            head.enqueue(all_gather_rows(words), all_gather_rows(documents), languages)
        return found

    def loss(self, system: System, batch: DefinedMentions) -> Tensor:
        """The mean over masked tokens, and the weighted means of the two contrasts."""
        found = self.losses(system, batch)
        scales = {"masked": 1.0, "word2doc": self.word_scale, "doc2word": self.document_scale}
        return torch.stack(
            [scale * (found[name].sum() / max(len(found[name]), 1)) for name, scale in scales.items()]
        ).sum()

    def measure(self, system: System, batch: DefinedMentions) -> Tensor:
        """The same sum for each sentence, [B]."""
        found, count = self.losses(system, batch), len(batch)
        sequence_ids = batch.text.layout.sequence_ids(batch.rows.device)[batch.rows]
        each = mean_of_each(found["masked"], sequence_ids, count)
        linked = (batch.starts >= 0).nonzero().squeeze(1)
        for name, scale in (("word2doc", self.word_scale), ("doc2word", self.document_scale)):
            both_ways = found[name].view(2, -1).mean(0)
            each = each.index_add(0, linked, scale * both_ways)
        return each


@dataclass(frozen=True, eq=False)
class Triples(Movable):
    """Subjects with a relation, and descriptions of their objects."""

    subjects: Tokens
    objects: Tokens

    def __len__(self) -> int:
        return len(self.subjects.layout)


class ObjectEntailment:
    """Contrast of a subject with a relation and the description of the object (Jiang et al. 2022, section 3.3).

    The text of the inputs is the description of the subject and the words of the relation, the target the description
    of the object, possibly in another language; the first states are contrasted as in :class:`EntityDefinition`, with
    a head of the same form. The released code does not contain this objective.

    Args:
        layer: depth whose states are contrasted, 0 being the embeddings; -1 the last.
        temperature: divides the scores.
        normalised: whether vectors are L2-normalised.
        queue_size: negatives that are kept of either side; that of the other objective unless given.
        sync_bn: whether the projections normalise by the statistics of the batches of all processes.
    """

    name = "object-entailment"

    def __init__(
        self,
        *,
        layer: int = -1,
        temperature: float = 0.1,
        normalised: bool = True,
        queue_size: int | None = None,
        sync_bn: bool = False,
    ) -> None:
        self.layer = layer
        self.temperature = temperature
        self.normalised = normalised
        self.sizes = _sizes(queue_size, sync_bn)

    def prepare(self, inputs: Inputs, generator: torch.Generator | None = None) -> Triples:
        """The texts as they are; nothing is drawn.

        Raises:
            UserError: there is no text or no target, or they differ in number.
        """
        return Triples(*both_sides(inputs, self.name))

    def losses(self, system: System, batch: Triples) -> Tensor:
        """The loss of every triple, the mean of its two directions, [B]; in training the queues grow afterwards."""
        states = []
        for side in (batch.subjects, batch.objects):
            depths = [stream.x for stream in system.hidden_states(Inputs(text=side))]
            states.append(depths[self.layer][side.layout.starts(side.ids.device)])
        head = cast(DefinitionContrast, system.head(self.name))
        subjects, objects = head.word(states[0]), head.document(states[1])
        queue = head.documents.detach().clone()
        found = queued_contrast(subjects, objects, queue, temperature=self.temperature, normalised=self.normalised)
        if system.training:
            head.enqueue(all_gather_rows(subjects), all_gather_rows(objects))
        return found.view(2, -1).mean(0)

    def loss(self, system: System, batch: Triples) -> Tensor:
        """The mean over triples."""
        return self.losses(system, batch).mean()

    def measure(self, system: System, batch: Triples) -> Tensor:
        """The loss of each triple, [B]."""
        return self.losses(system, batch)


PAPER = (
    "Jiang et al. 2022, XLM-K: Improving Cross-Lingual Language Model Pre-training with Multilingual Knowledge, AAAI, "
    "section {}"
)
DESCRIBED_MENTIONS = "mentions of entities with descriptions"
DESCRIBED_OBJECTS = "triples between entities with descriptions"
_ARGUMENTS = ("layer", "temperature", "normalised", "queue_size", "sync_bn")


def _sizes(queue_size: int | None, sync_bn: bool) -> dict[str, Any]:
    return {**({} if queue_size is None else {"queue_size": queue_size}), **({"sync_bn": True} if sync_bn else {})}


def entity_definition(
    encoder: nn.Module,
    *,
    num_layers: int = 2,
    queue_size: int = 32768,
    multi_queue: bool = False,
    sync_bn: bool = False,
) -> DefinitionContrast:
    """Projections of both sides, and their queues (Jiang et al. 2022, section 3.2)."""
    dim = cast(Encoder, encoder).dim
    return DefinitionContrast(
        dim, num_layers=num_layers, queue_size=queue_size, multi_queue=multi_queue, sync_bn=sync_bn
    )


def _definition(context: ObjectiveContext) -> EntityDefinition:
    masking = xlm_masking(context.specials, context.vocab_size, rate=context.mask_rate)
    return EntityDefinition(masking, **context.arguments)


HEADS = Addition(
    "entity-description-contrast",
    PAPER.format("3"),
    heads={EntityDefinition.name: entity_definition, ObjectEntailment.name: entity_definition},
)
ENTITY_DEFINITION = ObjectiveSpec(
    EntityDefinition.name,
    PAPER.format("3.2"),
    _definition,
    needs=(DESCRIBED_MENTIONS,),
    arguments=(*_ARGUMENTS, "word_scale", "document_scale", "multi_queue"),
)
OBJECT_ENTAILMENT = ObjectiveSpec(
    ObjectEntailment.name,
    PAPER.format("3.3"),
    lambda context: ObjectEntailment(**context.arguments),
    needs=(DESCRIBED_OBJECTS,),
    arguments=_ARGUMENTS,
)
