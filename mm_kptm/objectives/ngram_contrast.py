"""Deep InfoMax on text: a sentence without one of its n-grams against the n-grams of the batch (InfoWord).

Shapes: T token rows, B sentences with an n-gram, D dim.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from mm_kptm.batch import Inputs, Movable, OutputRows, Tokens
from mm_kptm.data.tokenizers.protocol import Specials, framed
from mm_kptm.errors import UserError
from mm_kptm.nn.assembly import required_text
from mm_kptm.objectives.mutual_information import ESTIMATORS
from mm_kptm.objectives.spec import ObjectiveContext, ObjectiveSpec
from mm_kptm.systems.system import System


@dataclass(frozen=True, eq=False)
class MaskedNgrams(Movable):
    """Sentences with a masked n-gram each, and these n-grams alone, paired by index."""

    anchors: Inputs
    ngrams: Inputs

    def __len__(self) -> int:
        return len(self.anchors)


class NgramContrast:
    """Mutual information of a sentence and its n-grams (Kong et al. 2020, InfoWord, section 4.2).

    The anchor is the first state of a sentence in which an n-gram is masked, the positive that of the n-gram alone, by
    the same encoder; the score is their product, and the n-grams of the other sentences are the negatives. Equal
    n-grams of two sentences are not taken out. Its mixture with masked-tokens is InfoWord.

    Args:
        specials: ids of the special tokens.
        longest: most tokens of an n-gram; its length is drawn evenly.
        estimator: ``infonce`` (InfoWord), ``jsd`` or ``dv`` (Deep InfoMax, Hjelm et al. 2019).

    Raises:
        UserError: there is no such estimator, or n-grams have no token.
    """

    name = "ngram-contrast"
    heads: tuple[str, ...] = ()

    def __init__(self, specials: Specials, *, longest: int = 10, estimator: str = "infonce") -> None:
        if estimator not in ESTIMATORS:
            raise UserError(f"mutual information is estimated by {', '.join(ESTIMATORS)}, not by {estimator!r}")
        if longest < 1:
            raise UserError(f"an n-gram has one token at least, but longest is {longest}")
        self.specials = specials
        self.longest = longest
        self.estimator = ESTIMATORS[estimator]

    def prepare(self, inputs: Inputs, generator: torch.Generator) -> MaskedNgrams:
        """Mask one n-gram of every sentence, and cut it out; sentences without a word are left out.

        Raises:
            UserError: fewer than two sentences have a word.
        """
        tokens = required_text(inputs)
        words = ~torch.isin(tokens.ids, torch.tensor(sorted(self.specials.never_masked)))
        spans = [
            span
            for first, length in zip(tokens.layout.offsets, tokens.layout.lengths, strict=False)
            if (span := self._span(words[first : first + length], first, generator)) is not None
        ]
        if len(spans) < 2:
            raise UserError(
                f"n-grams are contrasted with those of other sentences, but {len(spans)} of {len(tokens.layout)} "
                "sentences of a batch have a word; take larger batches"
            )
        return self.masked(tokens, spans)

    def masked(self, tokens: Tokens, spans: Sequence[tuple[int, int]]) -> MaskedNgrams:
        """The given n-grams, first row and the one behind the last, masked and cut out."""
        ids, sequence_ids = tokens.ids.clone(), tokens.layout.sequence_ids(tokens.ids.device)
        for first, stop in spans:
            ids[first:stop] = self.specials.mask_id
        offsets = tokens.layout.offsets
        rows = [range(offsets[owner], offsets[owner + 1]) for owner in (int(sequence_ids[first]) for first, _ in spans)]
        taken = [list(one) for one in rows]
        languages = None if tokens.languages is None else [tokens.languages[one].tolist() for one in taken]
        anchors = Tokens.of(
            [ids[one].tolist() for one in taken],
            positions=[tokens.positions[one].tolist() for one in taken],
            segments=[tokens.segments[one].tolist() for one in taken],
            languages=languages,
        )
        alone = [framed(self.specials, tokens.ids[first:stop].tolist())[0] for first, stop in spans]
        spoken = (
            None
            if tokens.languages is None
            else [[int(tokens.languages[first])] * len(one) for (first, _), one in zip(spans, alone, strict=True)]
        )
        return MaskedNgrams(Inputs(text=anchors), Inputs(text=Tokens.of(alone, languages=spoken)))

    def scores(self, system: System, batch: MaskedNgrams) -> Tensor:
        """The product of every anchor with every n-gram, [B, B]."""
        return _first_states(system, batch.anchors) @ _first_states(system, batch.ngrams).T

    def loss(self, system: System, batch: MaskedNgrams) -> Tensor:
        """The negative estimate of mutual information, a scalar."""
        return -self.estimator(self.scores(system, batch))

    def measure(self, system: System, batch: MaskedNgrams) -> Tensor:
        """The cross-entropy of the own n-gram of every sentence, [B]."""
        scores = self.scores(system, batch)
        return F.cross_entropy(scores, torch.arange(len(scores), device=scores.device), reduction="none")

    def _span(self, words: Tensor, first: int, generator: torch.Generator) -> tuple[int, int] | None:
        """An n-gram among the words of a sentence, never across a special token."""
        length, place = torch.rand(2, generator=generator).tolist()
        rows = words.nonzero().squeeze(1).tolist()
        if not rows:
            return None
        start = rows[int(place * len(rows))]
        stop = start + 1 + int(length * self.longest)
        while start + 1 < stop and (stop > len(words) or not bool(words[start:stop].all())):
            stop -= 1
        return first + start, first + stop


def _first_states(system: System, inputs: Inputs) -> Tensor:
    starts = required_text(inputs).layout.starts(next(system.parameters()).device)
    return system(inputs, OutputRows({"text": starts}, pooled=False)).text


def _build(context: ObjectiveContext) -> NgramContrast:
    return NgramContrast(context.specials, **context.arguments)


NGRAM_CONTRAST = ObjectiveSpec(
    "ngram-contrast",
    "Kong et al. 2020, A Mutual Information Maximization Perspective of Language Representation Learning, ICLR, "
    "arXiv:1910.08350",
    _build,
    arguments=("longest", "estimator"),
)
