"""ERNIE-M's objectives: masked tokens predicted from the other sentence of a pair, and from pseudo translations.

Shapes: B texts, T token rows, P masked rows.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from mm_kptm.batch import Encoded, Inputs, OutputRows, SequenceLayout, Tokens
from mm_kptm.crosslingual.corpora.token_pairs import both_sides, concatenated
from mm_kptm.crosslingual.objectives.cross_attention_mask import Appended, with_appended, with_cross_sentence_mask
from mm_kptm.crosslingual.objectives.masking import xlm_masking
from mm_kptm.data.tokenizers.protocol import Specials
from mm_kptm.errors import UserError
from mm_kptm.objectives.next_tokens import TARGETS
from mm_kptm.objectives.rows import RowObjective, RowTargets
from mm_kptm.objectives.spec import ObjectiveContext, ObjectiveSpec
from mm_kptm.objectives.tokens import MaskedTokens, TokenMasker
from mm_kptm.objectives.vocabulary_loss import vocabulary_losses
from mm_kptm.systems.system import System

PAPER = (
    "Ouyang et al. 2021, ERNIE-M: Enhanced Multilingual Representation by Aligning Cross-lingual Semantics with "
    "Monolingual Corpora, EMNLP, section {}"
)


class CrossAttentionMaskedTokens(MaskedTokens):
    """Masked tokens of a pair, each predicted from the other sentence alone (CAMLM; Ouyang et al. 2021, section 3.1).

    The head is that of masked tokens. Which rows a masked token attends to is one reading of the paper
    (:class:`~mm_kptm.crosslingual.objectives.cross_attention_mask.CrossSentence`), whose code was not published.

    Args:
        masking: masks tokens of the pairs.
        separators: tokens between the two sentences beside ``</s>``.
        opens: whether sentences begin with ``<s>``.
    """

    name = "cross-attention-masked-tokens"

    def __init__(self, masking: TokenMasker, *, separators: tuple[int, ...] = (), opens: bool = True) -> None:
        super().__init__(masking)
        self.separators = separators
        self.opens = opens

    def prepare(self, inputs: Inputs, generator: torch.Generator) -> RowTargets:
        """Concatenate the pairs and mask tokens of both sides.

        Raises:
            UserError: there is no text or no target, or they differ in number.
        """
        pairs = concatenated(*both_sides(inputs, self.name), separators=self.separators, opens=self.opens)
        hidden, rows = self.masking.mask(pairs.tokens, generator)
        sequence_ids = hidden.layout.sequence_ids(rows.device)[rows]
        shown = with_cross_sentence_mask(hidden, rows, pairs.sides())
        return RowTargets(Inputs(text=shown), rows, pairs.tokens.ids[rows], sequence_ids)


@dataclass(frozen=True, eq=False)
class ExtendedTexts(RowTargets):
    """Texts with masked tokens, and the same unmasked texts with appended masks to be filled first."""

    extended: Tokens


class BackTranslatedMaskedTokens(RowObjective[ExtendedTexts]):
    """Masked tokens of a text beside a pseudo translation (BTMLM; Ouyang et al. 2021, section 3.2).

    First the encoder fills masks behind the whole text, all at once and without gradient, as it learns to translate
    from :class:`CrossAttentionMaskedTokens`; then masked tokens of the text are predicted with these pseudo tokens in
    sight. It needs no parallel text. How many pseudo tokens there are is not stated in the paper.

    Args:
        masking: masks tokens of the texts.
        specials: ids of special tokens; none is ever a pseudo token.
        count: pseudo tokens per text.

    Raises:
        UserError: ``count`` is below 1.
    """

    name = "back-translated-masked-tokens"
    head = "masked-tokens"

    def __init__(self, masking: TokenMasker, specials: Specials, *, count: int = 8) -> None:
        self.masked = MaskedTokens(masking)
        if count < 1:
            raise UserError(f"{self.name} appends at least one pseudo token to a text, not {count}")
        self.specials = specials
        self.count = count

    def prepare(self, inputs: Inputs, generator: torch.Generator) -> ExtendedTexts:
        """Mask tokens of the texts, and append masks to the unmasked ones.

        Raises:
            UserError: there is no text to mask.
        """
        if inputs.text is None:
            raise UserError(f"{self.name} masks text, but the inputs have none")
        masked = self.masked.prepare(inputs, generator)
        return ExtendedTexts(
            masked.inputs, masked.rows, masked.labels, masked.sequence_ids, self._extended(inputs.text)
        )

    def _extended(self, text: Tokens) -> Tokens:
        """The texts with masks behind them, in the language of their first token."""
        tokens = with_appended(text, self.count, self.specials.mask_id)
        if text.languages is None:
            return tokens
        firsts = text.languages[text.layout.starts(text.ids.device)]
        return replace(tokens, languages=firsts[tokens.layout.sequence_ids(text.ids.device)])

    @torch.no_grad()
    def pseudo_tokens(self, system: System, extended: Tokens) -> Tensor:
        """The most probable token at every appended mask, no special one, [B * count]."""
        appended = extended.attention_mask
        if not isinstance(appended, Appended):
            raise TypeError("pseudo tokens are read at appended rows")
        rows = appended.appended.nonzero().squeeze(1)
        training = system.training
        system.eval()
        encoded: Encoded = system(Inputs(text=extended), OutputRows({"text": rows}, pooled=False))
        scores: Tensor = system.head(self.head)(encoded.text)
        system.train(training)
        never = sorted({*self.specials.never_masked, self.specials.mask_id, self.specials.unknown})
        scores[:, never] = float("-inf")
        return scores.argmax(-1)

    def losses(self, system: System, batch: ExtendedTexts) -> Tensor:
        """The cross-entropy of every masked token, [P]."""
        text, extended = batch.inputs.text, batch.extended
        if text is None:
            raise UserError(f"{self.name} masks text, but the inputs have none")
        ids, device = extended.ids.clone(), extended.ids.device
        places = _places(text.layout, self.count, device)
        ids[places] = text.ids
        filled = torch.ones(len(ids), dtype=torch.bool, device=device)
        filled[places] = False
        ids[filled] = self.pseudo_tokens(system, extended)
        shown = replace(extended, ids=ids, attention_mask=None)
        encoded: Encoded = system(Inputs(text=shown), OutputRows({"text": places[batch.rows]}, pooled=False))
        return vocabulary_losses(system.head(self.head), encoded.text, batch.labels)


def _places(layout: SequenceLayout, count: int, device: torch.device) -> Tensor:
    """Rows of the tokens once ``count`` rows follow each text, [T]."""
    return torch.arange(layout.total, device=device) + count * layout.sequence_ids(device)


def _cross_attention(context: ObjectiveContext) -> CrossAttentionMaskedTokens:
    specials = context.specials
    masking = xlm_masking(specials, context.vocab_size, rate=context.mask_rate)
    separators = (specials.stop,) * (specials.between - 1)
    return CrossAttentionMaskedTokens(masking, separators=separators, opens=specials.opens)


def _back_translated(context: ObjectiveContext) -> BackTranslatedMaskedTokens:
    masking = xlm_masking(context.specials, context.vocab_size, rate=context.mask_rate)
    return BackTranslatedMaskedTokens(masking, context.specials, **context.arguments)


CAMLM = ObjectiveSpec(CrossAttentionMaskedTokens.name, PAPER.format("3.1"), _cross_attention, needs=(TARGETS,))
BTMLM = ObjectiveSpec(BackTranslatedMaskedTokens.name, PAPER.format("3.2"), _back_translated, arguments=("count",))
