"""One question about one picture: the distribution over answers of a trained run, or of a system with fresh weights.

A run of referring expressions answers with the boxes of the picture.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch

from mm_kptm.data.formats.captions import Box, Pointed
from mm_kptm.data.formats.jsonl import AskedImage
from mm_kptm.data.images.decoding import picture_size, read_picture
from mm_kptm.data.images.folders import SUFFIXES
from mm_kptm.data.tokenizers.protocol import BERT_SPECIALS
from mm_kptm.data.tokenizers.wordpiece import WordPiece
from mm_kptm.datasets.protocol import DataRequest, find_task_dataset
from mm_kptm.datasets.settings import ImageSettings
from mm_kptm.datasets.stored_regions import ImageStore, region_sizes
from mm_kptm.datasets.vision.sources import encoding_of, expressions, questions
from mm_kptm.errors import UserError
from mm_kptm.experiment.build import data_request
from mm_kptm.experiment.run import opened
from mm_kptm.experiment.settings import VisionSettings
from mm_kptm.experiment.visual.frontend import add_vision, pixel_format
from mm_kptm.io.atomic import write_lines
from mm_kptm.preprocessing.images import PictureFolder
from mm_kptm.preprocessing.text import TextEncoding
from mm_kptm.systems import pretrained
from mm_kptm.systems.discovery import find
from mm_kptm.tasks.vision.grounding import Grounding
from mm_kptm.tasks.vision.vqa import VQA, QuestionSource
from mm_kptm.vision.extractors.build import ExtractorSettings, build_extractor, extractor_of
from mm_kptm.vision.extractors.extract import extract
from mm_kptm.vision.features.contract import CONTRACT, read_contract
from mm_kptm.vision.features.store import RegionStore

LANGUAGE, LONGEST = "en", 60


def ask_fresh(
    name: str,
    picture: Path,
    question: str,
    answers: Sequence[str],
    *,
    by: VisionSettings | ExtractorSettings,
    weights: Path | None = None,
    sizes: Mapping[str, Any] | None = None,
    seed: int = 0,
) -> dict[str, float]:
    """The probability of every answer by a system with fresh weights, to try the system out.

    Args:
        name: of a recipe that reads text and regions.
        picture: the file.
        question: its words are the vocabulary.
        answers: to choose from, two at least.
        by: the backbone that makes regions of the pixels inside the model, or the extractor that makes them before.
        weights: of the extractor; fresh ones when None.
        sizes: of the encoder, in place of the published ones.
        seed: of the fresh weights.

    Raises:
        UserError: the picture is broken, the system reads no regions, or there are fewer than two answers.
    """
    chosen, recipe = tuple(dict.fromkeys(answers)), find(name)
    if len(chosen) < 2:
        raise UserError(f"{len(chosen)} answers were given; give two or more different ones to choose from")
    if not {"text", "regions"} <= recipe.reads:
        raise UserError(f"{recipe.name} reads no pictures, so it cannot be asked about one; see `mm-kptm list systems`")
    words = dict.fromkeys(re.findall(r"\w+|[^\w\s]", question.lower()))
    tokenizer = WordPiece((*BERT_SPECIALS, *words), lowercase=True)
    with TemporaryDirectory() as folder, torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        shown = _alone(picture, Path(folder))
        store: ImageStore
        if isinstance(by, VisionSettings):
            store = PictureFolder(shown.parent, pixel_format(by, recipe))
        else:
            extract(shown.parent, Path(folder) / "regions", build_extractor(by, weights))
            reads = recipe.published_sizes()
            store = RegionStore(Path(folder) / "regions", with_detections=bool(reads.get("num_region_classes")))
        by_data = {"vocab_size": len(tokenizer), **region_sizes(store)}
        known = {size: value for size, value in by_data.items() if size in recipe.published_sizes()}
        system = pretrained.build(name, heads=VQA.heads(recipe, len(chosen)), **{**known, **(sizes or {})})
        if isinstance(by, VisionSettings):
            add_vision(system, by, recipe)
        asked = AskedImage("1", shown.name, question, (), LANGUAGE, "question")
        source = questions([asked], chosen, TextEncoding(tokenizer, LONGEST), store)
        return _distribution(VQA(system, chosen), source)


def ask_run(
    run: Path, picture: Path, question: str, *, weights: Path | None = None, boxes: Sequence[Box] = ()
) -> dict[str, float]:
    """The probability of every answer by a trained run, or of every box where it points; the picture may lie anywhere.

    Args:
        run: folder of a run of visual question answering, or of referring expressions, on files.
        picture: the file.
        question: in a language that the run has learnt; an expression for a run that points.
        weights: of the extractor of its region features, where it reads such.
        boxes: x1 y1 x2 y2 in pixels of the picture, for a run that reads boxes of pictures.

    Raises:
        UserError: the run answers no questions about pictures, the picture is broken, boxes are missing or in vain, or
            nothing says how the features were made.
    """
    if not question.strip():
        raise UserError("the question is blank; ask something about the picture")
    settings, built = opened(run)
    data = settings.data
    if not isinstance(built.task, VQA | Grounding) or not isinstance(data, ImageSettings):
        raise UserError(
            f"{run} answers no questions about pictures in files; ask a run of vqa or grounding that reads such"
        )
    boxed = settings.encoder.vision is not None and settings.encoder.vision.regions == "boxes"
    if boxed and not boxes:
        raise UserError(
            f"{run} reads boxes of pictures, and nothing says where they are in {picture}; give each as --box X1 Y1 X2 "
            "Y2, in pixels"
        )
    if boxes and not boxed:
        raise UserError(f"{run} finds the regions of a picture by itself; leave --box out")
    with TemporaryDirectory() as folder:
        shown = _alone(picture, Path(folder))
        if boxed:
            lines = [json.dumps({"image": shown.name, "boxes": [list(_real(box)) for box in boxes]})]
            write_lines(Path(folder) / "boxes.jsonl", lines)
            other = replace(data, images=shown.parent, boxes=Path(folder) / "boxes.jsonl")
        elif data.features is None:
            other = replace(data, images=shown.parent)
        else:
            made = extractor_of(read_contract(data.features / CONTRACT), weights)
            extract(shown.parent, Path(folder) / "regions", made)
            other = replace(data, features=Path(folder) / "regions")
        if isinstance(built.task, Grounding):
            return _pointed(built.task, other, data_request(settings), shown, question)
        prepared = find_task_dataset(settings.trained, other).prepare(other, data_request(settings))
        if prepared.read_file is None:
            raise UserError(f"{run} was trained on {data.name}, which is read from no file of one split")
        file = Path(folder) / "question.jsonl"
        write_lines(file, [json.dumps({"image": shown.name, "question": question})])
        source = prepared.read_file(file)
        if not isinstance(source, QuestionSource):
            raise UserError(f"{run} reads other examples than questions about pictures")
        return _distribution(built.task, source)


def _real(box: Box) -> Box:
    left, top, right, bottom = box
    if not (0 <= left < right < float("inf") and 0 <= top < bottom < float("inf")):
        raise UserError(
            f"--box {left:g} {top:g} {right:g} {bottom:g} is no box; it takes the left, top, right and bottom edge in "
            "pixels, the left one below the right one and the top one below the bottom one"
        )
    return box


def _pointed(
    task: Grounding, data: ImageSettings, request: DataRequest, picture: Path, expression: str
) -> dict[str, float]:
    """The softmax over the regions that an expression may mean, by their corners in pixels."""
    store = data.store(request)
    said = Pointed("1", (picture.name, picture.stem), expression, None)
    source = expressions([said], encoding_of(data, request.recipe), store)
    task.eval()
    with torch.no_grad():
        shares = task.scores(source.batch([0], torch.Generator())).double().softmax(dim=0).tolist()
    corners = store.boxes * np.tile(picture_size(picture), 2)
    named = zip((" ".join(f"{value:.0f}" for value in box) for box in corners.tolist()), shares, strict=True)
    return dict(sorted(named, key=lambda one: -one[1]))


def _alone(picture: Path, folder: Path) -> Path:
    """A copy of a picture in a folder of its own, once it is known to be one."""
    read_picture(picture)
    name = picture.name if picture.suffix.lower() in SUFFIXES and picture.name[:1] != "." else "picture.png"
    (folder / "picture").mkdir()
    return Path(shutil.copyfile(picture, folder / "picture" / name))


@torch.no_grad()
def _distribution(task: VQA, source: QuestionSource) -> dict[str, float]:
    """The softmax over the answers to the only question, the most probable first."""
    task.eval()
    (scores,) = task.logits(source.batch([0], torch.Generator())).double().softmax(dim=1).tolist()
    return dict(sorted(zip(task.answers, scores, strict=True), key=lambda one: -one[1]))
