"""Templates of statements: captions, sentences about two numbers, facts.

Slots: ``{n}`` and ``{m}`` the names of two numbers, ``{c}`` a colour (``{C}`` as a German noun), ``{side}``
left or right, ``{o}`` the object of a fact, ``{list}`` the numbers of a scene with their articles and colours,
from left to right.
"""

from collections.abc import Mapping

from mm_kptm.suites.number_world.generator.wordings.wording import Wording

#: Between the items of a list, and before its last one.
JOINTS: Mapping[str, tuple[str, str]] = {
    "en": (", ", " and "),
    "de": (", ", " und "),
    "fr": (", ", " et "),
    "es": (", ", " y "),
    "zh": ("、", "和"),
}

STATED: Mapping[str, Wording] = {
    "en": {
        "caption": (
            "From left to right there is {list}.",
            "From left to right you can see {list}.",
            "The picture shows {list}, from left to right.",
            "Here is {list}, seen from left to right.",
        ),
        "colour": ("The {n} is {c}.", "The colour of the {n} is {c}."),
        "beside": ("The {n} is to the {side} of the {m}.", "To the {side} of the {m} is the {n}."),
        "larger": ("The {n} is larger than the {m}.", "Compared with the {m}, the {n} is larger."),
        "owner": ("The {n} belongs to {o}.", "{o} owns the {n}."),
        "guild": ("The {n} belongs to the guild of the {o}.", "The guild of the {n} is that of the {o}."),
        "home": ("The {n} lives in {o}.", "The home of the {n} is {o}."),
        "parity": ("The {n} is {o}.", "The {n} is an {o} number."),
        "successor": ("The {o} comes after the {n}.", "The successor of the {n} is the {o}."),
        "roman": ("The {n} is written {o} in Roman numerals.", "In Roman numerals the {n} is {o}."),
    },
    "de": {
        "caption": (
            "Von links nach rechts gibt es {list}.",
            "Von links nach rechts sieht man {list}.",
            "Das Bild zeigt von links nach rechts {list}.",
            "Hier sieht man, von links nach rechts, {list}.",
        ),
        "colour": ("Die {n} ist {c}.", "Die Farbe der {n} ist {C}."),
        "beside": ("Die {n} steht {side} von der {m}.", "{side} von der {m} steht die {n}."),
        "larger": ("Die {n} ist größer als die {m}.", "Im Vergleich zur {m} ist die {n} größer."),
        "owner": ("Die {n} gehört {o}.", "{o} besitzt die {n}."),
        "guild": ("Die {n} gehört zur Zunft der {o}.", "Die Zunft der {n} ist die der {o}."),
        "home": ("Die {n} wohnt in {o}.", "Die Heimat der {n} ist {o}."),
        "parity": ("Die {n} ist {o}.", "Die {n} ist eine {o} Zahl."),
        "successor": ("Die {o} kommt nach der {n}.", "Der Nachfolger der {n} ist die {o}."),
        "roman": ("Die {n} schreibt man {o} in römischen Ziffern.", "In römischen Ziffern lautet die {n} {o}."),
    },
    "fr": {
        "caption": (
            "De gauche à droite, il y a {list}.",
            "De gauche à droite, on voit {list}.",
            "L'image montre, de gauche à droite, {list}.",
            "Voici, de gauche à droite, {list}.",
        ),
        "colour": ("Le {n} est {c}.", "La couleur du {n} est le {c}."),
        "beside": ("Le {n} est à {side} du {m}.", "À {side} du {m} se trouve le {n}."),
        "larger": ("Le {n} est plus grand que le {m}.", "Comparé au {m}, le {n} est plus grand."),
        "owner": ("Le {n} appartient à {o}.", "{o} possède le {n}."),
        "guild": ("Le {n} appartient à la guilde des {o}.", "La guilde du {n} est celle des {o}."),
        "home": ("Le {n} habite à {o}.", "La ville du {n} est {o}."),
        "parity": ("Le {n} est {o}.", "Le {n} est un nombre {o}."),
        "successor": ("Le {o} vient après le {n}.", "Le successeur du {n} est le {o}."),
        "roman": ("Le {n} s'écrit {o} en chiffres romains.", "En chiffres romains, le {n} s'écrit {o}."),
    },
    "es": {
        "caption": (
            "De izquierda a derecha hay {list}.",
            "De izquierda a derecha se ve {list}.",
            "La imagen muestra, de izquierda a derecha, {list}.",
            "Aquí hay, de izquierda a derecha, {list}.",
        ),
        "colour": ("El {n} es {c}.", "El color del {n} es el {c}."),
        "beside": ("El {n} está a la {side} del {m}.", "A la {side} del {m} está el {n}."),
        "larger": ("El {n} es mayor que el {m}.", "Comparado con el {m}, el {n} es mayor."),
        "owner": ("El {n} pertenece a {o}.", "{o} posee el {n}."),
        "guild": ("El {n} pertenece al gremio de los {o}.", "El gremio del {n} es el de los {o}."),
        "home": ("El {n} vive en {o}.", "La ciudad del {n} es {o}."),
        "parity": ("El {n} es {o}.", "El {n} es un número {o}."),
        "successor": ("El {o} viene después del {n}.", "El sucesor del {n} es el {o}."),
        "roman": ("El {n} se escribe {o} en números romanos.", "En números romanos el {n} es {o}."),
    },
    "zh": {
        "caption": (
            "从左到右有{list}。",
            "从左到右可以看到{list}。",
            "图中从左到右是{list}。",
            "这里从左到右有{list}。",
        ),
        "colour": ("{n}是{c}的。", "{n}的颜色是{c}。"),
        "beside": ("{n}在{m}的{side}边。", "{m}的{side}边是{n}。"),
        "larger": ("{n}比{m}大。", "和{m}相比，{n}更大。"),
        "owner": ("{n}属于{o}。", "{o}拥有{n}。"),
        "guild": ("{n}属于{o}行会。", "{n}的行会是{o}行会。"),
        "home": ("{n}住在{o}。", "{n}的家在{o}。"),
        "parity": ("{n}是{o}。", "{n}是一个{o}。"),
        "successor": ("{n}的下一个数是{o}。", "{n}加一等于{o}。"),
        "roman": ("{n}用罗马数字写作{o}。", "{n}的罗马数字是{o}。"),
    },
}

#: Referring expressions to one number: by colour, name, position, size, or a neighbour of another colour.
REFERRED: Mapping[str, Wording] = {
    "en": {
        "colour": ("the {c} number", "the number in {c}"),
        "name": ("the {n}", "the number {n}"),
        "side": ("the number at the far {side}", "the number furthest to the {side}"),
        "extreme": ("the {most} number", "the {most} of the numbers"),
        "beside": ("the number just {side} of the {c} one", "the number to the immediate {side} of the {c} number"),
    },
    "de": {
        "colour": ("die {c1} Zahl", "die Zahl in {C}"),
        "name": ("die {n}", "die Zahl {n}"),
        "side": ("die Zahl ganz {side}", "die Zahl, die am weitesten {side} steht"),
        "extreme": ("die {most} Zahl", "die {most} der Zahlen"),
        "beside": ("die Zahl direkt {side} von der {c2}", "die Zahl unmittelbar {side} von der {c2} Zahl"),
    },
    "fr": {
        "colour": ("le nombre {c}", "le nombre écrit en {c}"),
        "name": ("le {n}", "le nombre {n}"),
        "side": ("le nombre tout à {side}", "le nombre le plus à {side}"),
        "extreme": ("le plus {most} nombre", "le plus {most} des nombres"),
        "beside": ("le nombre juste à {side} du {c}", "le nombre immédiatement à {side} du nombre {c}"),
    },
    "es": {
        "colour": ("el número {c}", "el número escrito en {c}"),
        "name": ("el {n}", "el número {n}"),
        "side": ("el número que está más a la {side}", "el número del extremo de la {side}"),
        "extreme": ("el número {most}", "el {most} de los números"),
        "beside": ("el número justo a la {side} del {c}", "el número inmediatamente a la {side} del número {c}"),
    },
    "zh": {
        "colour": ("{c}的数字", "用{c}写的数字"),
        "name": ("{n}", "数字{n}"),
        "side": ("最{side}边的数字", "最靠{side}边的数字"),
        "extreme": ("最{most}的数字", "数字中最{most}的那个"),
        "beside": ("紧靠{c}的数字{side}边的数字", "{c}的数字{side}边紧挨着的数字"),
    },
}
