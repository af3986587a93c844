"""Lexical relation classification: are two words semantically similar? (Lauscher et al. 2020, LIBERT).

It accompanies masked language modelling and next-sentence prediction: every batch of texts adds as many pairs of words,
encoded like sentence pairs.

Shapes: B texts of the batch and B related pairs, N classified pairs.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from mm_kptm.batch import POOLED_ONLY, Encoded, Inputs, Movable, Tokens
from mm_kptm.data.tokenizers.protocol import Tokenizer, framed
from mm_kptm.knowledge.lexicons.related_words import RelatedWords, WordVectors, contrasted
from mm_kptm.objectives.rows import RowObjective
from mm_kptm.objectives.spec import ObjectiveSpec
from mm_kptm.systems.system import System

RELATED_WORDS = "words that mean alike, with vectors of words"  #: what a dataset offers: a :class:`LexicalRelation`
RELATED, UNRELATED = 0, 1  #: classes of the head, as in the released code


@dataclass(frozen=True, eq=False)
class JudgedPairs(Movable):
    """Word pairs encoded as sentence pairs, with their classes."""

    inputs: Inputs
    classes: Tensor  #: [N]
    sequence_ids: Tensor  #: index of the related pair that each is, or was derived from, [N]
    size: int  #: B

    def __len__(self) -> int:
        return self.size


class LexicalRelation(RowObjective[JudgedPairs]):
    """Classify related words against mined negatives, with the system's head of that name.

    Args:
        related: related pairs, sampled uniformly.
        vectors: auxiliary word vectors for mining negatives.
        tokenizer: tokenizer of the system.
    """

    name = "lexical-relation"

    def __init__(self, related: RelatedWords, vectors: WordVectors, tokenizer: Tokenizer) -> None:
        self.related = related
        self.vectors = vectors
        self.tokenizer = tokenizer

    def prepare(self, inputs: Inputs, generator: torch.Generator) -> JudgedPairs:
        """Sample as many related pairs as there are texts and mine their negatives; the texts are not used."""
        drawn = torch.randint(len(self.related), (len(inputs),), generator=generator)
        batch = [self.related.pairs[number] for number in drawn.tolist()]
        judged = contrasted(batch, self.related, self.vectors)
        ids = {word: self.tokenizer.encode(word).ids for pair in judged for word in pair[:2]}
        texts = [framed(self.tokenizer.specials, ids[pair.first], ids[pair.second]) for pair in judged]
        return JudgedPairs(
            Inputs(text=Tokens.of([text for text, _ in texts], segments=[segments for _, segments in texts])),
            torch.tensor([RELATED if pair.related else UNRELATED for pair in judged], dtype=torch.long),
            torch.tensor([pair.owner for pair in judged], dtype=torch.long),
            len(inputs),
        )

    def losses(self, system: System, batch: JudgedPairs) -> Tensor:
        """Cross-entropy of every pair, [N]."""
        encoded: Encoded = system(batch.inputs, POOLED_ONLY)
        scores = system.head(self.name)(encoded.pooled)
        return F.cross_entropy(scores, batch.classes, reduction="none")


LEXICAL_RELATION = ObjectiveSpec(
    LexicalRelation.name,
    "Lauscher et al. 2020, LIBERT, COLING, section 3.2",
    lambda context: context.offered(RELATED_WORDS),
    needs=(RELATED_WORDS,),
)
