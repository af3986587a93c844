"""Texts with part-of-speech tags and word polarities as pretraining data (SentiLARE)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

from mm_kptm.data.packing import Packed
from mm_kptm.data.tokenizers.protocol import Specials, Tokenizer
from mm_kptm.datasets.protocol import DataRequest, PreparedData, TaskDataset
from mm_kptm.datasets.settings import SplitFiles, fingerprints
from mm_kptm.errors import UserError
from mm_kptm.io.records import read_lines
from mm_kptm.knowledge.lexicons.sentiwordnet import (
    GRADES,
    UNGRADED,
    UNKNOWN,
    SentimentText,
    SentiWordNet,
    felt_columns,
    label_sentiment,
)
from mm_kptm.knowledge.objectives.label_aware_mlm import TAGGED_WORDS
from mm_kptm.objectives.mixture import Mixture, Objectives
from mm_kptm.objectives.spec import TEXTS, Offers
from mm_kptm.preprocessing.inputs import MARK, InputSource
from mm_kptm.tasks.pretraining import ObjectiveSource, heads_of


@dataclass(frozen=True, kw_only=True)
class SentimentTexts(SplitFiles):
    """Lines of JSON, each a text in words with their tags of the Penn Treebank, and perhaps its grade."""

    name: Literal["sentiment-tagged"]
    sentiwordnet: Path  #: SentiWordNet_3.0.0.txt
    mask_rate_polar: float = 0.3  #: share of the words with a polarity that are masked
    mask_rate: float = 0.15  #: share of the other words
    late_supervision_rate: float = 0.2  #: share of the texts whose sentiment label is predicted and not given

    def __post_init__(self) -> None:
        super().__post_init__()
        for setting in ("mask_rate_polar", "mask_rate", "late_supervision_rate"):
            if not 0 <= (share := getattr(self, setting)) <= 1:
                raise UserError(f"data.{setting} is {share} but must be a share, between 0 and 1")

    @property
    def fingerprints(self) -> dict[str, str]:
        """Fingerprint of the data and the settings that affect them."""
        return {**super().fingerprints, **fingerprints({"sentiwordnet": self.sentiwordnet})}


def pretraining(data: SentimentTexts, request: DataRequest) -> PreparedData:
    """Labelled words, in the order of the file."""
    tokenizer = data.tokenizer()
    lexicon = SentiWordNet.open(data.sentiwordnet)
    rates = {"polar": data.mask_rate_polar, "late": data.late_supervision_rate}
    offers = Offers(data.name, {TEXTS: None, TAGGED_WORDS: lambda: rates})
    objectives = request.built_objectives(offers, tokenizer, data.mask_rate)

    def source(split: str) -> ObjectiveSource:
        texts = list(read_felt(data.files[split], lexicon, tokenizer))
        return ObjectiveSource(packed(texts, tokenizer.specials, data.max_length), Objectives(objectives))

    return PreparedData(
        sources={split: partial(source, split) for split in data.files},
        model=lambda system: Mixture(system, objectives, request.objectives),
        sizes={"vocab_size": len(tokenizer)},
        heads=heads_of(objectives),
        fingerprints=data.fingerprints,
    )


def read_felt(path: str | Path, lexicon: SentiWordNet, tokenizer: Tokenizer) -> Iterator[SentimentText]:
    """Texts, one JSON object a line: ``{"words": [...], "tags": [...]}`` and perhaps ``grade``, 0 the worst.

    Raises:
        UserError: the file cannot be read, a key is missing or of another kind, words and tags differ in number, or
            there is no such grade; the message names the line.
    """
    for record in read_lines(path):
        words, tags = record.texts("words"), record.texts("tags")
        if len(words) != len(tags):
            raise UserError(f"{record.place} has {len(words)} words but {len(tags)} tags; give one tag a word")
        grade = record.get("grade", int) if "grade" in record.values else UNGRADED
        if not 0 <= grade <= UNGRADED:
            raise UserError(
                f"{record.place}: 'grade' is {grade}; grades are 0 to {GRADES - 1}, none where it is left out"
            )
        labelled = label_sentiment(
            list(zip(words, tags, strict=True)), lexicon, lambda word: tokenizer.encode(f" {word}").ids
        )
        yield SentimentText(labelled, grade)


def packed(texts: list[SentimentText], specials: Specials, max_length: int) -> InputSource:
    """Packed texts with the part-of-speech tags and polarities of their words."""
    columns = felt_columns(texts, specials, max_length=max_length)
    marks = {MARK + name: columns[name] for name in UNKNOWN}
    positions = [range(len(ids)) for ids in columns["ids"]]
    return InputSource(Packed.of(ids=columns["ids"], positions=positions, units=columns["units"], **marks))


PRETRAINING_SUPPLY = TaskDataset(None, SentimentTexts, pretraining)
