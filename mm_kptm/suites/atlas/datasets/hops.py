"""Facts of two steps about countries: their wording, and the tables of both steps.

The first step leads from a country to a language or to a neighbour, the second one from there to the answer.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import NamedTuple

from mm_kptm.suites.atlas.data.atlas import Atlas

SCRIPT = "script"


class Hops(NamedTuple):
    """Relations of the two steps."""

    first: str
    second: str


#: Relations of two steps.
TWO_STEPS: Mapping[str, Hops] = {
    "language_script": Hops("official_language", SCRIPT),
    "neighbour_currency": Hops("borders", "currency"),
}

#: Questions by language and relation.
HOP_QUESTIONS: Mapping[str, Mapping[str, str]] = {
    "en": {
        "language_script": "in which script is the official language of this country written ?",
        "neighbour_currency": "what is the currency of a neighbour of this country ?",
    },
    "de": {
        "language_script": "in welcher Schrift wird die Amtssprache dieses Landes geschrieben ?",
        "neighbour_currency": "was ist die Währung eines Nachbarn dieses Landes ?",
    },
    "fr": {
        "language_script": "dans quelle écriture s’écrit la langue officielle de ce pays ?",
        "neighbour_currency": "quelle est la monnaie d’un voisin de ce pays ?",
    },
    "es": {
        "language_script": "¿ en qué escritura se escribe el idioma oficial de este país ?",
        "neighbour_currency": "¿ cuál es la moneda de un vecino de este país ?",
    },
    "zh": {
        "language_script": "这个 国家 的 官方语言 用 什么 文字 ？",
        "neighbour_currency": "这个 国家 的 邻国 的 货币 是 什么 ？",
    },
    "ru": {
        "language_script": "каким письмом пишут на государственном языке этой страны ?",
        "neighbour_currency": "какая валюта у соседа этой страны ?",
    },
    "ar": {
        "language_script": "بأي خط تكتب اللغة الرسمية لهذا البلد ؟",
        "neighbour_currency": "ما هي عملة جار هذا البلد ؟",
    },
    "hi": {
        "language_script": "इस देश की राजभाषा किस लिपि में लिखी जाती है ?",
        "neighbour_currency": "इस देश के पड़ोसी की मुद्रा क्या है ?",
    },
    "ja": {
        "language_script": "この 国 の 公用語 は どの 文字 で 書かれ ます か ？",
        "neighbour_currency": "この 国 の 隣国 の 通貨 は 何 です か ？",
    },
    "sw": {
        "language_script": "lugha rasmi ya nchi hii huandikwa kwa hati gani ?",
        "neighbour_currency": "sarafu ya jirani wa nchi hii ni ipi ?",
    },
    "tr": {
        "language_script": "bu ülkenin resmî dili hangi yazıyla yazılır ?",
        "neighbour_currency": "bu ülkenin komşusunun para birimi nedir ?",
    },
    "th": {
        "language_script": "ภาษา ราชการ ของ ประเทศ นี้ เขียน ด้วย อักษร ใด ?",
        "neighbour_currency": "สกุลเงิน ของ เพื่อนบ้าน ของ ประเทศ นี้ คือ อะไร ?",
    },
}
#: The word between a language and its script.
SCRIPT_WORDS: Mapping[str, str] = {
    "en": "script", "de": "Schrift", "fr": "écriture", "es": "escritura", "zh": "文字", "ru": "письмо", "ar": "خط",
    "hi": "लिपि", "ja": "文字", "sw": "hati", "tr": "yazı", "th": "อักษร",
}  # fmt: skip


@cache
def real_steps(atlas: Atlas, relation: str) -> tuple[dict[str, str], dict[str, str]]:
    """Both steps in the real world: from codes of countries to what lies between, and from there to the answer.

    Only what has one answer counts; of neighbours the first one that has.
    """
    first, second = TWO_STEPS[relation]
    ends = {head: tails[0] for head, tails in atlas.tails(second).items() if len(tails) == 1}
    between = {
        head.partition(":")[2]: next(one for one in tails if one in ends)
        for head, tails in atlas.tails(first).items()
        if head.startswith("territory:") and (len(tails) == 1 or first == "borders") and any(t in ends for t in tails)
    }
    return between, ends
