"""Lexicon: colours with their inflections, people, guilds, towns, relations and answers."""

from collections.abc import Mapping
from functools import cache

from mm_kptm.suites.number_world.generator.facts import GUILDS, PEOPLE, RANGES, TOWNS
from mm_kptm.suites.number_world.generator.numerals import name, roman
from mm_kptm.suites.number_world.generator.scene import COLOURS

#: Form 0 stands alone, form 1 in the plural. German: 0 predicate, 1 after "die" and "eine" or in a bare plural,
#: 2 in the dative and genitive and in the plural after "die". "Rosa" never changes.
_FORMS: Mapping[str, tuple[tuple[str, ...], ...]] = {
    "en": tuple((colour, colour) for colour in COLOURS),
    "de": (
        ("rot", "rote", "roten"), ("grün", "grüne", "grünen"), ("blau", "blaue", "blauen"),
        ("gelb", "gelbe", "gelben"), ("weiß", "weiße", "weißen"), ("violett", "violette", "violetten"),
        ("orange", "orange", "orangen"), ("rosa", "rosa", "rosa"),
    ),
    "fr": (
        ("rouge", "rouges"), ("vert", "verts"), ("bleu", "bleus"), ("jaune", "jaunes"), ("blanc", "blancs"),
        ("violet", "violets"), ("orange", "orange"), ("rose", "roses"),
    ),
    "es": (
        ("rojo", "rojos"), ("verde", "verdes"), ("azul", "azules"), ("amarillo", "amarillos"), ("blanco", "blancos"),
        ("morado", "morados"), ("naranja", "naranjas"), ("rosa", "rosas"),
    ),
    "zh": tuple((word, word) for word in ("红色", "绿色", "蓝色", "黄色", "白色", "紫色", "橙色", "粉色")),
}  # fmt: skip

_GUILDS: Mapping[str, tuple[str, ...]] = {
    "en": GUILDS,
    "de": ("Bäcker", "Schmiede", "Weber", "Seeleute", "Gärtner", "Maler", "Maurer", "Fischer"),
    "fr": ("boulangers", "forgerons", "tisserands", "marins", "jardiniers", "peintres", "maçons", "pêcheurs"),
    "es": ("panaderos", "herreros", "tejedores", "marineros", "jardineros", "pintores", "albañiles", "pescadores"),
    "zh": ("面包师", "铁匠", "织工", "水手", "园丁", "画家", "石匠", "渔民"),
}

_TOWNS: Mapping[str, tuple[str, ...]] = {
    "en": tuple(town.capitalize() for town in TOWNS),
    "de": ("London", "Rom", "Athen", "Lissabon", "Wien", "Prag", "Warschau", "Genf", "Neapel", "Berlin", "Tokio",
           "Moskau"),
    "fr": ("Londres", "Rome", "Athènes", "Lisbonne", "Vienne", "Prague", "Varsovie", "Genève", "Naples", "Berlin",
           "Tokyo", "Moscou"),
    "es": ("Londres", "Roma", "Atenas", "Lisboa", "Viena", "Praga", "Varsovia", "Ginebra", "Nápoles", "Berlín", "Tokio",
           "Moscú"),
    "zh": ("伦敦", "罗马", "雅典", "里斯本", "维也纳", "布拉格", "华沙", "日内瓦", "那不勒斯", "柏林", "东京",
           "莫斯科"),
}  # fmt: skip

_CHINESE_PEOPLE = ("安娜", "鲍里斯", "克拉拉", "大卫", "艾玛", "菲利克斯", "格蕾丝", "雨果", "艾琳", "约纳斯", "劳拉",
                   "马丁", "诺拉", "奥斯卡", "保拉", "西蒙")  # fmt: skip

#: Word for each relation on the branch of a fact.
RELATION_WORDS: Mapping[str, Mapping[str, str]] = {
    "en": {"parity": "parity", "successor": "successor", "multiple": "divisible", "prime": "prime", "square": "square",
           "roman": "Roman", "owner": "owner", "guild": "guild", "home": "home"},
    "de": {"parity": "Parität", "successor": "Nachfolger", "multiple": "teilbar", "prime": "Primzahl",
           "square": "Quadratzahl", "roman": "römisch", "owner": "Besitzer", "guild": "Zunft", "home": "Heimat"},
    "fr": {"parity": "parité", "successor": "successeur", "multiple": "multiple", "prime": "premier", "square": "carré",
           "roman": "romain", "owner": "propriétaire", "guild": "guilde", "home": "ville"},
    "es": {"parity": "paridad", "successor": "sucesor", "multiple": "múltiplo", "prime": "primo", "square": "cuadrado",
           "roman": "romano", "owner": "dueño", "guild": "gremio", "home": "ciudad"},
    "zh": {"parity": "奇偶性", "successor": "下一个数", "multiple": "三的倍数", "prime": "质数", "square": "平方数",
           "roman": "罗马数字", "owner": "主人", "guild": "行会", "home": "家"},
}  # fmt: skip

_WORDS: Mapping[str, Mapping[str, str]] = {
    "yes": {"en": "yes", "de": "ja", "fr": "oui", "es": "sí", "zh": "是"},
    "no": {"en": "no", "de": "nein", "fr": "non", "es": "no", "zh": "否"},
    "parity:even": {"en": "even", "de": "gerade", "fr": "pair", "es": "par", "zh": "偶数"},
    "parity:odd": {"en": "odd", "de": "ungerade", "fr": "impair", "es": "impar", "zh": "奇数"},
}


def colour_word(colour: str, language: str, form: int = 0) -> str:
    """Adjective of a colour in one of its forms.

    >>> colour_word("red", "de", 2), colour_word("white", "fr", 1), colour_word("pink", "de", 2)
    ('roten', 'blancs', 'rosa')
    """
    return _FORMS[language][COLOURS.index(colour)][form]


@cache
def surface(label: str, language: str) -> str:
    """Surface form of a language-neutral label (``person:anna``, ``count:2``, ``yes``) in a language.

    >>> surface("town:vienna", "fr"), surface("count:2", "zh"), surface("number:27", "es")
    ('Vienne', '两个', 'veintisiete')
    """
    if label in _WORDS:
        return _WORDS[label][language]
    kind, _, value = label.partition(":")
    match kind:
        case "number":
            return name(int(value), language)
        case "count":
            if language == "zh":  # counts need a measure word, and two has another form before it
                return ("两" if value == "2" else name(int(value), "zh")) + "个"
            return name(int(value), language).lower()
        case "colour":
            return colour_word(value, language)
        case "person":
            return _CHINESE_PEOPLE[PEOPLE.index(value)] if language == "zh" else value.capitalize()
        case "guild":
            return _GUILDS[language][GUILDS.index(value)]
        case "town":
            return _TOWNS[language][TOWNS.index(value)]
        case _:
            return value  # a Roman numeral


@cache
def answers(numbers: int = 100) -> tuple[str, ...]:
    """Labels of all answers in a fixed order: the classes of a question-answering head."""
    return (
        "yes",
        "no",
        *(f"colour:{colour}" for colour in COLOURS),
        *(f"count:{count}" for count in range(6)),
        "parity:even",
        "parity:odd",
        *(label for labels in RANGES.values() for label in labels),
        *(f"number:{number}" for number in range(numbers)),
        *(f"roman:{roman(number)}" for number in range(1, numbers)),
    )
