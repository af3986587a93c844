"""VLP's pretraining: masked words of captions under a bidirectional or a sequence-to-sequence mask.

Shapes: B examples, T token rows, P masked tokens, R' regions expanded per text.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor

from mm_kptm.batch import POOLED_ONLY, Encoded, Inputs, OutputRows, Regions, SequenceLayout, Tokens
from mm_kptm.errors import UserError
from mm_kptm.nn.submodules import submodule
from mm_kptm.nn.visibility import Prefix
from mm_kptm.objectives.rows import RowTargets, mean_of_each
from mm_kptm.objectives.spec import REGIONS, TEXTS, ObjectiveContext, ObjectiveSpec
from mm_kptm.objectives.tokens import Masking
from mm_kptm.systems.system import System
from mm_kptm.vision.modules.single_stream.vlp_embedding import VlpRegionProjection
from mm_kptm.vision.objectives.masked_captions import CaptionShare
from mm_kptm.vision.objectives.soft_targets import label_smoothing_kl

_EPS = 1e-5
_BEFORE = 2  #: tokens before the words: [CLS] and the [SEP] behind the image
_READ, _WRITTEN = (0, 1), (4, 5)  #: segments of image and text


def bidirectional_or_seq2seq(tokens: Tokens, written: Tensor) -> Tokens:
    """Set segments and attention mask of texts ``[CLS] [SEP] words [SEP]``: bidirectional or seq2seq.

    Under the bidirectional mask all rows attend to each other; under the seq2seq mask words attend to the image and to
    earlier words, and the image does not attend to them (Zhou et al. 2020, section 3.1).

    Args:
        tokens: the texts.
        written: true for texts with the seq2seq mask, [B].
    """
    device = tokens.ids.device
    sequence_ids, words = tokens.layout.sequence_ids(device), tokens.layout.offsets_in_sequence(device) >= _BEFORE
    kinds = torch.tensor([_READ, _WRITTEN], device=device)
    segments = kinds[written.long().to(device)[sequence_ids], words.long()]
    return replace(tokens, segments=segments, attention_mask=Prefix(~(words & written.to(device)[sequence_ids])))


class VlpPretraining:
    """Masked words of captions, three quarters with the seq2seq and one with the bidirectional mask (Zhou et al. 2020).

    The last [SEP] may be masked, to learn where captions end. The loss is the sum over all predictions, divided by
    their number plus 1e-5. It needs the head masked-tokens.

    Args:
        masking: of tokens, with :class:`~mm_kptm.vision.objectives.masked_captions.CaptionShare` and ``beside=-1``.
        written: share of the captions with the seq2seq mask.
        smoothing: label smoothing over all words but the padding; None: none, as released.
        drop_worst: share of the examples with the largest sums of losses that is ignored; 0 as released.
        masked_region_rate: share of the regions of every image that is masked and matched to their geometry; 0 as
            released.
    """

    name = "vlp-pretraining"
    head = "masked-tokens"

    def __init__(
        self,
        masking: Masking,
        *,
        written: float = 0.75,
        smoothing: float | None = None,
        drop_worst: float = 0.0,
        masked_region_rate: float = 0.0,
    ) -> None:
        self.masking = masking
        self.written = written
        self.smoothing = smoothing
        self.drop_worst = drop_worst
        self.masked_region_rate = masked_region_rate

    def prepare(self, inputs: Inputs, generator: torch.Generator) -> RowTargets:
        """Choose the attention mask of each caption, then mask words and, optionally, regions.

        Raises:
            UserError: there is no text.
        """
        if inputs.text is None:
            raise UserError(f"{self.name} masks words of captions, but the inputs have no text")
        written = torch.rand(len(inputs), generator=generator) < self.written
        words = inputs.text.layout.offsets_in_sequence(torch.device("cpu")) >= _BEFORE
        units = torch.where(words, torch.arange(inputs.text.rows), -1)
        masked, rows = self.masking.mask(inputs.text, generator, groups=units)
        sequence_ids = inputs.text.layout.sequence_ids(rows.device)[rows]
        shown = inputs.with_streams(text=bidirectional_or_seq2seq(masked, written))
        if self.masked_region_rate and inputs.regions is not None:
            shown = shown.with_streams(regions=self._hide(inputs.regions, generator))
        return RowTargets(shown, rows, inputs.text.ids[rows], sequence_ids)

    def _hide(self, regions: Regions, generator: torch.Generator) -> Regions:
        draws = torch.rand(regions.layout.total, generator=generator)
        masked = torch.zeros(regions.layout.total, dtype=torch.bool)
        for first, total in zip(regions.layout.offsets, regions.layout.lengths, strict=False):
            masked[first + draws[first : first + total].argsort()[: int(total * self.masked_region_rate)]] = True
        return replace(regions, masked=masked)

    def losses(self, system: System, batch: RowTargets) -> Tensor:
        """The loss of every masked word, [P]."""
        encoded: Encoded = system(batch.inputs, OutputRows({"text": batch.rows}, pooled=False))
        scores = system.head(self.head)(encoded.text)
        if self.smoothing is None:
            return F.cross_entropy(scores, batch.labels, reduction="none")
        return label_smoothing_kl(scores, batch.labels, smoothing=self.smoothing, never=0)

    def parts(self, system: System, batch: RowTargets) -> dict[str, Tensor]:
        """The scalars whose sum is the loss, by name."""
        losses = self.losses(system, batch)
        count = len(batch)
        sums = losses.new_zeros(count).index_add(0, batch.sequence_ids, losses)
        predictions = losses.new_zeros(count).index_add(0, batch.sequence_ids, torch.ones_like(losses))
        kept = sums.detach().argsort()[: int(count * (1 - self.drop_worst))]
        parts = {"words": sums[kept].sum() / (predictions[kept].sum() + _EPS)}
        if batch.inputs.regions is not None and batch.inputs.regions.masked is not None:
            parts["regions"] = region_losses(system, batch.inputs).mean()
        return parts

    def loss(self, system: System, batch: RowTargets) -> Tensor:
        """The sum of all parts."""
        return torch.stack(list(self.parts(system, batch).values())).sum()

    def measure(self, system: System, batch: RowTargets) -> Tensor:
        """The mean over the masked words of each example, [B]."""
        return mean_of_each(self.losses(system, batch), batch.sequence_ids, len(batch))


def region_losses(system: System, inputs: Inputs) -> Tensor:
    r"""Contrastive loss of masked regions and their geometry, [B]; zero without masked regions.

    .. math:: -\frac{1}{m} \sum_i \log \mathrm{softmax}_j((p_i + c) \cdot f_j)_i

    of features f and geometries p of the m masked regions of an image, before they are masked, and the pooled state c.
    """
    shown, rows = inputs.repeat_shared()
    regions = inputs.required("regions", Regions)
    masked = torch.zeros(len(regions.boxes), dtype=torch.bool) if regions.masked is None else regions.masked
    feature, geometry = submodule(system.encoder, "embed.regions", VlpRegionProjection)(regions)
    pooled = system(inputs, POOLED_ONLY).pooled
    per_text = list(_of_each(shown, masked[rows], feature[rows], geometry[rows]))
    losses = []
    for state, (f, p) in zip(pooled, per_text, strict=True):
        scores = (p + state) @ f.T
        losses.append(-scores.log_softmax(1).diagonal().mean() if len(f) else state.sum() * 0.0)
    return torch.stack(losses)


def _of_each(shown: SequenceLayout, masked: Tensor, *values: Tensor) -> Iterator[tuple[Tensor, ...]]:
    """Rows of the values at the masked regions, text by text."""
    for first, stop in zip(shown.offsets, shown.offsets[1:], strict=False):
        chosen = first + masked[first:stop].nonzero().squeeze(1)
        yield tuple(value[chosen] for value in values)


def _vlp(context: ObjectiveContext) -> VlpPretraining:
    if context.recipe is not None and not context.recipe.text.image_first:
        raise UserError(
            f"{VlpPretraining.name} predicts words behind the image, [CLS] image [SEP] words [SEP], but "
            f"{context.recipe.name} reads the image elsewhere; take vlp-base, or masked-tokens"
        )
    specials, share = context.specials, CaptionShare(context.mask_rate, beside=-1)
    never = frozenset({specials.pad, specials.start})
    return VlpPretraining(Masking(specials.mask_id, (0, context.vocab_size), never, policy=share), **context.arguments)


VLP_PRETRAINING = ObjectiveSpec(
    VlpPretraining.name,
    "Zhou et al. 2020, Unified Vision-Language Pre-Training, AAAI, section 3.2",
    _vlp,
    needs=(TEXTS, REGIONS),
    arguments=("written", "smoothing", "drop_worst", "masked_region_rate"),
)
