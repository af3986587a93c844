"""Input embedding of VL-BERT: words with visual features, regions with a linguistic embedding, and [END].

Shapes: T token rows, R regions, R' regions as the texts see them, B texts, D dim, V width of region vectors.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mm_kptm.batch import Inputs, Regions, SequenceLayout, Tokens
from mm_kptm.errors import UserError
from mm_kptm.nn.assembly import Assembled, join
from mm_kptm.nn.embeddings import TextEmbedding
from mm_kptm.nn.steps import Stream
from mm_kptm.nn.sublayers import bert_norm
from mm_kptm.nn.submodules import submodule
from mm_kptm.vision.modules.single_stream.visual_features import with_whole_image

#: Token label: index of the region that a token refers to, 0 for the whole image.
REGION_LABEL = "region"
_REGION_SEGMENT = 2


class LearnedScale(nn.Module):
    """A learned number that all features are multiplied by."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(()))

    def forward(self, vectors: Tensor) -> Tensor:
        """The same shape."""
        return vectors * self.weight


class VisualProjection(nn.Module):
    """Projection of visual features to the model dim (if the widths differ), then a norm.

    The norm's weight begins at ``scale``; with zero, as in the released configurations, a fresh model ignores vision.
    With ``normalized`` false (``visual_ln`` of a configuration) a :class:`LearnedScale` takes the place of the norm.
    """

    def __init__(self, visual_dim: int, dim: int, *, scale: float = 0.0, normalized: bool = True) -> None:
        super().__init__()
        self.project = nn.Identity() if visual_dim == dim else nn.Linear(visual_dim, dim)
        self.norm = bert_norm(dim) if normalized else LearnedScale()
        nn.init.constant_(self.norm.weight, scale)

    def forward(self, vectors: Tensor) -> Tensor:
        """[R, V] -> [R, D]."""
        scaled: Tensor = self.norm(self.project(vectors))
        return scaled


class VlBertEmbedding(nn.Module):
    """Text, regions and [END]: token + visual + segment + position, normalised (Su et al. 2020, section 3.2).

    The visual feature of a word is that of the whole image, or of the region that it refers to (token label
    :data:`REGION_LABEL`); texts without an image have a learned vector. Regions have a learned token embedding, another
    one where masked, segment 2, and all of them the position after the text; [END] has the next position.

    Args:
        text: words, positions and segments, with neither norm nor dropout.
        regions: from :class:`~mm_kptm.batch.Regions` to vectors [R, V].
        visual_dim: V.
        whole_image: ``mean`` to put the whole image in front of the regions, with their mean where the inputs have no
            feature of it; ``first`` where the first region of every image is the whole image already.
        masks_regions: whether there is a row for masked regions.
        reads_text_alone: whether there is a vector for texts without an image.
        visual_scale: of the visual part of words and regions at the start.
        visual_norm: whether that part is normalised, or multiplied by a learned number alone.

    Raises:
        UserError: three segments are needed and there are fewer, or ``whole_image`` is neither of the two.
    """

    def __init__(
        self,
        text: TextEmbedding,
        regions: nn.Module,
        *,
        visual_dim: int,
        whole_image: str = "mean",
        masks_regions: bool = True,
        reads_text_alone: bool = True,
        visual_scale: float = 0.0,
        visual_norm: bool = True,
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        dim = text.word.embedding_dim
        if text.segment is None or text.segment.num_embeddings <= _REGION_SEGMENT:
            raise UserError("regions and the end have segment 2, so num_segments must be at least 3")
        if whole_image not in ("mean", "first"):
            raise UserError(
                f"whole_image is {whole_image!r}, but it can be 'mean' (it is made of the regions) or 'first' (the "
                "first region of every image is the whole image)"
            )
        self.text = text
        self.regions = regions
        self.whole_image = whole_image
        self.of_words = VisualProjection(visual_dim, dim, scale=visual_scale, normalized=visual_norm)
        self.of_regions = VisualProjection(visual_dim, dim, scale=visual_scale, normalized=visual_norm)
        self.linguistic = _row(dim)
        self.masked = _row(dim) if masks_regions else None
        self.no_image = _row(visual_dim) if reads_text_alone else None
        self.end = _row(dim)
        self.norm = bert_norm(dim)
        self.drop = nn.Dropout(dropout)

    def forward(self, inputs: Inputs) -> Assembled:
        """The joint sequence.

        Raises:
            UserError: there is neither text nor image, an image lacks the region that a word names, or the sequence
                ends at a position that the model does not have.
        """
        tokens, regions = inputs.text, inputs.regions
        if tokens is None:
            if regions is None:
                raise UserError("this model reads text, regions or both, but the inputs have neither")
            tokens = Tokens.of([()] * len(regions.layout)).to(regions.features.device)
        if regions is None:
            shown, part = SequenceLayout((0,) * len(tokens.layout)), self.end[:0]
            words = self._text_alone()
        else:
            regions = with_whole_image(regions) if self.whole_image == "mean" else regions
            shown, rows = inputs.with_streams(regions=regions).repeat_shared()
            vectors = self.regions(regions)
            part = (self._linguistic(regions) + self.of_regions(vectors))[rows]
            words = self.of_words(vectors)[rows][self._named(tokens, shown)]
        return self._joined(tokens, self.text(tokens) + words, part, shown)

    def _joined(self, tokens: Tokens, words: Tensor, regions: Tensor, shown: SequenceLayout) -> Assembled:
        device = words.device
        lengths = tokens.layout.cu_seqlens(device).long().diff()
        self._check(max(tokens.layout.lengths, default=0) + 1)
        behind = self.text.position_offset + lengths
        kind = submodule(self.text, "segment", nn.Embedding).weight[_REGION_SEGMENT]
        regions = regions + kind + self.text.position(behind)[shown.sequence_ids(device)]
        ends = self.end + kind + self.text.position(behind + 1)
        tail = join(shown, SequenceLayout((1,) * len(shown)), device)
        joint = join(tokens.layout, tail.layout, device)
        x = self.drop(self.norm(joint.rows(words, tail.rows(regions, ends))))
        mask = None if tokens.attention_mask is None else tokens.attention_mask.scatter(joint.left, joint.layout.total)
        places = joint.right[tail.left]
        if self.whole_image == "mean":
            places = places[shown.offsets_in_sequence(device) > 0]
        return Assembled(Stream.of(x, joint.layout, mask), {"text": joint.left, "regions": places})

    def _linguistic(self, regions: Regions) -> Tensor:
        if regions.masked is None or self.masked is None:
            return self.linguistic
        return torch.where(regions.masked[:, None], self.masked, self.linguistic)

    def _named(self, tokens: Tokens, shown: SequenceLayout) -> Tensor:
        """The shown region that each token carries, [T]."""
        device = tokens.ids.device
        owners = tokens.layout.sequence_ids(device)
        marks = (tokens.token_labels or {}).get(REGION_LABEL)
        named = torch.zeros_like(tokens.ids) if marks is None else marks
        if not named.is_cuda:
            offered = shown.cu_seqlens(device).long().diff()[owners]
            wrong = ((named < 0) | (named >= offered)).nonzero().flatten().tolist()
            if wrong:
                text, region = int(owners[wrong[0]]), int(named[wrong[0]])
                raise UserError(
                    f"a word of text {text} names region {region}, but its image has {int(offered[wrong[0]])} regions, "
                    "the whole image among them; number them from 0"
                )
        return shown.starts(device)[owners] + named

    def _text_alone(self) -> Tensor:
        if self.no_image is None:
            raise UserError(
                "the inputs have no regions, but this model was built without the vector that stands for a missing "
                "image; give regions, or build it with reads_text_alone=True"
            )
        return self.of_words(self.no_image)

    def _check(self, last: int) -> None:
        rows = self.text.position.num_embeddings - self.text.position_offset
        if last >= rows:
            raise UserError(
                f"the sequence ends at position {last}, but the model has {rows} positions; cut the text or build the "
                f"model with max_positions={last + 1 + self.text.position_offset}"
            )


def _row(dim: int) -> nn.Parameter:
    return nn.Parameter(torch.empty(1, dim).normal_(0.0, 0.02))
