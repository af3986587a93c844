"""Contrastive objectives on the parts of a text: VisualBERT's caption pairs and Oscar's tags.

The first part of a text is segment 0 (``[CLS] caption [SEP]``), the second segment 1 (``tags [SEP]`` or a second
caption). Both objectives also mask tokens, in exchanged parts too, and add the two losses.

Shapes: B examples, T token rows, P masked tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from mm_kptm.batch import Encoded, Inputs, Movable, OutputRows, SequenceLayout, Tokens
from mm_kptm.errors import UserError
from mm_kptm.objectives.rows import mean, mean_of_each
from mm_kptm.objectives.spec import REGIONS, TEXTS, ObjectiveContext, ObjectiveSpec
from mm_kptm.objectives.tokens import MaskedTokens, Masking, TokenMasker
from mm_kptm.systems.system import System

OBJECT_TAGS = "names of the objects of every image behind its texts"
CAPTION_PAIRS = "a second caption of the image behind every caption"


class Part(NamedTuple):
    """A part of a text of the batch."""

    text: int
    segment: int


def assembled(tokens: Tokens, first: Sequence[Part], second: Sequence[Part]) -> Tokens:
    """Texts assembled of two parts each, with new positions and segments 0 and 1.

    A first part used as a second one loses its [CLS].

    Raises:
        UserError: the texts mask some of their tokens from others, which no exchange can follow.
    """
    if tokens.attention_mask is not None:
        raise UserError("parts of texts cannot be exchanged under an attention mask; give plain texts")
    sequence_ids = tokens.layout.sequence_ids(tokens.ids.device)
    found = [
        [((sequence_ids == text) & (tokens.segments == s)).nonzero().squeeze(1) for s in (0, 1)]
        for text in range(len(tokens.layout))
    ]
    rows, lengths, segments = [], [], []
    for one, two in zip(first, second, strict=True):
        left, right = found[one.text][one.segment], found[two.text][two.segment]
        right = right[1:] if two.segment == 0 else right
        rows += [left, right]
        lengths.append(len(left) + len(right))
        segments += [left.new_zeros(len(left)), left.new_ones(len(right))]
    taken, layout = torch.cat(rows), SequenceLayout(tuple(lengths))
    return replace(
        tokens,
        ids=tokens.ids[taken],
        layout=layout,
        positions=layout.offsets_in_sequence(taken.device),
        segments=torch.cat(segments),
        languages=None if tokens.languages is None else tokens.languages[taken],
        vectors=None if tokens.vectors is None else tokens.vectors[taken],
        mask_groups=None if tokens.mask_groups is None else _apart(tokens.mask_groups[taken], layout),
        tasks=None if tokens.tasks is None else tokens.tasks[taken],
        token_labels=None
        if tokens.token_labels is None
        else {name: mark[taken] for name, mark in tokens.token_labels.items()},
    )


def _apart(units: Tensor, layout: SequenceLayout) -> Tensor:
    """Mask-group numbers made unique per text."""
    pairs = torch.stack([layout.sequence_ids(units.device), units])
    _, numbers = torch.unique(pairs, dim=1, return_inverse=True)
    return torch.where(units < 0, -1, numbers)


@dataclass(frozen=True, eq=False)
class PartContrastBatch(Movable):
    """Texts of which some have a part of another text, with masked tokens and the class of every text."""

    inputs: Inputs
    rows: Tensor  #: masked tokens, [P]
    labels: Tensor  #: labels, [P]
    sequence_ids: Tensor  #: example of each masked token, [P]
    classes: Tensor  #: [B]

    def __len__(self) -> int:
        return len(self.inputs)


class PartContrast:
    """Classification of matched parts of a text and its image, and masked-token prediction, in one forward pass.

    A part of another text counts as wrong only where that text is about another image; where it is not, the example
    stays as it was.

    Args:
        masking: of tokens.
        wrong_first: share of the texts whose first part is another's.
        wrong_second: share of the texts whose second part is another's.
        lines: segments of other texts that a wrong second part is drawn from.
        masks_wrong: whether masked tokens of a wrong second part are predicted (``mask_loss_for_unmatched``).
    """

    name: ClassVar[str]
    head: ClassVar[str]  #: of the system
    right: ClassVar[int]  #: the class of texts whose parts belong together
    second_wrong: ClassVar[int]
    first_wrong: ClassVar[int]

    def __init__(
        self,
        masking: TokenMasker,
        *,
        wrong_first: float = 0.0,
        wrong_second: float = 0.5,
        lines: Sequence[int] = (1,),
        masks_wrong: bool = True,
    ) -> None:
        self.tokens = MaskedTokens(masking)
        self.wrong_first = wrong_first
        self.wrong_second = wrong_second
        self.lines = tuple(lines)
        self.masks_wrong = masks_wrong

    @property
    def heads(self) -> tuple[str, ...]:
        """The heads that a system needs for it."""
        return ("masked-tokens", self.head)

    def prepare(self, inputs: Inputs, generator: torch.Generator) -> PartContrastBatch:
        """Exchange parts, then mask tokens.

        Raises:
            UserError: there is no text, or it has an attention mask.
        """
        if inputs.text is None:
            raise UserError(f"{self.name} exchanges parts of texts, but the inputs have none")
        count = len(inputs)
        draws, kinds = torch.rand(2, count, generator=generator)
        shifts = torch.randint(1, max(count, 2), (count,), generator=generator)
        images = torch.arange(count) if inputs.image_of is None else inputs.image_of
        donors = (torch.arange(count) + shifts) % max(count, 1)
        foreign = images[donors] != images
        first_wrong = foreign & (draws < self.wrong_first)
        second_wrong = foreign & ~first_wrong & (draws < self.wrong_first + self.wrong_second)
        first, second = [], []
        for own, donor in enumerate(donors.tolist()):
            line = self.lines[int(kinds[own] * len(self.lines))]
            first.append(Part(donor if first_wrong[own] else own, 0))
            second.append(Part(donor, line) if second_wrong[own] else Part(own, 1))
        classes = torch.full((count,), self.right)
        classes[second_wrong], classes[first_wrong] = self.second_wrong, self.first_wrong
        exchanged = inputs.with_streams(text=assembled(inputs.text, first, second))
        text = self.tokens.prepare(exchanged, generator)
        kept = torch.ones_like(text.rows, dtype=torch.bool)
        if not self.masks_wrong and exchanged.text is not None:
            kept = ~(second_wrong[text.sequence_ids] & (exchanged.text.segments[text.rows] == 1))
        return PartContrastBatch(text.inputs, text.rows[kept], text.labels[kept], text.sequence_ids[kept], classes)

    def losses(self, system: System, batch: PartContrastBatch) -> tuple[Tensor, Tensor]:
        """The cross-entropy of masked tokens, [P], and of the classes of the texts, [B]."""
        encoded: Encoded = system(batch.inputs, OutputRows({"text": batch.rows}))
        words = system.head("masked-tokens")(encoded.text)
        texts = system.head(self.head)(encoded.pooled)
        return (
            F.cross_entropy(words, batch.labels, reduction="none"),
            F.cross_entropy(texts, batch.classes, reduction="none"),
        )

    def loss(self, system: System, batch: PartContrastBatch) -> Tensor:
        """The mean over masked tokens plus the mean over texts."""
        words, texts = self.losses(system, batch)
        return mean(words) + texts.mean()

    def measure(self, system: System, batch: PartContrastBatch) -> Tensor:
        """The loss of each example, [B]."""
        words, texts = self.losses(system, batch)
        return mean_of_each(words, batch.sequence_ids, len(batch)) + texts


class SentenceImagePrediction(PartContrast):
    """Sentence-image prediction: is the second caption of the same image (Li et al. 2019, VisualBERT, section 3.3)?

    Class 1 means that both belong to the image. Half of the second captions are another image's.
    """

    name = "sentence-image-prediction"
    head = "image-text-matching"
    right, second_wrong, first_wrong = 1, 0, 0


class TagContrast(PartContrast):
    """Contrastive loss on caption, object tags and regions, some replaced (Li et al. 2020, Oscar).

    Class 0 means that all belong together, 1 that the tags are another image's, 2 that the caption is (Oscar+). By
    default as in Oscar, where the wrong tags may also be another image's caption; :meth:`plus` has the draws of Oscar+.
    """

    name = head = "tag-contrast"
    right, second_wrong, first_wrong = 0, 1, 2

    def __init__(
        self,
        masking: TokenMasker,
        *,
        wrong_first: float = 0.0,
        wrong_second: float = 0.5,
        lines: Sequence[int] = (0, 1),
        masks_wrong: bool = True,
    ) -> None:
        super().__init__(
            masking, wrong_first=wrong_first, wrong_second=wrong_second, lines=lines, masks_wrong=masks_wrong
        )

    @classmethod
    def plus(cls, masking: TokenMasker, *, masks_wrong: bool = True) -> TagContrast:
        """Oscar+ (Zhang et al. 2021): half of the texts match, a quarter have wrong tags, a quarter a wrong caption."""
        return cls(masking, wrong_first=0.25, wrong_second=0.25, lines=(1,), masks_wrong=masks_wrong)


def _tag_contrast(context: ObjectiveContext) -> TagContrast:
    return TagContrast(Masking.of(context), **context.arguments)


def _sentence_image(context: ObjectiveContext) -> SentenceImagePrediction:
    return SentenceImagePrediction(Masking.of(context), **context.arguments)


TAG_CONTRAST = ObjectiveSpec(
    TagContrast.name, "Li et al. 2020, Oscar, ECCV, section 3", _tag_contrast, needs=(TEXTS, REGIONS, OBJECT_TAGS)
)
SENTENCE_IMAGE_PREDICTION = ObjectiveSpec(
    SentenceImagePrediction.name,
    "Li et al. 2019, VisualBERT, section 3.3",
    _sentence_image,
    needs=(TEXTS, REGIONS, CAPTION_PAIRS),
)
