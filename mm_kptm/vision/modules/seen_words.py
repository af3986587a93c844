"""Words that carry the image and regions that carry language: VL-BERT's embeddings as VOLTA has them.

Shapes: T token rows, R region rows as the texts see them, F width of region features, C waves per coordinate, D dim.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor, nn

from mm_kptm.batch import ALL, Inputs, Layout, Regions, Tokens
from mm_kptm.errors import UserError
from mm_kptm.nn.embeddings import TextEmbedding
from mm_kptm.nn.steps import Pair, Stream
from mm_kptm.nn.sublayers import bert_norm
from mm_kptm.vision.embeddings import require_regions
from mm_kptm.vision.modules.box_regions import require_rows
from mm_kptm.vision.modules.whole_image import TextBesideImage, filled, with_whole_image


def box_waves(boxes: Tensor, waves: int) -> Tensor:
    """Centre, width and height of boxes [R, 4] as sines and cosines, [R, 8 * waves] (Su et al. 2020, section 3.2).

    Coordinates are percent of the image, wave lengths grow by a factor of 1000.
    """
    corners, others = boxes[:, :2], boxes[:, 2:]
    percent = torch.cat([(corners + others) / 2, others - corners], 1) * 100
    lengths = 1000 ** (torch.arange(waves, dtype=boxes.dtype, device=boxes.device) / waves)
    angles = percent[:, :, None] / lengths  # [R, 4, C]
    return torch.cat([angles.sin(), angles.cos()], -1).flatten(1)


class SeenRegions(nn.Module):
    r"""What is seen in a region: :math:`\mathrm{ReLU}(W [b; f])` with the box in waves (Su et al. 2020, section 3.2).

    A region that is hidden, or whose feature is zero all over, has the learned row ``mask`` as its feature.

    Args:
        region_dim: F.
        dim: width of what is seen.
        waves: C.
    """

    def __init__(self, region_dim: int, dim: int, *, waves: int, dropout: float = 0.1) -> None:
        super().__init__()
        self.mask = nn.Parameter(torch.zeros(1, region_dim))
        self.feature = nn.Linear(8 * waves + region_dim, dim)
        self.waves = waves
        self.drop = nn.Dropout(dropout)

    def masked(self, regions: Regions) -> Tensor:
        """True where a region shows the mask, [R]."""
        zero = (regions.features == 0).all(1)
        return zero if regions.hidden is None else zero | regions.hidden

    def forward(self, regions: Regions) -> Tensor:
        """What is seen in every region, [R, dim].

        Raises:
            UserError: features of another width, or boxes that are no fractions.
        """
        require_regions(regions, self.mask.shape[1])
        features = torch.where(self.masked(regions)[:, None], self.mask.to(regions.features.dtype), regions.features)
        return self._seen(regions.boxes.to(features.dtype), features)

    def empty(self) -> Tensor:
        """What is seen where there is no region: the mask in a box of no size, [1, dim]."""
        return self._seen(self.mask.new_zeros(1, 4), self.mask)

    def _seen(self, boxes: Tensor, features: Tensor) -> Tensor:
        joined = torch.cat([box_waves(boxes, self.waves), features], 1)
        return torch.relu(self.feature(self.drop(joined)))


class SeenWords(TextBesideImage):
    """Every word with what is seen in the image, every region with a word of its own (Su et al. 2020, figure 1).

    As VOLTA has it: the whole image stands first, but what words see is the last region, which also carries the word
    that ends the sequence. All regions share the position behind the text, the last one has the next.

    Args:
        text: the text's embedding; row 2 of its segments, its positions and its norm serve the regions, too.
        region_dim: F.
        waves: how many waves stand for each coordinate of a box.
        num_slots: how many regions, the whole image among them, the released loader makes room for. An image that
            leaves some empty has an empty one last: words see nothing, and no region ends the sequence. 0: the last
            region of an image is its last, however many there are; words see nothing where there is none.
        masks_words: whether a hidden region has a word of its own, too (``visual_target_weights`` 6).

    Raises:
        UserError: the segments have no row 2, there is no position for the regions, or the inputs have neither text nor
            regions.
    """

    def __init__(
        self,
        text: TextEmbedding,
        *,
        region_dim: int,
        waves: int,
        num_slots: int = 0,
        masks_words: bool = False,
        dropout: float = 0.1,
    ) -> None:
        super().__init__(
            text, SeenRegions(region_dim, text.word.embedding_dim, waves=waves, dropout=dropout), region_dim=region_dim
        )
        dim = text.word.embedding_dim
        require_rows(text.segment, 3)
        self.text_sight_norm, self.region_sight_norm = bert_norm(dim), bert_norm(dim)
        self.region_word, self.end_word = nn.Embedding(1, dim), nn.Embedding(1, dim)
        self.masked_word = nn.Embedding(1, dim) if masks_words else None
        self.num_slots = num_slots

    def forward(self, inputs: Inputs) -> Pair:
        regions, text = inputs.regions, inputs.text
        if regions is None:
            if text is None:
                raise UserError("this model reads text, regions or both, but the inputs have neither")
            mask: Tensor = self.regions.mask  # type: ignore[assignment]
            none = Layout((0,) * len(text.layout))
            regions, inputs = Regions(mask[:0], mask.new_zeros(0, 4), none), replace(inputs, image_of=None)
        regions = with_whole_image(regions)
        layout, shown = replace(inputs, regions=regions).shown()
        device = regions.features.device
        text = Tokens.of([()] * len(layout)).to(device) if text is None else text
        seen, masked = self.regions(regions), self.regions.masked(regions)  # type: ignore[operator]
        if shown is not ALL:
            seen, masked = seen[shown], masked[shown]
        lengths = torch.tensor(layout.lengths, device=device)
        ends = filled(layout, device) & (lengths >= self.num_slots)  # whose last region is the last slot
        lasts = (layout.bounds(device)[1:].long() - 1)[ends]
        sights = self.regions.empty().expand(len(layout), -1).index_copy(0, ends.nonzero().squeeze(1), seen[lasts])  # type: ignore[operator]
        sees = self.text_sight_norm(sights)[text.layout.owners(device)]
        words = self.text.word(text.ids) if text.vectors is None else text.vectors  # type: ignore[operator]
        left = Stream.of(self.text(replace(text, vectors=words + sees)), text.layout, text.sees)
        return Pair(left, Stream.of(self._regions(seen, masked, text, layout.owners(device), lasts), layout))

    def _regions(self, seen: Tensor, masked: Tensor, text: Tokens, owners: Tensor, lasts: Tensor) -> Tensor:
        words = self.region_word.weight.expand(len(seen), -1)
        if self.masked_word is not None:
            words = torch.where(masked[:, None], self.masked_word.weight, words)
        words = words.index_copy(0, lasts, self.end_word.weight.expand(len(lasts), -1))
        places = torch.tensor(text.layout.lengths, device=seen.device)[owners]
        places = places.index_add(0, lasts, torch.ones_like(lasts))
        embedding: TextEmbedding = self.text  # type: ignore[assignment]
        rows = embedding.position.num_embeddings
        if not seen.is_cuda and len(places) and (last := int(places.max())) >= rows:
            raise UserError(
                f"the regions stand at position {last}, behind the text, but the model has {rows} positions; cut the "
                f"text or build the model with max_positions={last + 1}"
            )
        assert embedding.segment is not None  # a table without row 2 was refused
        x = words + self.region_sight_norm(seen)
        x = x + embedding.position(places) + embedding.segment.weight[2]
        embedded: Tensor = embedding.drop(embedding.norm(x))
        return embedded
