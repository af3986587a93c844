"""VL-BERT's input embedding in VOLTA's variant: words with visual features, regions with token embeddings.

Shapes: T token rows, R region rows expanded per text, F width of region features, C frequencies per coordinate,
D dim.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor, nn

from mm_kptm.batch import EVERY_ROW, Inputs, Regions, SequenceLayout, Tokens
from mm_kptm.errors import UserError
from mm_kptm.nn.embeddings import TextEmbedding
from mm_kptm.nn.steps import Pair, Stream
from mm_kptm.nn.sublayers import bert_norm
from mm_kptm.vision.boxes import sinusoidal_boxes
from mm_kptm.vision.modules.embeddings import require_regions
from mm_kptm.vision.modules.two_stream.region_embeddings import require_rows
from mm_kptm.vision.modules.two_stream.whole_image import TextBesideImage, filled, prepend_whole_image


class VoltaVisualFeatures(nn.Module):
    r"""Visual features of regions: :math:`\mathrm{ReLU}(W [b; f])`, b the sines and cosines of the box.

    Su et al. (2020, section 3.2).

    The feature of a masked region, or of one with an all-zero feature, is the learned vector ``mask``.

    Args:
        region_dim: F.
        dim: output width.
        num_frequencies: C.
    """

    def __init__(self, region_dim: int, dim: int, *, num_frequencies: int, dropout: float = 0.1) -> None:
        super().__init__()
        self.mask = nn.Parameter(torch.zeros(1, region_dim))
        self.feature = nn.Linear(8 * num_frequencies + region_dim, dim)
        self.num_frequencies = num_frequencies
        self.drop = nn.Dropout(dropout)

    def masked(self, regions: Regions) -> Tensor:
        """True where a region has the mask vector, [R]."""
        zero = (regions.features == 0).all(1)
        return zero if regions.masked is None else zero | regions.masked

    def forward(self, regions: Regions) -> Tensor:
        """Visual features of every region, [R, dim].

        Raises:
            UserError: features of another width, or boxes that are not fractions.
        """
        require_regions(regions, self.mask.shape[1])
        features = torch.where(self.masked(regions)[:, None], self.mask.to(regions.features.dtype), regions.features)
        return self._seen(regions.boxes.to(features.dtype), features)

    def empty(self) -> Tensor:
        """Visual feature of a missing region: the mask vector in an empty box, [1, dim]."""
        return self._seen(self.mask.new_zeros(1, 4), self.mask)

    def _seen(self, boxes: Tensor, features: Tensor) -> Tensor:
        joined = torch.cat([sinusoidal_boxes(boxes, self.num_frequencies), features], 1)
        return torch.relu(self.feature(self.drop(joined)))


class VoltaVlBertEmbedding(TextBesideImage):
    """Words with the visual feature of the image, regions with a token embedding (Su et al. 2020, figure 1).

    In VOLTA's variant the whole image is the first region, but words have the visual feature of the last region, which
    also has the token [END]. All regions share the position after the text, the last one has the next. The weights of
    both visual norms begin at zero, so that a fresh model ignores vision.

    Args:
        text: the text's embedding; row 2 of its segments, its positions and its norm serve the regions, too.
        region_dim: F.
        num_frequencies: how many frequencies describe each coordinate of a box.
        num_slots: number of regions, the whole image included, that the released loader pads to. A padded image ends
            with an empty region: words have the feature of a missing region, and no region has [END]. 0: no padding;
            only words of images without regions have the feature of a missing region.
        masks_words: whether masked regions have a separate token embedding (``visual_target_weights`` 6).

    Raises:
        UserError: the segments have no row 2, there is no position for the regions, or the inputs have neither text nor
            regions.
    """

    text: TextEmbedding
    regions: VoltaVisualFeatures

    def __init__(
        self,
        text: TextEmbedding,
        *,
        region_dim: int,
        num_frequencies: int,
        num_slots: int = 0,
        masks_words: bool = False,
        dropout: float = 0.1,
    ) -> None:
        super().__init__(
            text,
            VoltaVisualFeatures(region_dim, text.word.embedding_dim, num_frequencies=num_frequencies, dropout=dropout),
            region_dim=region_dim,
        )
        dim = text.word.embedding_dim
        require_rows(text.segment, 3)
        self.text_visual_norm, self.region_visual_norm = bert_norm(dim), bert_norm(dim)
        for norm in (self.text_visual_norm, self.region_visual_norm):
            nn.init.zeros_(norm.weight)
        self.region_word, self.end_word = nn.Embedding(1, dim), nn.Embedding(1, dim)
        self.masked_word = nn.Embedding(1, dim) if masks_words else None
        self.num_slots = num_slots

    def forward(self, inputs: Inputs) -> Pair:
        regions, text = inputs.regions, inputs.text
        if regions is None:
            if text is None:
                raise UserError("this model reads text, regions or both, but the inputs have neither")
            mask = self.regions.mask
            none = SequenceLayout((0,) * len(text.layout))
            regions, inputs = Regions(mask[:0], mask.new_zeros(0, 4), none), replace(inputs, image_of=None)
        regions = prepend_whole_image(regions)
        layout, shown = inputs.with_streams(regions=regions).repeat_shared()
        device = regions.features.device
        text = Tokens.of([()] * len(layout)).to(device) if text is None else text
        seen, masked = self.regions(regions), self.regions.masked(regions)
        if shown is not EVERY_ROW:
            seen, masked = seen[shown], masked[shown]
        lengths = torch.tensor(layout.lengths, device=device)
        ends = filled(layout, device) & (lengths >= self.num_slots)  # whose last region is the last slot
        lasts = (layout.cu_seqlens(device)[1:].long() - 1)[ends]
        visuals = self.regions.empty().expand(len(layout), -1).index_copy(0, ends.nonzero().squeeze(1), seen[lasts])
        mask = self.text_visual_norm(visuals)[text.layout.sequence_ids(device)]
        words = self.text.words(text)
        left = Stream.of(self.text(replace(text, vectors=words + mask)), text.layout, text.attention_mask)
        return Pair(left, Stream.of(self._regions(seen, masked, text, layout.sequence_ids(device), lasts), layout))

    def _regions(self, seen: Tensor, masked: Tensor, text: Tokens, owners: Tensor, lasts: Tensor) -> Tensor:
        words = self.region_word.weight.expand(len(seen), -1)
        if self.masked_word is not None:
            words = torch.where(masked[:, None], self.masked_word.weight, words)
        words = words.index_copy(0, lasts, self.end_word.weight.expand(len(lasts), -1))
        places = torch.tensor(text.layout.lengths, device=seen.device)[owners]
        places = places.index_add(0, lasts, torch.ones_like(lasts))
        embedding = self.text
        rows = embedding.position.num_embeddings
        if not seen.is_cuda and len(places) and (last := int(places.max())) >= rows:
            raise UserError(
                f"the regions stand at position {last}, behind the text, but the model has {rows} positions; cut the "
                f"text or build the model with max_positions={last + 1}"
            )
        assert embedding.segment is not None  # a table without row 2 was refused
        x = words + self.region_visual_norm(seen)
        x = x + embedding.position(places) + embedding.segment.weight[2]
        embedded: Tensor = embedding.drop(embedding.norm(x))
        return embedded
