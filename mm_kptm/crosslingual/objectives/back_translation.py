"""Back-translation: a decoder learns to restore texts from its own translations of them.

Shapes: B texts.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from mm_kptm.batch import Inputs, Movable, Tokens
from mm_kptm.data.tokenizers.protocol import Specials
from mm_kptm.errors import UserError
from mm_kptm.models.generation import Writing, greedy
from mm_kptm.objectives.next_tokens import Continuation, NextTokens, with_start
from mm_kptm.objectives.spec import LANGUAGE_IDS, TEXTS, ObjectiveContext, ObjectiveSpec
from mm_kptm.systems.system import System

PAPER = "Lample et al. 2018, Phrase-Based & Neural Unsupervised Machine Translation, EMNLP, section 3.3"


@dataclass(frozen=True, eq=False)
class Untranslated(Movable):
    """Texts, and the language into which each is translated first."""

    texts: Tokens
    languages: Tensor  #: [B]

    def __len__(self) -> int:
        return len(self.texts.layout)


class BackTranslation:
    """Restore a text from the system's own translation of it (Lample et al. 2018, section 3.3, as in XLM's code).

    Every text is translated greedily, without gradient, into another language that is drawn for it; the text itself is
    the target of that translation, with the head ``next-tokens``. The encoder-decoder has language embeddings.

    Args:
        specials: ids of the tokens that open and close texts.
        num_languages: languages to draw from, by id.
        growth: a translation has at most ``growth`` times the tokens of the longest text, and five more (XLM: 1.3).

    Raises:
        UserError: there is only one language.
    """

    name = "back-translation"
    head = "next-tokens"

    def __init__(self, specials: Specials, num_languages: int, *, growth: float = 1.3) -> None:
        self.restoring = NextTokens(head=self.head)
        if num_languages < 2:
            raise UserError(f"{self.name} translates into another language, but the data have {num_languages}")
        self.specials = specials
        self.num_languages = num_languages
        self.growth = growth

    def prepare(self, inputs: Inputs, generator: torch.Generator | None = None) -> Untranslated:
        """The texts, and another language for each.

        Raises:
            UserError: there is no text with languages, or no generator.
        """
        texts = inputs.text
        if texts is None or texts.languages is None or generator is None:
            raise UserError(f"{self.name} draws another language for every text, so it needs texts with languages")
        own = texts.languages[texts.layout.starts(texts.ids.device)]
        other = torch.randint(self.num_languages - 1, own.shape, generator=generator)
        return Untranslated(texts, other + (other >= own))

    @torch.no_grad()
    def translate(self, system: System, batch: Untranslated) -> Tokens:
        """The system's translations of the texts, in their order."""
        device = batch.languages.device
        length = int(self.growth * max(batch.texts.layout.lengths)) + 5
        written: list[list[int]] = [[] for _ in range(len(batch))]
        training = system.training
        system.eval()
        for language in batch.languages.unique().tolist():
            chosen = (batch.languages == language).nonzero().squeeze(1)
            layout, rows = batch.texts.layout.select(chosen)
            texts = Tokens.of(
                [part.tolist() for part in layout.split(batch.texts.ids[rows])],
                languages=None
                if batch.texts.languages is None
                else [part.tolist() for part in layout.split(batch.texts.languages[rows])],
            )
            writing = Writing(self.specials.start, self.specials.stop, length, language=language)
            for place, text in zip(
                chosen.tolist(), greedy(system, Inputs(text=texts.to(device)), writing), strict=True
            ):
                written[place] = text if self.specials.opens else text[1:]
        system.train(training)
        spoken = batch.languages.tolist()
        languages = [[language] * len(text) for language, text in zip(spoken, written, strict=True)]
        return Tokens.of(written, languages=languages).to(device)

    def loss(self, system: System, batch: Untranslated) -> Tensor:
        """The mean over all tokens of the texts but the first ones."""
        return self.restoring.loss(system, self._restored(system, batch))

    def measure(self, system: System, batch: Untranslated) -> Tensor:
        """The mean over the tokens of each text, [B]."""
        return self.restoring.measure(system, self._restored(system, batch))

    def _restored(self, system: System, batch: Untranslated) -> Continuation:
        target = batch.texts if self.specials.opens else with_start(batch.texts, self.specials.start)
        return self.restoring.prepare(Inputs(text=self.translate(system, batch), target=target))


def _from_context(context: ObjectiveContext) -> BackTranslation:
    return BackTranslation(context.specials, context.offered(LANGUAGE_IDS) or 1, **context.arguments)


BACK_TRANSLATION = ObjectiveSpec(
    BackTranslation.name,
    PAPER,
    _from_context,
    needs=(TEXTS, LANGUAGE_IDS),
    streams=("target", "languages"),
    arguments=("growth",),
)
