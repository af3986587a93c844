"""Unicoder's word recovery: prediction of a sentence from the words of its translation.

Shapes: B pairs, T rows of the sentences, U rows of their translations, D dim, n and m rows of one pair.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mm_kptm.batch import EVERY_ROW, Inputs, Movable, SequenceLayout
from mm_kptm.crosslingual.corpora.token_pairs import both_sides
from mm_kptm.errors import UserError
from mm_kptm.models.single import SingleStream
from mm_kptm.nn.assembly import Assembled
from mm_kptm.nn.steps import Stream
from mm_kptm.objectives.next_tokens import TARGETS
from mm_kptm.objectives.rows import mean_of_each
from mm_kptm.objectives.spec import ObjectiveSpec
from mm_kptm.systems.recipe import Addition
from mm_kptm.systems.system import System


class TranslatedWords(nn.Module):
    r"""Attention-weighted means of the words of a translation, per word (Huang et al. 2019, section 3.1).

    .. math:: A_{ij} = w \cdot [x_i ; y_j ; x_i \odot y_j], \qquad \hat x_i = \sum_j \mathrm{softmax}_j(A_{ij})\, y_j
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(3, dim) * dim**-0.5)

    def forward(self, x: Tensor, y: Tensor, layout: SequenceLayout, other: SequenceLayout) -> Tensor:
        """From words [T, D] and those of the translations [U, D]: [T, D]."""
        first, second, product = self.weight
        rebuilt = []
        for words, others in zip(layout.split(x), other.split(y), strict=True):
            scores = (words @ first).unsqueeze(1) + others @ second + (words * product) @ others.T  # [n, m]
            rebuilt.append(scores.softmax(-1) @ others)
        return torch.cat([*rebuilt, x[:0]])


@dataclass(frozen=True, eq=False)
class Translations(Movable):
    """Sentences and their translations."""

    inputs: Inputs

    def __len__(self) -> int:
        return len(self.inputs)


class WordRecovery:
    """Prediction of every word of a sentence from the words of its translation (Huang et al. 2019, section 3.1).

    Heads: ``word-recovery`` and ``masked-tokens``. The inputs have a text and, as target, its translation. The weighted
    means enter the layers directly, because they contain position and language embeddings.
    """

    name = "word-recovery"
    heads = ("word-recovery", "masked-tokens")

    def prepare(self, inputs: Inputs, generator: torch.Generator | None = None) -> Translations:
        """The pairs as they are; nothing is drawn.

        Raises:
            UserError: there is no text or no target, or they differ in number.
        """
        both_sides(inputs, self.name)
        return Translations(inputs)

    def losses(self, system: System, batch: Translations) -> Tensor:
        """The cross-entropy of every word, [T]."""
        text, other = batch.inputs.text, batch.inputs.target
        encoder = system.encoder
        if text is None or other is None or not isinstance(encoder, SingleStream):
            raise UserError("word-recovery needs pairs and an encoder of one stream")
        words, translated = (encoder.embed(Inputs(text=side)).stream.x for side in (text, other))
        rebuilt = system.head(self.name)(words, translated, text.layout, other.layout)
        stream = Stream.of(rebuilt, text.layout)
        states = encoder.run(Inputs(text=text), Assembled(stream, {"text": EVERY_ROW}), stream.attention)
        scores = system.head("masked-tokens")(states)
        return F.cross_entropy(scores, text.ids, reduction="none")

    def loss(self, system: System, batch: Translations) -> Tensor:
        """The mean over all words of the batch."""
        return self.losses(system, batch).mean()

    def measure(self, system: System, batch: Translations) -> Tensor:
        """The mean over the words of each sentence, [B]."""
        losses, text = self.losses(system, batch), batch.inputs.text
        sequence_ids = torch.zeros(0, dtype=torch.long) if text is None else text.layout.sequence_ids(losses.device)
        return mean_of_each(losses, sequence_ids, len(batch))


PAPER = (
    "Huang et al. 2019, Unicoder: A Universal Language Encoder by Pre-training with Multiple Cross-lingual Tasks, "
    "EMNLP, section 3.1"
)


def word_recovery(encoder: SingleStream) -> TranslatedWords:
    """The attention of a word to those of a translation (Huang et al. 2019, section 3.1)."""
    return TranslatedWords(encoder.dim)


RECOVERY_HEAD = Addition(WordRecovery.name, PAPER, heads={WordRecovery.name: word_recovery})
WORD_RECOVERY = ObjectiveSpec(WordRecovery.name, PAPER, lambda context: WordRecovery(), needs=(TARGETS,))
