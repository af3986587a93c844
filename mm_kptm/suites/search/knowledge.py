"""Two towers whose texts carry facts: a search reads what the run read in training, and says which facts these were.

Shapes: N texts, D dim.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import torch
import torch.nn.functional as F
from PIL.Image import Image
from torch import Tensor

from mm_kptm import config
from mm_kptm.data.tokenizers.joining import running_text
from mm_kptm.datasets.tower_texts import TowerTexts
from mm_kptm.experiment.build import data_request
from mm_kptm.experiment.run_state import CONFIG
from mm_kptm.experiment.settings import Experiment
from mm_kptm.preprocessing.text import TextEncoding, TextExample
from mm_kptm.systems.encoder import DualEncoder
from mm_kptm.systems.system import System

_AT_ONCE = 64
_ANY_LANGUAGE = ""  #: names of every language are looked for


@dataclass(frozen=True, eq=False)
class TowersWithFacts:
    """Two towers, with the facts of a graph at the names that a text mentions (Liu et al. 2020, K-BERT).

    Args:
        system: the towers.
        encoding: how the run encoded its texts, facts included.
    """

    system: System
    encoding: TextEncoding

    def encode_text(self, texts: Sequence[str]) -> Tensor:
        """L2-normalised vectors of texts with their facts, [N, D]."""
        encoder, device = cast(DualEncoder, self.system.encoder), next(self.system.parameters()).device
        self.system.eval()
        vectors: list[Tensor] = []
        with torch.no_grad():
            for first in range(0, len(texts), _AT_ONCE):
                source = self.encoding.texts(_examples(texts[first : first + _AT_ONCE]))
                inputs = source.batch(range(len(source)), torch.Generator()).to(device)
                vectors.append(F.normalize(encoder.embed_text(inputs), dim=-1))
        return torch.cat(vectors) if vectors else torch.zeros(0, self.system.dim, device=device)

    def encode_images(self, images: Sequence[Image]) -> Tensor:
        """L2-normalised vectors of pictures, [N, D]."""
        return self.system.encode_images(images)

    def injected_facts(self, texts: Sequence[str]) -> list[list[str]]:
        """``name: fact`` for every fact that is read with each text; those that were cut are left out, [N]."""
        packed = self.encoding.texts(_examples(texts)).texts
        if "branches" not in packed.columns:
            return [[] for _ in texts]
        vocabulary = self.encoding.tokenizer.vocabulary
        pieces = [vocabulary[number] for number in packed.columns["ids"].tolist()]
        words, branches = (packed.columns[name].tolist() for name in ("words", "branches"))
        found: list[list[str]] = []
        for start, stop in zip(packed.offsets[:-1].tolist(), packed.offsets[1:].tolist(), strict=True):
            read: dict[tuple[int, int], list[str]] = {}
            for at in range(start, stop):
                read.setdefault((words[at], branches[at]), []).append(pieces[at])
            found.append(
                [
                    f"{running_text(read[word, 0])}: {running_text(fact)}"
                    for (word, branch), fact in read.items()
                    if branch
                ]
            )
        return found


def with_facts(system: System, run: Path) -> TowersWithFacts | None:
    """The towers of a run with the facts that its texts carried; None where they carried none.

    Raises:
        UserError: the graph or the tokenizer of the run is not where it was.
    """
    settings = config.read(Experiment, run / CONFIG)
    if settings.knowledge.given == "none" or not isinstance(settings.data, TowerTexts):
        return None
    encoding = settings.data.text_encoding(data_request(settings))
    return None if encoding.injector is None else TowersWithFacts(system, encoding)


def _examples(texts: Sequence[str]) -> list[TextExample]:
    return [TextExample(str(place), (text,), _ANY_LANGUAGE) for place, text in enumerate(texts)]
