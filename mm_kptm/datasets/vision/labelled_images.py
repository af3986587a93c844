"""Pictures with class labels (a folder for each class, CSV, TSV or JSON lines), and minimal pairs of captions."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Literal

from mm_kptm.data.images.folders import inside, pictures_in
from mm_kptm.datasets.protocol import DataRequest, PreparedData, TaskDataset
from mm_kptm.datasets.settings import fingerprints
from mm_kptm.errors import UserError
from mm_kptm.io.records import Record, read_json, read_lines
from mm_kptm.io.text_lines import read_text
from mm_kptm.tasks.example import Example
from mm_kptm.tasks.vision.two_towers.frozen_towers import LabelledPictures
from mm_kptm.tasks.vision.two_towers.linear_probe import ImageRetrieval, LinearProbe, NearestNeighbours
from mm_kptm.tasks.vision.two_towers.minimal_pairs import MinimalPairs, MinimalPairSource
from mm_kptm.tasks.vision.two_towers.zero_shot import PLACE, ClassNames, ZeroShotClassification


@dataclass(frozen=True, kw_only=True)
class LabelledImages:
    """Pictures with class labels: a folder with one for each class, or a table with the columns image and label."""

    name: Literal["labelled-images"]
    test: Path  #: a folder of classes, or a .csv, .tsv or .jsonl file
    train: Path | None = None  #: that a linear probe and nearest neighbours learn from
    dev: Path | None = None  #: measured like test
    pictures: Path | None = None  #: the folder that names of pictures lead from; that of the table unless given
    classes: Path | None = None  #: JSON: a list of labels, or names by label, or these by language; labels unless given
    prompts: Mapping[str, tuple[str, ...]] = field(default_factory=dict)  #: sentences with {} by language

    @property
    def files(self) -> dict[str, Path]:
        """The folder or file of every split there is."""
        given = {"train": self.train, "dev": self.dev, "test": self.test}
        return {split: path for split, path in given.items() if path is not None}

    @property
    def fingerprints(self) -> dict[str, str]:
        """Fingerprint of the data."""
        return fingerprints({**self.files, **({} if self.classes is None else {"classes": self.classes})})

    def labelled(self, split: str) -> list[tuple[Path, str, str]]:
        """File, name and label of every picture of a split; ``UserError`` where there is none or one has no label."""
        path = self.files[split]
        if path.is_dir():
            return [(path / name, name, name.partition("/")[0]) for name in _in_classes(path)]
        folder = self.pictures or path.parent
        return [(inside(folder, name), name, label) for name, label in _rows(path)]

    def class_names(self) -> tuple[ClassNames, ...]:
        """The names of the classes by language.

        Raises:
            UserError: the list is empty or malformed, or languages name other classes.
        """
        named = self._named()
        labels = {language: set(names) for language, names in named.items()}
        first = next(iter(labels))
        for language, mine in labels.items():
            if different := sorted(mine ^ labels[first]):
                raise UserError(f"the classes in {language} and {first} differ by {different[0]!r}; name it in both")
        if unknown := sorted(self.prompts.keys() - named.keys()):
            raise UserError(f"data.prompts are in {unknown[0]}, but classes are named in {', '.join(named)}")
        return tuple(
            ClassNames(language, names, tuple(self.prompts.get(language, (PLACE,))))
            for language, names in named.items()
        )

    def _named(self) -> dict[str, dict[str, tuple[str, ...]]]:
        if self.classes is None:
            labels = sorted({label for *_, label in self.labelled("test")})
            return {"en": {label: (label.replace("_", " "),) for label in labels}}
        read = read_json(self.classes)
        if not read or not isinstance(read, list | dict):
            raise UserError(f"{self.classes} names no class; it must hold a list of labels, or names by label")
        if isinstance(read, list):
            return {"en": _names(dict(zip(map(str, read), read, strict=True)), self.classes)}
        if all(isinstance(value, dict) for value in read.values()):
            return {language: _names(value, self.classes) for language, value in read.items()}
        return {"en": _names(read, self.classes)}


@dataclass(frozen=True, kw_only=True)
class MinimalPairFiles:
    """Lines of JSON with image_0, image_1, caption_0, caption_1, as in Winoground; and id, type, language."""

    name: Literal["minimal-pair-images"]
    test: Path  #: the lines
    pictures: Path | None = None  #: the folder that names of pictures lead from; that of the lines unless given


def zero_shot(data: LabelledImages, request: DataRequest) -> PreparedData:
    """Every picture once in each language of the class names."""
    classes = data.class_names()
    known = set(classes[0].names)

    def source(split: str) -> LabelledPictures:
        labelled = data.labelled(split)
        if unnamed := next((label for *_, label in labelled if label not in known), None):
            raise UserError(f"a picture of {split} has the label {unnamed!r}, which {data.classes} does not name")
        return LabelledPictures(
            tuple(file for _ in classes for file, *_ in labelled),
            tuple(
                Example(name, "picture", one.language, f"image-{name}", label)
                for one in classes
                for _, name, label in labelled
            ),
        )

    return _prepared(data, source, partial(ZeroShotClassification, classes=classes), 1 / len(known))


def _pictures(data: LabelledImages, split: str) -> LabelledPictures:
    labelled = data.labelled(split)
    about = tuple(Example(name, "picture", "none", f"image-{name}", label) for _, name, label in labelled)
    return LabelledPictures(tuple(file for file, *_ in labelled), about)


def probe(data: LabelledImages, request: DataRequest, *, task: Any) -> PreparedData:
    """Pictures of test, classified by those of train."""
    if data.train is None:
        raise UserError(f"{task.name} learns from labelled pictures; name them as data.train")
    classes = len({label for *_, label in data.labelled("train")})
    model = partial(task, labelled=partial(_pictures, data, "train"))
    return _prepared(data, partial(_pictures, data), model, 1 / max(classes, 1))


def image_retrieval(data: LabelledImages, request: DataRequest) -> PreparedData:
    """Pictures of test, each looked for by the others."""
    return _prepared(data, partial(_pictures, data), ImageRetrieval, None)


def _prepared(data: LabelledImages, source: Any, model: Any, chance: float | None) -> PreparedData:
    return PreparedData(
        sources={split: partial(source, split) for split in data.files},
        model=model,
        fingerprints=data.fingerprints,
        baselines=lambda split: {} if chance is None else {"chance": chance},
    )


def minimal_pairs(data: MinimalPairFiles, request: DataRequest) -> PreparedData:
    """Two pictures and two captions an example."""
    folder = data.pictures or data.test.parent

    def source() -> MinimalPairSource:
        records = read_lines(data.test)
        files = [(inside(folder, one.get("image_0", str)), inside(folder, one.get("image_1", str))) for one in records]
        return MinimalPairSource(
            tuple(files),
            tuple((one.get("caption_0", str), one.get("caption_1", str)) for one in records),
            tuple(_about(one, str(number)) for number, one in enumerate(records)),
        )

    return PreparedData(
        sources={"test": source},
        model=MinimalPairs,
        fingerprints=fingerprints({"test": data.test}),
        baselines=lambda split: {"chance": 1 / 6},
    )


def _about(record: Record, number: str) -> Example:
    id_ = record.text("id", number)
    return Example(id_, record.text("type", "pair"), record.text("language", "en"), f"pair-{id_}", "matched")


def _in_classes(folder: Path) -> list[str]:
    names = pictures_in(folder)
    if loose := [name for name in names if "/" not in name]:
        raise UserError(f"{loose[0]} lies in {folder} itself; every picture belongs into the folder of its class")
    return names


def _rows(path: Path) -> list[tuple[str, str]]:
    if path.suffix.lower() in (".jsonl", ".ndjson"):
        return [(one.get("image", str), one.text("label")) for one in read_lines(path)]
    lines = read_text(path, "a table of pictures and labels").splitlines()
    reader = csv.DictReader(lines, delimiter="," if path.suffix.lower() == ".csv" else "\t")
    if lacking := sorted({"image", "label"} - set(reader.fieldnames or ())):
        raise UserError(f"{path} has no column {lacking[0]!r}; it has {', '.join(reader.fieldnames or ())}")
    rows = [(row["image"], row["label"]) for row in reader]
    if not rows or not all(image and label for image, label in rows):
        raise UserError(f"{path} has a row without a picture or a label" if rows else f"{path} has no row")
    return rows


def _names(values: Any, path: Path) -> dict[str, tuple[str, ...]]:
    """Names by label: a text, or a list of texts."""
    found = {}
    for label, value in values.items():
        names = value if isinstance(value, list) else [value]
        if not names or not all(isinstance(name, str) for name in names):
            raise UserError(
                f"{path} names the class {label!r} by {value!r:.40}; a text, or a list of them, was expected"
            )
        found[str(label)] = tuple(names)
    return found


ZERO_SHOT = TaskDataset(ZeroShotClassification, LabelledImages, zero_shot)
LINEAR_PROBE = TaskDataset(LinearProbe, LabelledImages, partial(probe, task=LinearProbe))
NEAREST_NEIGHBOURS = TaskDataset(NearestNeighbours, LabelledImages, partial(probe, task=NearestNeighbours))
IMAGE_RETRIEVAL = TaskDataset(ImageRetrieval, LabelledImages, image_retrieval)
MINIMAL_PAIRS = TaskDataset(MinimalPairs, MinimalPairFiles, minimal_pairs)
