"""Regions before the text in one sequence, with one count of positions over both, as in M3P.

Shapes: T token rows, R region rows, D dim.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mm_kptm.batch import EVERY_ROW, Inputs, SequenceLayout
from mm_kptm.errors import UserError
from mm_kptm.nn.assembly import Assembled, join
from mm_kptm.nn.steps import Stream
from mm_kptm.nn.sublayers import bert_norm
from mm_kptm.vision.modules.single_stream.region_refiner import RegionRefiner
from mm_kptm.vision.modules.two_stream.region_embeddings import SummedRegionEmbedding


class RegionsThenText(nn.Module):
    r"""The regions of an image, then the words about it (Ni et al. 2021, section 3.1).

    .. math:: \mathrm{LN}([r_1 \dots r_n, w_1 \dots w_m] + p_0 \dots p_{n + m - 1})

    where :math:`r = \mathrm{LN}(W_f f + W_b b)` and words have no norm of their own; a refiner may come between the
    regions and the sum. Either part may be missing. The attention mask of the text is kept.

    Args:
        vocab_size: rows of the word table.
        dim: D.
        region_dim: width of the regions' features.
        max_positions: rows of the position table.
        dropout: of the sum.
        refiner: of the embedded regions of an image.

    Raises:
        UserError: neither text nor regions, or more rows than there are positions.
    """

    def __init__(
        self,
        vocab_size: int,
        dim: int,
        *,
        region_dim: int,
        max_positions: int = 514,
        dropout: float = 0.1,
        refiner: RegionRefiner | None = None,
    ) -> None:
        super().__init__()
        self.word = nn.Embedding(vocab_size, dim)
        self.position = nn.Embedding(max_positions, dim)
        self.regions = SummedRegionEmbedding(region_dim, dim, dropout=dropout)
        self.refiner = refiner
        self.norm = bert_norm(dim)
        self.drop = nn.Dropout(dropout)

    def forward(self, inputs: Inputs) -> Assembled:
        tokens, regions = inputs.text, inputs.regions
        if tokens is None and regions is None:
            raise UserError("this model reads text, regions or both, but the inputs have neither")
        if regions is None or tokens is None:
            x = self.word(tokens.ids) if tokens is not None else self._regions(inputs)
            layout = tokens.layout if tokens is not None else inputs.repeat_shared()[0]
            mask = None if tokens is None else tokens.attention_mask
            name = "regions" if tokens is None else "text"
            return Assembled(Stream.of(self._placed(x, layout), layout, mask), {name: EVERY_ROW})
        shown, _ = inputs.repeat_shared()
        joint = join(shown, tokens.layout, tokens.ids.device)
        x = self._placed(joint.rows(self._regions(inputs), self.word(tokens.ids)), joint.layout)
        mask = None if tokens.attention_mask is None else tokens.attention_mask.scatter(joint.right, joint.layout.total)
        return Assembled(Stream.of(x, joint.layout, mask), {"text": joint.right, "regions": joint.left})

    def _regions(self, inputs: Inputs) -> Tensor:
        _, rows = inputs.repeat_shared()
        assert inputs.regions is not None
        embedded: Tensor = self.regions(inputs.regions)
        if self.refiner is not None:
            embedded = self.refiner(embedded, inputs.regions.layout)
        return embedded if rows is EVERY_ROW or not isinstance(rows, Tensor) else embedded.index_select(0, rows)

    def _placed(self, x: Tensor, layout: SequenceLayout) -> Tensor:
        """Rows [T + R, D] with their positions, normed."""
        longest = max(layout.lengths, default=0)
        if longest > self.position.num_embeddings:
            raise UserError(
                f"a text and the regions of its image have {longest} rows, but the model has "
                f"{self.position.num_embeddings} positions; cut the text, or give fewer regions"
            )
        placed: Tensor = self.norm(x + self.position(layout.offsets_in_sequence(x.device)))
        return self.drop(placed)


class OneLogit(nn.Module):
    """Matching head of a single logit, as the scores (0, logit) of mismatched and matched.

    Softmax over the two is the sigmoid of the logit, so that cross-entropy is the binary one of the published training.
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.out = nn.Linear(dim, 1)

    def forward(self, rows: Tensor) -> Tensor:
        """[B, D] -> [B, 2]."""
        logit = self.out(rows)
        return torch.cat([torch.zeros_like(logit), logit], 1)
