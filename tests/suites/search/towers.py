"""Two towers that see colours: the vector of a picture is its mean colour, that of a text the colour it names."""

from __future__ import annotations

import os
import threading
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
import uvicorn
from PIL import Image
from torch import nn

from mm_kptm.suites.search import serve as serving
from mm_kptm.suites.search.model import SearchModel, fingerprint

COLOURS = {"red": (1, 0, 0), "rot": (1, 0, 0), "green": (0, 1, 0), "blue": (0, 0, 1), "蓝": (0, 0, 1)}


class ColourTowers(nn.Module):
    def __init__(self, scale: float = 1.0) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.full((4,), scale))
        self.seen = 0

    def encode_text(self, texts):
        colours = [COLOURS.get(word, (0.3, 0.3, 0.3)) for word in texts]
        return self._embed(torch.tensor(colours, dtype=torch.float32))

    def encode_images(self, images):
        self.seen += len(images)
        return self._embed(
            torch.stack([torch.from_numpy(np.asarray(x, np.float32)).mean((0, 1)) / 255 for x in images])
        )

    def injected_facts(self, texts):
        return [[f"<b>{text}</b> is a colour"] if text in COLOURS else [] for text in texts]

    def _embed(self, colours):
        padded = torch.cat([colours, torch.full((len(colours), 1), 0.1)], dim=1)
        return F.normalize(padded * self.scale, dim=-1).detach()


def model(scale: float = 1.0, path: str = "runs/colours") -> SearchModel:
    towers = ColourTowers(scale)
    return SearchModel(towers, Path(path), fingerprint(towers))


def paint(path: Path, colour, size=(12, 8)) -> Path:
    """A picture of one colour, written long enough ago for its times to be trusted."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, colour).save(path)
    age(path)
    return path


def age(path: Path) -> None:
    os.utime(path, (1_000_000_000, 1_000_000_000))


@contextmanager
def served(searcher, **options):
    """The page of a searcher on a free port of the loopback, in a thread."""
    with serving._listening("127.0.0.1", 0) as listener:
        server = uvicorn.Server(serving.configuration(searcher, **options))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
        thread.start()
        try:
            yield listener.getsockname()[1]
        finally:
            server.should_exit = True
            thread.join(20)
            assert not thread.is_alive()
