"""Graphs are read as their bytes say, packed or not, with endings in any case."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import tarfile
from pathlib import Path

import pytest

from mm_kptm.errors import UserError
from mm_kptm.knowledge.graph.formats import open_graph
from mm_kptm.knowledge.graph.triples import Triple

TSV, RDF = b"a\tr\tb\n", b"<http://a> <http://r> <http://b> .\n"


@pytest.mark.parametrize("name", ["g.tsv", "g.tsv.gz", "g.tsv.GZ", "g.tsv.bz2", "g.tsv.xz", "g.TSV"])
@pytest.mark.parametrize("pack", [bytes, gzip.compress, bz2.compress, lzma.compress])
def test_triples_between_tabs(name, pack, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(pack(b"\xef\xbb\xbf" + TSV.replace(b"\n", b"\r\n")))
    assert list(open_graph(tmp_path / name)) == [Triple("a", "r", "b")]


@pytest.mark.parametrize("name", ["g.nt", "g.NT", "g.nt.gz", "g.nt.bz2", "g.NT.BZ2", "g.Nq"])
@pytest.mark.parametrize("pack", [bytes, gzip.compress, bz2.compress])
def test_rdf(name, pack, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(pack(RDF))
    assert list(open_graph(tmp_path / name)) == [Triple("http://a", "http://r", "http://b")]


def test_an_archive_is_said_to_be_one(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "wikidata5m_transductive.tar.gz", "w:gz") as archive:
        member = tarfile.TarInfo("wikidata5m_transductive_train.txt")
        member.size = len(TSV)
        archive.addfile(member, io.BytesIO(TSV))
    with pytest.raises(
        UserError, match=r"transductive.tar.gz is an archive of several files \(tar\); unpack it and name"
    ):
        open_graph(tmp_path / "wikidata5m_transductive.tar.gz")
