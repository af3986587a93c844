"""All readers of files in the package, found by walking it, and the contents that they are tried with."""

# ruff: noqa: E501 contents of files

from __future__ import annotations

import importlib
import inspect
import io
import pkgutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save

import mm_kptm

VERBS = ("read", "open", "load")  #: how the names of readers begin
#: What is not read from a file of a stranger: code that the user names, and parts of an index that is opened whole.
EXEMPT = ("load_plugin", "load_file", "Generation.open")
#: Arguments of readers by name; a reader that needs another one is not tried.
ARGUMENTS: dict[str, Any] = {
    "keys": ("text", "label"), "kind": "a file", "lowercase": True, "images": {}, "language": "de",
    "linker": "elq", "described": {},
}  # fmt: skip


def readers() -> dict[str, Callable[[Path], object]]:
    """Public functions, and class methods, whose first argument is a path, by their qualified names."""
    found: dict[str, Callable[[Path], object]] = {}
    for module in pkgutil.walk_packages(mm_kptm.__path__, "mm_kptm."):
        if not module.name.startswith(("mm_kptm.cli", "mm_kptm.__main__")):
            for name, read in _candidates(importlib.import_module(module.name)):
                if (call := _call(read)) is not None:
                    found[f"{module.name}.{name}"] = call
    return found


def _candidates(module: Any) -> Iterator[tuple[str, Any]]:
    for name, value in vars(module).items():
        if name.startswith("_") or getattr(value, "__module__", None) != module.__name__:
            continue
        if inspect.isfunction(value) and name.startswith(VERBS) and name not in EXEMPT:
            yield name, value
        if inspect.isclass(value):
            for inner, method in vars(value).items():
                if isinstance(method, classmethod) and inner.startswith(VERBS) and f"{name}.{inner}" not in EXEMPT:
                    yield f"{name}.{inner}", getattr(value, inner)


def _call(read: Any) -> Callable[[Path], object] | None:
    first, *others = inspect.signature(read).parameters.values() or [None]
    if first is None or "Path" not in str(first.annotation) or "Sequence" in str(first.annotation):
        return None
    needed = [
        one for one in others if one.default is one.empty and one.kind in (one.POSITIONAL_OR_KEYWORD, one.KEYWORD_ONLY)
    ]
    if any(one.name not in ARGUMENTS for one in needed):
        return None
    arguments = {one.name: ARGUMENTS[one.name] for one in needed}

    def call(path: Path) -> object:
        result = read(path, **arguments)
        return list(result) if inspect.isgenerator(result) else result

    return call


def _npy(array: Any) -> bytes:
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def _torch(value: object) -> bytes:
    file = io.BytesIO()
    torch.save(value, file)
    return file.getvalue()


#: Small valid files of every form that is read; what is tried is one of them with some bytes changed.
SEEDS: tuple[bytes, ...] = (
    b'{"text": "Rome is here", "label": "a", "id": 1, "mention": [0, 4], "head": [0, 4], "tail": [5, 7]}\n',
    b'{"image": "a.jpg", "question": "what?", "answers": ["x"], "captions": ["a", "b"], "box": [0, 0, 1, 0.5]}\n',
    b'{"words": ["a", "b"], "tags": ["O", "B-X"], "sentences": {"de": "Haus", "en": "house"}, "premise": "a"}\n',
    b'{"images": [{"id": 1, "width": 4, "height": 3, "filename": "a.jpg", "split": "train", "sentences": [{"raw": "a"}]}]}',
    b'{"data": [{"paragraphs": [{"context": "a b", "qas": [{"id": "1", "question": "b?", "answers": []}]}]}]}',
    b'{"recipe": "bert-base", "sizes": {"dim": 8}, "heads": {}, "mm_kptm": "0", "model_type": "bert"}',
    b'{"model.safetensors": {"bytes": 1, "sha256": "0"}}',
    b'{"entities": ["a", "b"], "relations": ["r"]}',
    b"Q1\tP1\tQ2\nQ2\tP1\tQ3\n",
    b'<http://a> <http://r> <http://b> .\n<http://a> <http://www.w3.org/2000/01/rdf-schema#label> "A"@en .\n',
    b"3\nQ1\t0\nQ2\t1\nQ3\t2\n",
    b"0.5\t1.5\n2.5\t3.5\n",
    b"[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\nrome\n##s\n",
    b"1\tthe\tthe\tDET\tDT\t_\t2\tdet\t_\t_\n2\tdog\tdog\tNOUN\tNN\t_\t0\troot\t_\t_\n\n",
    b"text_a\tlabel\nrome is here\t1\n",
    b"gold_label\tsentence1\tsentence2\tlanguage\tpairID\nneutral\ta\tb\ten\t1\n",
    b"name: a\ntask: vqa\ntrain: {steps: 2}\n",
    _npy(np.zeros((2, 4), np.float32)),
    save({"a": torch.zeros(2)}),
    _torch({"a": torch.zeros(2)}),
)

#: Contents that broke some reader.
NASTY: tuple[bytes, ...] = (
    b"", b"\n", b"\0", b"\xff\xfe\x00", b"\xef\xbb\xbf", b"\xed\xa0\x80", b"{", b"[", b"[" * 100_000, b"{\"a\":" * 5_000,
    b"5" * 5000, b"[" + b"9" * 5000 + b"]", b"NaN", b'{"a": Infinity, "a": 1e999}', b'{"text": "\\ud800"}', b"\x1f\x8b\x08",
    b"BZh9", b"\xfd7zXZ\x00", b"PK\x03\x04", b"\x93NUMPY\x01\x00v\x00{'descr': '<f4', 'fortran_order': False, 'shape': (",
    b"\x93NUMPY\x01\x00\x50\x00{'descr': '<f4', 'fortran_order': False, 'shape': (9999999999999, 9999999), }        \n",
    b"\x93NUMPY\x01\x00\x46\x00{'descr': '|O', 'fortran_order': False, 'shape': (1,), }              \n\x80\x04.",
    b"\xff" * 16, b"\x08\x00\x00\x00\x00\x00\x00\x00{\"a\":1}}", b"\x80\x04\x95", "\t²\n".encode(), b"a\t" * 40, b"version https://git-lfs\n",
    b"<html></html>", b'["a", 1, null, {"b": [[]]}]', b'{"version": "1.0", "model": {"type": "BPE", "vocab": {"a": 4294967295}}}',
)  # fmt: skip

#: Names that readers look for in a folder.
NAMES = (
    "config.json", "model.safetensors", "trainer.pt", "manifest.json", "entity2id.txt", "relation2id.txt", "train2id.txt",
    "entity2vec.vec", "index.json", "settings.json", "embeddings.safetensors", "vocab.txt", "vocab.json", "merges.txt",
    "wikidata5m_transductive_train.txt", "wikidata5m_entity.txt", "wikidata5m_text.txt", "data.noun", "config.yaml",
    "metrics.jsonl", "data.json", "environment.json", "arms.json", "gallery.json", "features.npy", "boxes.npy",
    "train.txt", "valid.txt", "test.txt", "predictions/test.jsonl", "checkpoints/latest", "sizes.npy", "names.json",
)  # fmt: skip
SUFFIXES = (".json", ".jsonl", ".tsv", ".txt", ".npy", ".safetensors", ".bin", ".nt", ".csv")


def put(content: bytes, folder: Path, *, suffix: str | None) -> Path:
    """Write a content as one file with a suffix, or under every name that readers look for in a folder."""
    if suffix is not None:
        path = folder / f"file{suffix}"
        path.write_bytes(content)
        return path
    for name in NAMES:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return folder
