"""Run folders: train, resume, evaluate.

A folder holds ``config.yaml`` (resolved), ``environment.json``, ``data.json`` (hashes), ``metrics.jsonl``, TensorBoard
``events/``, ``checkpoints/``, ``model/`` (what :func:`mm_kptm.load` opens, with what knowledge put around the encoder),
``predictions/<split>.jsonl``, ``examples/<split>.json`` for the report, ``baselines.json``, and ``coverage.json`` where
examples carry facts.
"""

from __future__ import annotations

import json
import shutil
import sys
import warnings
from collections import defaultdict
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from functools import partial
from pathlib import Path

import numpy as np

from mm_kptm import config
from mm_kptm.datasets.settings import TextSettings
from mm_kptm.errors import UserError, UserNotice, notice
from mm_kptm.experiment import coverage
from mm_kptm.experiment.build import Built, build
from mm_kptm.experiment.defaults import said_of, with_defaults
from mm_kptm.experiment.examples import write_examples
from mm_kptm.experiment.locations import CARRIED, missing, relocated
from mm_kptm.experiment.run_state import CONFIG, DATA, MODEL, refuse_links, settled
from mm_kptm.experiment.settings import Experiment
from mm_kptm.experiment.visual.feature_contract import check_contract, write_contract
from mm_kptm.io.atomic import sweep, write_json, write_text
from mm_kptm.io.lock import LOCK, locked
from mm_kptm.io.records import Record, read_json
from mm_kptm.report.statistics import bootstrap
from mm_kptm.systems.discovery import find
from mm_kptm.systems.model_card import Measured
from mm_kptm.systems.plugin_files import check_plugins, record_plugins
from mm_kptm.systems.saved import read_saved, record_result, save, tokenizer_of
from mm_kptm.tasks.example import Row
from mm_kptm.tasks.knowledge_use import use_of
from mm_kptm.tasks.protocol import write_predictions
from mm_kptm.tasks.stored_rows import StoredRows
from mm_kptm.train.checkpoint import Checkpoints, load_weights, verify
from mm_kptm.train.evaluation import evaluate as measure
from mm_kptm.train.loop import fit
from mm_kptm.train.parallel.processes import barrier, is_main_process, start
from mm_kptm.train.precision import matmul_precision
from mm_kptm.train.protocol import module_of

BASELINES, COVERAGE = "baselines.json", "coverage.json"
_SHOWN = 5  #: labels that training never saw, in the notice


def train(
    settings: Experiment, folder: Path, *, resume: bool = False, overwrite: bool = False, progress: bool = True
) -> Built:
    """Train an experiment in ``folder``, or resume it there exactly where it stopped.

    With ``overwrite``, a run that is there is removed once the new one is built. Must be called by every process of a
    launch; the first one writes.

    Raises:
        UserError: the settings do not fit together, a file is missing or malformed, or the folder holds other data.
    """
    start()
    refuse_links(folder)
    with locked(folder) if is_main_process() else nullcontext():
        return _train(settings, folder, resume=resume, overwrite=overwrite, progress=progress)


def _train(settings: Experiment, folder: Path, *, resume: bool, overwrite: bool, progress: bool) -> Built:
    asked, settings = settings, with_defaults(settings)
    built = build(settings)
    untrained = settings.train.steps == 0 and "train" not in built.prepared.sources
    source = built.source(next(iter(built.prepared.sources))) if untrained else built.training
    evaluated = {"dev": built.source("dev")} if "dev" in built.prepared.sources else {}
    if overwrite:
        if is_main_process():
            remove_run(folder)
        barrier()
    _check_data(folder / DATA, built.prepared.fingerprints)
    check_contract(settings, folder)
    covered = coverage.measured_coverage(settings, built)
    if is_main_process():
        sweep(folder)
        if progress and (said := said_of(asked, settings)) is not None:
            print(f"{settings.name}: {said}", file=sys.stderr)
        if covered:
            names = coverage.name_coverage(built.prepared)
            write_json(folder / COVERAGE, coverage.as_record(covered, names), indent=1)
            if progress:
                coverage.announce(settings.name, covered, names)
        record_plugins(folder)
        write_text(folder / CONFIG, config.dump(settings))
        write_json(folder / DATA, dict(built.prepared.fingerprints), indent=1, ascii_only=True)
        write_contract(settings, folder)
    fitted = fit(
        built.model,
        source,
        settings.train,
        folder,
        evaluate=evaluated,
        resume=resume,
        extra={CONFIG: config.dump(settings), DATA: json.dumps(dict(built.prepared.fingerprints), indent=1) + "\n"},
        label=settings.name,
        progress=progress,
        hyperparameters=config.leaves(settings),
    )
    if is_main_process():
        if "train" in built.prepared.sources and (left_out := built.prepared.skipped("train")):
            count = "1 example of train was" if len(left_out) == 1 else f"{len(left_out)} examples of train were"
            notice(f"{count} skipped: {left_out}")
        _give_tokenizer(built, settings)
        save(
            built.system,
            folder / MODEL,
            task=settings.task if built.own else None,
            own=built.own,
            training={"experiment": settings.name, "seed": settings.train.seed, "steps": fitted.step},
        )
        write_contract(settings, folder / MODEL)
    return built


def remove_run(folder: Path) -> None:
    """Remove the files of a run folder, its config last, so that it stays known as one until then.

    Raises:
        UserError: the folder holds something and is no run folder.
    """
    inside = [path for path in folder.iterdir() if path.name != LOCK] if folder.is_dir() else []
    there = sorted(inside, key=lambda path: path.name == CONFIG)
    if there and there[-1].name != CONFIG:
        raise UserError(f"{folder} is not overwritten: it is no run folder (it has no {CONFIG}); remove it yourself")
    for path in there:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()


def _give_tokenizer(built: Built, settings: Experiment) -> None:
    """Let a saved system that reads text have the tokenizer of its data, where these lie in files."""
    if isinstance(data := settings.data, TextSettings) and "text" in find(built.system.recipe).reads:
        built.system.tokenizer = tokenizer_of(
            built.system,
            data.vocabulary,
            lowercase=data.lowercase,
            ideographs=data.ideographs,
            segment_words=data.segment_words,
        )


def opened(folder: Path, checkpoint: str = "last") -> tuple[Experiment, Built]:
    """Open a run: its settings, and its model with the weights of a checkpoint (``last``, ``best`` or its step).

    Its files may lie elsewhere by now; see :func:`~mm_kptm.experiment.locations.relocated`.

    Raises:
        UserError: the folder is no run, has no checkpoint yet, or its data have changed or are not there.
    """
    refuse_links(folder)
    check_plugins(folder)
    checkpoints = Checkpoints(folder)
    if checkpoints.find("latest") is None:
        if not (folder / CONFIG).is_file():
            raise UserError(f"{folder} is no run folder: it has no {CONFIG}")
        raise UserError(f"{folder} has no checkpoint yet; go on with `mm-kptm train --resume {folder}`")
    weights = checkpoints.named(checkpoint)
    verify(weights)
    settings, differences = settled(folder, weights)
    for difference in differences:
        warnings.warn(f"{difference}; the checkpoint's own settings are used", UserNotice, stacklevel=2)
    recorded = weights / DATA if (weights / DATA).is_file() else folder / DATA
    settings, other = relocated(settings, folder), relocated(settings, folder, beside=True)
    try:
        built = _built_on(settings, recorded, folder)
    except UserError:
        if config.leaves(other) == config.leaves(settings):
            raise
        settings, built = other, _built_on(other, recorded, folder)
    check_contract(settings, folder)
    load_weights(weights, module_of(built.model))
    return settings, built


def _built_on(settings: Experiment, recorded: Path, folder: Path) -> Built:
    """The model of a run on the data that it was trained with; ``UserError`` where they are missing or others."""
    try:
        built = build(settings)
    except UserError as error:
        raise _with_missing(error, settings, folder) from error
    _check_data(recorded, built.prepared.fingerprints, way_out=f"put what it was trained with into {folder / CARRIED}")
    return built


def _with_missing(error: UserError, settings: Experiment, folder: Path) -> UserError:
    """The error of a run that could not be built, with what to do where a file of it is not here."""
    lost = missing(settings)
    if not lost or not any(str(path) in str(error) for path in lost.values()):
        return error
    return UserError(f"{error}; {folder} was trained with it: put it, or a link to its folder, into {folder / CARRIED}")


def evaluate(run: Path, split: str = "test", *, checkpoint: str = "last") -> dict[str, object]:
    """Evaluate a checkpoint of a run on a split, and write its predictions and baselines.

    The predictions of another checkpoint than the last one lie in a folder of their own,
    ``predictions/step-00000500/<split>.jsonl``, and change no model card. Several processes share the work; the first
    one writes.

    Args:
        run: the run folder.
        split: which examples.
        checkpoint: ``last``, ``best`` by ``train.monitor``, or the number of a step.

    Returns:
        run, split, checkpoint (if another than the last),
        number of examples (and of skipped ones, if any), mean of every measure, official metrics of the
        task, knowledge use (:func:`~mm_kptm.tasks.knowledge_use.use_of`), accuracies by type and language, and
        model-free baselines. Examples without a gold answer are measured by none of them; ``labels`` then says how many
        there are.
    """
    device = start()
    settings, built = opened(run, checkpoint)
    module_of(built.model).to(device)
    checkpoints = Checkpoints(run)
    chosen = checkpoints.named(checkpoint)
    return evaluated(run, settings, built, split, step=None if chosen == checkpoints.named("last") else chosen.name)


def evaluated(
    run: Path, settings: Experiment, built: Built, split: str, *, step: str | None = None
) -> dict[str, object]:
    """As :func:`evaluate`, with the model already built; ``step`` names the checkpoint if it is not the last."""
    source = built.source(split)
    with matmul_precision(settings.train):
        evaluation = measure(
            built.model, source, batch_size=settings.train.batch_size, precision=settings.train.precision
        )
    which = {} if step is None else {"checkpoint": step}
    result: dict[str, object] = {"run": str(run), "split": split, **which, "n": evaluation.n, **evaluation.means}
    rows: Sequence[Row] = ()
    if built.task is not None:
        rows = built.task.predictions(source, batch_size=settings.train.batch_size)
        if is_main_process() and step is None:
            write_examples(run, settings, built, split, rows)
    labelled = rows.where(_is_labelled) if isinstance(rows, StoredRows) else [*filter(_is_labelled, rows)]
    if built.task is not None:
        if len(labelled) < len(rows):
            result["labels"] = _without_labels(len(labelled), len(rows))
        if labelled:
            result["accuracy"] = _mean(labelled)
            result |= built.task.summary(labelled)
            if unseen := built.task.unseen_labels(labelled):
                result["unseen_labels"] = dict(unseen)
                _say_unseen(split, unseen)
            if signatures := built.task.signatures(labelled):
                result["signatures"] = signatures
            result |= use_of(split, labelled, partial(_answered, settings, built))
            for key in ("type", "language"):
                result[f"by_{key}"] = _by(labelled, key)
    if left_out := built.prepared.skipped(split):
        result |= {"left_out": len(left_out), "left_out_by_reason": left_out.most_usual}
    baselines = dict(built.prepared.baselines(split))
    if baselines:
        result["baselines"] = baselines
    if baselines and is_main_process():
        _remember_baselines(run, split, baselines)
    if step is None and labelled and is_main_process() and read_saved(run / MODEL) is not None:
        record_result(run / MODEL, _measured(labelled, split, baselines))
    if built.task is not None and is_main_process():  # the last file, so that a split with predictions is done with
        write_predictions(rows, run / "predictions" / (step or "") / f"{split}.jsonl")
    return result


def _is_labelled(row: Row) -> bool:
    return "correct" in row


def _measured(rows: Sequence[Row], split: str, controls: Mapping[str, float]) -> Measured:
    """The accuracy of predictions with its interval, as the model card shows it."""
    scores, groups = [float(row["correct"]) for row in rows], [row.get("group", row["id"]) for row in rows]
    found = bootstrap(scores, groups, np.random.default_rng(0))
    return Measured("accuracy", split, found.value, found.n, (found.low, found.high), dict(controls))


def _answered(settings: Experiment, built: Built, split: str) -> Sequence[Row]:
    """Predictions on another split, for comparison."""
    if built.task is None:
        raise TypeError(f"{settings.name} has no task that could answer")
    rows = built.task.predictions(built.source(split), batch_size=settings.train.batch_size)
    return [row for row in rows if "correct" in row]


def _without_labels(labelled: int, examples: int) -> str:
    if not labelled:
        return f"none of the {examples} examples has a gold answer, so nothing is measured"
    return f"{labelled} of the {examples} examples have a gold answer, and only they are measured"


def _say_unseen(split: str, unseen: Mapping[str, int]) -> None:
    shown = ", ".join(f"{label!r} on {count}" for label, count in [*unseen.items()][:_SHOWN])
    more = f" and {len(unseen) - _SHOWN} other labels" if len(unseen) > _SHOWN else ""
    notice(f"training never saw some gold labels of {split}, so these examples count as wrong: {shown}{more}")


def _mean(rows: Sequence[Row]) -> float:
    return sum(float(row["correct"]) for row in rows) / len(rows)


def _by(rows: Sequence[Row], key: str) -> dict[str, float]:
    scores: dict[str, list[float]] = defaultdict(list)
    for row in rows:
        scores[str(row[key])].append(float(row["correct"]))
    return {name: sum(scores[name]) / len(scores[name]) for name in sorted(scores)}


def _remember_baselines(run: Path, split: str, scores: Mapping[str, float]) -> None:
    path = run / BASELINES
    known = Record.of(read_json(path), str(path)).values if path.is_file() else {}
    write_json(path, dict(known) | {split: dict(scores)}, indent=1, ascii_only=True)


def _check_data(recorded: Path, fingerprints: Mapping[str, str], way_out: str = "start a new run") -> None:
    """Compare the hashes of the data with recorded ones; ``UserError`` if they differ or the record is broken."""
    if not recorded.is_file():
        return
    began = Record.of(read_json(recorded), str(recorded)).values
    for name in sorted(began.keys() | fingerprints.keys()):
        if began.get(name) != fingerprints.get(name):
            raise UserError(f"{recorded.parent} was trained on other data: {name} has changed since; {way_out}")
