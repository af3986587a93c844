"""Manual pages are split by their macros, and aligned where the translation has the same ones."""

from mm_kptm.crosslingual.corpora.packages.manual_pages import aligned, plain, read_page


def test_fonts_and_links_stay_inside_a_paragraph() -> None:
    page = read_page(
        '.P\nSee\n.BR open (2),\n.IR "two words" (3)\nand\n.UR http://x.org\nthere\n.UE .\n.B bold words\nend\n'
    )
    assert page.skeleton == ("P", "")
    assert page.paragraphs == ("See open(2), two words(3) and there bold words end",)


def test_escapes_become_characters_and_unknown_ones_go() -> None:
    assert (
        plain(r"a\-b \fBbold\fR \f(CWcode\fP \f[I]x\f[] \s-1small\s0 \(co \[rs] \e\&.")
        == "a-b bold code x small © \\ \\."
    )


def test_a_translation_may_append_a_section_but_not_change_one() -> None:
    page = read_page(".SH A\none\n.PP\ntwo\n")
    longer = read_page(".SH B\neins\n.PP\nzwei\n.SH C\nmehr\n")
    assert list(aligned(page, longer) or ()) == [("one", "eins"), ("two", "zwei")]
    assert aligned(longer, page) is None
    assert aligned(page, read_page(".SH B\neins\n.TP\nzwei\n")) is None
