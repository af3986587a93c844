"""A compiled charsmap replaces what its rules say, in the library that runs it."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers.normalizers import Precompiled

from mm_kptm.data.tokenizers.charsmap import build_charsmap

CHARACTERS = st.characters(exclude_categories=("Cs", "Mn", "Mc", "Me"), exclude_characters="\0")
#: Nothing joins these into one cluster, which the library would look up as a whole.
PLAIN = st.sampled_from("abcdefgÄßéЖקअ中ｶ½ﬁ Ａ")


@settings(max_examples=40, deadline=None)
@given(
    rules=st.dictionaries(CHARACTERS, st.text("xyz äあ", max_size=3), max_size=40),
    own=st.dictionaries(PLAIN, st.text("xyz", max_size=2), min_size=1),
    text=st.text(PLAIN, max_size=12),
)
def test_the_library_replaces_what_the_rules_say(rules: dict[str, str], own: dict[str, str], text: str) -> None:
    rules = {one: to for one, to in rules.items() if one not in "abcdefgÄßéЖקअ中ｶ½ﬁ Ａ"} | own
    charsmap = build_charsmap(rules)
    assert Precompiled(charsmap).normalize_str(text) == "".join(rules.get(one, one) for one in text)


def test_five_thousand_rules_are_all_found() -> None:
    rules = {
        chr(code): f"<{code}>" for code in [*range(0xF900, 0xFA60), *range(0x1F100, 0x1F200), *range(0x3400, 0x4600)]
    }
    normalize = Precompiled(build_charsmap(rules)).normalize_str
    assert all(normalize(one) == to for one, to in rules.items())
    assert normalize("plain text ÿ 中") == "plain text ÿ 中"


def test_no_rules_are_no_bytes() -> None:
    assert build_charsmap({}) == b"" and build_charsmap({"\0": "x"}) == b""
