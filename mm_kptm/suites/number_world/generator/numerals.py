"""Names of the numbers 0-99 in five languages."""

from functools import cache

LANGUAGES = ("en", "de", "fr", "es", "zh")
_CHINESE = "零一二三四五六七八九"


def chinese(number: int) -> str:
    """Chinese name of a number below 100, which num2words does not support.

    Tens precede 十 and units follow it; 一 is omitted before 十, and 零 after it.

    >>> chinese(7), chinese(10), chinese(17), chinese(20), chinese(27)
    ('七', '十', '十七', '二十', '二十七')
    """
    tens, units = divmod(number, 10)
    if not tens:
        return _CHINESE[units]
    return ("" if tens == 1 else _CHINESE[tens]) + "十" + ("" if units == 0 else _CHINESE[units])


@cache
def name(number: int, language: str) -> str:
    """Name of a number as written inside a sentence; a German one is a noun.

    >>> name(27, "de"), name(97, "fr")
    ('Siebenundzwanzig', 'quatre-vingt-dix-sept')
    """
    if language == "zh":
        return chinese(number)
    from num2words import num2words

    word = str(num2words(number, lang=language))
    return word.capitalize() if language == "de" else word


@cache
def roman(number: int) -> str:
    """Roman numeral of a number between 1 and 99.

    >>> roman(49), roman(27)
    ('XLIX', 'XXVII')
    """
    numeral = ""
    for value, sign in ((90, "XC"), (50, "L"), (40, "XL"), (10, "X"), (9, "IX"), (5, "V"), (4, "IV"), (1, "I")):
        count, number = divmod(number, value)
        numeral += sign * count
    return numeral
