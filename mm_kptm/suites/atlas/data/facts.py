"""Facts about territories, languages and concepts, and the labels of what they are about in every language."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from mm_kptm.suites.atlas.data.archives import Opened, Opener
from mm_kptm.suites.atlas.data.concepts import Concept
from mm_kptm.suites.atlas.data.packages import CITY_NAMES, CORE, COUNTRIES, CURRENCY_NAMES, DISPLAY_NAMES

Fact = tuple[str, str, str]
Labels = dict[str, dict[str, str]]  #: entity -> language -> label

#: Capitals that are out of date in the source.
CAPITAL_CORRECTIONS = {"KZ": "Astana"}
#: Territories whose capital is disputed, or of which several cities are called so: they have no such fact here.
CAPITAL_UNSETTLED = frozenset({"BO", "EH", "GQ", "GS", "HK", "IL", "LK", "MO", "PS", "PW", "SZ", "TW", "XK", "ZA"})
OFFICIAL = ("official", "de_facto_official")
SPOKEN_BY = 20.0  #: percent of the population
_MEMBERSHIPS = ("EU", "EZ", "UN")


def read_facts(opened: Opener, concepts: Sequence[Concept], keywords: Mapping[str, Sequence[str]]) -> list[Fact]:
    """Every fact once, in order of the alphabet; entities are ``kind:code``."""
    core, countries = opened(CORE), _only_json(opened(COUNTRIES))
    known = {f"territory:{code}" for code in countries}
    about = [
        fact
        for fact in (*_territories(core), *_countries(countries))
        if not fact[0].startswith("territory:") or fact[0] in known
    ]
    spoken = {tail for _, _, tail in about if tail.startswith("language:")}
    scripts = [fact for fact in _languages(core) if fact[0] in spoken]
    return sorted({*about, *scripts, *_concepts(concepts, keywords)})


def _territories(core: Opened) -> Iterable[Fact]:
    currencies = _supplemental(core, "currencyData")["region"]
    for code, history in currencies.items():
        now = [
            name
            for entry in history
            for name, dates in entry.items()
            if "_to" not in dates and dates.get("_tender") != "false" and "_from" in dates
        ]
        for currency in now:
            yield f"territory:{code}", "currency", f"currency:{currency}"
    for code, entry in _supplemental(core, "territoryInfo").items():
        for language, spoken in entry.get("languagePopulation", {}).items():
            status = spoken.get("_officialStatus")
            if status in OFFICIAL:
                yield f"territory:{code}", "official_language", f"language:{language}"
            elif status == "official_regional":
                yield f"territory:{code}", "regional_language", f"language:{language}"
            if float(spoken.get("_populationPercent", 0)) >= SPOKEN_BY:
                yield f"territory:{code}", "spoken_by_many", f"language:{language}"
    for code, entry in _supplemental(core, "territoryContainment").items():
        name = code.partition("-")[0]
        inside = [f"territory:{part}" if part.isalpha() else f"region:{part}" for part in entry["_contains"]]
        if code in _MEMBERSHIPS or name in _MEMBERSHIPS:
            yield from ((part, "member_of", f"union:{name}") for part in inside)
        elif "-" not in code and code.isdigit() and entry.get("_grouping") != "true":
            yield from ((part, "part_of", f"region:{code}") for part in inside)


def _languages(core: Opened) -> Iterable[Fact]:
    for code, entry in _supplemental(core, "languageData").items():
        if not code.endswith("-alt-secondary"):
            for script in entry.get("_scripts", [])[:1]:
                yield f"language:{code}", "script", f"script:{script}"


def _countries(countries: Mapping[str, Mapping[str, Any]]) -> Iterable[Fact]:
    for code, entry in countries.items():
        if entry["capital"] and code not in CAPITAL_UNSETTLED:
            yield f"territory:{code}", "capital", f"city:{CAPITAL_CORRECTIONS.get(code, entry['capital'])}"
        for other in filter(None, entry["neighbours"].split(",")):
            yield f"territory:{code}", "borders", f"territory:{other}"


def _concepts(concepts: Sequence[Concept], keywords: Mapping[str, Sequence[str]]) -> Iterable[Fact]:
    known = {one.code for one in concepts}
    for one in concepts:
        yield f"concept:{one.code}", "subgroup", f"subgroup:{one.subgroup}"
        yield f"subgroup:{one.subgroup}", "group", f"group:{one.group}"
        yield from ((f"concept:{one.code}", "composed_of", f"concept:{part}") for part in one.parts if part in known)
        yield from ((f"concept:{one.code}", "keyword", f"keyword:{word}") for word in keywords.get(one.code, ()))


def populations(core: Opened) -> dict[str, int]:
    """Inhabitants of territories."""
    return {code: int(entry.get("_population", 0)) for code, entry in _supplemental(core, "territoryInfo").items()}


def read_labels(opened: Opener, facts: Iterable[Fact], languages: Sequence[str]) -> Labels:
    """Labels of every entity of the facts except concepts and keywords, which carry their names themselves.

    A capital has the name of its time zone's city where there is one, and its English name elsewhere.
    """
    entities = sorted({entity for head, _, tail in facts for entity in (head, tail)})
    cities = {entity.partition(":")[2] for entity in entities if entity.startswith("city:")}
    labels: Labels = {entity: {} for entity in entities if not entity.startswith(("concept:", "keyword:"))}
    names, numbers, dates = opened(DISPLAY_NAMES), opened(CURRENCY_NAMES), opened(CITY_NAMES)
    zone_names = {language: _zones(dates, language) for language in languages}
    zones = sorted({zone for of in zone_names.values() for zone in of})
    english = {zone: zone.rpartition("/")[2].replace("_", " ") for zone in zones} | _zones(dates, "en")
    city_zone = {name: zone for zone, name in english.items() if name in cities}
    for language in languages:
        display = {
            kind: _display(names, language, f"{kind if kind != 'territory' else 'territorie'}s")
            for kind in ("territory", "language", "script")
        }
        currency = _locale(numbers, language, "currencies", "numbers", "currencies")
        for entity in labels:
            kind, _, code = entity.partition(":")
            match kind:
                case "territory" | "region" | "union":
                    label = display["territory"].get(code)
                case "language" | "script":
                    label = display[kind].get(code.replace("_", "-"))
                case "currency":
                    label = currency.get(code, {}).get("displayName")
                case "city":
                    label = zone_names[language].get(city_zone.get(code, ""), code)
                case _:
                    label = code.replace("-", " ") if language == "en" else None
            if label:
                labels[entity][language] = label
    return labels


def _supplemental(core: Opened, name: str) -> Mapping[str, Any]:
    found: Mapping[str, Any] = core.json(f"package/supplemental/{name}.json")["supplemental"][name]
    return found


def _display(names: Opened, language: str, what: str) -> Mapping[str, str]:
    return _locale(names, language, what, "localeDisplayNames", what)


def _locale(opened: Opened, language: str, file: str, *path: str) -> Mapping[str, Any]:
    name = f"package/main/{language}/{file}.json"
    if name not in opened:
        return {}
    found = json.loads(opened.files[name])["main"][language]
    for key in path:
        found = found[key]
    return dict(found)


def _zones(dates: Opened, language: str) -> dict[str, str]:
    """Cities of time zones that have a name of their own in a language, by zone."""
    cities: dict[str, str] = {}

    def walk(node: Mapping[str, Any], path: tuple[str, ...]) -> None:
        if "exemplarCity" in node:
            cities["/".join(path)] = node["exemplarCity"]
        for key, value in node.items():
            if isinstance(value, dict):
                walk(value, (*path, key))

    walk(_locale(dates, language, "timeZoneNames", "dates", "timeZoneNames", "zone"), ())
    return cities


def _only_json(opened: Opened) -> Mapping[str, Mapping[str, Any]]:
    (content,) = opened.files.values()
    read: Mapping[str, Mapping[str, Any]] = json.loads(content)
    return read
