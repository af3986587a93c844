"""Wording of questions about drawings in the twelve languages: who, what beside them, what alone, how many."""

from __future__ import annotations

from collections.abc import Mapping

WHO, WITH, WHAT = "who", "with", "what"

#: Questions about one drawing by language and kind.
PICTURE_QUESTIONS: Mapping[str, Mapping[str, str]] = {
    "en": {WHO: "who is in the picture?", WITH: "what does this person have?", WHAT: "what is this?"},
    "de": {WHO: "wer ist auf dem Bild?", WITH: "was hat diese Person?", WHAT: "was ist das?"},
    "fr": {WHO: "qui est sur l’image ?", WITH: "qu’est-ce que cette personne a ?", WHAT: "qu’est-ce que c’est ?"},
    "es": {WHO: "¿quién está en la imagen?", WITH: "¿qué tiene esta persona?", WHAT: "¿qué es esto?"},
    "zh": {WHO: "图中是谁？", WITH: "这个人有什么？", WHAT: "这是什么？"},
    "ru": {WHO: "кто на картинке?", WITH: "что есть у этого человека?", WHAT: "что это?"},
    "ar": {WHO: "من في الصورة؟", WITH: "ماذا لدى هذا الشخص؟", WHAT: "ما هذا؟"},
    "hi": {WHO: "चित्र में कौन है?", WITH: "इस व्यक्ति के पास क्या है?", WHAT: "यह क्या है?"},
    "ja": {WHO: "絵の中にいるのは誰ですか？", WITH: "この人は何を持っていますか？", WHAT: "これは何ですか？"},
    "sw": {WHO: "nani yuko kwenye picha?", WITH: "mtu huyu ana nini?", WHAT: "hii ni nini?"},
    "tr": {WHO: "resimde kim var?", WITH: "bu kişinin neyi var?", WHAT: "bu nedir?"},
    "th": {WHO: "ใครอยู่ในภาพ?", WITH: "คนนี้มีอะไร?", WHAT: "นี่คืออะไร?"},
}

#: Questions for the number of drawings of a concept, where its name is put.
HOW_MANY: Mapping[str, str] = {
    "en": "how many: {}?",
    "de": "wie viele: {}?",
    "fr": "combien : {} ?",
    "es": "¿cuántos: {}?",
    "zh": "有几个：{}？",
    "ru": "сколько: {}?",
    "ar": "كم العدد: {}؟",
    "hi": "कितने: {}?",
    "ja": "いくつ：{}？",
    "sw": "ngapi: {}?",
    "tr": "kaç tane: {}?",
    "th": "มีกี่อัน: {}?",
}


def how_many(name: str, language: str) -> str:
    """The question for the number of drawings that a name means; a language without words of its own has a colon.

    >>> how_many("tea", "en"), how_many("te", "sv")
    ('how many: tea?', 'te: ?')
    """
    return HOW_MANY.get(language, "{}: ?").format(name)
