"""Image-text retrieval on Atlas: a drawing finds its name in every language, and a name its drawing.

Shapes: B pairs of a batch, C concepts, L languages.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import torch
from torch import Tensor

from mm_kptm.batch import Inputs
from mm_kptm.compression.objectives.image_similarity_distillation import STORED_PICTURES
from mm_kptm.compression.objectives.similarity_distillation import WRITTEN_TEXTS, SimilarityDistillation
from mm_kptm.data.tokenizers.protocol import framed
from mm_kptm.datasets.protocol import DataRequest, PreparedData, TaskDataset
from mm_kptm.errors import UserError
from mm_kptm.objectives.contrast import in_batch_contrast
from mm_kptm.preprocessing.inputs import IntArray, tokens
from mm_kptm.preprocessing.text import TextEncoding
from mm_kptm.suites.atlas.datasets.controls import retrieval_controls
from mm_kptm.suites.atlas.datasets.drawings import Drawings
from mm_kptm.suites.atlas.datasets.settings import AtlasData
from mm_kptm.suites.atlas.datasets.splits import SPLITS, named, split_side, train_concepts
from mm_kptm.systems.recipe import Recipe
from mm_kptm.systems.system import System
from mm_kptm.tasks.vision.contrastive_retrieval import ContrastiveRetrieval, PairBatch, PairSource
from mm_kptm.tasks.vision.retrieval import Captioned
from mm_kptm.vision.contrastive.preparation import IMAGENET_MEAN, IMAGENET_STD, ImagePreparation
from mm_kptm.vision.contrastive.two_queues import two_towers
from mm_kptm.vision.objectives.image_text_contrast import ImageTextContrastive

PARALLEL = "target"  #: stream of a second name


@dataclass(frozen=True, eq=False)
class NamedDrawings:
    """Concepts in training: each with a drawing and a name, whose style and language are drawn anew for every batch.

    Args:
        pairs: all names of all concepts.
        names: number of the name of each concept in each language that is read beside drawings, [C, L].
        parallel: the same in languages that are read beside names alone, [C, K]; None: there are none.
    """

    pairs: PairSource
    names: IntArray
    parallel: IntArray | None

    def __len__(self) -> int:
        return len(self.names)

    def length(self, index: int) -> int:
        """The same for all: a batch is of different concepts, whatever their names."""
        return 1

    def batch(self, indices: Sequence[int], generator: torch.Generator) -> PairBatch:
        """The given concepts, each with a drawing, a name, and a name in another language where there are some."""
        rows = np.asarray(indices, dtype=np.int64)
        chosen = self._drawn(self.names[rows], generator)
        batch = self.pairs.batch(chosen.tolist(), generator)
        if self.parallel is None:
            return batch
        other = self._drawn(self.parallel[rows], generator)
        beside = batch.inputs.with_streams(**{PARALLEL: tokens(self.pairs.texts, other)})
        return PairBatch(beside, batch.captions)

    def _drawn(self, numbers: IntArray, generator: torch.Generator) -> IntArray:
        """One name of every row, [B]."""
        order = torch.rand(numbers.shape, generator=generator).numpy()
        order[numbers < 0] = -1
        return np.take_along_axis(numbers, order.argmax(axis=1)[:, None], axis=1)[:, 0]


class ContrastWithNames(ImageTextContrastive):
    """Drawings against names, and names against names of the same concepts in languages without drawings.

    Args:
        parallel_weight: of the second contrast.
    """

    def __init__(self, *, parallel_weight: float = 1.0) -> None:
        super().__init__()
        self.parallel_weight = parallel_weight

    def loss(self, system: System, batch: Inputs) -> Tensor:
        """The mean over the pairs of the batch."""
        shown = batch.with_streams(**{PARALLEL: None})
        loss = super().loss(system, shown)
        if PARALLEL not in batch.streams:
            return loss
        towers = two_towers(system)
        one = towers.embed_text(shown.with_streams(images=None))
        other = towers.embed_text(Inputs(text=batch.streams[PARALLEL]))
        beside = in_batch_contrast(one, other, temperature=1 / towers.similarity.scale())
        return loss + self.parallel_weight * beside.mean()

    def measure(self, system: System, batch: Inputs) -> Tensor:
        """The first contrast of every pair, [B]."""
        return super().measure(system, batch.with_streams(**{PARALLEL: None}))


def retrieval(data: AtlasData, request: DataRequest) -> PreparedData:
    """Contrast in training; retrieval within every language in evaluation."""
    tokenizer = data.tokenizer()
    encoding = TextEncoding(tokenizer, data.max_length)
    preparation = prepared_images(data, request.recipe)
    return PreparedData(
        sources={
            "train": partial(training, data, encoding, preparation),
            "dev": partial(testing, data, encoding, preparation, "dev"),
            "test": partial(testing, data, encoding, preparation, data.split),
            **{f"test-{split}": partial(testing, data, encoding, preparation, split) for split in _askable(data)},
        },
        model=partial(ContrastiveRetrieval, objective=ContrastWithNames(parallel_weight=data.parallel_weight)),
        sizes={"vocab_size": len(tokenizer), "image_size": data.image_size},
        fingerprints=data.fingerprints,
        baselines=lambda split: {} if split == "train" else retrieval_controls(data, _named_split(data, split)),
        labels={
            WRITTEN_TEXTS: lambda: partial(_beside_drawings, data),
            STORED_PICTURES: lambda: training_drawings(data, preparation).stored,
        },
    )


def prepared_images(data: AtlasData, recipe: Recipe) -> ImagePreparation:
    """How the pixels of drawings are normalised for a system."""
    published = recipe.published_sizes()
    return ImagePreparation(
        data.image_size,
        mean=published.get("image_mean", IMAGENET_MEAN),
        std=published.get("image_std", IMAGENET_STD),
    )


def training(data: AtlasData, encoding: TextEncoding, preparation: ImagePreparation) -> NamedDrawings:
    """The concepts of training."""
    said = training_names(data)
    numbers = {(concept, language): number for number, (concept, language, _) in enumerate(said)}

    def table(languages: Sequence[str]) -> IntArray:
        return np.array(
            [[numbers.get((concept, one), -1) for one in languages] for concept in train_concepts(data)], dtype=np.int64
        )

    pairs = _pairs(data, encoding, training_drawings(data, preparation), said, crops=True)
    pairs = replace(pairs, labels={SimilarityDistillation.name: np.arange(len(said), dtype=np.int64)})
    parallel = _parallel(data)
    return NamedDrawings(pairs, table(data.languages), table(parallel) if parallel else None)


def training_drawings(data: AtlasData, preparation: ImagePreparation) -> Drawings:
    """The drawings that training shows, numbered."""
    drawings = Drawings.of(data.atlas, data.styles, preparation, augment=data.augment)
    return drawings.numbered(train_concepts(data))


def training_names(data: AtlasData) -> list[tuple[int, str, str]]:
    """Concept, language and name of everything that training reads, the languages beside drawings first."""
    return [
        (concept, language, name)
        for language in (*data.languages, *_parallel(data))
        for concept in train_concepts(data)
        if (name := data.atlas.names[language][concept])
    ]


def _beside_drawings(data: AtlasData) -> list[str]:
    """The names that training reads beside drawings, as they are numbered in its source."""
    return [name for _, language, name in training_names(data) if language in data.languages]


def _parallel(data: AtlasData) -> tuple[str, ...]:
    return data.parallel_languages if data.parallel_weight else ()


def testing(data: AtlasData, encoding: TextEncoding, preparation: ImagePreparation, split: str) -> PairSource:
    """The names and drawings of one side, each language a pool.

    Raises:
        UserError: the settings leave the split no language.
    """
    side = split_side(data, split)
    if not side.languages:
        raise UserError(
            f"the split {split} asks in languages beside data.languages and data.parallel_languages, but these name "
            f"all {len(data.atlas.languages)}; take some out"
        )
    drawings = Drawings.of(data.atlas, (side.style,), preparation)
    return _pairs(data, encoding, drawings, named(data, side), crops=False)


def _pairs(
    data: AtlasData, encoding: TextEncoding, drawings: Drawings, said: Sequence[tuple[int, str, str]], *, crops: bool
) -> PairSource:
    languages = list(dict.fromkeys(language for _, language, _ in said))
    return PairSource(
        texts=encoding.pack(list(_framings(encoding, said)), [language for _, language, _ in said]),
        provider=drawings,
        captions=tuple(_captioned(data, concept, language) for concept, language, _ in said),
        image_of=np.array([concept for concept, *_ in said], dtype=np.int64),
        pools=np.array([languages.index(language) for _, language, _ in said], dtype=np.int64),
        crops=crops,
    )


def _framings(encoding: TextEncoding, said: Sequence[tuple[int, str, str]]) -> Iterator[tuple[list[int], list[int]]]:
    specials = encoding.tokenizer.specials
    room = encoding.max_length - specials.around(1)
    for _, language, name in said:
        yield framed(specials, encoding.tokenizer.encode(name, language).ids[:room])


def _captioned(data: AtlasData, concept: int, language: str) -> Captioned:
    one = data.atlas.concepts[concept]
    return Captioned(f"{one.code}-{language}", language, f"{one.family}/{one.code}")


def _askable(data: AtlasData) -> tuple[str, ...]:
    empty = {"lang-text": not data.parallel_languages, "lang-0": not data.unpaired_languages}
    return tuple(split for split in SPLITS if not empty.get(split, False))


def _named_split(data: AtlasData, split: str) -> str:
    return data.split if split == "test" else split.removeprefix("test-")


RETRIEVAL = TaskDataset(ContrastiveRetrieval, AtlasData, retrieval)
