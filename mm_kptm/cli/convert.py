"""The verb convert: official checkpoint to saved folder of this suite."""

from __future__ import annotations

import argparse
from pathlib import Path

from mm_kptm.errors import UserError


def add_verbs(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the verb to the parser."""
    convert = verbs.add_parser("convert", help="turn an official checkpoint into a folder of this suite")
    convert.description = "Every published parameter is renamed, or left behind for a stated reason, or reported."
    convert.add_argument("recipe", metavar="RECIPE", help="a system from `mm-kptm list systems`")
    convert.add_argument("checkpoint", type=Path, metavar="CHECKPOINT", help="a file, or a folder with config.json")
    convert.add_argument("out", type=Path, nargs="?", metavar="OUT", help="the folder to write")
    convert.add_argument("--dry-run", action="store_true", help="print what goes where, and write nothing")
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
    system = mm_kptm.load(options.recipe, options.checkpoint)
    with atomic_folder(options.out) as temporary:
        mm_kptm.save(system, temporary)
    print(options.out)
    return 0


def _dry_run(options: argparse.Namespace) -> int:
    import mm_kptm
    from mm_kptm.systems.pretrained import translated

    translation = translated(options.recipe, options.checkpoint)
    for theirs, ours in translation.placed.items():
        print(f"{theirs} -> {ours}")
    for theirs, reason in translation.left.items():
        print(f"{theirs} stays behind: {reason}")
    for theirs in translation.strangers:
        print(f"{theirs} has no rule")
    mm_kptm.load(options.recipe, options.checkpoint)
    print(f"{len(translation.placed)} placed, {len(translation.left)} left behind; the checkpoint fits")
    return 0
