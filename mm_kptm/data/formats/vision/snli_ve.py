"""Reader of SNLI-VE: hypotheses about photographs of Flickr30k."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from mm_kptm.io.collected import collected
from mm_kptm.io.records import each_record, once, one_of

LABELS = ("contradiction", "neutral", "entailment")  #: in the order of the published classes


@dataclass(frozen=True)
class Hypothesis:
    """A sentence that a photograph entails, contradicts or leaves open (Xie et al. 2019)."""

    id: str
    image: tuple[str, ...]  #: possible names in a region store
    text: str
    label: str | None


@collected
def read_snli_ve(path: str | Path) -> Iterator[Hypothesis]:
    """A file such as ``snli_ve_dev.jsonl``.

    Raises:
        UserError: the file cannot be read, a key is missing or of another kind, a label is unknown, an id is twice.
    """
    seen: dict[str, str] = {}
    for entry in each_record(path):
        id_ = entry.name("pairID") if entry.has("pairID") else entry.place.rpartition(" ")[2]
        once(id_, entry.place, seen, "the pairID")
        image = entry.name("Flickr30K_ID", "Flickr30k_ID", "image")
        label = None
        if entry.has("gold_label"):
            label = one_of(entry.get("gold_label", str), LABELS, f"{entry.place}: 'gold_label'")
        stem = PurePosixPath(image).stem
        names = (f"{stem}.jpg", stem, f"flickr30k_{int(stem):012d}" if stem.isdecimal() else stem)
        yield Hypothesis(id_, names, entry.get("sentence2", str), label)
