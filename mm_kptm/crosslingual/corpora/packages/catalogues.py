"""Catalogues of messages in packages: gettext's ``.po`` files, and the compiled ``.mo`` of Debian's packages."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

from mm_kptm.crosslingual.corpora.cleaning import Pair
from mm_kptm.crosslingual.corpora.compiled_catalogue import read_compiled
from mm_kptm.crosslingual.corpora.gettext_catalogue import Message, read_catalogue
from mm_kptm.crosslingual.corpora.packages.published import LOCALES, ParallelPackage
from mm_kptm.crosslingual.corpora.packages.rules import SamePlaceholders
from mm_kptm.crosslingual.corpora.packages.texts import PackageTexts
from mm_kptm.io.package_archives import PackageArchive


def catalogue_pairs(package: ParallelPackage, opened: Mapping[PackageArchive, Path], language: str) -> Iterator[Pair]:
    """The translated messages of a language in all catalogues of a package, without plural entries and qualifiers."""
    names = LOCALES.get(language, (language,))
    qualifier = re.compile(package.qualifier)
    for archive in (package.archive, *package.others):
        installed = archive.registry == "debian"  # where catalogues are compiled
        for member, content in archive.members(opened[archive], ".mo" if installed else ".po"):
            if not set(member.split("/")[:-1]) & set(names):
                continue
            messages = read_compiled(content, member) if installed else _messages(content)
            for message in messages:
                if message.translated and message.plural is None and message.source.strip():
                    found = qualifier.match(message.source)
                    yield message.source[found.end() if found else 0 :], message.forms[0]


def _messages(content: bytes) -> tuple[Message, ...]:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "messages.po"
        file.write_bytes(content)
        return read_catalogue(file).messages


MESSAGES = PackageTexts("catalogues", "message", catalogue_pairs, (SamePlaceholders(),))
