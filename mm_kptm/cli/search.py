"""The verbs of picture search: search index, search query, search serve."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from mm_kptm.cli.output import add_json, only_json, print_json
from mm_kptm.errors import UserError, notice

if TYPE_CHECKING:
    from mm_kptm.suites.search.index import Indexed
    from mm_kptm.suites.search.query import Searcher

INDEX = Path("search-index")  #: folder of the index unless another is named
LISTED = 5  # skipped files that are named


def add_verbs(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the group of verbs to the parser."""
    group = verbs.add_parser("search", help="search a folder of pictures by a text or a picture, here or in a browser")
    actions = group.add_subparsers(title="actions", metavar="ACTION", dest="action", required=True)
    _add_index(actions)
    _add_query(actions)
    _add_serve(actions)


def _add_index(actions: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    index = actions.add_parser("index", help="embed the pictures of a folder, or bring its index up to date")
    index.description = (
        "The same command again reads only the files that changed, and goes on where a killed one stopped. An "
        "unreadable picture is skipped, counted and named."
    )
    index.add_argument("folder", type=Path, metavar="FOLDER", help="pictures, in folders of any depth")
    index.add_argument(
        "--model", type=Path, required=True, metavar="RUN", help="a run, or a saved model, of two towers"
    )
    _add_place(index)
    index.add_argument("--rebuild", action="store_true", help="embed everything anew, with any model and any folder")
    index.add_argument(
        "--approximate", choices=("none", "hnsw", "ivf"), help="search through a FAISS index (default: as before)"
    )
    index.add_argument("--batch", type=int, default=32, metavar="N", help="pictures embedded at once (default 32)")
    add_json(index)
    index.set_defaults(run=_index)


def _add_query(actions: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    query = actions.add_parser("query", help="print the pictures nearest to a text or a picture")
    query.add_argument("text", nargs="?", metavar="TEXT", help="in any language that the model reads")
    query.add_argument("--image", type=Path, metavar="FILE", help="a picture in place of a text")
    query.add_argument("-k", type=int, default=10, metavar="N", help="results (default 10)")
    query.add_argument("--exact", action="store_true", help="read every vector, though there is a FAISS index")
    _add_place(query)
    _add_model(query)
    add_json(query)
    query.set_defaults(run=_query)


def _add_serve(actions: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    serve = actions.add_parser("serve", help="search in a browser, on a page that this machine alone can open")
    serve.add_argument(
        "--host", default="127.0.0.1", metavar="ADDRESS", help="another one lets other machines open the page"
    )
    serve.add_argument("--port", type=int, default=8642, help="default 8642; 0 takes a free one")
    serve.add_argument(
        "--name", action="append", default=[], metavar="HOST", help="a name by which other machines call this one"
    )
    serve.add_argument("--exact", action="store_true", help="read every vector, though there is a FAISS index")
    _add_place(serve)
    _add_model(serve)
    serve.set_defaults(run=_serve)


def _add_place(verb: argparse.ArgumentParser) -> None:
    verb.add_argument("--index", type=Path, default=INDEX, metavar="DIR", help=f"folder of the index (default {INDEX})")


def _add_model(verb: argparse.ArgumentParser) -> None:
    verb.add_argument("--model", type=Path, metavar="RUN", help="the model that made the index, if it has moved")


def _index(options: argparse.Namespace) -> int:
    from tqdm import tqdm

    from mm_kptm.data.images.folders import pictures_in
    from mm_kptm.suites.search.index import update_index
    from mm_kptm.suites.search.model import open_model

    if options.batch < 1:
        raise UserError(f"--batch is {options.batch}; embed 1 picture at once at least")
    pictures_in(options.folder)  # before a model is loaded
    with only_json(options.json), tqdm(unit=" files", disable=None) as bar:

        def progress(done: int, total: int) -> None:
            bar.total = total
            bar.update(done - bar.n)

        report = update_index(
            options.folder,
            options.index,
            open_model(options.model),
            rebuild=options.rebuild,
            approximation=options.approximate,
            batch_size=options.batch,
            progress=progress,
        )
    _name_skipped(report)
    if options.json:
        print_json(report)
    else:
        print(_sentence(report))
        print(f"search it: mm-kptm search query TEXT --index {report.index}, or mm-kptm search serve")
    return 0


def _sentence(report: Indexed) -> str:
    counts = f"{report.pictures} pictures ({report.read} files read, {report.embedded} embedded"
    counts += f", {report.removed} gone)" if report.removed else ")"
    if report.approximation is not None:
        found = report.approximation
        counts += f"; {found.kind} finds {found.recall:.1%} of the exact 10 nearest"
    return f"{report.index}: {counts}"


def _name_skipped(report: Indexed) -> None:
    for one in report.skipped[:LISTED]:
        notice(f"skipped: {one.reason}")
    if len(report.skipped) > LISTED:
        notice(f"skipped {len(report.skipped)} files in all; --json names each")


def _query(options: argparse.Namespace) -> int:
    if (options.text is None) == (options.image is None):
        raise UserError("search by one thing: a text, or a picture with --image FILE")
    with only_json(options.json):
        searcher = _searcher(options)
        if options.text is None:
            facts: tuple[str, ...] = ()
            hits = searcher.by_picture(options.image, options.k)
        else:
            facts = searcher.model.facts(options.text)
            hits = searcher.by_text(options.text, options.k)
    if options.json:
        found = [{"name": _printable(hit.name), "similarity": hit.similarity} for hit in hits]
        print_json({"pictures": searcher.generation.facts.pictures, "facts": facts, "found": found})
    else:
        for fact in facts:
            print(f"fact: {_printable(fact)}", file=sys.stderr)
        for hit in hits:
            print(f"{hit.similarity:+.4f}  {_printable(hit.name)}")
    return 0


def _serve(options: argparse.Namespace) -> int:
    from mm_kptm.suites.search.serve import serve

    if not 0 <= options.port < 2**16:
        raise UserError(f"--port is {options.port}, but ports go from 0 to 65535")
    serve(_searcher(options), host=options.host, port=options.port, names=options.name)
    return 0


def _searcher(options: argparse.Namespace) -> Searcher:
    from mm_kptm.suites.search.index import open_index
    from mm_kptm.suites.search.model import open_model
    from mm_kptm.suites.search.query import Searcher

    made = Path(open_index(options.index).facts.model)  # before a model is loaded
    if options.model is None and not made.is_dir():
        raise UserError(f"the model of {options.index}, {made}, is no longer there; name where it is as --model")
    return Searcher(options.index, open_model(options.model or made), exact=options.exact)


def _printable(name: str) -> str:
    """A file name as text; bytes that are no UTF-8 as replacement characters, and no control characters."""
    text = name.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
    return "".join(letter if letter.isprintable() else "�" for letter in text)
