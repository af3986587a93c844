"""Image-text retrieval in both directions.

Shapes: B captions of a batch, S captions, M hard negatives (near misses), P images.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from mm_kptm.batch import POOLED_ONLY, Encoded, Inputs, Movable, Regions, Tokens
from mm_kptm.errors import UserError
from mm_kptm.preprocessing.inputs import InputSource, IntArray, select_texts
from mm_kptm.systems.system import System
from mm_kptm.tasks.example import Row, RowInputs, prediction
from mm_kptm.tasks.heads import ChosenHead
from mm_kptm.tasks.protocol import Task
from mm_kptm.tasks.published_losses import published_loss
from mm_kptm.tasks.scores import finite_scores
from mm_kptm.tasks.vision.first_stage import DualScorer
from mm_kptm.tasks.vision.ranking import TO_IMAGE, TO_TEXT, Ranking, RankingSettings, example_of, recall_lost
from mm_kptm.train.protocol import Source

NEAR_MISS = "near-miss"
RANKS = (1, 5, 10)  #: ranks at which recall is reported

Criterion = Callable[[Tensor, Tensor], Tensor]  #: scores of positive pairs [B] and negative pairs [2, B] -> loss, [B]


def margin(right: Tensor, wrong: Tensor) -> Tensor:
    """Hinge loss: a positive pair exceeds each negative by a margin of 0.2 (Chen et al. 2020, section 4.2)."""
    return (0.2 + wrong.sigmoid() - right.sigmoid()).clamp(min=0).mean(dim=0)


def each_pair(right: Tensor, wrong: Tensor) -> Tensor:
    """Cross-entropy of each pair, matched or not, a positive one against one negative (Li et al. 2020, Oscar)."""
    return (F.softplus(-right) + F.softplus(wrong).mean(dim=0)) / 2


def choice(right: Tensor, wrong: Tensor) -> Tensor:
    """Cross-entropy of the positive among three pairs (Lu et al. 2019, section 3.2); trains from scratch."""
    return torch.cat([right[None], wrong]).logsumexp(dim=0) - right


#: Losses by the names that recipes have for them.
LOSSES: dict[str, Criterion] = {"margin": margin, "choice": choice, "each-pair": each_pair}


@dataclass(frozen=True)
class Captioned:
    """Metadata of a caption."""

    id: str
    language: str
    image: str  #: name of its image


@dataclass(frozen=True, eq=False)
class Triplets(Movable):
    """Positive pairs, pairs with negative images, and pairs with negative texts: 3 B pairs."""

    pairs: Inputs  #: in order of length, for efficient attention
    places: Tensor  #: rows of the positive pairs, those with negative images and those with negative texts, [3 B]
    captions: tuple[Captioned, ...]

    def __len__(self) -> int:
        return len(self.captions)


@dataclass(frozen=True, eq=False)
class CaptionSource:
    """Captions with images.

    Args:
        shown: the captions, then the near misses, with their images; S + M texts.
        captions: metadata of every caption, [S].
        misses: caption index and type of alteration of every near miss, [M].
        pools: retrieval pool of every caption and its image, [S].

    Raises:
        UserError: there are fewer than two images.
    """

    shown: InputSource
    captions: tuple[Captioned, ...]
    pools: IntArray
    misses: tuple[tuple[int, str], ...] = ()

    def __post_init__(self) -> None:
        if len(self.images) < 2:
            raise UserError(f"retrieval needs two different images at least, but there is {len(self.images)}")

    def __len__(self) -> int:
        return len(self.captions)

    def length(self, index: int) -> int:
        """Tokens and regions of a caption."""
        return self.shown.length(index)

    @cached_property
    def image_of(self) -> IntArray:
        """The image of every caption, [S]."""
        about = np.arange(len(self)) if self.shown.about is None else self.shown.about
        return about[: len(self)].astype(np.int64, copy=False)

    @cached_property
    def images(self) -> IntArray:
        """The distinct images, [P]."""
        return np.unique(self.image_of)

    @cached_property
    def _by_image(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Captions sorted by image, and the offset of every image."""
        order = np.argsort(self.image_of, kind="stable")
        return order, np.searchsorted(self.image_of[order], [*self.images, self.images[-1] + 1])

    @cached_property
    def _misses_of(self) -> Mapping[int, list[int]]:
        found: dict[int, list[int]] = {}
        for place, (caption, _) in enumerate(self.misses):
            found.setdefault(caption, []).append(len(self) + place)
        return found

    def batch(self, indices: Sequence[int], generator: torch.Generator) -> Triplets:
        """The given captions with sampled negatives; half of the texts are near misses if there are any."""
        chosen = np.asarray(indices, dtype=np.int64)
        own = self.image_of[chosen]
        draws = torch.rand(4, len(chosen), generator=generator).numpy()
        others = self._another(own, draws[0])
        texts = self._caption_of(self._another(own, draws[1]), draws[2])
        for place, (caption, draw) in enumerate(zip(chosen.tolist(), draws[3].tolist(), strict=True)):
            near = self._misses_of.get(caption, ())
            if draw < 0.5 and near:
                texts[place] = near[int(2 * draw * len(near))]
        said, shown = np.concatenate([chosen, chosen, texts]), np.concatenate([own, others, own])
        order = self.by_length(said, shown)
        return Triplets(
            self.shown.with_images(said[order], shown[order]),
            torch.from_numpy(np.argsort(order)),
            tuple(self.captions[index] for index in indices),
        )

    def by_length(self, texts: IntArray, images: IntArray) -> IntArray:
        """Order of pairs by total length, then by number of tokens."""
        tokens = self.shown.texts.lengths[texts]
        regions = 0 if self.shown.pictures is None else self.shown.pictures.lengths[images]
        return np.lexsort((tokens, tokens + regions))

    def _another(self, own: IntArray, draw: NDArray[np.float32]) -> IntArray:
        """A uniformly drawn other image."""
        count = len(self.images)
        step = 1 + np.minimum((draw * (count - 1)).astype(np.int64), count - 2)
        return self.images[(np.searchsorted(self.images, own) + step) % count]

    def _caption_of(self, images: IntArray, draw: NDArray[np.float32]) -> IntArray:
        order, offsets = self._by_image
        places = np.searchsorted(self.images, images)
        counts = offsets[places + 1] - offsets[places]
        return order[offsets[places] + np.minimum((draw * counts).astype(np.int64), counts - 1)]


class Retrieval(Task[Triplets]):
    """Image and text retrieval with a cross-encoder (Chen et al. 2020, section 4.2).

    Args:
        system: uses its head ``retrieval`` (one logit per pair), else ``image-text-matching`` (two classes, 1 means
            matched); without either, a new linear layer.
        criterion: :func:`choice` for small encoders trained from scratch; None: what the recipe says, :func:`margin`
            unless it does.
        ranking: how the candidates of a pool are ranked. With ``rerank`` a first stage is trained beside the task, by
            contrast of the captions of a batch with their images, and the cross-encoder scores what it finds.
    """

    name = "retrieval"
    needs = frozenset({"text", "regions"})
    single_inputs = False
    HEADS = ("retrieval", "image-text-matching")

    def __init__(
        self, system: System, *, criterion: Criterion | None = None, ranking: RankingSettings | None = None
    ) -> None:
        super().__init__(system)
        published = published_loss(system, self.name, LOSSES, usual="margin")
        self.criterion = published if criterion is None else criterion
        self.ranking = RankingSettings() if ranking is None else ranking
        self.first_stage = None if self.ranking.rerank is None else DualScorer(system)
        self.head = ChosenHead(system, self.HEADS, lambda: nn.Linear(system.dim, 1))

    def forward(self, inputs: Inputs) -> Tensor:
        """Matching score of each pair, [B]."""
        encoded: Encoded = self.system(inputs, POOLED_ONLY)
        scores: Tensor = self.head.of(self.system)(encoded.pooled)
        return scores[:, 0] if scores.shape[1] == 1 else scores[:, 1] - scores[:, 0]

    def loss(self, batch: Triplets) -> Tensor:
        """The criterion, averaged over captions."""
        if self.first_stage is not None:  # both stages read the regions of pictures, which are made once
            batch = replace(batch, pairs=self.system.read_raw(batch.pairs))
        scores = self._three(batch)
        loss = self.criterion(scores[0], scores[1:]).mean()
        return loss if self.first_stage is None else loss + self._contrast(batch, self.first_stage)

    @torch.no_grad()
    def measure(self, batch: Triplets) -> dict[str, Tensor]:
        """Whether the positive scores above both negatives, and the loss; recall needs all pairs at once."""
        scores = finite_scores(self._three(batch), "pairs")
        leads = (scores[0] > scores[1:].amax(dim=0)).float()
        return {"leads": leads, "loss": self.criterion(scores[0], scores[1:])}

    @torch.no_grad()
    def predict(self, batch: Triplets) -> list[Row]:
        """The highest-scored of the three pairs of every caption."""
        best = finite_scores(self._three(batch), "pairs").argmax(dim=0).tolist()
        names = ("right", "wrong image", "wrong text")
        return [
            prediction(example_of(about, "triplet", names[0]), names[place])
            for about, place in zip(batch.captions, best, strict=True)
        ]

    @torch.no_grad()
    def predictions(self, source: Source[Triplets], *, batch_size: int = 64, seed: int = 0) -> list[Row]:
        """Prediction rows of both directions within every pool, and one per near miss.

        Raises:
            UserError: the source has no captions.
        """
        if not isinstance(source, CaptionSource):
            raise UserError(f"retrieval ranks all captions of a source, but {type(source).__name__} holds none")
        training = self.training
        self.eval()
        try:
            ranking = Ranking(self, source, self.ranking, batch_size)
            return [*ranking.rows(), *self._near_misses(source, ranking)]
        finally:
            self.train(training)

    def inputs_of_row(self, source: Source[Triplets], number: int, row: Row) -> RowInputs:
        """The caption and its image; of an image-to-text line, the image and its caption."""
        if not isinstance(source, CaptionSource):
            return RowInputs()
        kind, name = str(row["type"]), str(row["target" if row["type"] == TO_TEXT else "id"])
        name = name.removesuffix(kind.removeprefix(NEAR_MISS)) if kind.startswith(NEAR_MISS) else name
        index = next(at for at, caption in enumerate(source.captions) if caption.id == name)
        return RowInputs(index, (source.shown.batch([index], torch.Generator()),))

    def summary(self, rows: Sequence[Row]) -> dict[str, float]:
        """Recall at 1, 5 and 10 in both directions, within pools, and near-miss accuracy."""
        found: dict[str, float] = {}
        for way in (TO_IMAGE, TO_TEXT):
            ranks = [float(row["rank"]) for row in rows if row["type"] == way]
            found |= {f"{way}-recall@{k}": sum(rank <= k for rank in ranks) / len(ranks) for k in RANKS if ranks}
        near = [float(row["correct"]) for row in rows if str(row["type"]).startswith(NEAR_MISS)]
        return found | recall_lost(rows, RANKS) | ({f"{NEAR_MISS}-accuracy": sum(near) / len(near)} if near else {})

    def _contrast(self, batch: Triplets, scorer: DualScorer) -> Tensor:
        """The loss of the first stage on the right pairs, a scalar."""
        text, regions = batch.pairs.required("text", Tokens), batch.pairs.required("regions", Regions)
        right, device = batch.places[: len(batch)], batch.places.device
        shown = right if batch.pairs.image_of is None else batch.pairs.image_of.to(device)[right]
        layout, parts = regions.layout.select(shown)
        images = Regions(regions.features[parts], regions.boxes[parts], layout)
        return scorer.loss(
            scorer.texts(self.system, select_texts(text, right)),
            scorer.images(self.system, images),
            shown[:, None] == shown,
        )

    def _three(self, batch: Triplets) -> Tensor:
        """Scores of the positives, the negative images and the negative texts, [3, B]."""
        return self(batch.pairs)[batch.places].view(3, len(batch))

    def _near_misses(self, source: CaptionSource, ranking: Ranking) -> Iterator[Row]:
        if not source.misses:
            return
        captions = np.array([caption for caption, _ in source.misses], dtype=np.int64)
        images = source.image_of[captions]
        right = finite_scores(ranking.pairs(captions, images), "pairs of a text and an image")
        wrong = finite_scores(ranking.pairs(len(source) + np.arange(len(captions)), images), "pairs")
        for (caption, kind), leads in zip(source.misses, (right > wrong).tolist(), strict=True):
            about = source.captions[caption]
            answer = "caption" if leads else NEAR_MISS
            yield prediction(example_of(about, f"{NEAR_MISS}-{kind}", "caption", id_=f"{about.id}-{kind}"), answer)
