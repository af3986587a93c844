"""Templates of visual questions: four per type and language.

Slots: ``{n}`` and ``{m}`` the names of two numbers, ``{x}`` a number with its article and perhaps its colour,
``{c}`` and ``{d}`` two colours (``{c1}``, ``{c2}`` ... their other forms, see ``lexicon``; ``{C}`` the colour
as a German noun), ``{side}`` left or right, ``{most}`` largest or smallest, ``{more}`` larger or smaller.
"""

from collections.abc import Mapping

Wording = Mapping[str, tuple[str, ...]]

SIDES = {
    "en": ("left", "right"), "de": ("links", "rechts"), "fr": ("gauche", "droite"), "es": ("izquierda", "derecha"),
    "zh": ("左", "右"),
}  # fmt: skip
MOST = {
    "en": ("largest", "smallest"), "de": ("größte", "kleinste"), "fr": ("grand", "petit"), "es": ("mayor", "menor"),
    "zh": ("大", "小"),
}  # fmt: skip
MORE = {
    "en": ("larger", "smaller"), "de": ("größer", "kleiner"), "fr": ("grand", "petit"), "es": ("mayor", "menor"),
    "zh": ("大", "小"),
}  # fmt: skip

SEEN: Mapping[str, Wording] = {
    "en": {
        "colour": (
            "What colour is the {n}?",
            "Which colour does the {n} have?",
            "In what colour is the {n} written?",
            "Tell me the colour of the {n}.",
        ),
        "number": (
            "Which number is {c}?",
            "What is the {c} number?",
            "Which number is written in {c}?",
            "Read the {c} number.",
        ),
        "count": (
            "How many numbers are there?",
            "How many numbers do you see?",
            "How many numbers does the picture show?",
            "Count the numbers.",
        ),
        "count-colour": (
            "How many numbers are {c}?",
            "How many {c} numbers are there?",
            "How many {c} numbers do you see?",
            "Count the {c} numbers.",
        ),
        "exists": ("Is there {x}?", "Do you see {x}?", "Does the picture show {x}?", "Is {x} to be seen?"),
        "side": (
            "Which number is furthest to the {side}?",
            "Which number is at the far {side}?",
            "What is the first number from the {side}?",
            "Read the number at the far {side}.",
        ),
        "extreme": (
            "Which number is the {most}?",
            "What is the {most} number?",
            "Which of the numbers is the {most}?",
            "Read the {most} number.",
        ),
        "compare": (
            "Is the {c} number {more} than the {d} number?",
            "Is the {c} number {more} than the {d} one?",
            "Compared with the {d} number, is the {c} number {more}?",
            "Is it true that the {c} number is {more} than the {d} number?",
        ),
        "beside": (
            "Is the {n} to the {side} of the {m}?",
            "Is the {n} further to the {side} than the {m}?",
            "Does the {n} stand to the {side} of the {m}?",
            "Is it true that the {n} is to the {side} of the {m}?",
        ),
    },
    "de": {
        "colour": (
            "Welche Farbe hat die {n}?",
            "In welcher Farbe ist die {n} geschrieben?",
            "Was ist die Farbe der {n}?",
            "Nenne mir die Farbe der {n}.",
        ),
        "number": (
            "Welche Zahl ist {c}?",
            "Wie lautet die {c1} Zahl?",
            "Welche Zahl ist in {C} geschrieben?",
            "Lies die {c1} Zahl vor.",
        ),
        "count": (
            "Wie viele Zahlen gibt es?",
            "Wie viele Zahlen siehst du?",
            "Wie viele Zahlen zeigt das Bild?",
            "Zähle die Zahlen.",
        ),
        "count-colour": (
            "Wie viele Zahlen sind {c}?",
            "Wie viele {c1} Zahlen gibt es?",
            "Wie viele {c1} Zahlen siehst du?",
            "Zähle die {c2} Zahlen.",
        ),
        "exists": ("Gibt es {x}?", "Siehst du {x}?", "Zeigt das Bild {x}?", "Ist {x} zu sehen?"),
        "side": (
            "Welche Zahl steht ganz {side}?",
            "Welche Zahl steht am weitesten {side}?",
            "Wie lautet die erste Zahl von {side}?",
            "Lies die Zahl ganz {side} vor.",
        ),
        "extreme": (
            "Welche Zahl ist die {most}?",
            "Wie lautet die {most} Zahl?",
            "Welche der Zahlen ist die {most}?",
            "Lies die {most} Zahl vor.",
        ),
        "compare": (
            "Ist die {c1} Zahl {more} als die {d1} Zahl?",
            "Ist die {c1} Zahl {more} als die {d1}?",
            "Ist die {c1} Zahl im Vergleich zur {d2} Zahl {more}?",
            "Stimmt es, dass die {c1} Zahl {more} ist als die {d1} Zahl?",
        ),
        "beside": (
            "Steht die {n} {side} von der {m}?",
            "Ist die {n} {side} von der {m}?",
            "Befindet sich die {n} {side} von der {m}?",
            "Stimmt es, dass die {n} {side} von der {m} steht?",
        ),
    },
    "fr": {
        "colour": (
            "De quelle couleur est le {n} ?",
            "Quelle est la couleur du {n} ?",
            "En quelle couleur le {n} est-il écrit ?",
            "Dis-moi la couleur du {n}.",
        ),
        "number": (
            "Quel nombre est {c} ?",
            "Quel est le nombre {c} ?",
            "Quel nombre est écrit en {c} ?",
            "Lis le nombre {c}.",
        ),
        "count": (
            "Combien de nombres y a-t-il ?",
            "Combien de nombres vois-tu ?",
            "Combien de nombres l'image montre-t-elle ?",
            "Compte les nombres.",
        ),
        "count-colour": (
            "Combien de nombres sont {c1} ?",
            "Combien de nombres {c1} y a-t-il ?",
            "Combien de nombres {c1} vois-tu ?",
            "Compte les nombres {c1}.",
        ),
        "exists": ("Y a-t-il {x} ?", "Vois-tu {x} ?", "L'image montre-t-elle {x} ?", "Est-ce qu'il y a {x} ?"),
        "side": (
            "Quel nombre est le plus à {side} ?",
            "Quel nombre se trouve tout à {side} ?",
            "Quel est le premier nombre en partant de la {side} ?",
            "Lis le nombre tout à {side}.",
        ),
        "extreme": (
            "Quel nombre est le plus {most} ?",
            "Quel est le plus {most} nombre ?",
            "Lequel des nombres est le plus {most} ?",
            "Lis le plus {most} nombre.",
        ),
        "compare": (
            "Le nombre {c} est-il plus {more} que le nombre {d} ?",
            "Est-ce que le nombre {c} est plus {more} que le nombre {d} ?",
            "Comparé au nombre {d}, le nombre {c} est-il plus {more} ?",
            "Est-il vrai que le nombre {c} est plus {more} que le nombre {d} ?",
        ),
        "beside": (
            "Le {n} est-il à {side} du {m} ?",
            "Est-ce que le {n} est à {side} du {m} ?",
            "Le {n} se trouve-t-il à {side} du {m} ?",
            "Est-il vrai que le {n} est à {side} du {m} ?",
        ),
    },
    "es": {
        "colour": (
            "¿De qué color es el {n}?",
            "¿Qué color tiene el {n}?",
            "¿Cuál es el color del {n}?",
            "Dime el color del {n}.",
        ),
        "number": (
            "¿Qué número es {c}?",
            "¿Cuál es el número {c}?",
            "¿Qué número está escrito en {c}?",
            "Lee el número {c}.",
        ),
        "count": (
            "¿Cuántos números hay?",
            "¿Cuántos números ves?",
            "¿Cuántos números muestra la imagen?",
            "Cuenta los números.",
        ),
        "count-colour": (
            "¿Cuántos números son {c1}?",
            "¿Cuántos números {c1} hay?",
            "¿Cuántos números {c1} ves?",
            "Cuenta los números {c1}.",
        ),
        "exists": ("¿Hay {x}?", "¿Ves {x}?", "¿Muestra la imagen {x}?", "¿Se ve {x}?"),
        "side": (
            "¿Qué número está más a la {side}?",
            "¿Cuál es el número que está más a la {side}?",
            "¿Cuál es el primer número desde la {side}?",
            "Lee el número que está más a la {side}.",
        ),
        "extreme": (
            "¿Qué número es el {most}?",
            "¿Cuál es el número {most}?",
            "¿Cuál de los números es el {most}?",
            "Lee el número {most}.",
        ),
        "compare": (
            "¿Es el número {c} {more} que el número {d}?",
            "¿Es {more} el número {c} que el {d}?",
            "Comparado con el número {d}, ¿es {more} el número {c}?",
            "¿Es cierto que el número {c} es {more} que el número {d}?",
        ),
        "beside": (
            "¿Está el {n} a la {side} del {m}?",
            "¿Se encuentra el {n} a la {side} del {m}?",
            "¿Aparece el {n} a la {side} del {m}?",
            "¿Es cierto que el {n} está a la {side} del {m}?",
        ),
    },
    "zh": {
        "colour": ("{n}是什么颜色？", "{n}的颜色是什么？", "{n}是用什么颜色写的？", "请说出{n}的颜色。"),
        "number": ("哪个数字是{c}的？", "{c}的数字是多少？", "用{c}写的数字是哪个？", "请读出{c}的数字。"),
        "count": ("有几个数字？", "你看到几个数字？", "图中有几个数字？", "请数一数有几个数字。"),
        "count-colour": (
            "有几个数字是{c}的？",
            "有几个{c}的数字？",
            "你看到几个{c}的数字？",
            "请数一数有几个{c}的数字。",
        ),
        "exists": ("图中有{x}吗？", "你看到{x}了吗？", "有没有{x}？", "这里有{x}吗？"),
        "side": (
            "哪个数字在最{side}边？",
            "最{side}边的数字是多少？",
            "从{side}边数第一个数字是什么？",
            "请读出最{side}边的数字。",
        ),
        "extreme": (
            "哪个数字最{most}？",
            "最{most}的数字是多少？",
            "这些数字中哪个最{most}？",
            "请读出最{most}的数字。",
        ),
        "compare": (
            "{c}的数字比{d}的数字{more}吗？",
            "{c}的数字是不是比{d}的数字{more}？",
            "和{d}的数字相比，{c}的数字更{more}吗？",
            "{c}的数字比{d}的{more}，对吗？",
        ),
        "beside": (
            "{n}在{m}的{side}边吗？",
            "{n}是不是在{m}的{side}边？",
            "{n}位于{m}的{side}边吗？",
            "{n}在{m}的{side}边，对吗？",
        ),
    },
}
