"""Objectives on whole sentences and their translations: paraphrase classification, and translation ranking.

Shapes: B pairs, T rows, D dim.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mm_kptm.batch import Encoded, Inputs, Movable, OutputRows, Tokens
from mm_kptm.batch.inputs import EVERY_ROW
from mm_kptm.crosslingual.corpora.token_pairs import both_sides, concatenated
from mm_kptm.errors import UserError
from mm_kptm.models.single import SingleStream
from mm_kptm.nn.init import bert_init
from mm_kptm.nn.pooling import mean
from mm_kptm.objectives.next_tokens import TARGETS
from mm_kptm.objectives.spec import ObjectiveContext, ObjectiveSpec
from mm_kptm.systems.recipe import Addition
from mm_kptm.systems.system import System

UNICODER = (
    "Huang et al. 2019, Unicoder: A Universal Language Encoder by Pre-training with Multiple Cross-lingual Tasks, "
    "EMNLP, section 3.1"
)
RANKING = (
    "Yang et al. 2019, Improving Multilingual Sentence Embedding using Bi-directional Dual Encoder with Additive "
    "Margin Softmax, IJCAI, equation 2"
)


@dataclass(frozen=True, eq=False)
class SentencePairs(Movable):
    """Sentences and translations, and which of them are shown with their own."""

    texts: Tokens
    translations: Tokens
    own: Tensor  #: true for a sentence that keeps its translation, [B]

    def __len__(self) -> int:
        return len(self.texts.layout)


class ParaphraseClassification:
    """Whether the second sentence is the translation of the first (Huang et al. 2019, section 3.1).

    Half of the pairs are true. The negative of a sentence is the one of all other translations of the batch that is
    most similar to it under a light model: the cosine of the means of the encoder's own word embeddings, in place of
    the separately trained deep averaging network of the paper. The head ``paraphrase-classification`` reads the pooled
    state of ``<s> a </s> b </s>``; class 1 is a translation.

    Args:
        rate: share of sentences that are shown with another translation.
    """

    name = "paraphrase-classification"

    def __init__(self, *, rate: float = 0.5, opens: bool = True) -> None:
        if not 0 < rate < 1:
            raise UserError(f"{self.name} shows a share of the sentences with a wrong translation, not {rate}")
        self.rate = rate
        self.opens = opens

    def prepare(self, inputs: Inputs, generator: torch.Generator) -> SentencePairs:
        """The pairs, and which sentences keep their translation.

        Raises:
            UserError: there is no text or no target, or they differ in number.
        """
        texts, translations = both_sides(inputs, self.name)
        drawn = torch.rand(len(texts.layout), generator=generator)
        return SentencePairs(texts, translations, drawn >= self.rate)

    @torch.no_grad()
    def hard_negatives(self, system: System, batch: SentencePairs) -> Tensor:
        """The most similar wrong translation of every sentence, its own in a batch of one, [B]."""
        sides = []
        for side in (batch.texts, batch.translations):
            embedded = next(iter(system.hidden_states(Inputs(text=side)))).x
            sides.append(F.normalize(mean(embedded, side.layout), dim=-1))
        similar = sides[0] @ sides[1].T
        if len(similar) < 2:
            return torch.zeros(len(similar), dtype=torch.long, device=similar.device)
        return similar.fill_diagonal_(float("-inf")).argmax(1)

    def losses(self, system: System, batch: SentencePairs) -> Tensor:
        """The cross-entropy of every pair, [B]."""
        count, device = len(batch), batch.own.device
        own = batch.own if count > 1 else torch.ones_like(batch.own)
        chosen = torch.where(own, torch.arange(count, device=device), self.hard_negatives(system, batch))
        pairs = concatenated(batch.texts, _taken(batch.translations, chosen), opens=self.opens).tokens
        encoded: Encoded = system(Inputs(text=pairs), OutputRows({}))
        scores: Tensor = system.head(self.name)(encoded.pooled)
        return F.cross_entropy(scores, own.long(), reduction="none")

    def loss(self, system: System, batch: SentencePairs) -> Tensor:
        """The mean over pairs."""
        return self.losses(system, batch).mean()

    def measure(self, system: System, batch: SentencePairs) -> Tensor:
        """The loss of each pair, [B]."""
        return self.losses(system, batch)


class TranslationRanking:
    r"""A sentence and its translation against those of the batch, in both directions (Yang et al. 2019, eq. 2).

    .. math::
        -\frac12\log\frac{e^{s(\phi_{ii} - m)}}{e^{s(\phi_{ii} - m)} + \sum_{j\ne i} e^{s\phi_{ij}}}
        -\frac12\log\frac{e^{s(\phi_{ii} - m)}}{e^{s(\phi_{ii} - m)} + \sum_{j\ne i} e^{s\phi_{ji}}}

    with the cosines :math:`\phi` of the means of the last states: contrastive sentence embedding. It needs no head.

    Args:
        scale: s (LaBSE trains 1 / 0.05; here fixed).
        margin: m, the additive margin.
    """

    name = "translation-ranking"
    heads: tuple[str, ...] = ()

    def __init__(self, *, scale: float = 20.0, margin: float = 0.3) -> None:
        self.scale = scale
        self.margin = margin

    def prepare(self, inputs: Inputs, generator: torch.Generator | None = None) -> SentencePairs:
        """The pairs as they are; nothing is drawn.

        Raises:
            UserError: there is no text or no target, or they differ in number.
        """
        texts, translations = both_sides(inputs, self.name)
        return SentencePairs(texts, translations, torch.ones(len(texts.layout), dtype=torch.bool))

    def losses(self, system: System, batch: SentencePairs) -> Tensor:
        """The loss of every pair, the mean of its two directions, [B]."""
        vectors = []
        for side in (batch.texts, batch.translations):
            encoded: Encoded = system(Inputs(text=side), OutputRows({"text": EVERY_ROW}, pooled=False))
            vectors.append(F.normalize(mean(encoded.text, side.layout), dim=-1))
        cosines = vectors[0] @ vectors[1].T
        scores = self.scale * (cosines - self.margin * torch.eye(len(cosines), device=cosines.device))
        targets = torch.arange(len(scores), device=scores.device)
        forward = F.cross_entropy(scores, targets, reduction="none")
        return (forward + F.cross_entropy(scores.T, targets, reduction="none")) / 2

    def loss(self, system: System, batch: SentencePairs) -> Tensor:
        """The mean over pairs."""
        return self.losses(system, batch).mean()

    def measure(self, system: System, batch: SentencePairs) -> Tensor:
        """The loss of each pair among those of the batch, [B]."""
        return self.losses(system, batch)


def _taken(tokens: Tokens, sequences: Tensor) -> Tokens:
    layout, rows = tokens.layout.select(sequences)
    languages = None if tokens.languages is None else tokens.languages[rows]
    return Tokens(
        ids=tokens.ids[rows],
        layout=layout,
        positions=tokens.positions[rows],
        segments=tokens.segments[rows],
        languages=languages,
    )


def translated_or_not(encoder: SingleStream) -> nn.Linear:
    """Scores of *no translation* and *translation* from the pooled state, [B, D] -> [B, 2]."""
    head = nn.Linear(encoder.dim, 2)
    bert_init(head)
    return head


PARAPHRASE_HEAD = Addition(
    ParaphraseClassification.name, UNICODER, heads={ParaphraseClassification.name: translated_or_not}
)


def _classification(context: ObjectiveContext) -> ParaphraseClassification:
    return ParaphraseClassification(opens=context.specials.opens, **context.arguments)


def _ranking(context: ObjectiveContext) -> TranslationRanking:
    return TranslationRanking(**context.arguments)


PARAPHRASE_CLASSIFICATION = ObjectiveSpec(
    ParaphraseClassification.name, UNICODER, _classification, needs=(TARGETS,), arguments=("rate",)
)
TRANSLATION_RANKING = ObjectiveSpec(
    TranslationRanking.name, RANKING, _ranking, needs=(TARGETS,), arguments=("scale", "margin")
)
