"""One set of detections in every published feature file, read by the reader that recognises it and written again.

The truth lies beside the cases: ``expected.safetensors`` under ``<number>.<name>``, boxes in pixels.
"""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file

from mm_kptm.vision.features.detections import Detections, image_number
from mm_kptm.vision.features.formats.format import Format, format_of
from mm_kptm.vision.features.formats.uniter import num_boxes
from tests.golden.case import Answer, Case

#: Names in the truth, and what they are in :class:`Detections`.
LXMERT = {"oid": "object_ids", "oc": "object_confidences", "aid": "attribute_ids", "ac": "attribute_confidences"}
UNITER = {"cls": "class_probs", "conf": "confidences"}
TRUTH = "expected.safetensors"
HALF = {"atol": 2e-3, "rtol": 2e-3}  # float16 on disk

Answers = tuple[dict[str, Answer], dict[str, Any]]


class Comparison:
    """Answers and truths of one case, file by file."""

    def __init__(self, case: Case) -> None:
        self.case = case
        beside = case.folder / TRUTH
        self.truth = load_file(beside if beside.is_file() else case.folder.parent / TRUTH)
        self.numbers = sorted({int(name.split(".")[0]) for name in self.truth})
        self.answers: dict[str, Answer] = {}
        self.truths: dict[str, Any] = {}

    def add(self, name: str, ours: Any, theirs: Any, **tolerance: float) -> None:
        self.answers[name], self.truths[name] = Answer(ours, **tolerance), theirs

    def file(self, path: Path, format: str, names: dict[str, str], *, cut: bool = False, again: str = "") -> None:
        """Read a file by the format that recognises it, write it, read that, and compare both with the truth."""
        found = format_of(path)
        self.add(f"{path.name} format", found.name, format)
        self.images(path.name, found, found.read(path), names, cut=cut)
        with tempfile.TemporaryDirectory() as folder:
            copy = Path(folder) / (again or path.name)
            with found.write(copy) as add:
                for image in found.read(path):
                    add(image)
            self.images(f"{path.name} written", found, found.read(copy), names, cut=cut)

    def images(
        self, file: str, format: Format, images: Iterable[Detections], names: dict[str, str], *, cut: bool
    ) -> None:
        by_number = {image_number(image.image): image for image in images}
        self.add(f"{file} images", sorted(by_number), self.numbers)
        tolerance = HALF if format.float16 else {}
        for number, image in by_number.items():
            height, width = self.truth[f"{number}.hw"].tolist()
            rows = slice(int(self.truth[f"{number}.uniter_nbb"]) if cut else None)
            if "size" in format.keeps:
                self.add(f"{file} {number} size", image.size, (width, height))
            scale = torch.tensor([width, height, width, height])
            boxes = torch.tensor(image.boxes) if image.fractions else torch.tensor(image.boxes) / scale
            self.add(f"{file} {number} boxes", boxes, self.truth[f"{number}.boxes"][rows] / scale, **tolerance)
            for theirs, ours in {"features": "features", **names}.items():
                value = torch.tensor(np.asarray(getattr(image, ours)))
                self.add(f"{file} {number} {theirs}", value, self.truth[f"{number}.{theirs}"][rows], **tolerance)

    @property
    def done(self) -> Answers:
        return self.answers, self.truths


def _files(case: Case, pattern: str) -> list[Path]:
    found = sorted(case.folder.rglob(pattern))
    assert found, f"{case.folder} has no {pattern}"
    return found


def bottomup_tsv(case: Case) -> Answers:
    comparison = Comparison(case)
    for file in _files(case, "*.tsv"):
        comparison.file(file, "bottom-up-tsv", {})
    return comparison.done


def lxmert_tsv(case: Case) -> Answers:
    comparison = Comparison(case)
    for file in _files(case, "*.tsv"):
        comparison.file(file, "lxmert-tsv", LXMERT)
    return comparison.done


def uniter_lmdb(case: Case) -> Answers:
    comparison = Comparison(case)
    for data in _files(case, "data.mdb"):
        rule = re.fullmatch(r"feat_th([\d.]+)_max(\d+)_min(\d+)(_compressed)?", data.parent.name)
        if rule is None:  # the text database
            continue
        comparison.file(data.parent, "uniter-lmdb", UNITER, cut=True)
        listed = json.loads(next(data.parents[1].glob(f"nbb_th{rule[1]}_max{rule[2]}_min{rule[3]}.json")).read_text())
        for name, count in listed.items():
            number = image_number(name.removesuffix(".npz"))
            confidences = comparison.truth[f"{number}.conf"].numpy().astype(np.float16)
            ours = num_boxes(confidences, float(rule[1]), int(rule[3]), int(rule[2]))
            comparison.add(f"{data.parent.name} {name} boxes kept", ours, count)
    for folder in {file.parent for file in _files(case, "*.npz")}:
        comparison.file(folder, "uniter-npz", UNITER)
    return comparison.done


def vilbert_lmdb(case: Case) -> Answers:
    comparison = Comparison(case)
    for data in _files(case, "data.mdb"):
        comparison.file(data.parent, "vilbert-lmdb", {})
    for folder in {file.parent for file in _files(case, "*.npy")}:
        comparison.file(folder, "vilbert-npy", {"cls": "class_probs", "oid": "object_ids"})
    return comparison.done


def volta_lmdb(case: Case) -> Answers:
    comparison = Comparison(case)
    for data in _files(case, "data.mdb"):
        comparison.file(data.parent, "volta-lmdb", LXMERT)
    for file in _files(case, "*.h5"):
        comparison.file(file, "lxmert-hdf5", LXMERT)
    return comparison.done


def vlbert_json(case: Case) -> Answers:
    comparison = Comparison(case)
    folders = {file.parent for file in _files(case, "*.json") if file.name[:-5].isdecimal()}
    indices = [file for file in _files(case, "*.json") if not file.name[:-5].isdecimal()]
    for path in (*folders, *_files(case, "*.zip"), *indices):
        again = "frcnn.zip" if path in indices else ""
        comparison.file(path, "vlbert-json", {"cls": "class_probs"}, again=again)
    return comparison.done


def oscar_tsv(case: Case) -> Answers:
    comparison = Comparison(case)
    folder = case.folder
    names = {"oc": "object_confidences"}
    comparison.file(folder, "oscar-tsv", names)
    for file in _files(case, "sgb_*.tsv"):
        comparison.file(file, "scene-graph-tsv", names)
    found = {image_number(image.image): image for image in format_of(folder).read(folder)}
    for number in comparison.numbers:
        ids = [int("".join(filter(str.isdecimal, name))) for name in found[number].object_names or ()]
        comparison.add(f"{number} classes", torch.tensor(ids), comparison.truth[f"{number}.oid"])
    return comparison.done


CASES = {
    "bottomup_tsv": bottomup_tsv,
    "lxmert_tsv": lxmert_tsv,
    "uniter_lmdb": uniter_lmdb,
    "vilbert_lmdb": vilbert_lmdb,
    "volta_lmdb": volta_lmdb,
    "vlbert_json": vlbert_json,
    "oscar_tsv": oscar_tsv,
}
