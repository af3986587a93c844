"""Published captions to pretrain on: COCO, Visual Genome, Conceptual Captions, SBU."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

from mm_kptm.data.formats.captions import Described, read_coco
from mm_kptm.data.formats.jsonl import AskedImage
from mm_kptm.data.formats.vision.visual_genome import read_visual_genome, read_visual_genome_questions
from mm_kptm.data.formats.vision.web_captions import read_conceptual_captions, read_sbu
from mm_kptm.datasets.pretraining.image_text_pairs import ImageTextPairs, pretraining
from mm_kptm.datasets.protocol import TaskDataset


@dataclass(frozen=True, kw_only=True)
class CocoCaptions(ImageTextPairs):
    """COCO's captions, one file a split, or the file of Karpathy for all."""

    name: Literal["coco-captions"]  # type: ignore[assignment]  # the name of another data set of the same settings

    def captions(self, split: str) -> Callable[[], Iterable[Described]]:
        """Reads the images of a split with their captions."""
        return partial(read_coco, self.files[split], split)


@dataclass(frozen=True, kw_only=True)
class VisualGenomeCaptions(ImageTextPairs):
    """Visual Genome's region_descriptions.json, and question_answers.json as ``questions``."""

    name: Literal["visual-genome"]  # type: ignore[assignment]  # narrower than that of the settings it shares

    def captions(self, split: str) -> Callable[[], Iterable[Described]]:
        """Reads the images of a split with the phrases about their parts."""
        return partial(read_visual_genome, self.files[split])

    @property
    def read_questions(self) -> Callable[[Path], Iterable[AskedImage]]:
        """Reads the questions of a file."""
        return read_visual_genome_questions


@dataclass(frozen=True, kw_only=True)
class ConceptualCaptions(ImageTextPairs):
    """Conceptual Captions, such as Train_GCC-training.tsv; images that the store lacks are left out."""

    name: Literal["conceptual-captions"]  # type: ignore[assignment]  # narrower than that of the settings it shares

    def captions(self, split: str) -> Callable[[], Iterable[Described]]:
        """Reads the images of a split with their captions."""
        return partial(read_conceptual_captions, self.files[split])

    @property
    def skips_missing(self) -> bool:
        """Many of the addresses have died."""
        return True


@dataclass(frozen=True, kw_only=True)
class SbuCaptions(ImageTextPairs):
    """SBU captions, sbu-captions-all.json; images that the store lacks are left out."""

    name: Literal["sbu-captions"]  # type: ignore[assignment]  # narrower than that of the settings it shares

    def captions(self, split: str) -> Callable[[], Iterable[Described]]:
        """Reads the images of a split with their captions."""
        return partial(read_sbu, self.files[split])

    @property
    def skips_missing(self) -> bool:
        """Many of the addresses have died."""
        return True


COCO_SUPPLY = TaskDataset(None, CocoCaptions, pretraining)
VISUAL_GENOME_SUPPLY = TaskDataset(None, VisualGenomeCaptions, pretraining)
CONCEPTUAL_SUPPLY = TaskDataset(None, ConceptualCaptions, pretraining)
SBU_SUPPLY = TaskDataset(None, SbuCaptions, pretraining)
