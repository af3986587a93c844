"""Lexical relation classification: do two words mean alike? (Lauscher et al. 2020, LIBERT).

It goes beside masked tokens and next sentences: every batch of texts brings as many pairs of words, which are read like
two sentences.

Shapes: B texts of the batch and as many related pairs, N pairs that are judged.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from mm_kptm.batch import POOLED_ONLY, Encoded, Inputs, Movable, Tokens
from mm_kptm.data.tokenizers.protocol import Tokenizer, framed
from mm_kptm.knowledge.lexicons.related_words import RelatedWords, WordVectors, contrasted
from mm_kptm.objectives.spec import ObjectiveSpec
from mm_kptm.objectives.tokens import mean, mean_of_each
from mm_kptm.systems.system import System

RELATED_WORDS = "words that mean alike, with vectors of words"  #: what data offer as a :class:`LexicalRelation`
RELATED, UNRELATED = 0, 1  #: classes of the head, as in the released code


@dataclass(frozen=True, eq=False)
class JudgedPairs(Movable):
    """Pairs of words as pairs of sentences, and what they are."""

    inputs: Inputs
    classes: Tensor  #: [N]
    owners: Tensor  #: the related pair that each is or was made of, [N]
    size: int  #: B

    def __len__(self) -> int:
        return self.size


class LexicalRelation:
    """Tell related words from near ones with the system's head of that name.

    Args:
        related: what is drawn from, each pair as likely.
        vectors: where words are near that need not be related.
        tokenizer: of the system.
    """

    name = "lexical-relation"

    def __init__(self, related: RelatedWords, vectors: WordVectors, tokenizer: Tokenizer) -> None:
        self.related = related
        self.vectors = vectors
        self.tokenizer = tokenizer

    def prepare(self, inputs: Inputs, generator: torch.Generator) -> JudgedPairs:
        """As many related pairs as there are texts, with near ones beside them; the texts are not looked at."""
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
        """The cross-entropy of every pair, [N]."""
        encoded: Encoded = system(batch.inputs, POOLED_ONLY)
        scores = system.head(self.name)(encoded.pooled)
        return F.cross_entropy(scores, batch.classes, reduction="none")

    def loss(self, system: System, batch: JudgedPairs) -> Tensor:
        """The mean over all pairs, related or not."""
        return mean(self.losses(system, batch))

    def measure(self, system: System, batch: JudgedPairs) -> Tensor:
        """The mean over each related pair and what was made of it, [B]."""
        return mean_of_each(self.losses(system, batch), batch.owners, len(batch))


LEXICAL_RELATION = ObjectiveSpec(
    LexicalRelation.name,
    "Lauscher et al. 2020, LIBERT, COLING, section 3.2",
    lambda context: context.offered(RELATED_WORDS),
    needs=(RELATED_WORDS,),
)
