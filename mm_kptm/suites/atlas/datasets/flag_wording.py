"""Wording of questions about flags in the twelve languages, and the words that facts are worded in."""

from __future__ import annotations

from collections.abc import Mapping

#: Questions by language and relation.
QUESTIONS: Mapping[str, Mapping[str, str]] = {
    "en": {
        "currency": "what is the currency of this country ?",
        "official_language": "what is the official language of this country ?",
        "part_of": "in which region is this country ?",
        "capital": "what is the capital of this country ?",
        "borders": "which country borders this country ?",
        "name": "which country is this ?",
    },
    "de": {
        "currency": "was ist die Währung dieses Landes ?",
        "official_language": "was ist die Amtssprache dieses Landes ?",
        "part_of": "in welcher Region liegt dieses Land ?",
        "capital": "was ist die Hauptstadt dieses Landes ?",
        "borders": "welches Land grenzt an dieses Land ?",
        "name": "welches Land ist das ?",
    },
    "fr": {
        "currency": "quelle est la monnaie de ce pays ?",
        "official_language": "quelle est la langue officielle de ce pays ?",
        "part_of": "dans quelle région se trouve ce pays ?",
        "capital": "quelle est la capitale de ce pays ?",
        "borders": "quel pays est voisin de ce pays ?",
        "name": "quel est ce pays ?",
    },
    "es": {
        "currency": "¿ cuál es la moneda de este país ?",
        "official_language": "¿ cuál es el idioma oficial de este país ?",
        "part_of": "¿ en qué región está este país ?",
        "capital": "¿ cuál es la capital de este país ?",
        "borders": "¿ qué país limita con este país ?",
        "name": "¿ qué país es este ?",
    },
    "zh": {
        "currency": "这个 国家 的 货币 是 什么 ？",
        "official_language": "这个 国家 的 官方语言 是 什么 ？",
        "part_of": "这个 国家 在 哪个 地区 ？",
        "capital": "这个 国家 的 首都 是 哪里 ？",
        "borders": "哪个 国家 与 这个 国家 接壤 ？",
        "name": "这 是 哪个 国家 ？",
    },
    "ru": {
        "currency": "какая валюта в этой стране ?",
        "official_language": "какой государственный язык в этой стране ?",
        "part_of": "в каком регионе находится эта страна ?",
        "capital": "какая столица у этой страны ?",
        "borders": "какая страна граничит с этой страной ?",
        "name": "какая это страна ?",
    },
    "ar": {
        "currency": "ما هي عملة هذا البلد ؟",
        "official_language": "ما هي اللغة الرسمية لهذا البلد ؟",
        "part_of": "في أي منطقة يقع هذا البلد ؟",
        "capital": "ما هي عاصمة هذا البلد ؟",
        "borders": "أي بلد يجاور هذا البلد ؟",
        "name": "ما هو هذا البلد ؟",
    },
    "hi": {
        "currency": "इस देश की मुद्रा क्या है ?",
        "official_language": "इस देश की राजभाषा क्या है ?",
        "part_of": "यह देश किस क्षेत्र में है ?",
        "capital": "इस देश की राजधानी क्या है ?",
        "borders": "किस देश की सीमा इस देश से लगती है ?",
        "name": "यह कौन सा देश है ?",
    },
    "ja": {
        "currency": "この 国 の 通貨 は 何 です か ？",
        "official_language": "この 国 の 公用語 は 何 です か ？",
        "part_of": "この 国 は どの 地域 に あります か ？",
        "capital": "この 国 の 首都 は どこ です か ？",
        "borders": "この 国 と 国境 を 接する 国 は どこ です か ？",
        "name": "これ は どの 国 です か ？",
    },
    "sw": {
        "currency": "sarafu ya nchi hii ni ipi ?",
        "official_language": "lugha rasmi ya nchi hii ni ipi ?",
        "part_of": "nchi hii iko katika eneo gani ?",
        "capital": "mji mkuu wa nchi hii ni upi ?",
        "borders": "nchi gani inapakana na nchi hii ?",
        "name": "hii ni nchi gani ?",
    },
    "tr": {
        "currency": "bu ülkenin para birimi nedir ?",
        "official_language": "bu ülkenin resmî dili nedir ?",
        "part_of": "bu ülke hangi bölgede ?",
        "capital": "bu ülkenin başkenti neresidir ?",
        "borders": "hangi ülke bu ülkeye komşudur ?",
        "name": "bu hangi ülke ?",
    },
    "th": {
        "currency": "สกุลเงิน ของ ประเทศ นี้ คือ อะไร ?",
        "official_language": "ภาษา ราชการ ของ ประเทศ นี้ คือ อะไร ?",
        "part_of": "ประเทศ นี้ อยู่ ใน ภูมิภาค ใด ?",
        "capital": "เมืองหลวง ของ ประเทศ นี้ คือ เมือง ใด ?",
        "borders": "ประเทศ ใด มี พรมแดน ติด กับ ประเทศ นี้ ?",
        "name": "นี่ คือ ประเทศ ใด ?",
    },
}
#: The word that stands between a name and its fact, by language and relation.
RELATION_WORDS: Mapping[str, Mapping[str, str]] = {
    "en": {
        "currency": "currency",
        "official_language": "language",
        "part_of": "region",
        "capital": "capital",
        "borders": "border",
    },
    "de": {
        "currency": "Währung",
        "official_language": "Sprache",
        "part_of": "Region",
        "capital": "Hauptstadt",
        "borders": "Grenze",
    },
    "fr": {
        "currency": "monnaie",
        "official_language": "langue",
        "part_of": "région",
        "capital": "capitale",
        "borders": "frontière",
    },
    "es": {
        "currency": "moneda",
        "official_language": "idioma",
        "part_of": "región",
        "capital": "capital",
        "borders": "frontera",
    },
    "zh": {"currency": "货币", "official_language": "语言", "part_of": "地区", "capital": "首都", "borders": "边界"},
    "ru": {
        "currency": "валюта",
        "official_language": "язык",
        "part_of": "регион",
        "capital": "столица",
        "borders": "граница",
    },
    "ar": {"currency": "عملة", "official_language": "لغة", "part_of": "منطقة", "capital": "عاصمة", "borders": "حدود"},
    "hi": {"currency": "मुद्रा", "official_language": "भाषा", "part_of": "क्षेत्र", "capital": "राजधानी", "borders": "सीमा"},
    "ja": {"currency": "通貨", "official_language": "言語", "part_of": "地域", "capital": "首都", "borders": "国境"},
    "sw": {
        "currency": "sarafu",
        "official_language": "lugha",
        "part_of": "eneo",
        "capital": "mji mkuu",
        "borders": "mpaka",
    },
    "tr": {
        "currency": "para birimi",
        "official_language": "dil",
        "part_of": "bölge",
        "capital": "başkent",
        "borders": "sınır",
    },
    "th": {
        "currency": "สกุลเงิน",
        "official_language": "ภาษา",
        "part_of": "ภูมิภาค",
        "capital": "เมืองหลวง",
        "borders": "พรมแดน",
    },
}
RELATIONS = ("currency", "official_language", "part_of", "capital", "borders")
NAME = "name"  #: asks for the country itself, without a fact
