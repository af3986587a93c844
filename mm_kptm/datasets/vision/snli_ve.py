"""SNLI-VE with its published files."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

from mm_kptm.data.formats.vision.snli_ve import LABELS, Hypothesis, read_snli_ve
from mm_kptm.data.packing import Packed
from mm_kptm.datasets.protocol import DataRequest, PreparedData, TaskDataset
from mm_kptm.datasets.settings import RegionFiles, by_split
from mm_kptm.datasets.vision.sources import about_images, encoding_of, sizes_of, stored
from mm_kptm.tasks.example import Example
from mm_kptm.tasks.labelling import LabelledSource
from mm_kptm.tasks.vision.visual_entailment import VisualEntailment


@dataclass(frozen=True, kw_only=True)
class SnliVeData(RegionFiles):
    """SNLI-VE's hypotheses, one file a split, with region features or pictures of yours of Flickr30k."""

    name: Literal["snli-ve"]
    max_length: int = 60  #: pieces of a hypothesis that are read, special ones included


Hypotheses = Sequence[tuple[Hypothesis, str]]  #: each with its language


def visual_entailment(data: SnliVeData, request: DataRequest) -> PreparedData:
    """Hypotheses about photographs (Xie et al. 2019)."""
    return hypotheses_about_images(data, request, lambda path: [(one, "en") for one in read_snli_ve(path)])


def hypotheses_about_images(
    data: RegionFiles, request: DataRequest, read: Callable[[Path], Hypotheses]
) -> PreparedData:
    """Prepare hypotheses about photographs, each of which is the premise; the baseline is the majority in training."""
    store, encoding = data.store(request), encoding_of(data, request.recipe)
    hypotheses = by_split(data.files, read)

    def examples(of: Hypotheses) -> LabelledSource:
        about = [Example(one.id, one.label or "", lang, f"image-{one.image[0]}", one.label or "") for one, lang in of]
        labels = [[] if one.label is None else [LABELS.index(one.label)] for one, _ in of]
        places = stored(store, [one.image for one, _ in of])
        shown = about_images(encoding, store, [(one.text, language) for one, language in of], places)
        return LabelledSource(shown, LABELS, Packed.of(labels=labels), tuple(about))

    def source(split: str) -> LabelledSource:
        return examples(hypotheses(split))

    def majority(split: str) -> Mapping[str, float]:
        gold = [one.label for one, _ in hypotheses(split) if one.label is not None]
        train = [one.label for one, _ in hypotheses("train") if one.label is not None]
        most = max(LABELS, key=train.count)
        return {"majority": gold.count(most) / len(gold)} if gold else {}

    return PreparedData(
        sources={split: partial(source, split) for split in data.files},
        model=lambda system: VisualEntailment(system, LABELS),
        sizes=sizes_of(encoding, store),
        heads=VisualEntailment.heads(request.recipe, len(LABELS)),
        fingerprints=data.fingerprints,
        baselines=majority,
        read_file=lambda path: examples(read(path)),
    )


SNLI_VE_SUPPLY = TaskDataset(VisualEntailment, SnliVeData, visual_entailment, read_snli_ve)
