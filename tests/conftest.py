"""Options of the whole suite; a small world to ask about, and small systems to ask."""

from collections.abc import Callable, Sequence

import pytest

import mm_kptm
from mm_kptm.random_streams import RandomStream
from mm_kptm.suites.number_world.datasets import sources as number_world
from mm_kptm.suites.number_world.generator.facts import Worlds, draw_worlds
from mm_kptm.suites.number_world.generator.lexicon import answers as labels
from mm_kptm.suites.number_world.generator.scene import FEATURES
from mm_kptm.systems.system import System
from mm_kptm.tasks.vision.vqa import VQA

NUMBERS = 20


@pytest.fixture(scope="session")
def answers() -> tuple[str, ...]:
    return labels(NUMBERS)


@pytest.fixture(scope="session")
def worlds() -> Worlds:
    return draw_worlds(RandomStream(0), numbers=NUMBERS)


@pytest.fixture
def reader(answers: Sequence[str]) -> Callable[..., System]:
    """Builds a small UNITER that reads Number World, with its published head for the answers unless told otherwise."""

    def build(**sizes: object) -> System:
        heads = sizes.pop("heads", VQA.heads(mm_kptm.catalogue()["uniter-base"], len(answers)))
        small = {"dim": 32, "num_heads": 2, "num_layers": 2, "ffn_dim": 64, "max_positions": 64, "dropout": 0.0}
        vocab_size = len(number_world.tokenizer())
        return mm_kptm.build(
            "uniter", heads=heads, seed=0, **{**small, "vocab_size": vocab_size, "region_dim": FEATURES, **sizes}
        )

    return build


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--golden-root",
        default=None,
        help="folder of golden cases, <root>/<system>/<case>, in place of tests/golden/data",
    )
