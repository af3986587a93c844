"""Masked tokens of captions with their images, beside masked tokens of other text."""

from __future__ import annotations

from mm_kptm.objectives.spec import REGIONS, TEXTS, ObjectiveContext, ObjectiveSpec
from mm_kptm.objectives.tokens import MaskedTokens, Masking


class ImageGroundedMaskedTokens(MaskedTokens):
    """Masked tokens of captions, predicted from the other words and the image (Chen et al. 2020, UNITER, section 3.2).

    As ``masked-tokens`` of data that have images alone; under a name of its own it stands beside ``masked-tokens`` of
    texts without images. The head is that of masked tokens.
    """

    name = "image-grounded-masked-tokens"


def _from_context(context: ObjectiveContext) -> ImageGroundedMaskedTokens:
    return ImageGroundedMaskedTokens(Masking.of(context))


IMAGE_GROUNDED_MASKED_TOKENS = ObjectiveSpec(
    ImageGroundedMaskedTokens.name,
    "Chen et al. 2020, UNITER, ECCV, section 3.2; in several languages Zhou et al. 2021, UC2, CVPR, section 3.2",
    _from_context,
    needs=(TEXTS, REGIONS),
)
