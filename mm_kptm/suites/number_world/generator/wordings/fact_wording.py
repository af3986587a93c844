"""Templates of questions about facts: four per relation and language.

The number is referred to by its appearance ("the red number"), never by its name. Slots: ``{it}`` the number as
subject or object, ``{of_it}`` and ``{to_it}`` in the genitive and the dative (or with the contracted preposition).
"""

from collections.abc import Mapping

from mm_kptm.suites.number_world.generator.wordings.wording import Wording

#: The number by its colour ``{c}``: as ``it``, ``of_it`` and ``to_it``.
MEANT: Mapping[str, tuple[str, str, str]] = {
    "en": ("the {c} number", "of the {c} number", "to the {c} number"),
    "de": ("die {c1} Zahl", "der {c2} Zahl", "der {c2} Zahl"),
    "fr": ("le nombre {c}", "du nombre {c}", "au nombre {c}"),
    "es": ("el número {c}", "del número {c}", "al número {c}"),
    "zh": ("{c}的数字", "{c}的数字", "{c}的数字"),
}
#: The number after it: the second hop.
AFTER: Mapping[str, tuple[str, str, str]] = {
    "en": (
        "the number after the {c} number",
        "of the number after the {c} number",
        "to the number after the {c} number",
    ),
    "de": ("die Zahl nach der {c2} Zahl", "der Zahl nach der {c2} Zahl", "der Zahl nach der {c2} Zahl"),
    "fr": ("le nombre qui suit le nombre {c}", "du nombre qui suit le nombre {c}", "au nombre qui suit le nombre {c}"),
    "es": (
        "el número que sigue al número {c}",
        "del número que sigue al número {c}",
        "al número que sigue al número {c}",
    ),
    "zh": ("{c}的数字的下一个数", "{c}的数字的下一个数", "{c}的数字的下一个数"),
}

KNOWN: Mapping[str, Wording] = {
    "en": {
        "owner": (
            "Who owns {it}?",
            "Who is the owner {of_it}?",
            "To whom does {it} belong?",
            "Name the owner {of_it}.",
        ),
        "guild": (
            "Which guild does {it} belong to?",
            "What is the guild {of_it}?",
            "In which guild is {it}?",
            "Name the guild {of_it}.",
        ),
        "home": (
            "Where is {it} at home?",
            "In which town does {it} live?",
            "What is the home {of_it}?",
            "Name the home {of_it}.",
        ),
        "parity": (
            "Is {it} even or odd?",
            "Is {it} odd or even?",
            "What is the parity {of_it}?",
            "Say whether {it} is even or odd.",
        ),
        "successor": (
            "Which number comes after {it}?",
            "Which number follows {it}?",
            "What is the successor {of_it}?",
            "Name the successor {of_it}.",
        ),
        "multiple": (
            "Is {it} a multiple of three?",
            "Is {it} divisible by three?",
            "Can {it} be divided by three?",
            "Say whether {it} is a multiple of three.",
        ),
        "prime": (
            "Is {it} a prime number?",
            "Is {it} prime?",
            "Does {it} count as a prime?",
            "Say whether {it} is prime.",
        ),
        "square": (
            "Is {it} a square number?",
            "Is {it} a perfect square?",
            "Does {it} count as a square?",
            "Say whether {it} is a perfect square.",
        ),
        "roman": (
            "How is {it} written in Roman numerals?",
            "What is the Roman numeral {of_it}?",
            "Which Roman numeral corresponds {to_it}?",
            "Write {it} in Roman numerals.",
        ),
    },
    "de": {
        "owner": (
            "Wem gehört {it}?",
            "Wer besitzt {it}?",
            "Wer ist der Besitzer {of_it}?",
            "Nenne den Besitzer {of_it}.",
        ),
        "guild": (
            "Zu welcher Zunft gehört {it}?",
            "Wie heißt die Zunft {of_it}?",
            "In welcher Zunft ist {it}?",
            "Nenne die Zunft {of_it}.",
        ),
        "home": (
            "Wo ist {it} zu Hause?",
            "In welcher Stadt wohnt {it}?",
            "Wie heißt die Heimat {of_it}?",
            "Nenne die Heimat {of_it}.",
        ),
        "parity": (
            "Ist {it} gerade oder ungerade?",
            "Ist {it} ungerade oder gerade?",
            "Welche Parität hat {it}?",
            "Sag, ob {it} gerade oder ungerade ist.",
        ),
        "successor": (
            "Welche Zahl kommt nach {to_it}?",
            "Welche Zahl folgt auf {it}?",
            "Wie lautet der Nachfolger {of_it}?",
            "Nenne den Nachfolger {of_it}.",
        ),
        "multiple": (
            "Ist {it} ein Vielfaches von drei?",
            "Ist {it} durch drei teilbar?",
            "Lässt sich {it} durch drei teilen?",
            "Sag, ob {it} durch drei teilbar ist.",
        ),
        "prime": (
            "Ist {it} eine Primzahl?",
            "Ist {it} prim?",
            "Zählt {it} zu den Primzahlen?",
            "Sag, ob {it} eine Primzahl ist.",
        ),
        "square": (
            "Ist {it} eine Quadratzahl?",
            "Zählt {it} zu den Quadratzahlen?",
            "Handelt es sich bei {to_it} um eine Quadratzahl?",
            "Sag, ob {it} eine Quadratzahl ist.",
        ),
        "roman": (
            "Wie schreibt man {it} in römischen Ziffern?",
            "Wie lautet {it} in römischen Ziffern?",
            "Welche römische Zahl entspricht {to_it}?",
            "Schreibe {it} in römischen Ziffern.",
        ),
    },
    "fr": {
        "owner": (
            "À qui appartient {it} ?",
            "Qui possède {it} ?",
            "Qui est le propriétaire {of_it} ?",
            "Nomme le propriétaire {of_it}.",
        ),
        "guild": (
            "À quelle guilde appartient {it} ?",
            "Quelle est la guilde {of_it} ?",
            "Dans quelle guilde est {it} ?",
            "Nomme la guilde {of_it}.",
        ),
        "home": (
            "Où habite {it} ?",
            "Dans quelle ville habite {it} ?",
            "Quelle est la ville {of_it} ?",
            "Nomme la ville {of_it}.",
        ),
        "parity": (
            "{it} est-il pair ou impair ?",
            "Est-ce que {it} est pair ou impair ?",
            "Quelle est la parité {of_it} ?",
            "Dis si {it} est pair ou impair.",
        ),
        "successor": (
            "Quel nombre vient après {it} ?",
            "Quel nombre suit {it} ?",
            "Quel est le successeur {of_it} ?",
            "Nomme le successeur {of_it}.",
        ),
        "multiple": (
            "{it} est-il un multiple de trois ?",
            "Est-ce que {it} est divisible par trois ?",
            "Peut-on diviser {it} par trois ?",
            "Dis si {it} est divisible par trois.",
        ),
        "prime": (
            "{it} est-il premier ?",
            "Est-ce que {it} est premier ?",
            "{it} est-il un nombre premier ?",
            "Dis si {it} est premier.",
        ),
        "square": (
            "{it} est-il un carré parfait ?",
            "Est-ce que {it} est un carré parfait ?",
            "{it} compte-t-il parmi les carrés ?",
            "Dis si {it} est un carré parfait.",
        ),
        "roman": (
            "Comment écrit-on {it} en chiffres romains ?",
            "Comment s'écrit {it} en chiffres romains ?",
            "Quel chiffre romain correspond {to_it} ?",
            "Écris {it} en chiffres romains.",
        ),
    },
    "es": {
        "owner": (
            "¿A quién pertenece {it}?",
            "¿Quién posee {it}?",
            "¿Quién es el dueño {of_it}?",
            "Nombra al dueño {of_it}.",
        ),
        "guild": (
            "¿A qué gremio pertenece {it}?",
            "¿Cuál es el gremio {of_it}?",
            "¿En qué gremio está {it}?",
            "Nombra el gremio {of_it}.",
        ),
        "home": (
            "¿Dónde vive {it}?",
            "¿En qué ciudad vive {it}?",
            "¿Cuál es la ciudad {of_it}?",
            "Nombra la ciudad {of_it}.",
        ),
        "parity": (
            "¿Es par o impar {it}?",
            "¿Es impar o par {it}?",
            "¿Cuál es la paridad {of_it}?",
            "Di si {it} es par o impar.",
        ),
        "successor": (
            "¿Qué número viene después {of_it}?",
            "¿Qué número sigue {to_it}?",
            "¿Cuál es el sucesor {of_it}?",
            "Nombra el sucesor {of_it}.",
        ),
        "multiple": (
            "¿Es {it} un múltiplo de tres?",
            "¿Es {it} divisible por tres?",
            "¿Se puede dividir {it} por tres?",
            "Di si {it} es divisible por tres.",
        ),
        "prime": (
            "¿Es {it} un número primo?",
            "¿Es primo {it}?",
            "¿Se cuenta {it} entre los primos?",
            "Di si {it} es primo.",
        ),
        "square": (
            "¿Es {it} un cuadrado perfecto?",
            "¿Es {it} un número cuadrado?",
            "¿Se cuenta {it} entre los cuadrados?",
            "Di si {it} es un cuadrado perfecto.",
        ),
        "roman": (
            "¿Cómo se escribe {it} en números romanos?",
            "¿Cuál es la forma romana {of_it}?",
            "¿Qué número romano corresponde {to_it}?",
            "Escribe {it} en números romanos.",
        ),
    },
    "zh": {
        "owner": ("谁拥有{it}？", "{it}属于谁？", "{it}的主人是谁？", "请说出{it}的主人。"),
        "guild": ("{it}属于哪个行会？", "{it}的行会是什么？", "{it}在哪个行会？", "请说出{it}的行会。"),
        "home": ("{it}住在哪里？", "{it}住在哪个城市？", "{it}的家在哪里？", "请说出{it}的家在哪里。"),
        "parity": (
            "{it}是偶数还是奇数？",
            "{it}是奇数还是偶数？",
            "{it}的奇偶性是什么？",
            "请说出{it}是奇数还是偶数。",
        ),
        "successor": ("{it}加一是多少？", "{it}的下一个数是多少？", "{it}的后继数是什么？", "请说出{it}的下一个数。"),
        "multiple": ("{it}是三的倍数吗？", "{it}能被三整除吗？", "{it}可以被三整除吗？", "请说出{it}是不是三的倍数。"),
        "prime": ("{it}是质数吗？", "{it}是不是质数？", "{it}算质数吗？", "请说出{it}是不是质数。"),
        "square": ("{it}是平方数吗？", "{it}是不是平方数？", "{it}算平方数吗？", "请说出{it}是不是平方数。"),
        "roman": (
            "{it}用罗马数字怎么写？",
            "{it}的罗马数字是什么？",
            "哪个罗马数字表示{it}？",
            "请用罗马数字写出{it}。",
        ),
    },
}
