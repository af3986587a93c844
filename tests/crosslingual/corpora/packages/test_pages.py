"""Pages in XML are aligned where their elements stand in the same order."""

import hashlib
import json
from dataclasses import replace
from pathlib import Path

import pytest

from mm_kptm.crosslingual.corpora.packages.builder import build
from mm_kptm.crosslingual.corpora.packages.pages import aligned, read_blocks
from mm_kptm.crosslingual.corpora.packages.published import PACKAGES, Markup, ParallelPackage
from tests.crosslingual.corpora.packages.test_builder import debian_package

HELP = """<page xmlns="http://projectmallard.org/1.0/"><info><revision date="2019"/><desc>{desc}</desc>
<mal:credit xmlns:mal="http://projectmallard.org/1.0/"><mal:name>{who}</mal:name><p>{who}</p></mal:credit></info>
<title>{title}</title><!-- a comment --><steps><item><p>Click <gui>{button}</gui> here.</p></item></steps></page>"""
ENGLISH = HELP.format(desc="Read all of your mail.", who="", title="Where is my mail?", button="Open")
GERMAN = HELP.format(desc="Die ganze Post lesen.", who="Anna Ohm", title="Wo ist meine Post?", button="Öffnen")


def of(name: str, folder: Path, pages: dict[str, dict[str, str]]) -> ParallelPackage:
    """A package with these files in place of the published one's, by the name of its archive."""
    package = PACKAGES[name]
    made = {}
    for archive in (package.archive, *(one for edition in package.translations.values() for one in edition)):
        if archive.package in pages:
            files = {member: text.encode() for member, text in pages[archive.package].items()}
            debian_package(folder / archive.file, files)
            digest = hashlib.sha256((folder / archive.file).read_bytes()).hexdigest()
            made[archive] = replace(archive, sha256=digest)
    translations = {
        language: tuple(made[one] for one in edition)
        for language, edition in package.translations.items()
        if all(one in made for one in edition)
    }
    return replace(package, archive=made[package.archive], translations=translations)


def test_help_is_paired_without_credits_and_equal_pages_alone(tmp_path: Path) -> None:
    help_pages = {
        "usr/share/help/C/gnome-help/mail.page": ENGLISH,
        "usr/share/help/de/gnome-help/mail.page": GERMAN,
        "usr/share/help/fr/gnome-help/mail.page": ENGLISH.replace("Click", "Cliquez"),
        "usr/share/help/C/gnome-help/other.page": ENGLISH.replace("mail", "news"),
        "usr/share/help/de/gnome-help/other.page": GERMAN.replace("</page>", "<p>Mehr dazu steht hier.</p></page>"),
        "usr/share/help/de/gnome-help/alone.page": GERMAN,
    }
    package = of("gnome-user-docs", tmp_path, {"gnome-user-docs": help_pages})
    build([package], ["de"], tmp_path / "out", tmp_path)
    english, german = ((tmp_path / "out" / f"pages-de-en.{code}").read_text().splitlines() for code in ("en", "de"))
    assert english == ["Read all of your mail.", "Where is my mail?", "Click Open here."]
    assert german == ["Die ganze Post lesen.", "Wo ist meine Post?", "Click Öffnen here."]
    first, counted = json.loads((tmp_path / "out" / "sources.json").read_text())
    assert first["pairs"] == {"de": 3} and counted["file"] == "pages"


def test_a_handbook_is_read_from_one_package_a_language(tmp_path: Path) -> None:
    def chapter(*texts: str) -> str:
        blocks = "".join(f"<li>{text}<p>{text} more of it</p></li>" for text in texts)
        return f'<?xml version="1.0"?><html xmlns="http://www.w3.org/1999/xhtml"><body><ul>{blocks}</ul></body></html>'

    folder = "usr/share/debian-reference"
    pages = {
        "debian-reference-en": {f"{folder}/ch01.en.html": chapter("one big cat")},
        "debian-reference-zh-cn": {f"{folder}/ch01.zh-cn.html": chapter("一只大猫"), f"{folder}/ch01.txt": "not read"},
    }
    build([of("debian-reference", tmp_path, pages)], ["zh", "ru"], tmp_path / "out", tmp_path)
    assert (tmp_path / "out" / "pages-en-zh.zh").read_text().splitlines() == ["一只大猫", "一只大猫 more of it"]
    row, _ = map(json.loads, (tmp_path / "out" / "pages.jsonl").read_text().splitlines())
    assert row == {"id": "text-1", "sentences": {"en": "one big cat", "zh": "一只大猫"}}


@pytest.mark.parametrize(
    ("page", "blocks"),
    [
        ("<a><p>one<p>two</p>three</p></a>", [("p", "onethree"), ("p", "two")]),
        ("<a><p>one <b>two <i>three</i></b>\n four</p>five</a>", [("p", "one two three four")]),
        ("<a><note><p>not<note><p>read</p></note></p></note>  <p/></a>", [("p", "")]),
    ],
)
def test_a_text_is_what_stands_in_no_block_inside(page: str, blocks: list[tuple[str, str]]) -> None:
    assert read_blocks(page.encode(), Markup("", "", frozenset({"p"}), frozenset({"note"}))) == blocks


def test_other_elements_are_no_translation() -> None:
    assert list(aligned([("p", "a"), ("li", "b")], [("p", "c"), ("li", "d")]) or ()) == [("a", "c"), ("b", "d")]
    assert aligned([("p", "a"), ("li", "b")], [("li", "c"), ("p", "d")]) is None
    assert aligned([("p", "a")], [("p", "c"), ("p", "d")]) is None
