"""XLM's token masking."""

from dataclasses import dataclass

from torch import Tensor

from mm_kptm.batch import SequenceLayout
from mm_kptm.data.tokenizers.protocol import Specials
from mm_kptm.objectives.tokens import Bernoulli, Masking, MaskingPolicy


@dataclass(frozen=True)
class SparingFirst:
    """Another policy restricted to rows other than the first of a sequence."""

    choice: MaskingPolicy

    def __call__(self, draws: Tensor, may: Tensor, layout: SequenceLayout) -> Tensor:
        return self.choice(draws, may & (layout.offsets_in_sequence(may.device) > 0), layout)


def xlm_masking(specials: Specials, vocab_size: int, *, rate: float = 0.15) -> Masking:
    """The masking of the released code of Conneau and Lample (2019).

    Independent choice of every token, inner separators included, except the first of a sequence; random replacements
    are drawn from the whole vocabulary, special tokens included.
    """
    return Masking(
        specials.mask_id, pool=(0, vocab_size), never=frozenset({specials.pad}), policy=SparingFirst(Bernoulli(rate))
    )
