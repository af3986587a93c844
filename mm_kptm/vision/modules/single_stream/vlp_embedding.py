"""Input embedding of VLP: the image between [CLS] and the text, with geometry instead of positions.

Shapes: B texts, T token rows, R regions, R' regions expanded per text, F width of features, C classes, D dim.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mm_kptm.batch import NO_ROWS, AttentionMask, Inputs, Regions, Rows, SequenceLayout
from mm_kptm.errors import UserError
from mm_kptm.nn.assembly import Assembled, join, required_text
from mm_kptm.nn.embeddings import TextEmbedding
from mm_kptm.nn.steps import Stream
from mm_kptm.nn.submodules import submodule
from mm_kptm.vision.modules.embeddings import require_regions

_EPS = 1e-5


def box_descriptors(boxes: Tensor, confidence: Tensor, layout: SequenceLayout) -> Tensor:
    """x1, y1, x2, y2, area and the detector's confidence of boxes [R, 4]: [R, 6] (VLP's released code).

    Coordinates are fractions not of the image but of the largest corner among the boxes of their image, so it does not
    matter in what they are measured.
    """
    owners = layout.sequence_ids(boxes.device)
    corners = torch.stack(
        [part.reshape(-1, 2).amax(0) if len(part) else boxes.new_zeros(2) for part in layout.split(boxes)]
    )
    scaled = boxes / corners.clamp(min=1e-12)[owners].repeat(1, 2)
    area = ((scaled[:, 2] - scaled[:, 0]) * (scaled[:, 3] - scaled[:, 1])).clamp(min=0)
    return torch.cat([scaled, area[:, None], confidence[:, None]], dim=1)


def box_geometry(regions: Regions) -> Tensor:
    """:func:`box_descriptors`, normalised without weights, [R, 6]; a box that no detector found is a certain one."""
    sure = regions.boxes.new_ones(len(regions.boxes)) if regions.objects is None else regions.objects.confidence
    return F.layer_norm(box_descriptors(regions.boxes, sure, regions.layout), (6,), eps=_EPS)


def region_geometry(regions: Regions) -> Tensor:
    """Geometry and class distribution of every region, [R, 6 + C] (Zhou et al. 2020, section 3.1).

    :func:`box_geometry` and the detector's distribution over classes, normalised likewise. ``Regions.geometry`` is
    used if present.

    Raises:
        UserError: the regions carry no classes or no confidences of a detector.
    """
    if regions.geometry is not None:
        return regions.geometry
    if regions.classes is None or regions.objects is None:
        missing = "distribution over classes" if regions.classes is None else "confidence in its objects"
        raise UserError(
            f"this model reads where regions lie together with the detector's {missing}, but there is none; give "
            "features with class_probs, or build it with num_region_classes=0"
        )
    classes = F.layer_norm(regions.classes, regions.classes.shape[1:], eps=_EPS)
    return torch.cat([box_geometry(regions), classes.to(regions.boxes.dtype)], dim=1)


class VlpRegionProjection(nn.Module):
    """Projections that replace the word and position embeddings for regions (Zhou et al. 2020, section 3.1).

    Args:
        region_dim: F; the first layer, from F to F, starts as the detector's fc7 in the released training.
        num_classes: C; 0 to read boxes alone, of regions that no detector named.
        dim: D.

    Raises:
        UserError: features or geometry of another width, or boxes that are not fractions.
    """

    def __init__(self, region_dim: int, num_classes: int, dim: int, *, dropout: float = 0.1) -> None:
        super().__init__()
        self.fc7 = nn.Linear(region_dim, region_dim)
        self.feature = nn.Linear(region_dim, dim)
        self.geometry = nn.Linear(6 + num_classes, dim)
        self.num_classes = num_classes
        self.drop = nn.Dropout(dropout)

    def forward(self, regions: Regions) -> tuple[Tensor, Tensor]:
        """Feature and geometry of every region, [R, D] each; the mask is applied later."""
        require_regions(regions, self.fc7.in_features)
        geometry = region_geometry(regions) if self.num_classes else box_geometry(regions)
        if geometry.shape[1] != self.geometry.in_features:
            raise UserError(
                f"the model reads the detector's distribution over {self.num_classes} classes, but these regions have "
                f"{geometry.shape[1] - 6}; build it with num_region_classes={geometry.shape[1] - 6}"
            )
        feature = torch.relu(self.feature(torch.relu(self.fc7(regions.features))))
        return self.drop(feature), self.drop(torch.relu(self.geometry(geometry)))


@dataclass(frozen=True, eq=False)
class InvisibleRows(AttentionMask):
    """Attention mask ``inner`` with some rows masked from all rows, themselves included."""

    rows: Tensor  #: true where masked from all rows, [T]
    inner: AttentionMask | None = None

    def mask_mod(self, queries: Tensor, sources: Tensor) -> Tensor:
        shown = ~self.rows[sources]
        return shown if self.inner is None else shown & self.inner.mask_mod(queries, sources)

    def scatter(self, places: Tensor, total: int) -> InvisibleRows:
        rows = torch.zeros(total, dtype=torch.bool, device=places.device)
        rows[places] = self.rows
        return InvisibleRows(rows, None if self.inner is None else self.inner.scatter(places, total))


class VlpEmbedding(nn.Module):
    """[CLS], the regions of the image, [SEP], the text, [SEP] (Zhou et al. 2020, figure 2).

    The text comes as ``[CLS] [SEP] words [SEP]``; the regions are inserted after its first token, and positions
    continue after them. Regions have the segment of their text's first token. Masked regions have neither feature nor
    geometry, and no row attends to them.

    Args:
        text: whose norm and segments the regions share.
        regions: from :class:`~mm_kptm.batch.Regions` to feature and geometry.

    Raises:
        UserError: there is no text, or a text without any token.
    """

    def __init__(self, text: TextEmbedding, regions: VlpRegionProjection) -> None:
        super().__init__()
        self.text = text
        self.regions = regions

    def forward(self, inputs: Inputs) -> Assembled:
        tokens = required_text(inputs)
        device = tokens.ids.device
        if 0 in tokens.layout.lengths:
            raise UserError(
                "regions are put behind the first token of a text, but a text has none; begin it with [CLS]"
            )
        rows: Rows = NO_ROWS
        if inputs.regions is None:
            shown = SequenceLayout((0,) * len(tokens.layout))
            features = self.text.word.weight[:0]
        else:
            shown, rows = inputs.repeat_shared()
            features = self._placed(inputs.regions)
        owners, places = tokens.layout.sequence_ids(device), tokens.layout.offsets_in_sequence(device)
        counts = shown.cu_seqlens(device).long().diff()
        moved = replace(tokens, positions=tokens.positions + torch.where(places > 0, counts[owners], 0))
        words = self.text(moved)
        kinds = submodule(self.text, "segment", nn.Embedding)(tokens.segments[tokens.layout.starts(device)])
        regions = self.text.drop(self.text.norm(features[rows] + kinds[shown.sequence_ids(device)]))
        rest = SequenceLayout(tuple(length - 1 for length in tokens.layout.lengths))
        behind = join(shown, rest, device)
        joint = join(SequenceLayout((1,) * len(rest)), behind.layout, device)
        x = joint.rows(words[places == 0], behind.rows(regions, words[places > 0]))
        stand = torch.empty_like(places)
        stand[places == 0], stand[places > 0] = joint.left, joint.right[behind.right]
        of_regions = joint.right[behind.left]
        mask = None if tokens.attention_mask is None else tokens.attention_mask.scatter(stand, joint.layout.total)
        if inputs.regions is not None and inputs.regions.masked is not None:
            masked = torch.zeros(joint.layout.total, dtype=torch.bool, device=device)
            masked[of_regions] = inputs.regions.masked[rows]
            mask = self.without(masked, mask)
        return Assembled(Stream.of(x, joint.layout, mask), {"text": stand, "regions": of_regions})

    def without(self, masked: Tensor, mask: AttentionMask | None) -> AttentionMask | None:
        """Attention mask with masked regions, [all rows of the batch]."""
        return InvisibleRows(masked, mask)

    def _placed(self, regions: Regions) -> Tensor:
        feature, geometry = self.regions(regions)
        placed: Tensor = feature + geometry
        return placed if regions.masked is None else placed.masked_fill(regions.masked[:, None], 0.0)


class VlpEmbeddingWithVisibleMasks(VlpEmbedding):
    """Variant in which masked regions are attended to: they lack feature and geometry only."""

    def without(self, masked: Tensor, mask: AttentionMask | None) -> AttentionMask | None:
        """The attention mask, unchanged by masked regions."""
        return mask
