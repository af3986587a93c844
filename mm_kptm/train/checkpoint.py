"""Atomic checkpoints: written under a temporary name, synced to disk, then renamed.

A run folder holds ``checkpoints/step-00000100/`` with ``model.safetensors`` (weights), ``trainer.pt`` (optimiser and
sampler state; loads with ``weights_only=True``), ``shards/`` (weights and optimiser state of sharded runs), extra files
of the caller (a config), and ``manifest.json`` with the size and SHA-256 of each. ``checkpoints/latest`` and
``checkpoints/best`` are text files with the name of one of these folders.
"""

from __future__ import annotations

import io
import json
import pickle
import re
import shutil
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import TypedDict, cast

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from mm_kptm.data.sampler import SamplerState
from mm_kptm.errors import UserError
from mm_kptm.io import manifest
from mm_kptm.io.atomic import TEMPORARY, sync, write_text, writing
from mm_kptm.io.records import Record, parse_json
from mm_kptm.io.tensors import Memory, host_copy, memory_of, write_tensors
from mm_kptm.io.text_lines import is_count, read_text
from mm_kptm.train.optim import OptimizerState

WEIGHTS = "model.safetensors"
TRAINER = "trainer.pt"
_NAME = re.compile(r"step-\d{8,}")


class Best(TypedDict):
    """Best value so far of the monitored measure, and its step."""

    value: float
    step: int


class ScaledState(TypedDict, total=False):  # NotRequired is not seen under postponed annotations
    """State of a run in fp16."""

    scaler: Mapping[str, float]  #: of the loss


class TrainerState(ScaledState):
    """State besides the weights that an exact resume needs."""

    step: int
    sampler: SamplerState
    optimizer: OptimizerState | None  #: None: stored in the shards
    window: list[float]  #: losses since the last log line
    best: Best | None


class Checkpoints:
    """Checkpoints of one run folder.

    Args:
        run: the run folder.
        background: whether :meth:`finish` returns when what it writes is copied to the memory of the host, and a thread
            writes it. A process that is killed meanwhile leaves the checkpoint before it.
    """

    def __init__(self, run: Path, *, background: bool = False) -> None:
        self.folder = run / "checkpoints"
        self._thread = ThreadPoolExecutor(1, "checkpoints") if background else None
        self._queued: list[Future[None]] = []

    def do(self, action: Callable[[], None]) -> None:
        """Act now, or behind what the thread has to write."""
        if self._thread is None:
            action()
        else:
            self._queued.append(self._thread.submit(action))

    def wait(self) -> None:
        """Wait until everything is written; what failed in the thread fails here."""
        queued, self._queued = self._queued, []
        for one in queued:
            one.result()

    def save(self, weights: Mapping[str, Tensor], trainer: TrainerState, extra: Mapping[str, str]) -> Path:
        """Write a checkpoint and point ``latest`` at it; if interrupted, the previous one stays valid."""
        draft = self.draft(trainer["step"])
        self.begin(draft)
        return self.finish(draft, weights, trainer, extra)

    def draft(self, step: int) -> Path:
        """Temporary folder of a checkpoint that is being written."""
        return self.folder / f".draft-{_name(step)}"

    def begin(self, draft: Path) -> None:
        """Create the temporary folder of a checkpoint, once the one before is written."""
        self.wait()
        self.folder.mkdir(parents=True, exist_ok=True)
        self._sweep()
        draft.mkdir()

    def finish(
        self, draft: Path, weights: Mapping[str, Tensor], trainer: TrainerState, extra: Mapping[str, str]
    ) -> Path:
        """Write the remaining files, rename the folder and point ``latest`` at it; returns where it will be."""
        if self._thread is not None:
            weights, trainer = host_copy((weights, trainer))
        final = self.folder / _name(trainer["step"])
        self.do(partial(self._finish, draft, final, weights, trainer, extra))
        return final

    def _finish(
        self, draft: Path, final: Path, weights: Mapping[str, Tensor], trainer: TrainerState, extra: Mapping[str, str]
    ) -> None:
        write_weights(weights, draft / WEIGHTS)
        _write_trainer(trainer, draft / TRAINER)
        for name, text in extra.items():
            write_text(draft / name, text)
        manifest.seal(draft)
        self._discard(final)  # exists if the run was resumed from an older checkpoint
        draft.rename(final)
        sync(self.folder)
        self.point("latest", final)

    def point(self, pointer: str, checkpoint: Path) -> None:
        """Point ``latest`` or ``best`` at a checkpoint, atomically."""
        write_text(self.folder / pointer, checkpoint.name + "\n")

    def find(self, pointer: str) -> Path | None:
        """Path of the checkpoint that ``latest`` or ``best`` names; None if none was saved.

        Where ``latest`` is lost, the newest checkpoint that is whole.

        Raises:
            UserError: the pointer names no checkpoint, or it is lost and no checkpoint is whole.
        """
        file = self.folder / pointer
        if not file.is_file():
            return self._newest_whole() if pointer == "latest" else None
        name = read_text(file, "the name of a checkpoint", allow_empty=True).strip()
        checkpoint = self.folder / name
        if name not in self._names():
            there = ", ".join(self._names()) or "none"
            raise UserError(f"{file} names the checkpoint {name!r}, which is not there; checkpoints that are: {there}")
        return checkpoint

    def _newest_whole(self) -> Path | None:
        refusal: UserError | None = None
        for name in reversed(self._names()):
            try:
                verify(self.folder / name)
            except UserError as error:
                refusal = refusal or error
            else:
                return self.folder / name
        if refusal is not None:
            raise refusal
        return None

    def named(self, word: str) -> Path:
        """Path of the checkpoint that ``last``, ``best`` or a number of steps names.

        Raises:
            UserError: there is no such checkpoint.
        """
        there = ", ".join(str(int(name.removeprefix("step-"))) for name in self._names()) or "none"
        if word in ("last", "best"):
            if (found := self.find("latest" if word == "last" else word)) is not None:
                return found
            reason = "; train.monitor names the measure by which one is kept" if word == "best" else ""
            raise UserError(f"{self.folder.parent} has no {word} checkpoint{reason}; steps with one: {there}")
        if not (is_count(word)):
            raise UserError(f"checkpoint is {word!r} but must be last, best or the number of a step; there are {there}")
        if not (checkpoint := self.folder / _name(int(word))).is_dir():
            raise UserError(f"{self.folder.parent} has no checkpoint of step {int(word)}; there are {there}")
        return checkpoint

    def prune(self, keep: int) -> None:
        """Remove all but the ``keep`` newest checkpoints and those that ``latest`` and ``best`` name."""
        named = {self.find("latest"), self.find("best")}
        for name in self._names()[:-keep]:
            if self.folder / name not in named:
                self._discard(self.folder / name)

    def rewind(self, step: int, best: Best | None, keep: int | None = None) -> None:
        """Remove checkpoints after ``step``, which a run resumed there writes again, and those that a kill left over.

        Args:
            step: of the checkpoint that the run goes on from.
            best: of that checkpoint.
            keep: as :meth:`prune`; None keeps older checkpoints.
        """
        self._sweep()
        for name in self._names():
            if name > _name(step):
                self._discard(self.folder / name)
        if best is not None:
            self.point("best", self.folder / _name(best["step"]))
        else:
            (self.folder / "best").unlink(missing_ok=True)
        if keep is not None:
            self.prune(keep)

    def _names(self) -> list[str]:
        """Names of the checkpoints, the oldest first."""
        return sorted(path.name for path in self.folder.glob("step-*") if _NAME.fullmatch(path.name) and path.is_dir())

    def _discard(self, checkpoint: Path) -> None:
        """Remove a checkpoint atomically."""
        if checkpoint.is_dir():
            trash = self.folder / f".draft-old-{checkpoint.name}"
            checkpoint.rename(trash)
            shutil.rmtree(trash)

    def _sweep(self) -> None:
        """Remove leftovers of killed processes."""
        for path in (*self.folder.glob(".draft-*"), *self.folder.glob(f".*{TEMPORARY}")):
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink()


def verify(checkpoint: Path) -> None:
    """Verify every file of a checkpoint against its manifest.

    Raises:
        UserError: the manifest is missing, broken or does not cover weights and trainer state; a file is missing,
            damaged or was added. The message names it.
    """
    way_out = f"name another checkpoint in {checkpoint.parent / 'latest'} or start a new run"
    manifest.verify(checkpoint, required=(WEIGHTS, TRAINER), way_out=way_out)


def load_trainer(checkpoint: Path) -> TrainerState:
    """Load the trainer state of a verified checkpoint."""
    file = checkpoint / TRAINER
    try:
        state = torch.load(file, map_location="cpu", weights_only=True)
        return _trainer_state(state)
    except (OSError, RuntimeError, pickle.UnpicklingError, EOFError, LookupError, TypeError, ValueError) as error:
        raise UserError(f"{file} holds no state of a trainer; resume from a checkpoint that training wrote") from error


def _trainer_state(state: object) -> TrainerState:
    """Check the shape of a loaded trainer state; ``TypeError`` or ``LookupError`` for another one."""
    # annotations are texts here, so the class takes every key for a required one
    if not isinstance(state, dict) or not TrainerState.__required_keys__ - {"scaler"} <= state.keys():
        raise TypeError
    sampler, best = state["sampler"], state["best"]
    if not isinstance(sampler, dict) or not SamplerState.__required_keys__ <= sampler.keys():
        raise TypeError
    if not isinstance(state["step"], int) or not isinstance(state["window"], list):
        raise TypeError
    if not (state["optimizer"] is None or isinstance(state["optimizer"], dict)):
        raise TypeError
    if not (best is None or (isinstance(best, dict) and best.keys() >= Best.__required_keys__)):
        raise TypeError
    return cast(TrainerState, state)


def _write_trainer(state: TrainerState, file: Path) -> None:
    """Write the trainer state by way of memory, so that a full disk is an ``OSError`` and not an error of torch."""
    content = io.BytesIO()
    torch.save(dict(state), content)
    with writing(file):
        file.write_bytes(content.getbuffer())


def load_weights(checkpoint: Path, model: nn.Module) -> None:
    """Load the weights of a checkpoint into ``model``; ``UserError`` if names or shapes differ."""
    file = checkpoint / WEIGHTS
    weights = read_weights(file)
    expected = model.state_dict()
    check_fit(file, _sizes(weights), _sizes(expected))
    model.load_state_dict(weights)


def check_fit(file: Path, there: Mapping[str, torch.Size], here: Mapping[str, torch.Size]) -> None:
    """Compare names and shapes in ``file`` with those of a model; ``UserError`` on a difference."""
    missing = sorted(here.keys() - there.keys())
    unexpected = sorted(there.keys() - here.keys())
    if missing or unexpected:
        raise UserError(
            f"{file} does not fit this model: it lacks {_some(missing)} and has {_some(unexpected)} besides; "
            "build the model from the config beside the checkpoint"
        )
    for name, shape in there.items():
        if shape != here[name]:
            raise UserError(
                f"{file} does not fit this model: {name} is {list(shape)} there and {list(here[name])} here; build the "
                "model from the config beside the checkpoint"
            )


def write_weights(weights: Mapping[str, Tensor], file: Path) -> None:
    """Write named tensors as safetensors; tied tensors are stored once, under their first name."""
    first: dict[Memory, str] = {}
    stored: dict[str, Tensor] = {}
    tied: dict[str, str] = {}
    for name, tensor in weights.items():
        stored_name = first.setdefault(memory_of(tensor), name) if tensor.numel() else name
        if stored_name != name:
            tied[name] = stored_name
        else:
            whole = tensor.untyped_storage().nbytes() == tensor.numel() * tensor.element_size()
            stored[name] = tensor.detach().cpu().contiguous() if whole else tensor.detach().cpu().contiguous().clone()
    # one metadata entry only: the library writes several in any order, but files must be reproducible
    write_tensors(file, stored, metadata={"tied": json.dumps(tied)})


def read_weights(file: Path) -> dict[str, Tensor]:
    """Read the named tensors of a safetensors file, tied ones under each of their names."""
    try:
        with safe_open(file, framework="pt") as archive:
            weights = {name: archive.get_tensor(name) for name in archive.keys()}  # noqa: SIM118 (it is no mapping)
            metadata = archive.metadata() or {}
    except (OSError, SafetensorError) as error:
        raise UserError(
            f"{file} cannot be read as safetensors ({error}); it is missing, cut short or of another kind"
        ) from error
    tied = Record.of(parse_json(metadata.get("tied", "{}"), f"{file}, names of tied tensors"), f"{file}, tied").values
    if lacking := [stored for stored in tied.values() if not isinstance(stored, str) or stored not in weights]:
        raise UserError(f"{file} ties a tensor to {lacking[0]!r}, which it does not hold; write it again")
    return weights | {name: weights[str(stored)] for name, stored in tied.items()}


def _sizes(tensors: Mapping[str, Tensor]) -> dict[str, torch.Size]:
    return {name: tensor.shape for name, tensor in tensors.items()}


def _name(step: int) -> str:
    return f"step-{step:08d}"


def _some(names: list[str]) -> str:
    shown = ", ".join(names[:3])
    return (f"{shown} and {len(names) - 3} more" if len(names) > 3 else shown) or "nothing"
