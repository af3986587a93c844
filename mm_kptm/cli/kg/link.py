"""The verb kg link: entity linking in texts."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from mm_kptm.cli.output import add_json, only_json, print_json
from mm_kptm.errors import UserError

if TYPE_CHECKING:
    from mm_kptm.knowledge.linking.aliases import Aliases
    from mm_kptm.knowledge.linking.linked_texts import LinkedText
    from mm_kptm.knowledge.linking.linker import MentionLinker

NAMES = (
    "a table between tabs whose first line names its columns (surface, entity, count, language), KnowBERT's or ERNIE's "
    "dictionary, or a graph as `kg info` takes it"
)


def add_verbs(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the verb to the parser."""
    link = verbs.add_parser("link", help="link entities in texts, or read the output of another linker")
    link.description = (
        "Write every text with the mentions in it, their candidates and the entity they mean, one JSON object a line."
    )
    link.add_argument("names", metavar="NAMES", help=NAMES)
    link.add_argument("texts", type=Path, metavar="TEXTS", help="one text a line, or .jsonl of objects with a text")
    link.add_argument("--out", type=Path, metavar="FILE", help="where to (default: print them)")
    link.add_argument("--language", metavar="CODE", help="of texts without a language (default: all languages)")
    link.add_argument("--threshold", type=float, default=0.0, metavar="X", help="mentions that score less mean nothing")
    link.add_argument("--overlaps", action="store_true", help="all mentions, not the leftmost longest alone")
    link.add_argument("--encoder", type=Path, metavar="FOLDER", help="reads the context: a run, or a saved model")
    link.add_argument("--weight", type=float, default=0.5, metavar="X", help="of the context beside the prior (0.5)")
    link.add_argument(
        "--from", dest="linker", metavar="LINKER", help="whose findings TEXTS hold: tagme, rel, refined, spacy"
    )
    add_json(link)
    link.set_defaults(run=_link)


def _link(options: argparse.Namespace) -> int:
    from mm_kptm.knowledge.linking.linked_texts import as_json, write_linked

    if options.out is not None and options.out.is_dir():
        raise UserError(f"--out is {options.out}, a folder, but names the file to write")
    counts = {"texts": 0, "mentions": 0, "linked": 0}
    with only_json(True):
        linked = _counted(_linked(options), counts)
        if options.out is not None:
            write_linked(linked, options.out)
    if options.out is None:
        sys.stdout.writelines(_one_value(map(as_json, linked)) if options.json else (as_json(x) + "\n" for x in linked))
    elif options.json:
        print_json({"out": options.out, **counts})
    else:
        print(f"{options.out}: {counts['mentions']} mentions in {counts['texts']} texts, {counts['linked']} linked")
    return 0


def _linked(options: argparse.Namespace) -> Iterator[LinkedText]:
    from mm_kptm.knowledge.linking.aliases import open_aliases
    from mm_kptm.knowledge.linking.importers import known_to, read_imported
    from mm_kptm.knowledge.linking.linked_texts import read_texts

    aliases = open_aliases(options.names)
    if options.language is not None:
        aliases.require(options.language, options.names)
    linker = _linker(aliases, options)
    if options.linker is None:
        return linker.stream(read_texts(options.texts))
    if options.encoder is not None:
        raise UserError(f"--encoder reads texts for our own linker, but --from says that {options.linker} read them")
    read = read_imported(
        options.texts, options.linker, known_to(aliases), threshold=options.threshold, overlaps=options.overlaps
    )
    return (replace(linked, language=linked.language or options.language) for linked in read)


def _linker(aliases: Aliases, options: argparse.Namespace) -> MentionLinker:
    from mm_kptm.knowledge.linking.linker import Context, MentionLinker, described

    context = None
    if options.encoder is not None and options.linker is None:
        from mm_kptm.experiment.text_embedding import text_vectors

        encode = text_vectors(options.encoder)
        context = Context(encode, described(aliases, encode, options.language))
    return MentionLinker(
        aliases,
        language=options.language,
        threshold=options.threshold,
        overlaps=options.overlaps,
        context=context,
        weight=options.weight,
    )


def _counted(texts: Iterator[LinkedText], counts: dict[str, int]) -> Iterator[LinkedText]:
    """Pass texts through and count them."""
    for linked in texts:
        counts["texts"] += 1
        counts["mentions"] += len(linked.mentions)
        counts["linked"] += sum(link.entity is not None for link in linked.mentions)
        yield linked


def _one_value(values: Iterator[str]) -> Iterator[str]:
    """Join JSON values into one JSON list, one per line."""
    for index, value in enumerate(values):
        yield f"{',' if index else '['}\n {value}"
    yield "\n]\n"  # there is at least one text
