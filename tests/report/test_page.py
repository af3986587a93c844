"""The page stands alone, shows what the files hold, and trusts none of it."""

import base64
import io
import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from itertools import combinations, pairwise

import numpy as np
import pytest
from PIL import Image

from mm_kptm.errors import UserError
from mm_kptm.report import (
    Box,
    Claim,
    Comparison,
    GalleryExample,
    Row,
    Table,
    picture,
    read_comparison,
    read_gallery,
    write,
    write_comparison,
    write_gallery,
)
from mm_kptm.report.scenes import placed_labels

VOID = {"meta", "br", "hr", "img", "link"}


class Page(HTMLParser):
    """What a browser would load and show; complains of an element closed out of turn."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.headings: list[tuple[int, str]] = []
        self.anchors: set[str] = set()
        self.attributes: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.addresses: list[str] = []
        self.tags: list[str] = []
        self.text = ""
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes.append((tag, dict(attrs)))
        if re.fullmatch("h[1-6]", tag):
            self.headings.append((int(tag[1]), ""))
        self.anchors |= {value for key, value in attrs if key == "id"}
        self.addresses += [value for key, value in attrs if key in ("src", "href", "xlink:href", "data", "action")]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and re.fullmatch("h[1-6]", self.open[-1]):
            self.headings[-1] = self.headings[-1][0], self.headings[-1][1] + data
        if self.open and self.open[-1] != "style":
            self.text += data + "|"


def read(path) -> Page:
    return Page(path.read_text(encoding="utf-8"))


def headings(page: Page) -> list[str]:
    """The sections of a page, whose contents list, skip link and levels of headings are right."""
    levels = [level for level, _ in page.headings]
    assert levels[0] == 1 and levels.count(1) == 1
    assert all(level <= before + 1 for before, level in pairwise(levels)), page.headings
    assert all(text.strip() for _, text in page.headings)
    found = [text for level, text in page.headings if level == 2]
    listed = [address[1:] for address in page.addresses if address.startswith("#")]
    assert listed[0] == "content" and {*listed} <= page.anchors, "the skip link stands first"
    assert len(listed) - 1 == (len(found) if len(found) > 1 else 0)
    return found


SECTIONS = ["Claims", "Results", "Runs", "Learning curves", "Breakdown", "Examples", "Provenance"]


def compared(folder, maker) -> Comparison:
    """A comparison of two runs in a folder, written there."""
    maker(folder / "vision", accuracy=0.8, arm="true")
    maker(folder / "blind", accuracy=0.3, arm="none")
    rows = (Row("vision", "accuracy", 0.8, 0.75, 0.85, 240), Row("chance", "accuracy", 0.03, baseline=True))
    found = Comparison(
        "What vision brings",
        "demo",
        3,
        (Table("Vision", rows, "unseen scans"),),
        (Claim("vision gap", 0.5, 0.5, True, "at least"),),
        ("vision", "blind"),
    )
    write_comparison(folder, found)
    return found


def test_a_run_is_reported_in_its_folder(run_folder):
    path = write([run_folder])
    assert path == run_folder / "report.html"
    page = read(path)
    assert headings(page) == ["Results", "Learning curves", "Breakdown", "Examples", "Provenance"]
    for shown in ("question-only", "colour-of", "zh", "Wem gehört die rote Zahl?", "owner", "Mara", "✗ wrong"):
        assert shown in page.text
    assert page.tags.count("article") == 5
    assert not list(run_folder.glob("*.part"))


def test_the_page_needs_nothing_but_itself(run_folder):
    path = write([run_folder])
    page = read(path)
    assert page.addresses and all(address.startswith(("data:image/png;base64,", "#")) for address in page.addresses)
    assert not {"script", "link", "iframe", "object"} & set(page.tags)
    assert "url(" not in path.read_text() and "@import" not in path.read_text()


def test_every_table_says_its_tier_and_seeds(run_folder):
    page = read(write([run_folder]))
    about = [
        part
        for part in page.text.split("|")
        if "uracy in per" in part or "By training" in part or "Target, and" in part
    ]
    assert len(about) >= 6
    assert all("tiny tier, 1 seed" in part for part in about)


def test_the_same_files_give_the_same_page(run_folder, tmp_path):
    first = write([run_folder]).read_bytes()
    assert write([run_folder], tmp_path / "again.html").read_bytes() == first


def test_what_a_file_holds_is_shown_and_not_obeyed(run_folder):
    evil = "</style><script>alert(1)</script><img src=x onerror=alert(1)>"
    (run_folder / "config.yaml").write_text(f"tier: {evil!r}\nseed: 1\n")
    (run_folder / "environment.json").write_text(json.dumps(evil))
    (run_folder / "baselines.json").write_text(json.dumps({"test": {evil: 0.5}}))
    lines = [
        {"id": number, "type": f"{evil}{number % 2}", "language": evil, "answer": evil, "target": "1", "correct": 0}
        for number in range(4)
    ]
    (run_folder / "predictions" / "test.jsonl").write_text("\n".join(map(json.dumps, lines)))
    (run_folder / "metrics.jsonl").write_text(json.dumps({"step": 1, "split": evil, evil: 1}))
    gallery = read_gallery(run_folder / "examples" / "test.json")
    hostile = replace(
        gallery[0],
        id=evil,
        question=evil,
        answer=evil,
        target=evil + "t",
        language=evil,
        type=evil,
        boxes=(replace(gallery[0].boxes[0], label=evil),),
        facts=(replace(gallery[0].facts[0], subject=evil, relation=evil, object=evil),),
        tokens=(replace(gallery[0].tokens[0], text=evil),),
    )
    write_gallery(run_folder / "examples" / "test.json", [hostile])
    page = read(write([run_folder]))
    assert not {"script", "img"} & set(page.tags)
    assert page.text.count("alert(1)") >= 15


def test_runs_are_compared_in_the_folder_they_share(tmp_path, maker):
    folders = [
        maker(tmp_path / "runs" / "vision", accuracy=0.8, arm="true"),
        maker(tmp_path / "runs" / "blind", accuracy=0.3, arm="no"),
    ]
    path = write(folders)
    assert path == tmp_path / "runs" / "report.html"
    assert "blind over vision" in read(path).text
    assert write(folders, tmp_path) == tmp_path / "report.html"


def test_a_comparison_brings_its_tables_claims_and_runs(tmp_path, maker):
    compared(tmp_path, maker)
    page = read(write([tmp_path]))
    assert headings(page) == SECTIONS
    assert "What vision brings" in page.text and "unseen scans. Accuracy in per cent; demo tier, 3 seeds." in page.text
    assert "✓ holds" in page.text and "at least 50.0" in page.text


def test_figures_of_a_comparison_and_of_its_runs_state_their_own_seeds(tmp_path, maker):
    compared(tmp_path, maker)
    page = read(write([tmp_path]))
    assert "Accuracy in per cent; demo tier, 3 seeds." in page.text
    assert "Accuracy in per cent; tiny tier, 1 seed." in page.text


def test_a_comparison_may_come_without_runs(tmp_path):
    write_comparison(tmp_path, Comparison("Counts", "tiny", 1, (Table("t", (Row("chance", "accuracy", 0.1),)),)))
    page = read(write([tmp_path]))
    assert headings(page) == ["Results"]
    assert "tiny tier, 1 seed" in page.text


def test_a_comparison_reads_back_as_it_was_written(tmp_path, maker):
    written = compared(tmp_path, maker)
    assert read_comparison(tmp_path) == written


def test_a_gallery_reads_back_as_it_was_written(run_folder, tmp_path):
    examples = read_gallery(run_folder / "examples" / "test.json")
    write_gallery(tmp_path / "copy" / "test.json", examples)
    assert read_gallery(tmp_path / "copy" / "test.json") == examples
    assert len(examples) == 5 and examples[0].facts[0].used is True


@pytest.mark.parametrize("shape", [(5, 7, 3), (5, 7)])
def test_a_picture_is_a_png_of_the_same_pixels(shape):
    pixels = np.random.default_rng(0).integers(0, 256, size=shape, dtype=np.uint8)
    read_back = Image.open(io.BytesIO(base64.b64decode(picture(pixels).split(",")[1])))
    np.testing.assert_array_equal(np.asarray(read_back), pixels)


def test_a_picture_of_another_kind_is_refused():
    with pytest.raises(UserError, match=r"a picture of shape \[2, 2, 4\] and type uint8 cannot be shown; give bytes"):
        picture(np.zeros((2, 2, 4), np.uint8))
    with pytest.raises(UserError, match="type float64 cannot be shown"):
        picture(np.zeros((2, 2)))


def test_metrics_alone_make_a_page(run_folder):
    for name in ("config.yaml", "baselines.json", "examples/test.json", "environment.json", "predictions/test.jsonl"):
        (run_folder / name).unlink()
    page = read(write([run_folder]))
    assert headings(page) == ["Learning curves", "Provenance"]
    assert "1 seed" in page.text and "tier" not in page.text


def test_predictions_without_kinds_make_no_breakdown(run_folder):
    (run_folder / "metrics.jsonl").unlink()
    lines = [{"id": number, "correct": 1} for number in range(3)]
    (run_folder / "predictions" / "test.jsonl").write_text("\n".join(map(json.dumps, lines)))
    assert headings(read(write([run_folder]))) == ["Results", "Examples", "Provenance"]


def test_what_cannot_be_reported_is_said(tmp_path, maker):
    with pytest.raises(UserError, match="a report was asked for without a run; name at least one run folder"):
        write([])
    with pytest.raises(UserError, match=r"a report on .*nowhere was asked for, but there is no such folder"):
        write([tmp_path / "nowhere"])
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=r"empty holds nothing to report: neither metrics\.jsonl nor predictions"):
        write([tmp_path / "empty"])
    compared(tmp_path / "both", maker)
    with pytest.raises(UserError, match="both is a comparison and is reported alone, but 2 folders were named"):
        write([tmp_path / "both", tmp_path / "both" / "vision"])
    assert not (tmp_path / "empty" / "report.html").exists()


def test_named_arms_need_no_second_table(tmp_path, maker):
    """A comparison that says which runs make its arms has its tables already, and names the curves after the arms."""
    runs = {"seeing": ("a", "b"), "blind": ("c",)}
    for seed, folder in enumerate("abc"):
        maker(tmp_path / folder, seed=seed)
    rows = (Row("blind over seeing", "difference", -0.5, -0.6, -0.4, 240, p=0.0004),)
    written = Comparison("Named", "tiny", 2, (Table("Differences", rows),), runs=("a", "b", "c"), arms=runs)
    write_comparison(tmp_path, written)
    assert read_comparison(tmp_path) == written
    page = read(write([tmp_path]))
    assert "Runs" not in headings(page)
    assert "< 0.001" in page.text
    assert "seeing, train" in page.text


def test_an_arm_of_a_run_that_is_not_there_is_named(tmp_path):
    write_comparison(tmp_path, Comparison("Named", "tiny", 1, (), arms={"seeing": ("a",)}))
    with pytest.raises(UserError, match=r"arms: 'seeing' has the run 'a', which is not among 'runs'"):
        read_comparison(tmp_path)


def test_names_of_regions_hide_nothing_of_the_picture(run_folder):
    """They stand outside of it, none over another, and a line leads to the box."""
    crowded = Box((0.4, 0.3, 0.6, 0.5), "a second long name", 0.2)
    found = read_gallery(run_folder / "examples" / "test.json")
    write_gallery(
        run_folder / "examples" / "test.json", [replace(one, boxes=(*one.boxes, crowded, crowded)) for one in found]
    )
    page = read(write([run_folder]))
    names = [one for tag, one in page.attributes if tag == "text" and one.get("class") == "name"]
    views = [one["viewbox"].split() for tag, one in page.attributes if tag == "svg" and one.get("class") == "scene"]
    assert len(views) == 5 and len(names) == 25
    for top, width, tall in ((float(v[1]), float(v[2]), float(v[3])) for v in views):
        assert width == 112 and top < 0 and top + tall >= 64
    for one in names:
        base, size = float(one["y"]), float(one["font-size"])
        assert base <= 0 or base - size >= 64 - 1e-6
    labels = placed_labels((*found[0].boxes, crowded, crowded), 112, 64, 5.0)
    spans = [(label.y, label.x - len(label.text) * 1.4, label.x + len(label.text) * 1.4) for label in labels]
    for first, second in combinations(spans, 2):
        assert first[0] != second[0] or first[2] <= second[1] or second[2] <= first[1]


def test_examples_without_a_picture_are_texts_or_boxes_on_a_canvas(run_folder):
    text = GalleryExample("1", "Anna was born in Rome.\nAnna is from Rome.", "entailment", "entailment", 1.0)
    boxes = replace(text, id="2", width=640, height=480, boxes=(Box((0.1, 0.1, 0.5, 0.5), "region 1", 0.5),))
    unjudged = replace(text, id="3", target="", correct=None)
    write_gallery(run_folder / "examples" / "test.json", [text, boxes, unjudged])
    page = read(write([run_folder]))
    assert page.tags.count("article") == 3 and page.tags.count("image") == 0
    assert page.text.count("✓ right") == 2 and "region 1" in page.text and "Anna is from Rome." in page.text


def test_answers_of_which_nothing_was_recorded_stand_alone(run_folder):
    (run_folder / "examples" / "test.json").unlink()
    page = read(write([run_folder]))
    assert "Examples" in headings(page) and page.tags.count("article") == 6
    assert page.text.count("✓ right") == page.text.count("✗ wrong") == 3


def test_a_page_says_how_many_answers_follow_swapped_facts(run_folder):
    rows = [json.loads(line) for line in (run_folder / "predictions" / "test.jsonl").read_text().splitlines()]
    other = [
        {**row, "answer": row["answer"] if at % 4 else "another", "memorised": float(at % 4 > 0)}
        for at, row in enumerate(rows)
    ]
    (run_folder / "predictions" / "test-swapped.jsonl").write_text("\n".join(map(json.dumps, other)))
    page = read(write([run_folder]))
    assert "Swapped facts" in headings(page)
    assert "Split test-swapped, agreement with test" in page.text and "|75.0|" in page.text
    assert "Split test-swapped, knowledge use" in page.text
