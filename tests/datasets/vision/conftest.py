"""A few words to read and a few images to read them about."""

import shutil
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import pytest

from mm_kptm.data.tokenizers.protocol import BERT_SPECIALS
from mm_kptm.vision.features.detections import Detections
from mm_kptm.vision.features.store_writer import write_store

WORDS = """a the cat dog man woman hat red blue sits on mat is it what left right image ? .
    yes no two of , why because he she likes 1 2 3"""
SIZES = {"dim": 32, "num_heads": 2, "num_layers": 1, "ffn_dim": 64, "max_positions": 96, "dropout": 0.0}


@pytest.fixture
def vocabulary(tmp_path: Path) -> Path:
    file = tmp_path / "vocab.txt"
    file.write_text("\n".join((*BERT_SPECIALS, *WORDS.split())), encoding="utf-8")
    return file


@pytest.fixture
def regions(tmp_path: Path) -> Callable[[Iterable[str]], Path]:
    """Writes a store of images of these names; image n has 2 + n % 3 regions that lie side by side."""

    def write(names: Iterable[str], *, objects: bool = False, classes: int = 0) -> Path:
        rng = np.random.default_rng(0)
        images = []
        for number, name in enumerate(names):
            count = 2 + number % 3
            edges = np.arange(count + 1) / count * 100
            boxes = np.stack([edges[:-1], np.zeros(count), edges[1:], np.full(count, 50.0)], axis=1)
            named = tuple(("cat", "dog", "man", "hat")[at % 4] for at in range(count)) if objects else None
            features = rng.normal(size=(count, 8)).astype(np.float32)
            said = {}
            if classes:
                said = {"class_probs": rng.dirichlet(np.ones(classes), count), "confidences": rng.random(count)}
            images.append(Detections(name, features, boxes.astype(np.float32), (100, 50), object_names=named, **said))
        shutil.rmtree(tmp_path / "regions", ignore_errors=True)
        write_store(tmp_path / "regions", images)
        return tmp_path / "regions"

    return write
