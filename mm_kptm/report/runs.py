"""Reading of run folders: measurements by step, predictions by example, config and records."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from mm_kptm.config import document
from mm_kptm.errors import UserError
from mm_kptm.io import manifest
from mm_kptm.io.records import Json, Record, read_json, read_lines
from mm_kptm.io.text_lines import read_text
from mm_kptm.report.gallery import GalleryExample, read_gallery

EXAMPLES = "examples"  #: folder of the recorded examples, a file a split


@dataclass(frozen=True)
class Measurement:
    """Metrics of one split at one step."""

    step: int
    split: str
    values: Mapping[str, float]


@dataclass(frozen=True)
class Prediction:
    """Predicted answer of a run to one example, with its score."""

    id: str
    answer: str
    target: str
    correct: float | None  #: between 0 and 1; None where the example has no gold answer
    group: str  #: scene or world shared with other examples; else its own id
    type: str = ""
    language: str = ""
    memorised: float | None = None  #: score by the true facts, where other facts were injected


@dataclass(frozen=True)
class Run:
    """Contents of a run folder. ``tier`` is empty and ``seed`` None where the config names none."""

    name: str
    folder: Path
    tier: str
    seed: str | None
    config: str  #: text of config.yaml
    settings: Mapping[str, Json]  #: parsed config.yaml
    records: Mapping[str, str]  #: texts of environment.json and data.json, by file name
    measurements: tuple[Measurement, ...]
    predictions: Mapping[str, tuple[Prediction, ...]]  #: by split
    baselines: Mapping[str, Mapping[str, float]]  #: by split, then by name
    examples: Mapping[str, tuple[GalleryExample, ...]] = field(default_factory=dict)  #: recorded ones, by split


def read_run(folder: Path) -> Run:
    """Read a run folder; ``metrics.jsonl`` or a predictions file is required, the rest optional."""
    if not folder.is_dir():
        raise UserError(f"a report on {folder} was asked for, but there is no such folder")
    metrics = folder / "metrics.jsonl"
    predictions = {path.stem: _predictions(path) for path in sorted((folder / "predictions").glob("*.jsonl"))}
    if not metrics.exists() and not predictions:
        raise UserError(
            f"{folder} holds nothing to report: neither metrics.jsonl nor predictions/*.jsonl nor arms.json; "
            "name a run folder, or the folder of a comparison"
        )
    _check_weights(folder / "checkpoints")
    config = folder / "config.yaml"
    text = read_text(config, "YAML", allow_empty=True) if config.exists() else ""
    settings = _settings(config, text)
    tier, seed = _named(settings, "tier"), _named(settings, "seed")
    return Run(
        name=folder.resolve().name,
        folder=folder,
        tier="" if tier is None else tier,
        seed=seed,
        config=text,
        settings=settings,
        records={
            name: read_text(folder / name, "JSON", allow_empty=True)
            for name in ("environment.json", "data.json")
            if (folder / name).exists()
        },
        measurements=_measurements(metrics) if metrics.exists() else (),
        predictions=predictions,
        baselines=_baselines(folder / "baselines.json") if (folder / "baselines.json").exists() else {},
        examples={path.stem: read_gallery(path) for path in sorted((folder / EXAMPLES).glob("*.json"))},
    )


def _check_weights(checkpoints: Path) -> None:
    """Refuse a run whose last checkpoint is damaged: what it measured cannot be measured again."""
    if not (checkpoints / "latest").is_file():
        return
    name = read_text(checkpoints / "latest", "the name of a checkpoint").strip()
    if name in (path.name for path in checkpoints.iterdir() if path.is_dir()):
        manifest.verify(checkpoints / name, required=("model.safetensors",), way_out="name a run that is whole")


def _measurements(path: Path) -> tuple[Measurement, ...]:
    """Measurements in order of step; if a resumed run logged a step twice, the later line counts."""
    found: dict[tuple[int, str], dict[str, float]] = {}
    for line in read_lines(path, allow_empty=True):
        step, split = line.count("step"), line.text("split")
        numbers = {
            key: float(value)
            for key, value in line.values.items()
            if key != "step" and isinstance(value, int | float) and not isinstance(value, bool)
        }
        # a diverged loss leaves a gap in the curve
        found[step, split] = {key: value for key, value in numbers.items() if abs(value) < float("inf")}
    return tuple(Measurement(step, split, values) for (step, split), values in sorted(found.items()))


def _predictions(path: Path) -> tuple[Prediction, ...]:
    found: dict[str, Prediction] = {}
    for line in read_lines(path, allow_empty=True):
        name = line.text("id")
        if name in found:
            raise UserError(f"{line.place}: the id '{name}' was predicted before in this file; ids must differ")
        found[name] = Prediction(
            id=name,
            answer=line.text("answer", ""),
            target=line.text("target", ""),
            correct=_correct(line),
            group=line.text("group", name),
            type=line.text("type", ""),
            language=line.text("language", ""),
            memorised=line.share("memorised") if "memorised" in line.values else None,
        )
    if not found:
        raise UserError(f"{path} holds no prediction; write one JSON object a line, or remove the file")
    return tuple(found.values())


def _correct(line: Record) -> float | None:
    """How right an answer is; a line with neither ``correct`` nor ``target`` is of an example without a gold answer."""
    right = line.values.get("correct")
    if isinstance(right, bool):
        return float(right)
    return None if right is None and not line.has("target") else line.share("correct")


def _baselines(path: Path) -> dict[str, dict[str, float]]:
    by_split = Record.of(read_json(path), str(path))
    return {
        split: {name: named.share(name) for name in named.values}
        for split, named in ((split, Record.of(value, f"{path}, {split}")) for split, value in by_split.values.items())
    }


def _settings(path: Path, text: str) -> Mapping[str, Json]:
    tree = document.parsed(text, path)
    return Record.of({} if tree is None else document.flat(tree), str(path)).values


def _named(settings: Mapping[str, Json], key: str) -> str | None:
    """Setting of that name at the shallowest level of a nested config."""
    if isinstance(found := settings.get(key), str | int | float):
        return str(found)
    deeper = (_named(value, key) for value in settings.values() if isinstance(value, dict))
    return next((found for found in deeper if found is not None), None)
