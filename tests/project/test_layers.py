"""Imports point down the house, and rooms of one floor do not import each other."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[2] / "mm_kptm"

# From the roof to the ground. A floor may import any floor below it. Its rooms share a floor and no doors; what lies
# inside a room stands on the floor of the room, unless it is named here itself.
FLOORS = (
    ("mm_kptm.__main__",),
    ("mm_kptm.cli",),
    ("mm_kptm.suites",),
    ("mm_kptm.suites.number_world.demo", "mm_kptm.suites.atlas.demo"),
    ("mm_kptm.suites.number_world.datasets", "mm_kptm.suites.atlas.datasets"),
    ("mm_kptm.suites.number_world.generator", "mm_kptm.suites.atlas.data"),
    ("mm_kptm.experiment",),
    ("mm_kptm.datasets.custom", "mm_kptm.datasets.schemas"),
    ("mm_kptm.datasets.multilingual_vision",),
    ("mm_kptm.datasets.vision", "mm_kptm.datasets.text", "mm_kptm.datasets.knowledge", "mm_kptm.datasets.pretraining"),
    ("mm_kptm.datasets",),
    ("mm_kptm.tasks.vision", "mm_kptm.tasks.text", "mm_kptm.tasks.knowledge"),
    ("mm_kptm.tasks.metrics",),
    ("mm_kptm.tasks", "mm_kptm.preprocessing"),
    ("mm_kptm.compression.objectives",),
    ("mm_kptm.compression",),
    ("mm_kptm.knowledge.kinds",),
    ("mm_kptm.knowledge.recipes", "mm_kptm.vision.recipes", "mm_kptm.crosslingual.recipes"),
    ("mm_kptm.knowledge.objectives", "mm_kptm.vision.objectives", "mm_kptm.crosslingual.objectives"),
    (
        "mm_kptm.knowledge.fusion",
        "mm_kptm.vision.contrastive",
        "mm_kptm.vision.modules",
        "mm_kptm.vision.extractors",
        "mm_kptm.crosslingual.modules",
        "mm_kptm.crosslingual.corpora",
        "mm_kptm.crosslingual.alignment",
    ),
    ("mm_kptm.knowledge.injection", "mm_kptm.vision.features"),
    ("mm_kptm.knowledge.embedding", "mm_kptm.knowledge.linking", "mm_kptm.knowledge.lexicons"),
    ("mm_kptm.knowledge.graph",),
    ("mm_kptm.knowledge", "mm_kptm.vision", "mm_kptm.crosslingual"),
    ("mm_kptm.adaptation",),
    ("mm_kptm.train",),
    ("mm_kptm.recipes",),  # those of the core, whose key maps the wings' recipes build upon
    ("mm_kptm.models", "mm_kptm.objectives"),
    ("mm_kptm.nn",),
    ("mm_kptm.systems",),
    ("mm_kptm.report",),
    ("mm_kptm.data.formats",),
    ("mm_kptm.data.tokenizers", "mm_kptm.data.masking"),
    ("mm_kptm.data",),
    ("mm_kptm.io", "mm_kptm.batch", "mm_kptm.config", "mm_kptm.random_streams"),
    ("mm_kptm.errors", "mm_kptm.lazy", "mm_kptm.walking"),
)


ROOMS = {room: height for height, rooms in enumerate(reversed(FLOORS)) for room in rooms}
# The front door opens lazily onto these rooms: what is taken from it counts as taken from there.
DOOR = "mm_kptm"
BEHIND_THE_DOOR = {
    "mm_kptm": "mm_kptm.systems.pretrained",
    "mm_kptm.build": "mm_kptm.systems.pretrained",
    "mm_kptm.load": "mm_kptm.systems.pretrained",
    "mm_kptm.save": "mm_kptm.systems.saved",
    "mm_kptm.catalogue": "mm_kptm.systems.discovery",
}
# The recipes of a wing belong to it.
WINGS = ("knowledge", "vision", "crosslingual")


def room_of(module: str) -> str | None:
    """The room that a module is in; None for the front door and for names that are no module of the house."""
    inside = [room for room in ROOMS if module == room or module.startswith(room + ".")]
    return max(inside, key=len, default=None)


def wing_of(room: str) -> str | None:
    parts = room.split(".")
    return parts[1] if len(parts) > 1 and parts[1] in WINGS else None


def imports_of(module: str, source: str, *, package: bool) -> Iterator[tuple[int, str]]:
    """The line and full name of everything of the house that a module imports, wherever the statement stands."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            up = module.split(".")[: None if package and node.level == 1 else -(node.level - package)]
            base = ".".join([*up, *([node.module] if node.module else [])]) if node.level else (node.module or "")
            yield from ((node.lineno, f"{base}.{alias.name}") for alias in node.names)


def trespasses(module: str, source: str, *, package: bool = False) -> list[str]:
    """Every import of a module that leads up, to a neighbour, or into another wing."""
    here = room_of(module)
    if here is None:
        return [] if module == DOOR else [f"{module} is in no room of the house"]
    found = []
    for line, name in imports_of(module, source, package=package):
        there = room_of(BEHIND_THE_DOOR.get(name, name))
        if there is None or there == here:
            continue
        up, neighbour = ROOMS[there] > ROOMS[here], ROOMS[there] == ROOMS[here]
        other_wing = wing_of(here) and wing_of(there) and wing_of(here) != wing_of(there)
        if up or neighbour or other_wing:
            found.append(f"{module}, line {line}: {here} imports {name}")
    return found


def modules() -> Iterator[tuple[str, Path]]:
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
        yield ".".join(parts[:-1] if parts[-1] == "__init__" else parts), path


def test_no_import_leads_up_or_sideways():
    found = [
        trespass
        for module, path in modules()
        for trespass in trespasses(module, path.read_text(encoding="utf-8"), package=path.name == "__init__.py")
    ]
    assert found == []


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("mm_kptm.nn.attention", "from mm_kptm.models import single"),
        ("mm_kptm.nn.attention", "def f():\n    import mm_kptm.train.loop"),
        ("mm_kptm.models.single", "from mm_kptm.objectives.tokens import MaskedTokens"),
        ("mm_kptm.vision.modules.embeddings", "from mm_kptm.knowledge.injection.sentence_tree import visible"),
        ("mm_kptm.vision.recipes.uniter", "from mm_kptm.knowledge.injection.sentence_tree import visible"),
        ("mm_kptm.vision.modules.embeddings", "from mm_kptm.vision.recipes import uniter"),
        ("mm_kptm.nn.steps", "from ..models.single import SingleStream"),
        ("mm_kptm.nn.steps", "from .. import models"),
        ("mm_kptm.experiment.settings", "from mm_kptm import cli"),
        ("mm_kptm.batch", "from mm_kptm.config import read"),
        ("mm_kptm.batch.rows", "from mm_kptm import load"),
        ("mm_kptm.data.sampler", "import mm_kptm"),
        ("mm_kptm.attic", "import os"),
    ],
)
def test_a_planted_trespass_is_found(module, source):
    assert len(trespasses(module, source)) == 1


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("mm_kptm.models.single", "from mm_kptm.nn.attention import Attention"),
        ("mm_kptm.vision.recipes.uniter", "from mm_kptm.vision.modules.embeddings import RegionEmbedding"),
        (
            "mm_kptm.knowledge.injection.sentence_tree",
            "from mm_kptm.batch import Tokens\nfrom mm_kptm.errors import UserError",
        ),
        ("mm_kptm.nn.steps", "from .attention import Attention\nfrom . import ragged"),
        ("mm_kptm.systems.pretrained", "from mm_kptm import __version__\nimport torch"),
        ("mm_kptm.cli.runs", "from mm_kptm import experiment\nimport mm_kptm"),
    ],
)
def test_an_import_that_leads_down_is_allowed(module, source):
    assert trespasses(module, source) == []


def test_a_package_resolves_its_own_relative_imports():
    assert trespasses("mm_kptm.models", "from .single import SingleStream", package=True) == []
    assert trespasses("mm_kptm.models", "from ..objectives import tokens", package=True) != []
