"""The image between [CLS] and the text, with geometry in the place of positions (VLP).

Shapes: B texts, T token rows, R regions, R' regions as the texts see them, F width of features, C classes, D dim.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mm_kptm.batch import Inputs, Layout, Regions, Visibility
from mm_kptm.errors import UserError
from mm_kptm.nn.assembly import Assembled, join, required_text
from mm_kptm.nn.embeddings import TextEmbedding
from mm_kptm.nn.steps import Stream
from mm_kptm.vision.embeddings import require_regions

_EPS = 1e-5


def described_boxes(boxes: Tensor, confidence: Tensor, layout: Layout) -> Tensor:
    """x1, y1, x2, y2, area and the detector's confidence of boxes [R, 4]: [R, 6] (VLP's released code).

    Coordinates are fractions not of the image but of the largest corner among the boxes of their image, so it does not
    matter in what they are measured.
    """
    owners = layout.owners(boxes.device)
    corners = torch.stack(
        [part.reshape(-1, 2).amax(0) if len(part) else boxes.new_zeros(2) for part in layout.split(boxes)]
    )
    scaled = boxes / corners.clamp(min=1e-12)[owners].repeat(1, 2)
    area = ((scaled[:, 2] - scaled[:, 0]) * (scaled[:, 3] - scaled[:, 1])).clamp(min=0)
    return torch.cat([scaled, area[:, None], confidence[:, None]], dim=1)


def box_geometry(regions: Regions) -> Tensor:
    """:func:`described_boxes`, normalised without weights, [R, 6]; a box that no detector found is a certain one."""
    sure = regions.boxes.new_ones(len(regions.boxes)) if regions.objects is None else regions.objects.confidence
    return F.layer_norm(described_boxes(regions.boxes, sure, regions.layout), (6,), eps=_EPS)


def region_geometry(regions: Regions) -> Tensor:
    """The numbers that say where a region lies and what it is, [R, 6 + C] (Zhou et al. 2020, section 3.1).

    :func:`box_geometry` and the detector's distribution over classes, normalised likewise. ``Regions.geometry`` is
    taken as it is where it is given.

    Raises:
        UserError: the regions carry no classes or no confidences of a detector.
    """
    if regions.geometry is not None:
        return regions.geometry
    if regions.classes is None or regions.objects is None:
        missing = "distribution over classes" if regions.classes is None else "confidence in its objects"
        raise UserError(f"this model reads where regions lie together with the detector's {missing}, but there is none")
    classes = F.layer_norm(regions.classes, regions.classes.shape[1:], eps=_EPS)
    return torch.cat([box_geometry(regions), classes.to(regions.boxes.dtype)], dim=1)


class PlacedFeatures(nn.Module):
    """What stands in place of a region's word and of its position (Zhou et al. 2020, section 3.1).

    Args:
        region_dim: F; the first layer, from F to F, starts as the detector's fc7 in the released training.
        num_classes: C; 0 to read boxes alone, of regions that no detector named.
        dim: D.

    Raises:
        UserError: features or geometry of another width, or boxes that are no fractions.
    """

    def __init__(self, region_dim: int, num_classes: int, dim: int, *, dropout: float = 0.1) -> None:
        super().__init__()
        self.widen = nn.Linear(region_dim, region_dim)
        self.feature = nn.Linear(region_dim, dim)
        self.geometry = nn.Linear(6 + num_classes, dim)
        self.num_classes = num_classes
        self.drop = nn.Dropout(dropout)

    def forward(self, regions: Regions) -> tuple[Tensor, Tensor]:
        """Feature and geometry of every region, [R, D] each; hidden ones are not hidden here."""
        require_regions(regions, self.widen.in_features)
        geometry = region_geometry(regions) if self.num_classes else box_geometry(regions)
        if geometry.shape[1] != self.geometry.in_features:
            raise UserError(
                f"the model reads the detector's distribution over {self.num_classes} classes, but these regions have "
                f"{geometry.shape[1] - 6}; build it with num_region_classes={geometry.shape[1] - 6}"
            )
        feature = torch.relu(self.feature(torch.relu(self.widen(regions.features))))
        return self.drop(feature), self.drop(torch.relu(self.geometry(geometry)))


@dataclass(frozen=True, eq=False)
class Unseen(Visibility):
    """Some rows are seen by none, not even by themselves; otherwise as ``inner`` has it."""

    rows: Tensor  #: true where seen by none, [T]
    inner: Visibility | None = None

    def sees(self, queries: Tensor, sources: Tensor) -> Tensor:
        shown = ~self.rows[sources]
        return shown if self.inner is None else shown & self.inner.sees(queries, sources)

    def spread(self, places: Tensor, total: int) -> Unseen:
        rows = torch.zeros(total, dtype=torch.bool, device=places.device)
        rows[places] = self.rows
        return Unseen(rows, None if self.inner is None else self.inner.spread(places, total))


class ImageInText(nn.Module):
    """[CLS], the regions of the image, [SEP], the text, [SEP] (Zhou et al. 2020, figure 2).

    The text comes as ``[CLS] [SEP] words [SEP]``; the regions are put behind its first token, and positions go on
    behind them. Regions have the segment of their text's first token. Hidden regions have neither feature nor geometry
    and are seen by none.

    Args:
        text: whose norm and segments the regions share.
        regions: from :class:`~mm_kptm.batch.Regions` to feature and geometry.

    Raises:
        UserError: there is no text, or a text without any token.
    """

    def __init__(self, text: TextEmbedding, regions: PlacedFeatures) -> None:
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
        if inputs.regions is None:
            shown, rows = Layout((0,) * len(tokens.layout)), torch.zeros(0, dtype=torch.long, device=device)
            features = self.text.word.weight[:0]
        else:
            shown, rows = inputs.shown()  # type: ignore[assignment]
            features = self._placed(inputs.regions)
        owners, places = tokens.layout.owners(device), tokens.layout.places(device)
        counts = shown.bounds(device).long().diff()
        moved = replace(tokens, positions=tokens.positions + torch.where(places > 0, counts[owners], 0))
        words = self.text(moved)
        kinds = self.text.segment(tokens.segments[tokens.layout.firsts(device)])  # type: ignore[misc]
        regions = self.text.drop(self.text.norm(features[rows] + kinds[shown.owners(device)]))
        rest = Layout(tuple(length - 1 for length in tokens.layout.lengths))
        behind = join(shown, rest, device)
        joint = join(Layout((1,) * len(rest)), behind.layout, device)
        x = joint.rows(words[places == 0], behind.rows(regions, words[places > 0]))
        stand = torch.empty_like(places)
        stand[places == 0], stand[places > 0] = joint.left, joint.right[behind.right]
        of_regions = joint.right[behind.left]
        sees = None if tokens.sees is None else tokens.sees.spread(stand, joint.layout.total)
        if inputs.regions is not None and inputs.regions.hidden is not None:
            hidden = torch.zeros(joint.layout.total, dtype=torch.bool, device=device)
            hidden[of_regions] = inputs.regions.hidden[rows]
            sees = self.without(hidden, sees)
        return Assembled(Stream.of(x, joint.layout, sees), tokens=stand, regions=of_regions)

    def without(self, hidden: Tensor, sees: Visibility | None) -> Visibility | None:
        """Who sees whom when some rows are hidden regions, [all rows of the batch]."""
        return Unseen(hidden, sees)

    def _placed(self, regions: Regions) -> Tensor:
        feature, geometry = self.regions(regions)
        placed: Tensor = feature + geometry
        return placed if regions.hidden is None else placed.masked_fill(regions.hidden[:, None], 0.0)


class ImageWithGapsInText(ImageInText):
    """The same, but hidden regions are seen like all others: they lack feature and geometry, not their place."""

    def without(self, hidden: Tensor, sees: Visibility | None) -> Visibility | None:
        """Who sees whom, as if nothing were hidden."""
        return sees
