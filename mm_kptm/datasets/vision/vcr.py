"""VCR with its published files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np

from mm_kptm.data.formats.vision.boxes import PictureBoxes, read_vcr_metadata
from mm_kptm.data.formats.vision.vcr import CHOICES, Said, VcrQuestion, read_vcr
from mm_kptm.data.images.folders import inside
from mm_kptm.data.packing import Packed
from mm_kptm.datasets.boxed_pictures import BoxedPictures, FileBoxes
from mm_kptm.datasets.protocol import DataRequest, PreparedData, TaskDataset
from mm_kptm.datasets.settings import RegionFiles, by_split
from mm_kptm.datasets.stored_regions import ImageStore, provider_of
from mm_kptm.datasets.vision.sources import encoding_of, sizes_of, stored
from mm_kptm.errors import UserError
from mm_kptm.io.atomic import write_lines
from mm_kptm.io.text_lines import read_text
from mm_kptm.preprocessing.image_text import ImageTextLayout
from mm_kptm.preprocessing.images import PictureFolder
from mm_kptm.preprocessing.inputs import MARK, InputSource
from mm_kptm.preprocessing.text import TextEncoding
from mm_kptm.tasks.example import Example, Row
from mm_kptm.tasks.vision.multiple_choice import UNKNOWN, ChoiceSource
from mm_kptm.tasks.vision.vcr import AFTER, ANSWER, RATIONALE, VCR
from mm_kptm.vision.modules.single_stream.vl_bert_embedding import REGION_LABEL

#: Persons are called by names that fit anybody, in the order in which a question mentions them.
NAMES = (
    "Casey",
    "Riley",
    "Jessie",
    "Jackie",
    "Avery",
    "Jaime",
    "Peyton",
    "Kerry",
    "Jody",
    "Kendall",
    "Skyler",
    "Frankie",
)
PERSON = "person"
GIVEN = "given-answer"  #: type of the rationales for an answer that need not be right
COLUMNS = tuple(
    f"{group}_{place}"
    for group in ("answer", *(f"rationale_conditioned_on_a{answer}" for answer in range(CHOICES)))
    for place in range(CHOICES)
)  #: of the file that the server takes


@dataclass(frozen=True, kw_only=True)
class VcrData(RegionFiles):
    """VCR's questions, one file a split, with region features whose first regions are the objects of the file.

    With the folder of pictures as data.images, boxes and outlines of the objects are read from the files beside them.
    """

    name: Literal["vcr"]
    choose: Literal["answer", "rationale", "both"] = "both"  #: what is trained: Q->A, QA->R, or the two together
    max_length: int = 128  #: pieces of question and choice that are read, special ones included
    each_choice: bool = False  #: whether every choice is judged by itself, as VL-BERT is trained


@dataclass(frozen=True)
class _Asked:
    """One choice of a question among four."""

    id: str
    type: str
    about: VcrQuestion
    parts: tuple[Said, ...]  #: what is known
    choices: tuple[Said, ...]
    right: int | None


def vcr(data: VcrData, request: DataRequest) -> PreparedData:
    """Questions about film scenes (Zellers et al. 2019)."""
    store, encoding = _images(data, request), encoding_of(data, request.recipe)
    segments = request.recipe.text.choice_segments
    questions = by_split(data.files, read_vcr)

    def made(asked: Sequence[VcrQuestion], choose: str) -> ChoiceSource:
        every_choice = [one for question in asked for one in _asked(question, choose)]
        return _source(every_choice, encoding, store, segments)

    def source(split: str) -> ChoiceSource:
        return made(questions(split), data.choose)

    def submit(split: str, rows: Sequence[Row], folder: Path) -> list[Path]:
        path = folder / f"vcr-{split}.csv"
        write_chances(rows, [one.id for one in questions(split)], path)
        check(split, path)
        return [path]

    def check(split: str, path: Path) -> None:
        check_chances(path, [one.id for one in questions(split)])

    return PreparedData(
        sources={split: partial(source, split) for split in data.files},
        model=lambda system: VCR(system, each_choice=data.each_choice, segments=segments),
        sizes=sizes_of(encoding, store),
        heads=VCR.heads(request.recipe),
        fingerprints=data.fingerprints,
        baselines=lambda split: {"chance": 1 / CHOICES},
        read_file=lambda path: made(read_vcr(path), "both"),
        submit=submit,
        check=check,
    )


def _images(data: VcrData, request: DataRequest) -> ImageStore:
    """Region features, or pictures; without boxes for these, objects are read from the files beside them.

    Raises:
        UserError: the regions of the pictures are cells, which are no objects.
    """
    if data.images is None or data.boxes is not None:
        return data.store(request)
    if request.pixels is None or request.pixels.grid is not None:
        raise UserError(
            "questions of VCR name objects, but encoder.vision makes no regions of boxes; set encoder.vision to "
            "{backbone: caffe-resnet101, regions: boxes}, or give data.features in the place of data.images"
        )
    return PictureFolder(data.images, request.pixels)


def _with_objects(store: ImageStore, asked: Sequence[_Asked]) -> ImageStore:
    """The images with their objects: those of a store, or of the files beside the pictures of a folder."""
    if not isinstance(store, PictureFolder):
        return store
    about = {one.about.image[0]: one.about for one in asked}
    if unnamed := [one.id for one in about.values() if not one.metadata]:
        raise UserError(f"{unnamed[0]} has no 'metadata_fn', which names the file with the boxes of its objects")
    files = [inside(store.folder, one.metadata) for one in about.values()]
    lengths = np.array([len(one.objects) for one in about.values()], dtype=np.int64)
    return BoxedPictures(store, FileBoxes(store, list(about), lengths, partial(_boxes_in, files)))


def _boxes_in(files: Sequence[Path], place: int) -> PictureBoxes:
    return read_vcr_metadata(files[place])


def _asked(one: VcrQuestion, choose: str) -> list[_Asked]:
    """The choices of a question: its answer, and its rationale given the right answer, or each where it is unknown."""
    found = []
    if choose != RATIONALE:
        found.append(_Asked(f"{one.id}{AFTER}{ANSWER}", ANSWER, one, (one.question,), one.answers, one.answer))
    if choose == ANSWER:
        return found
    if one.answer is not None:
        known = (one.question, one.answers[one.answer])
        return [*found, _Asked(f"{one.id}{AFTER}{RATIONALE}", RATIONALE, one, known, one.rationales, one.rationale)]
    return [
        *found,
        *(
            _Asked(
                f"{one.id}{AFTER}{GIVEN}-{place}", f"{GIVEN}-{place}", one, (one.question, answer), one.rationales, None
            )
            for place, answer in enumerate(one.answers)
        ),
    ]


def _source(
    asked: Sequence[_Asked], encoding: TextEncoding, store: ImageStore, segments: Sequence[int]
) -> ChoiceSource:
    store = _with_objects(store, asked)
    layout = ImageTextLayout(encoding.tokenizer.specials, encoding.format)
    places = stored(store, [one.about.image for one in asked])
    for one, place in zip(asked, places.tolist(), strict=True):
        if store.lengths[place] < len(one.about.objects):
            raise UserError(
                f"{one.about.id} has {len(one.about.objects)} objects, but {store.folder} has {store.lengths[place]} "
                f"regions of its image {one.about.image[0]}; the first ones are the objects, in the order of the file"
            )
    framings, pointed = [], []
    for one in asked:
        names: dict[int, str] = {}
        known = [_spelt(part, one.about.objects, names, encoding) for part in one.parts]
        if not segments and len(known) == 2:  # question and answer in a row where there are but two segments
            known = [(known[0][0] + known[1][0], known[0][1] + known[1][1])]
        for choice in one.choices:
            parts = [*known, _spelt(choice, one.about.objects, dict(names), encoding)]
            ids, kinds = layout.cut(*(ids for ids, _ in parts), max_length=encoding.max_length)
            marks, _ = layout.cut(*(numbers for _, numbers in parts), max_length=encoding.max_length)
            special = layout.cut(*([-1] * len(ids) for ids, _ in parts), max_length=encoding.max_length)[0]
            pointed.append([mark if kept == -1 else 0 for mark, kept in zip(marks, special, strict=True)])
            framings.append((ids, [segments[kind] for kind in kinds] if segments else kinds))
    texts = encoding.pack(framings, ["en"] * len(framings))
    column = np.array([number for own in pointed for number in own], dtype=np.int64)
    texts = Packed(texts.offsets, {**texts.columns, f"{MARK}{REGION_LABEL}": column})
    return ChoiceSource(
        InputSource(texts, provider_of(store), np.repeat(places, CHOICES)),
        np.arange(len(asked) + 1) * CHOICES,
        np.array([UNKNOWN if one.right is None else one.right for one in asked], dtype=np.int64),
        tuple(
            Example(one.id, one.type, "en", f"image-{one.about.image[0]}", "" if one.right is None else str(one.right))
            for one in asked
        ),
    )


def _spelt(
    said: Said, objects: Sequence[str], names: dict[int, str], encoding: TextEncoding
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Ids of the pieces of a text, and the region that each one names: 0 the whole image, then the objects from 1.

    Objects are called by their class, persons by a name of :data:`NAMES` that stays the same within a question.
    """
    ids: list[int] = []
    regions: list[int] = []
    for word in said:
        spoken = [(word, 0)] if isinstance(word, str) else [(_name(one, objects, names), one + 1) for one in word]
        for place, (text, region) in enumerate(spoken):
            pieces = encoding.tokenizer.encode(f"and {text}" if place else text).ids
            ids += pieces
            regions += [region] * len(pieces)
    return tuple(ids), tuple(regions)


def _name(number: int, objects: Sequence[str], names: dict[int, str]) -> str:
    if objects[number] != PERSON:
        return objects[number]
    return names.setdefault(number, NAMES[len(names) % len(NAMES)])


def write_chances(rows: Sequence[Row], asked: Sequence[str], path: str | Path) -> None:
    """The file that VCR's server takes: probabilities of the answers, and of the rationales given each answer.

    Raises:
        UserError: the predictions lack the rationales for every answer, as those of labelled splits do.
    """
    chances = {str(row["id"]): [float(row[f"p{place}"]) for place in range(CHOICES)] for row in rows}
    lines = [",".join(("annot_id", *COLUMNS))]
    for id_ in asked:
        parts = [f"{id_}{AFTER}{ANSWER}", *(f"{id_}{AFTER}{GIVEN}-{place}" for place in range(CHOICES))]
        for part in parts:
            if part not in chances:
                raise UserError(
                    f"the server wants the rationales of {id_} for each of its answers, but there is no prediction "
                    f"{part}; submit a split whose answers nobody knows, with data.choose both"
                )
        lines.append(",".join((id_, *(f"{chance:.6f}" for part in parts for chance in chances[part]))))
    write_lines(path, lines)


def check_chances(path: str | Path, asked: Sequence[str]) -> None:
    """Reject a file that VCR's server would reject.

    Raises:
        UserError: other columns, a value that is no probability, or a question that is missing, foreign or there twice.
    """
    header, *lines = read_text(path, "a table of probabilities").splitlines()
    if header != ",".join(("annot_id", *COLUMNS)):
        raise UserError(f"{path} must begin with the columns annot_id, {COLUMNS[0]} to {COLUMNS[-1]}")
    known, seen = set(asked), set[str]()
    for number, line in enumerate(lines, 2):
        id_, *cells = line.split(",")
        if id_ not in known or id_ in seen:
            wrong = "was answered before" if id_ in seen else "is not one of the split"
            raise UserError(f"{path}, line {number}: {id_} {wrong}")
        try:
            fits = len(cells) == len(COLUMNS) and all(0 <= float(cell) <= 1 for cell in cells)
        except ValueError:
            fits = False
        if not fits:
            raise UserError(f"{path}, line {number} must hold {len(COLUMNS)} probabilities between 0 and 1")
        seen.add(id_)
    if missing := [id_ for id_ in asked if id_ not in seen]:
        raise UserError(f"{path} has no answer to {len(missing)} questions, the first of them {missing[0]}")


VCR_SUPPLY = TaskDataset(VCR, VcrData, vcr, read_vcr)
