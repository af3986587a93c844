"""Choice of the image that a caption belongs to, among images of the batch (M3P's matching of switched captions).

Shapes: B captions, N candidates.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from mm_kptm.batch import POOLED_ONLY, Encoded, Inputs, Movable
from mm_kptm.errors import UserError
from mm_kptm.objectives.spec import REGIONS, TEXTS, ObjectiveSpec
from mm_kptm.systems.system import System


@dataclass(frozen=True, eq=False)
class CandidateImages(Movable):
    """Captions with candidate images of the batch, the right one first."""

    inputs: Inputs
    image_of: Tensor  #: [B, N]
    wrong: Tensor  #: whether a candidate is another image than the caption's, boolean [B, N]

    def __len__(self) -> int:
        return len(self.inputs)


class ImageChoice:
    r"""One image out of several for every caption (Ni et al. 2021, section 3.3).

    .. math:: L = -w_c \log \frac{e^{s_1}}{\sum_n e^{s_n}} + w_p \frac{1}{N} \sum_n \mathrm{BCE}(\sigma(s_n), [n = 1])

    with the score s of a pair from the head ``image-text-matching``: matched minus mismatched. The other images are
    drawn from the batch; where it shows the caption's own image again, that is no candidate. M3P trains it on captions
    whose words are switched into other languages (``data.switch``).

    Args:
        candidates: N, at most as many as captions in the batch.
        choice_weight: of the choice among all candidates.
        pair_weight: of each pair by itself.

    Raises:
        UserError: fewer than two candidates, or no positive weight.
    """

    name = "image-choice"
    head = "image-text-matching"

    def __init__(self, *, candidates: int = 4, choice_weight: float = 1.0, pair_weight: float = 1.0) -> None:
        if candidates < 2:
            raise UserError(f"{self.name} needs two candidates at least, not {candidates}")
        if min(choice_weight, pair_weight) < 0 or not choice_weight + pair_weight > 0:
            raise UserError(
                f"the weights of {self.name} must be 0 or more, one of them positive, not {choice_weight} and "
                f"{pair_weight}"
            )
        self.candidates = candidates
        self.choice_weight = choice_weight
        self.pair_weight = pair_weight

    def prepare(self, inputs: Inputs, generator: torch.Generator) -> CandidateImages:
        """Draw other captions' images for every caption, none twice."""
        count = len(inputs)
        own = torch.arange(count) if inputs.image_of is None else inputs.image_of.cpu()
        others = min(self.candidates, count) - 1
        shifts = torch.rand(count, max(count - 1, 0), generator=generator).argsort(dim=1)[:, :others] + 1
        chosen = torch.cat([own[:, None], own[(torch.arange(count)[:, None] + shifts) % max(count, 1)]], 1)
        return CandidateImages(inputs, chosen, chosen != own[:, None])

    def losses(self, system: System, batch: CandidateImages) -> Tensor:
        """The loss of every caption, [B]."""
        scores = torch.stack([self._scores(system, batch.inputs, images) for images in batch.image_of.unbind(1)], 1)
        right = torch.zeros_like(batch.wrong)
        right[:, 0] = True
        candidate = right | batch.wrong
        choice = F.cross_entropy(
            scores.masked_fill(~candidate, -torch.inf), right.new_zeros(len(right), dtype=torch.long), reduction="none"
        )
        each = F.binary_cross_entropy_with_logits(scores, right.to(scores.dtype), reduction="none") * candidate
        return self.choice_weight * choice + self.pair_weight * each.sum(1) / candidate.sum(1)

    def loss(self, system: System, batch: CandidateImages) -> Tensor:
        """The mean over captions."""
        return self.losses(system, batch).mean()

    def measure(self, system: System, batch: CandidateImages) -> Tensor:
        """The loss of each caption, [B]."""
        return self.losses(system, batch)

    def _scores(self, system: System, inputs: Inputs, images: Tensor) -> Tensor:
        encoded: Encoded = system(replace(inputs, image_of=images), POOLED_ONLY)
        scores: Tensor = system.head(self.head)(encoded.pooled)
        return scores[:, 1] - scores[:, 0]


IMAGE_CHOICE = ObjectiveSpec(
    ImageChoice.name,
    "Ni et al. 2021, M3P: Learning Universal Representations via Multitask Multilingual Multimodal Pre-training, CVPR, "
    "section 3.3",
    lambda context: ImageChoice(**context.arguments),
    needs=(TEXTS, REGIONS),
    arguments=("candidates", "choice_weight", "pair_weight"),
)
