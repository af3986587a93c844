"""Readers of captions (Karpathy's splits) and of referring expressions."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from mm_kptm.errors import UserError
from mm_kptm.io.collected import collected
from mm_kptm.io.records import Record, each_entry, once, one_of, read_json
from mm_kptm.io.safe_pickle import loads
from mm_kptm.io.text_lines import is_file

Box = tuple[float, float, float, float]
KARPATHY_SPLITS = {"train": "train", "restval": "train", "val": "dev", "test": "test"}
PICKLED = (".p", ".pkl")  #: endings of the release of referring expressions
REFER_SPLITS = {"train": "train", "val": "dev", "test": "test", "testA": "testA", "testB": "testB"}


@dataclass(frozen=True, slots=True)
class Described:
    """An image with its captions."""

    names: tuple[str, ...]  #: possible names in a region store, most likely first
    captions: tuple[tuple[str, str], ...]  #: id and text of each
    split: str | None = None  #: the part of the data it belongs to, where the file says so
    language: str = "en"


@dataclass(frozen=True, slots=True)
class Pointed:
    """A referring expression and its gold box."""

    id: str
    names: tuple[str, ...]  #: possible names of the image in a region store
    text: str
    box: Box | None  #: x1 y1 x2 y2 as fractions of the image; None where it is not known
    split: str | None = None  #: the part of the data it belongs to, where the file says so
    language: str = "en"


@collected
def read_karpathy(path: str | Path) -> Iterator[Described]:
    """``dataset_coco.json`` or ``dataset_flickr30k.json`` (Karpathy and Fei-Fei 2015); *restval* is training.

    Raises:
        UserError: the file cannot be read, a key is missing or of another kind, a split is unknown, an image is twice.
    """
    seen: dict[str, str] = {}
    sentence_places: dict[str, str] = {}
    for record in each_entry(path, "images"):
        file = record.get("filename", str)
        once(file, record.place, seen, "image")
        names = [file, PurePosixPath(file).stem]
        names += [record.name("cocoid")] if "cocoid" in record.values else []
        split = one_of(record.get("split", str), tuple(KARPATHY_SPLITS), f"{record.place}: 'split'")
        captions = [
            (one.name("sentid") if "sentid" in one.values else f"{file}-{at}", one.get("raw", str))
            for at, one in enumerate(record.records("sentences"))
        ]
        for id_, _ in captions:
            once(id_, f"{record.place}, sentence {id_}", sentence_places, "the sentence")
        yield Described(tuple(names), tuple(captions), KARPATHY_SPLITS[split])


def read_coco_captions(path: str | Path) -> tuple[Described, ...]:
    """``captions_train2014.json`` (Chen et al. 2015): images, and annotations with a caption each.

    Raises:
        UserError: the file cannot be read, a key is missing or of another kind, a caption is of no image of the file.
    """
    whole = Record.of(read_json(path), str(path))
    images = {one.name("id"): one for one in whole.records("images")}
    captions: dict[str, list[tuple[str, str]]] = {number: [] for number in images}
    for one in whole.records("annotations", allow_none=True):
        number = one.name("image_id")
        _there(images, number, one, "image")
        captions[number].append((one.name("id"), one.get("caption", str)))
    return tuple(Described((*names_of(image), number), tuple(captions[number])) for number, image in images.items())


def read_coco(path: str | Path, split: str) -> tuple[Described, ...]:
    """A split of COCO's captions: a file of its own, or its part of Karpathy's file. Errors as of these."""
    if "annotations" in Record.of(read_json(path), str(path)).values:
        return read_coco_captions(path)
    return tuple(one for one in read_karpathy(path) if one.split == split)


def read_refcoco(path: str | Path, instances: str | Path | None = None) -> tuple[Pointed, ...]:
    """RefCOCO, RefCOCO+ or RefCOCOg, every expression of every object.

    Three forms are read: the release, a pickle such as ``refs(unc).p`` beside COCO's ``instances.json`` (Kazemzadeh et
    al. 2014); its JSON with ``refs``, ``anns`` (boxes x y width height), ``images`` and ``sentences``, made for MAttNet
    (Yu et al. 2018); or ``images`` with a ``caption`` and ``annotations`` with a ``bbox``, as MDETR has it (Kamath et
    al. 2021), one file a split.

    Args:
        path: the file; one that ends in ``.p`` or ``.pkl`` is the release.
        instances: objects and images of the release; ``instances.json`` in its folder unless given.

    Raises:
        UserError: the file cannot be read, a key is missing or of another kind, something referred to is not there, an
            expression is there twice.
    """
    if Path(path).suffix in PICKLED:
        return _released(Path(path), Path(path).parent / "instances.json" if instances is None else Path(instances))
    whole = Record.of(read_json(path), str(path))
    images = _by_id(whole.records("images"), "image", "image_id", "id")
    return _refer(whole, images) if "refs" in whole.values else _captioned(whole, images)


def _released(path: Path, instances: Path) -> tuple[Pointed, ...]:
    if not is_file(path):
        raise UserError(f"{path} was to be read, but there is no such file")
    whole = Record.of(read_json(instances), str(instances))
    images = _by_id(whole.records("images"), "image", "id")
    objects = _by_id(whole.records("annotations"), "object", "id")
    listed = loads(path.read_bytes(), str(path))
    if not isinstance(listed, list) or not listed:
        raise UserError(f"{path} must hold a list of expressions about objects, one at least")
    seen: dict[str, str] = {}
    found = []
    for at, value in enumerate(listed):
        ref = Record.of(value, f"{path}, refs[{at}]")
        image, box, split = _referred(ref, images, objects, "bbox")
        for sentence in ref.records("sentences"):
            id_ = sentence.name("sent_id")
            once(id_, sentence.place, seen, "the sentence")
            found.append(Pointed(id_, names_of(image), sentence.get("sent", str), box, split))
    return tuple(found)


def _refer(whole: Record, images: dict[str, Record]) -> tuple[Pointed, ...]:
    objects = _by_id(whole.records("anns"), "object", "ann_id")
    sentences = _by_id(whole.records("sentences"), "sentence", "sent_id")
    seen: dict[str, str] = {}
    found = []
    for ref in whole.records("refs"):
        image, box, split = _referred(ref, images, objects, "box")
        for number in map(str, ref.get("sent_ids", list)):
            sentence = _there(sentences, number, ref, "sentence")
            once(number, ref.place, seen, "the sentence")
            found.append(Pointed(number, names_of(image), sentence.get("sent", str), box, split))
    return tuple(found)


def _referred(ref: Record, images: dict[str, Record], objects: dict[str, Record], key: str) -> tuple[Record, Box, str]:
    """The image of an object that is referred to, its box and its split; ``key`` holds the box."""
    number = ref.name("image_id")
    image, thing = _there(images, number, ref, "image"), _there(objects, ref.name("ann_id"), ref, "object")
    if "image_id" in thing.values and thing.name("image_id") != number:
        raise UserError(
            f"{ref.place} names the object {ref.name('ann_id')} in image {number}, but {thing.place} is in image "
            f"{thing.name('image_id')}"
        )
    split = REFER_SPLITS[one_of(ref.get("split", str), tuple(REFER_SPLITS), f"{ref.place}: 'split'")]
    return image, fractions(thing, key, image), split


def _by_id(records: Sequence[Record], what: str, *keys: str) -> dict[str, Record]:
    """Records by their id; ``UserError`` where one is there twice."""
    seen: dict[str, str] = {}
    for record in records:
        once(record.name(*keys), record.place, seen, f"the {what}")
    return {record.name(*keys): record for record in records}


def _captioned(whole: Record, images: dict[str, Record]) -> tuple[Pointed, ...]:
    seen: dict[str, str] = {}
    found = []
    for at, one in enumerate(whole.records("annotations")):
        id_ = one.name("id") if "id" in one.values else str(at)
        once(id_, one.place, seen, "the annotation")
        image = _there(images, one.name("image_id"), one, "image")
        found.append(Pointed(id_, names_of(image), image.get("caption", str), fractions(one, "bbox", image)))
    return tuple(found)


def fractions(record: Record, key: str, image: Record) -> Box:
    """Convert a box x y width height in pixels to corners as fractions of the image.

    Raises:
        UserError: the box has no positive size or begins outside the image.
    """
    x, y, width, height = record.numbers(key, 4)
    across, down = image.get("width", float), image.get("height", float)
    if not (width > 0 and height > 0 and 0 <= x < across and 0 <= y < down):
        raise UserError(
            f"{record.place}: {key!r} is {[x, y, width, height]} in an image of {across:g} x {down:g}; a box is x, y, "
            "width and height in pixels, inside the image"
        )
    return x / across, y / down, min((x + width) / across, 1.0), min((y + height) / down, 1.0)


def names_of(image: Record) -> tuple[str, ...]:
    """Possible names of an image: its file name, the stem of the file name, its id."""
    number = image.name("original_id", "image_id", "id")
    if "file_name" not in image.values:
        return (number,)
    file = image.get("file_name", str)
    return file, PurePosixPath(file).stem, number


def overlap(one: Sequence[float], other: Sequence[float]) -> float:
    """Intersection over union of two boxes x1 y1 x2 y2.

    >>> overlap((0, 0, 2, 2), (1, 0, 3, 2))
    0.3333333333333333
    """
    across = min(one[2], other[2]) - max(one[0], other[0])
    down = min(one[3], other[3]) - max(one[1], other[1])
    both = max(across, 0.0) * max(down, 0.0)
    areas = sum((box[2] - box[0]) * (box[3] - box[1]) for box in (one, other))
    return both / (areas - both) if areas > both else 0.0


def _there(known: dict[str, Record], name: str, record: Record, what: str) -> Record:
    if name not in known:
        raise UserError(f"{record.place} names the {what} {name}, which is not in the file")
    return known[name]
