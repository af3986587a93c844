"""How XLM hides tokens."""

from dataclasses import dataclass

from torch import Tensor

from mm_kptm.batch import Layout
from mm_kptm.data.tokenizers.protocol import Specials
from mm_kptm.objectives.tokens import Bernoulli, Choice, Masking


@dataclass(frozen=True)
class SparingFirst:
    """What another policy chooses, but never the first row of a sequence."""

    choice: Choice

    def __call__(self, draws: Tensor, may: Tensor, layout: Layout) -> Tensor:
        return self.choice(draws, may & (layout.places(may.device) > 0), layout)


def xlm_masking(specials: Specials, vocab_size: int, *, rate: float = 0.15) -> Masking:
    """The masking of the released code of Conneau and Lample (2019).

    Every token by itself, an inner end of a sentence like any other, but not the first of a sequence; what stands in
    its place by chance is drawn from the whole vocabulary, special tokens included.
    """
    return Masking(
        specials.mask, pool=(0, vocab_size), never=frozenset({specials.pad}), choice=SparingFirst(Bernoulli(rate))
    )
