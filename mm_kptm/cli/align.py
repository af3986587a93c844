"""The verb align: the states of one encoder mapped to the space of another (CLBT)."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from mm_kptm.cli.output import add_json, print_json, print_rows
from mm_kptm.errors import UserError

if TYPE_CHECKING:
    from mm_kptm.systems.system import System

TRAINED = ("linear", "feed-forward", "self-attention", "linear-self-attention", "feed-forward-self-attention")
METHODS = {"procrustes": "linear", **{kind: kind for kind in TRAINED}}


def add_verbs(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the verb to the parser."""
    align = verbs.add_parser("align", help="map the states of an encoder to the space of another, by translations")
    align.description = (
        "Fit a map from the last states of SOURCE to those of TARGET on aligned pieces of translations (CLBT), and "
        "write SOURCE with the map behind it and the heads of TARGET, which now read either language. --pieces writes "
        "what fast_align reads; --alignments names what it wrote."
    )
    align.add_argument("source", metavar="SOURCE", help="a run or saved folder of an encoder with its tokenizer")
    align.add_argument("target", metavar="TARGET", help="that of the encoder whose space is learnt")
    align.add_argument("--bitext", type=Path, required=True, metavar="FILE", help="as data.train of multilingual-text")
    align.add_argument("--languages", required=True, metavar="DE-EN", help="of SOURCE and of TARGET, as in de-en")
    align.add_argument("--pieces", type=Path, metavar="FILE", help="write pieces ||| pieces of every pair, and stop")
    align.add_argument("--alignments", type=Path, metavar="FILE", help="i-j ... for every pair, of fast_align")
    align.add_argument("--method", choices=tuple(METHODS), default="procrustes", help="(default: procrustes)")
    align.add_argument(
        "--loss", choices=("squared-distance", "cosine", "margin"), default="squared-distance", help="of a trained map"
    )
    align.add_argument("--policy", choices=("1to1", "first", "mid", "last"), default="1to1", help="(default: 1to1)")
    align.add_argument("--normalise", action="store_true", help="compare vectors of length 1")
    align.add_argument("--epochs", type=int, default=50, metavar="N", help="of a trained map (default: 50)")
    align.add_argument("--max-sentences", type=int, default=20_000, metavar="N", help="pairs read (default: 20000)")
    align.add_argument("--seed", type=int, default=0, metavar="N", help="(default: 0)")
    align.add_argument("--out", type=Path, metavar="FOLDER", help="the folder to write")
    add_json(align)
    align.set_defaults(run=_align)


def _align(options: argparse.Namespace) -> int:
    from itertools import islice

    import mm_kptm
    from mm_kptm.crosslingual.alignment.fitting import pieces_of
    from mm_kptm.crosslingual.corpora.parallel_files import bitext_lines
    from mm_kptm.io.atomic import write_lines
    from mm_kptm.io.text_lines import is_blank

    first, _, second = options.languages.partition("-")
    if not first or not second or "-" in second or first == second:
        raise UserError(f"--languages is {options.languages!r}; name two, that of SOURCE first, as in de-en")
    languages = (first, second)
    if (options.pieces is None) == (options.alignments is None or options.out is None):
        raise UserError("align takes --pieces to write what fast_align reads, or --alignments with --out to fit a map")
    lines = (line for line in bitext_lines(options.bitext, languages) if not any(map(is_blank, line)))
    pairs = [(one, other) for one, other in islice(lines, options.max_sentences)]
    source, target = (mm_kptm.load(folder) for folder in (options.source, options.target))
    if options.pieces is not None:
        sides = [
            [" ".join(pieces_of(system, pair[side], languages[side])) for pair in pairs]
            for side, system in enumerate((source, target))
        ]
        write_lines(options.pieces, (f"{one} ||| {other}" for one, other in zip(*sides, strict=True)))
        print(options.pieces)
        return 0
    row = _fitted(options, source, target, pairs, languages)
    print_json(row) if options.json else print_rows([row])
    return 0


def _fitted(
    options: argparse.Namespace,
    source: System,
    target: System,
    pairs: list[tuple[str, str]],
    languages: tuple[str, str],
) -> dict[str, object]:
    """Fit the map and write the mapped encoder; what is printed of it."""
    import torch

    import mm_kptm
    from mm_kptm.crosslingual.alignment.contextual_maps import mean_cosine
    from mm_kptm.crosslingual.alignment.fitting import AlignedVectors, fit, mapped_cosine
    from mm_kptm.crosslingual.recipes.clbt import CONTEXTUAL_MAP, mapping_of, take_heads
    from mm_kptm.io.atomic import atomic_folder
    from mm_kptm.io.text_lines import numbered_lines
    from mm_kptm.systems.assembly import add

    if options.out.exists():
        raise UserError(f"{options.out} exists already; name a folder that does not")
    alignments = [line for _, line in numbered_lines(options.alignments)]
    kind = METHODS[options.method]
    vectors = AlignedVectors.of(
        source,
        target,
        pairs,
        alignments,
        languages=languages,
        policy=options.policy,
        whole="attention" in kind,
        file=options.alignments,
    )
    torch.manual_seed(options.seed)
    add(source, CONTEXTUAL_MAP.name, {"kind": kind})
    fit(
        mapping_of(source),
        vectors,
        method="procrustes" if options.method == "procrustes" else "gradient",
        loss=options.loss,
        normalise=options.normalise,
        epochs=options.epochs,
        seed=options.seed,
    )
    take_heads(source, target)
    with atomic_folder(options.out) as temporary:
        mm_kptm.save(source.eval(), temporary)
    return {
        "model": str(options.out),
        "pairs of pieces": len(vectors.source),
        "cosine before": round(float(mean_cosine(vectors.source, vectors.target)), 4),
        "cosine": round(mapped_cosine(mapping_of(source), vectors), 4),
    }
