"""Run folders as an experiment leaves them, small and made up from a seed."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from mm_kptm.report import Box, Fact, GalleryExample, Token, picture, write_gallery

TYPES = ("colour-of", "count", "left-of", "owner-of")
LANGUAGES = ("de", "en", "es", "fr", "zh")
ASKED = {
    "de": "Wem gehört die rote Zahl?",
    "en": "Who owns the red number?",
    "es": "¿De quién es el número rojo?",
    "fr": "À qui appartient le nombre rouge ?",
    "zh": "红色的数字属于谁?",
}
Maker = Callable[..., Path]


def make_run(folder: Path, *, seed: int = 0, accuracy: float = 0.8, scenes: int = 60, arm: str = "true facts") -> Path:
    """Write a run folder whose answers are right with about the given chance, scene by scene."""
    generator = np.random.default_rng(seed)
    (folder / "predictions").mkdir(parents=True)
    (folder / "config.yaml").write_text(f"tier: tiny\nknowledge: {arm}\ntrain:\n  seed: {seed}\n  steps: 300\n")
    (folder / "environment.json").write_text(json.dumps({"python": "3.11", "torch": "2.10"}, indent=1))
    lines: list[dict[str, object]] = []
    for step in range(10, 301, 10):
        far = 1 - np.exp(-step / 90)
        loss = 3.2 * (1 - far * accuracy) + generator.normal(0, 0.05)
        lines.append({"step": step, "split": "train", "loss": loss, "lr": 1e-3 * step / 300, "rows_per_s": 9000.0})
        if step % 50 == 0:
            lines.append({"step": step, "split": "dev", "loss": loss + 0.1, "accuracy": far * accuracy, "n": 500})
    (folder / "metrics.jsonl").write_text("\n".join(map(json.dumps, lines)) + "\n")
    answers = []
    for scene in range(scenes):
        ease = generator.beta(accuracy * 6, (1 - accuracy) * 6)
        for number in range(4):
            right = bool(generator.random() < ease)
            target = str(generator.integers(0, 30))
            answers.append(
                {
                    "id": f"{scene}-{number}",
                    "type": TYPES[number],
                    "language": LANGUAGES[(scene + number) % 5],
                    "group": f"scene-{scene}",
                    "answer": target if right else str(generator.integers(30, 60)),
                    "target": target,
                    "correct": int(right),
                }
            )
    (folder / "predictions" / "test.jsonl").write_text("\n".join(map(json.dumps, answers)) + "\n")
    baselines = {"test": {"chance": 0.03, "majority": 0.11, "question-only": 0.24}}
    (folder / "baselines.json").write_text(json.dumps(baselines))
    write_gallery(folder / "examples" / "test.json", [example(number, generator) for number in range(5)])
    return folder


def example(number: int, generator: np.random.Generator) -> GalleryExample:
    """A scene of three bright patches on noise, with the attention of a model that looks at one of them."""
    pixels = generator.integers(0, 60, size=(64, 112, 3), dtype=np.uint8)
    weights = generator.dirichlet([0.4, 0.4, 0.4])
    boxes = []
    for place, weight in enumerate(weights):
        left, top = 6 + 36 * place, int(generator.integers(4, 36))
        pixels[top : top + 20, left : left + 24] = generator.integers(90, 255, size=3, dtype=np.uint8)
        corners = (left / 112, top / 64, (left + 24) / 112, (top + 20) / 64)
        boxes.append(Box(corners, str(generator.integers(0, 100)), float(weight)))
    language = LANGUAGES[number % 5]
    pieces = list(ASKED[language]) if language == "zh" else ASKED[language].split()
    right = number % 3 != 1
    return GalleryExample(
        id=f"test-{number}",
        image=picture(pixels),
        width=112,
        height=64,
        question=ASKED[language],
        answer="Mara" if right else "Otto",
        target="Mara",
        correct=float(right),
        language=language,
        type="owner-of",
        boxes=tuple(boxes),
        facts=tuple(
            Fact(box.label, "owner", name, place == 0)
            for place, (box, name) in enumerate(zip(boxes, ("Mara", "Otto", "Lin"), strict=True))
        ),
        tokens=tuple(
            Token(piece, float(share))
            for piece, share in zip(pieces, generator.dirichlet([0.6] * len(pieces)), strict=True)
        ),
    )


@pytest.fixture
def run_folder(tmp_path: Path) -> Path:
    return make_run(tmp_path / "first")


@pytest.fixture
def maker() -> Maker:
    """`make_run`, for tests that need several."""
    return make_run
