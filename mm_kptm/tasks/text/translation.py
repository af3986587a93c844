"""Translation: a sentence is written in another language, and scored by sacrebleu.

Shapes: B sentence pairs, P predicted tokens, T target rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from mm_kptm.batch import Inputs
from mm_kptm.data.tokenizers.joining import running_text
from mm_kptm.data.tokenizers.protocol import Tokenizer
from mm_kptm.errors import UserError, notice
from mm_kptm.models.decoding import Decoding, Request, check_prefixes, generate
from mm_kptm.models.vocabulary_mask import restricted
from mm_kptm.nn.embeddings import most_tokens
from mm_kptm.objectives.next_tokens import SmoothedNextTokens
from mm_kptm.objectives.rows import mean_of_each
from mm_kptm.preprocessing.inputs import InputSource
from mm_kptm.systems.recipe import Recipe
from mm_kptm.systems.system import System
from mm_kptm.tasks.example import Example, ExampleBatch, Row, prediction
from mm_kptm.tasks.heads import Heads
from mm_kptm.tasks.metrics.generation import TOKENIZERS, bleu, chrf
from mm_kptm.tasks.protocol import Task

GOES_ON = "@@"  #: at the end of a piece of fastBPE whose word goes on


@dataclass(frozen=True, eq=False)
class TranslationBatch(ExampleBatch):
    """Sentences with their translations as targets."""

    inputs: Inputs
    about: tuple[Example, ...]


@dataclass(frozen=True, eq=False)
class TranslatedSource:
    """Sentences with their translations.

    Args:
        sources: what is translated.
        targets: what is written, from its first token to its last one; None where translations are unknown.
        about: metadata of each pair; the target is the translation.
    """

    sources: InputSource
    targets: InputSource | None
    about: tuple[Example, ...]

    def __len__(self) -> int:
        return len(self.about)

    def length(self, index: int) -> int:
        """Tokens of both."""
        return self.sources.length(index) + (0 if self.targets is None else self.targets.length(index))

    def batch(self, indices: Sequence[int], generator: torch.Generator) -> TranslationBatch:
        """The pairs of the given indices."""
        inputs = self.sources.batch(indices, generator)
        if self.targets is not None:
            inputs = inputs.with_streams(target=self.targets.batch(indices, generator).text)
        return TranslationBatch(inputs, tuple(self.about[index] for index in indices))


def _fitting(how: Decoding, system: System) -> Decoding:
    """The same search, of texts that the decoder has positions for; the last token is written, not read."""
    places = most_tokens(system.encoder)
    if places is None or how.max_length <= places + 1:
        return how
    notice(
        f"translations have {places + 1} tokens at most, as {system.recipe} has positions for {places}, not the "
        f"{how.max_length} of decoding.max_length"
    )
    return replace(how, max_length=places + 1)


class Translation(Task[TranslationBatch]):
    """Translation with an encoder-decoder (Vaswani et al. 2017), by the settings of its decoding.

    Args:
        system: has a decoder and the head ``next-tokens``.
        tokenizer: of what is written.
        asked: first and last token of a translation, and its language.
        decoding: how translations are searched for.
        smoothing: label smoothing of the training loss.
        tokenize: tokenizer of BLEU, ``13a`` unless the script has no spaces.
        prefix: tokens that every translation begins with, behind the first one and the language.
        allowed: tokens that may be written; all unless given.

    Raises:
        UserError: an unknown tokenizer of BLEU, or a prefix as long as a translation may be.
    """

    name = "translation"
    needs = frozenset({"text", "target"})
    HEADS = ("next-tokens",)

    def __init__(
        self,
        system: System,
        tokenizer: Tokenizer,
        asked: Request,
        *,
        decoding: Decoding | None = None,
        smoothing: float = 0.1,
        tokenize: str = "13a",
        prefix: Sequence[int] = (),
        allowed: Sequence[int] | None = None,
    ) -> None:
        super().__init__(system)
        found = next((name for name in TOKENIZERS if name == tokenize), None)
        if found is None:
            raise UserError(f"BLEU has the tokenizers {', '.join(TOKENIZERS)}, not {tokenize!r}")
        self.tokenize = found
        self.tokenizer = tokenizer
        self.asked = asked
        self.prefix = () if not prefix else (asked.start, *([] if asked.first is None else [asked.first]), *prefix)
        self.allowed = allowed
        self.decoding = _fitting(Decoding() if decoding is None else decoding, system)
        check_prefixes([self.prefix], self.decoding)
        self.training_loss = SmoothedNextTokens(smoothing=smoothing)
        self.likelihood = SmoothedNextTokens(smoothing=0.0)

    @classmethod
    def heads(cls, recipe: Recipe) -> Heads:
        """The heads to ask of :func:`mm_kptm.build` or :func:`mm_kptm.load` for this task."""
        return {name: {} for name in cls.HEADS}

    def loss(self, batch: TranslationBatch) -> Tensor:
        """Label-smoothed cross-entropy, averaged over the tokens of the batch."""
        return self.training_loss.loss(self.system, self.training_loss.prepare(batch.inputs))

    @torch.no_grad()
    def measure(self, batch: TranslationBatch) -> dict[str, Tensor]:
        """Cross-entropy of each translation, averaged over its tokens; nothing is written."""
        prepared = self.likelihood.prepare(batch.inputs)
        losses = self.likelihood.losses(self.system, prepared)
        return {"loss": mean_of_each(losses, prepared.sequence_ids, len(batch))}

    @torch.no_grad()
    def predict(self, batch: TranslationBatch) -> list[Row]:
        """A translation of every sentence; ``correct`` is its chrF as a fraction."""
        asked = replace(self.asked, prefixes=[self.prefix] * len(batch)) if self.prefix else self.asked
        texts = generate(self._writer(), batch.inputs.with_streams(target=None), asked, self.decoding)
        return [self.row(about, self.text(ids)) for about, ids in zip(batch.about, texts, strict=True)]

    def _writer(self) -> System:
        """The system, whose head allows only some tokens where these are said."""
        if self.allowed is None:
            return self.system
        allowed = torch.zeros(len(self.tokenizer), dtype=torch.bool, device=next(self.parameters()).device)
        allowed[list(self.allowed)] = True
        return restricted(self.system, allowed)

    def row(self, about: Example, translation: str) -> Row:
        """One prediction row."""
        if not about.is_labelled:
            return prediction(about, translation)
        return prediction(about, translation, correct=chrf([translation], [[about.target]]).score / 100)

    def text(self, ids: Sequence[int]) -> str:
        """What some tokens say, without special ones and language codes."""
        silent = {*self.tokenizer.specials.never_masked, self.asked.start, self.asked.stop, self.asked.first}
        return written_text([self.tokenizer.vocabulary[token] for token in ids if token not in silent])

    def summary(self, rows: Sequence[Row]) -> dict[str, float]:
        """BLEU and chrF of the corpus, in per cent."""
        hypotheses, references = [[str(row[key]) for row in rows] for key in ("answer", "target")]
        found = bleu(hypotheses, [references], tokenize=self.tokenize)
        return {"bleu": found.score, "chrf": chrf(hypotheses, [references]).score}

    def signatures(self, rows: Sequence[Row]) -> dict[str, str]:
        """All that another laboratory needs to get the same scores, by score."""
        hypotheses, references = [[str(row[key]) for row in rows] for key in ("answer", "target")]
        return {
            "bleu": bleu(hypotheses, [references], tokenize=self.tokenize).signature,
            "chrf": chrf(hypotheses, [references]).signature,
        }


def written_text(pieces: Sequence[str]) -> str:
    """The text of pieces of any tokenizer.

    >>> written_text(["uni@@", "corn", "s"]), written_text(["uni", "##corn"])
    ('unicorn s', 'unicorn')
    """
    if any(piece.endswith(GOES_ON) for piece in pieces):
        return " ".join(pieces).replace(f"{GOES_ON} ", "").removesuffix(GOES_ON)
    return running_text(pieces)
