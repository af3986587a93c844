"""Templates to sentences, sentences to words, words to ids.

Word rule: lower case; a word is a run of letters, hyphens included (*quatre-vingt-dix-sept*, *a-t-il*); an elided word
keeps its apostrophe (*l'*); every other character is a word. The name of a number is always one word, even if written
in three (*vingt et un*, *noventa y nueve*). Chinese is segmented by longest match in a word list, else into characters.
All five languages share one vocabulary.
"""

import re
from collections.abc import Iterable, Mapping
from functools import cache, lru_cache

from mm_kptm.errors import UserError
from mm_kptm.suites.number_world.generator.lexicon import RELATION_WORDS, answers, colour_word, surface
from mm_kptm.suites.number_world.generator.numerals import LANGUAGES, name
from mm_kptm.suites.number_world.generator.scene import COLOURS
from mm_kptm.suites.number_world.generator.wordings.fact_wording import AFTER, KNOWN, MEANT
from mm_kptm.suites.number_world.generator.wordings.statement_wording import JOINTS, REFERRED, STATED
from mm_kptm.suites.number_world.generator.wordings.wording import MORE, MOST, SEEN, SIDES

PAD, UNKNOWN, START, BREAK, MASK = SPECIALS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")

_SLOT = re.compile(r"\{\w+\}")
_CHINESE_WORDS = (
    "数字", "什么", "颜色", "哪个", "多少", "几个", "一个", "第一个", "下一个", "下一个数", "数一数", "加一",
    "是不是", "请", "说出", "读出", "没有", "看到", "可以", "图中", "这里", "这些", "哪里", "城市",
    "属于", "拥有", "住在", "偶数", "奇数", "还是", "整除", "后继数", "表示", "写出", "写作", "等于",
    "从左到右", "相比", "紧靠", "紧挨着", "那个", "位于", "对吗",
)  # fmt: skip


def fill(wording: str, language: str, **slots: str) -> str:
    """Fill the slots of a template; the first letter is capitalised.

    >>> fill("¿{it} está aquí?", "es", it="el uno")
    '¿El uno está aquí?'
    """
    sentence = wording.format_map(slots)
    first = 1 if sentence[0] == "¿" else 0
    return sentence[:first] + sentence[first].upper() + sentence[first + 1 :]


@cache
def colour_slots(colour: str, language: str, letter: str = "c") -> Mapping[str, str]:
    """Slots of a colour: all forms, and the German noun."""
    plain = colour_word(colour, language)
    noun = plain.capitalize() if language == "de" else plain
    last = 2 if language == "de" else 1
    return {
        letter: plain,
        letter.upper(): noun,
        **{f"{letter}{form}": colour_word(colour, language, form) for form in range(1, last + 1)},
    }


@cache
def indefinite(number: int, colour: str | None, language: str) -> str:
    """Indefinite noun phrase of a number, optionally with its colour.

    >>> indefinite(8, None, "en"), indefinite(27, "red", "de"), indefinite(27, "red", "fr")
    ('an eight', 'eine rote Siebenundzwanzig', 'un vingt-sept rouge')
    """
    noun = name(number, language)
    match language:
        case "en":
            phrase = noun if colour is None else f"{colour} {noun}"
            return f"{'an' if re.match('e|or', phrase) else 'a'} {phrase}"
        case "de":
            return f"eine {noun}" if colour is None else f"eine {colour_word(colour, 'de', 1)} {noun}"
        case "zh":
            return noun if colour is None else f"{colour_word(colour, 'zh')}的{noun}"
        case _:
            return f"un {noun}" if colour is None else f"un {noun} {colour_word(colour, language)}"


@lru_cache(maxsize=2**16)
def words(text: str, language: str) -> tuple[str, ...]:
    """Split a text into words by the rule above.

    >>> words("L'image montre-t-elle un vingt et un ?", "fr")
    ("l'", 'image', 'montre-t-elle', 'un', 'vingt et un', '?')
    >>> words("有几个红色的数字？", "zh")
    ('有', '几个', '红色', '的', '数字', '？')
    """
    if language not in LANGUAGES:
        raise UserError(f"there are no words for the language {language!r}; the languages are {', '.join(LANGUAGES)}")
    return tuple(_pattern(language).findall(text.lower()))


@cache
def _pattern(language: str) -> re.Pattern[str]:
    """Regular expression of the word rule; known words are tried longest first."""
    if language == "zh":
        known = {*_CHINESE_WORDS, *RELATION_WORDS["zh"].values(), *(surface(label, "zh") for label in answers())}
        listed = sorted((word.lower() for word in known if not word.isascii()), key=lambda word: (-len(word), word))
        return re.compile("|".join(("[a-z]+", *listed, r"\S")))
    long = [name(number, language) for number in range(100) if " " in name(number, language)]
    pieces = r"[^\W\d_]+'|[^\W\d_]+(?:-[^\W\d_]+)*|\d+|[^\w\s]"
    return re.compile("|".join((*(rf"{one}(?![\w-])" for one in long), pieces)))


class WorldVocabulary:
    """Vocabulary of Number World: special tokens first, then words by code point."""

    def __init__(self, known: Iterable[str]) -> None:
        self.words = (*SPECIALS, *sorted(set(known) - set(SPECIALS)))
        self.ids = {word: id for id, word in enumerate(self.words)}

    def __len__(self) -> int:
        return len(self.words)

    def encode(self, sequence: Iterable[str]) -> list[int]:
        """Encode words to ids; unknown words become ``[UNK]``."""
        unknown = self.ids[UNKNOWN]
        return [self.ids.get(word, unknown) for word in sequence]


@cache
def vocabulary() -> WorldVocabulary:
    """Shared vocabulary of all languages, the same for every number of numbers."""
    return WorldVocabulary(
        word for language in LANGUAGES for text in _texts(language) for word in words(text, language)
    )


def _texts(language: str) -> Iterable[str]:
    """All templates without their slots, and all fillers."""
    for wordings in (SEEN, KNOWN, STATED, REFERRED):
        for forms in wordings[language].values():
            yield from (_SLOT.sub(" ", form) for form in forms)
    for phrases in (MEANT, AFTER, JOINTS):
        yield from (_SLOT.sub(" ", phrase) for phrase in phrases[language])
    yield from (*SIDES[language], *MOST[language], *MORE[language], *RELATION_WORDS[language].values())
    yield from (surface(label, language) for label in answers())
    for colour in COLOURS:
        yield from colour_slots(colour, language).values()
        yield indefinite(1, colour, language)
    yield from (indefinite(8, None, language), "一个" if language == "zh" else "")
