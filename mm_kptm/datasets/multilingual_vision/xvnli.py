"""XVNLI: visual entailment in five languages (Bugliarello et al. 2022)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal

from mm_kptm.data.formats.vision.iglue import read_xvnli
from mm_kptm.data.formats.vision.snli_ve import LABELS, Hypothesis
from mm_kptm.data.packing import Packed
from mm_kptm.datasets.protocol import DataRequest, PreparedData, TaskDataset
from mm_kptm.datasets.settings import RegionFiles, by_split
from mm_kptm.datasets.vision.sources import about_images, reading_of, sizes_of, stored
from mm_kptm.tasks.example import Example
from mm_kptm.tasks.labelling import LabelledSource
from mm_kptm.tasks.vision.visual_entailment import VisualEntailment

LANGUAGES = ("ar", "en", "es", "fr", "ru")


@dataclass(frozen=True, kw_only=True)
class XvnliData(RegionFiles):
    """IGLUE's files, ``annotations/en/train.jsonl`` to learn from, ``annotations/*/test.jsonl`` to be tested on."""

    name: Literal["xvnli"]
    max_length: int = 80  #: pieces of a hypothesis that are read, special ones included


def xvnli(data: XvnliData, request: DataRequest) -> PreparedData:
    """Hypotheses about photographs; the photograph is the premise."""
    store, reading = data.store(request), reading_of(data, request.recipe)
    hypotheses = by_split(data.files, read_xvnli)

    def made(said: Sequence[tuple[Hypothesis, str]]) -> LabelledSource:
        about = [Example(one.id, one.label or "", lang, f"image-{one.image[0]}", one.label or "") for one, lang in said]
        truth = [[] if one.label is None else [LABELS.index(one.label)] for one, _ in said]
        places = stored(store, [one.image for one, _ in said])
        shown = about_images(reading, store, [(one.text, language) for one, language in said], places)
        return LabelledSource(shown, LABELS, Packed.of(labels=truth), tuple(about))

    def source(split: str) -> LabelledSource:
        return made(hypotheses(split))

    def majority(split: str) -> Mapping[str, float]:
        gold = [one.label for one, _ in hypotheses(split) if one.label is not None]
        learnt = [one.label for one, _ in hypotheses("train")]
        most = max(LABELS, key=learnt.count)
        return {"majority": gold.count(most) / len(gold)} if gold else {}

    return PreparedData(
        sources={split: partial(source, split) for split in data.files},
        model=lambda system: VisualEntailment(system, LABELS),
        sizes=sizes_of(reading, store),
        heads=VisualEntailment.heads(request.recipe, len(LABELS)),
        fingerprints=data.fingerprints,
        baselines=majority,
        read_file=lambda path: made(read_xvnli(path)),
    )


XVNLI = TaskDataset(VisualEntailment, XvnliData, xvnli, read_xvnli)
