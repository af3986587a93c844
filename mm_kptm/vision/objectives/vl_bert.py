"""VL-BERT's pretraining: masked words and masked region classification in one forward pass.

Shapes: P masked tokens, Q regions to classify, B examples, R regions, C classes of the detector.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from mm_kptm.batch import Encoded, Inputs, Movable, OutputRows, Regions
from mm_kptm.errors import UserError
from mm_kptm.objectives.pairs import ImageTextMatching
from mm_kptm.objectives.rows import mean, mean_of_each
from mm_kptm.objectives.spec import REGIONS, TEXTS, ObjectiveContext, ObjectiveSpec
from mm_kptm.objectives.tokens import Bernoulli, MaskedTokens, Masking, MaskingPolicy, TokenMasker, WholeWordMasking
from mm_kptm.systems.system import System
from mm_kptm.vision.objectives.masked_regions import REGION_CLASSES

TEXTS_WITHOUT_IMAGES = "texts without images"

#: From losses [P], the example of each [P] and the number of examples to a scalar.
Reduction = Callable[[Tensor, Tensor, int], Tensor]


def mean_over_predictions(losses: Tensor, sequence_ids: Tensor, count: int) -> Tensor:
    """The mean over all predictions of the batch; zero where there are none."""
    return mean(losses)


def mean_over_examples(losses: Tensor, sequence_ids: Tensor, count: int) -> Tensor:
    """The mean over examples of the mean over each example's predictions (``*_LOSS_NORM_IN_BATCH_FIRST``).

    Examples without predictions are ignored. Both divisors are the number plus 1e-4, as in the released code.
    """
    sums = losses.new_zeros(count).index_add(0, sequence_ids, losses)
    counts = losses.new_zeros(count).index_add(0, sequence_ids, torch.ones_like(losses))
    return (sums / (counts + 1e-4)).sum() / ((counts > 0).sum() + 1e-4)


def soft_cross_entropy(logits: Tensor, targets: Tensor) -> Tensor:
    """Cross-entropy against a distribution over classes, both [Q, C]: [Q]."""
    return -(targets.to(logits.dtype) * logits.log_softmax(1)).sum(1)


@dataclass(frozen=True)
class VlBertRegionMasking:
    """Choice of the regions to mask and to classify (Su et al. 2020, section 3.3, released code).

    Of the chosen regions nine tenths are masked and one tenth is unchanged; all of them are classified, unless the
    detector's class distribution does not sum to one within 0.1.

    Args:
        policy: which regions are chosen.
        mask_share: share of the chosen regions that are masked.
        spares_first: whether the first region of every image is never chosen, because it is the whole image.
    """

    policy: MaskingPolicy = field(default_factory=lambda: Bernoulli(0.15))
    mask_share: float = 0.9
    spares_first: bool = False

    def mask(self, regions: Regions, generator: torch.Generator) -> tuple[Regions, Tensor]:
        """The regions with some of them masked, and which are classified, [R].

        Raises:
            UserError: the regions carry no classes of a detector.
        """
        if regions.classes is None:
            raise UserError("masked regions are named as the detector did, but the regions carry no classes of it")
        choose, treat = torch.rand(2, regions.layout.total, generator=generator)
        may = regions.layout.offsets_in_sequence(choose.device) >= self.spares_first
        chosen = self.policy(choose, may, regions.layout)
        masked = chosen & (treat < self.mask_share)
        known = (regions.classes.sum(1) - 1).abs() < 0.1
        features = regions.features.masked_fill(masked[:, None], 0.0)
        return replace(regions, features=features, masked=masked, classes=None), chosen & known


@dataclass(frozen=True, eq=False)
class VlBertBatch(Movable):
    """Inputs with masked tokens and regions, and their labels."""

    inputs: Inputs
    rows: Tensor  #: masked tokens, [P]
    labels: Tensor  #: labels, [P]
    sequence_ids: Tensor  #: example of each masked token, [P]
    regions: Tensor  #: regions to classify, rows of the regions expanded per text, [Q]
    classes: Tensor  #: the detector's distribution for each, [Q, C]
    region_sequence_ids: Tensor  #: example of each, [Q]
    matched: Tensor | None = None  #: 1 for matched pairs, with the matching objective, [B]

    def __len__(self) -> int:
        return len(self.inputs)


class VlBertPretraining:
    """Masked tokens and masked regions from one pass over each batch, their losses added (Su et al. 2020, section 3.3).

    Words and regions are masked at once, as in the released code. On text alone it is masked-token prediction, so the
    published mixture is this objective on image and caption plus this objective on text. It takes the place of the
    single objectives in a mixture and needs their heads.

    Args:
        masking: of tokens; the published one masks whole words, all pieces of a word alike
            (:class:`~mm_kptm.objectives.tokens.WholeWordMasking`).
        regions: how regions are masked.
        matching: adds image-text matching, which the paper found to hurt; None: none.
        reduction: :func:`mean_over_predictions` as released, or :func:`mean_over_examples`.
    """

    name = "vl-bert-pretraining"

    def __init__(
        self,
        masking: TokenMasker,
        regions: VlBertRegionMasking | None = None,
        *,
        matching: ImageTextMatching | None = None,
        reduction: Reduction = mean_over_predictions,
    ) -> None:
        self.tokens = MaskedTokens(masking)
        self.hiding = VlBertRegionMasking() if regions is None else regions
        self.matching = matching
        self.reduction = reduction
        self.head_sizes: dict[str, dict[str, int]] = {}

    @property
    def heads(self) -> tuple[str, ...]:
        """The heads that a system needs for it."""
        both = ("masked-tokens", "masked-region-classes")
        return both if self.matching is None else (*both, ImageTextMatching.name)

    def prepare(self, inputs: Inputs, generator: torch.Generator) -> VlBertBatch:
        """Swap captions if there is a matching objective, then mask tokens and regions.

        Raises:
            UserError: there is no text, or the regions carry no classes of a detector.
        """
        matched = None
        if self.matching is not None and inputs.regions is not None:
            pairs = self.matching.prepare(inputs, generator)
            inputs, matched = pairs.inputs, pairs.matched
        text = self.tokens.prepare(inputs, generator)
        if inputs.regions is None:
            none = text.rows[:0]
            return VlBertBatch(
                text.inputs, text.rows, text.labels, text.sequence_ids, none, torch.zeros(0, 1), none, matched
            )
        covered, named = self.hiding.mask(inputs.regions, generator)
        shown, rows = inputs.repeat_shared()
        asked = named[rows].nonzero().squeeze(1)
        classes = inputs.regions.classes
        assert classes is not None, "regions without classes are refused where they are masked"
        return VlBertBatch(
            inputs=text.inputs.with_streams(regions=covered),
            rows=text.rows,
            labels=text.labels,
            sequence_ids=text.sequence_ids,
            regions=asked,
            classes=classes[rows][asked],
            region_sequence_ids=shown.sequence_ids(asked.device)[asked],
            matched=matched,
        )

    def losses(self, system: System, batch: VlBertBatch) -> dict[str, Tensor]:
        """The losses of masked tokens [P] and, where there are any, of regions [Q] and of pairs [B]."""
        has_regions = batch.inputs.regions is not None
        rows = {"text": batch.rows, "regions": batch.regions} if has_regions else {"text": batch.rows}
        output_rows = OutputRows(rows, pooled=batch.matched is not None)
        encoded: Encoded = system(batch.inputs, output_rows)
        words = system.head("masked-tokens")(encoded.text)
        losses = {"masked-tokens": F.cross_entropy(words, batch.labels, reduction="none")}
        if has_regions:
            named = system.head("masked-region-classes")(encoded.regions)
            losses["masked-region-classes"] = soft_cross_entropy(named, batch.classes)
        if batch.matched is not None:
            pairs = system.head(ImageTextMatching.name)(encoded.pooled)
            losses[ImageTextMatching.name] = F.cross_entropy(pairs, batch.matched, reduction="none")
        return losses

    def parts(self, system: System, batch: VlBertBatch) -> dict[str, Tensor]:
        """The scalars whose sum is the loss, by name."""
        losses = self.losses(system, batch)
        parts = {"masked-tokens": self.reduction(losses["masked-tokens"], batch.sequence_ids, len(batch))}
        if "masked-region-classes" in losses:
            named = losses["masked-region-classes"]
            parts["masked-region-classes"] = self.reduction(named, batch.region_sequence_ids, len(batch))
        if ImageTextMatching.name in losses:
            parts[ImageTextMatching.name] = losses[ImageTextMatching.name].mean()
        return parts

    def loss(self, system: System, batch: VlBertBatch) -> Tensor:
        """The sum of all parts."""
        return torch.stack(list(self.parts(system, batch).values())).sum()

    def measure(self, system: System, batch: VlBertBatch) -> Tensor:
        """The sum of the mean losses of each example, [B]."""
        losses = self.losses(system, batch)
        total = mean_of_each(losses["masked-tokens"], batch.sequence_ids, len(batch))
        if "masked-region-classes" in losses:
            total = total + mean_of_each(losses["masked-region-classes"], batch.region_sequence_ids, len(batch))
        return total + losses.get(ImageTextMatching.name, torch.zeros_like(total))


class VlBertTexts(VlBertPretraining):
    """VL-BERT's objective on texts without images, which it is trained on in every step beside captions.

    The published loss is the sum of both (Su et al. 2020, section 3.3, released code).
    """

    name = "vl-bert-texts"

    @property
    def heads(self) -> tuple[str, ...]:
        """The head of masked tokens alone."""
        return ("masked-tokens",)

    def prepare(self, inputs: Inputs, generator: torch.Generator) -> VlBertBatch:
        """Mask tokens.

        Raises:
            UserError: the texts have images.
        """
        if inputs.regions is not None:
            raise UserError(f"{self.name} reads texts without images, but the inputs have regions")
        return super().prepare(inputs, generator)


#: Reductions by their names in experiment files.
REDUCTIONS: dict[str, Reduction] = {"predictions": mean_over_predictions, "examples": mean_over_examples}


def _vl_bert(context: ObjectiveContext) -> VlBertPretraining:
    asked = context.arguments
    objective = VlBertPretraining(
        _whole_words(context),
        VlBertRegionMasking(spares_first=bool(asked.get("spares_first", False))),
        matching=ImageTextMatching() if asked.get("matching") else None,
        reduction=_reduction(VlBertPretraining.name, context),
    )
    objective.head_sizes = {"masked-region-classes": {"num_classes": context.offered(REGION_CLASSES)}}
    return objective


def _vl_bert_texts(context: ObjectiveContext) -> VlBertTexts:
    return VlBertTexts(_whole_words(context), reduction=_reduction(VlBertTexts.name, context))


def _whole_words(context: ObjectiveContext) -> TokenMasker:
    return WholeWordMasking.of(Masking.of(context), context.vocabulary)


def _reduction(name: str, context: ObjectiveContext) -> Reduction:
    if (over := context.arguments.get("mean_over", "predictions")) not in REDUCTIONS:
        raise UserError(f"mean_over of {name} is {over!r}, but losses are averaged over {' or '.join(REDUCTIONS)}")
    return REDUCTIONS[over]


VL_BERT_PRETRAINING = ObjectiveSpec(
    VlBertPretraining.name,
    "Su et al. 2020, VL-BERT, ICLR, section 3.3",
    _vl_bert,
    needs=(TEXTS, REGIONS, REGION_CLASSES),
    arguments=("matching", "mean_over", "spares_first"),
)
VL_BERT_TEXTS = ObjectiveSpec(
    VlBertTexts.name,
    "Su et al. 2020, VL-BERT, ICLR, section 3.3",
    _vl_bert_texts,
    needs=(TEXTS_WITHOUT_IMAGES,),
    arguments=("mean_over",),
)
