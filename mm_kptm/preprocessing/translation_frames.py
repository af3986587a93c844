"""Special tokens and language codes around both sides of a translation, as families of encoder-decoders have them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mm_kptm.data.tokenizers.protocol import Specials, framed


@dataclass(frozen=True)
class TranslationFrame:
    """What stands before and behind a source and a target.

    >>> specials = Specials(pad=1, unknown=3, start=0, stop=2, mask=4)
    >>> plain, mbart, mbart_50 = (TranslationFrame(specials, codes) for codes in ("none", "last", "first"))
    >>> plain.source([7]), mbart.source([7], 90), mbart_50.source([7], 90)
    ([0, 7, 2], [7, 2, 90], [90, 7, 2])
    >>> plain.target([8]), mbart.target([8], 91), mbart_50.target([8], 91)
    ([0, 8, 2], [91, 8, 2, 91], [2, 91, 8, 2])

    Args:
        specials: of the tokenizer; where these open no text (T5), a target begins with ``start`` all the same.
        codes: where the tokens of languages stand in a source: ``none``, ``last`` (mBART) or ``first`` (mBART-50).
    """

    specials: Specials
    codes: str = "none"

    def source(self, ids: Sequence[int], code: int = 0) -> list[int]:
        """A text that is translated; ``code`` is the token of its language."""
        if self.codes == "none":
            return framed(self.specials, ids)[0]
        return [*ids, self.specials.stop, code] if self.codes == "last" else [code, *ids, self.specials.stop]

    def begun(self, code: int = 0) -> list[int]:
        """What a translation begins with."""
        if self.codes == "none":
            return [self.specials.start]
        return [code] if self.codes == "last" else [self.specials.stop, code]

    def target(self, ids: Sequence[int], code: int = 0) -> list[int]:
        """A translation, from its first token to its last one; mBART predicts the code, too."""
        return [*self.begun(code), *ids, self.specials.stop, *([code] if self.codes == "last" else [])]
