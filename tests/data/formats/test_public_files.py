"""Published files of pairs, mentions and images are read in every form, and what is wrong with one is named."""

import json
import pickle

import pytest

from mm_kptm.data.formats.captions import read_karpathy, read_refcoco
from mm_kptm.data.formats.mentions import MentionSpan, read_fewrel, read_figer, read_open_entity, read_tacred
from mm_kptm.data.formats.xnli import read_xnli
from mm_kptm.errors import UserError

TYPING = {"sent": "Rome is big.", "start": 0, "end": 4, "ents": [["Q220", 0, 4, 0.7]], "labels": ["city", "place"]}
CHOI = {
    "annot_id": "x/1",
    "left_context_token": ["In"],
    "mention_span": "the city",
    "right_context_token": ["it", "rains"],
    "y_str": ["city"],
}
FIGER = {"tokens": ["Rome", "saw", "Anna"], "mentions": [{"start": 0, "end": 1, "labels": ["/city"]}]}
ERNIE = {"text": "Anna of Rome", "ents": [["Q1", 0, 4], ["Q2", 8, 12]], "label": "P19"}
TACRED = {"id": "e1", "token": ["Anna", "of", "Rome"], "subj_start": 0, "subj_end": 0, "obj_start": 2, "obj_end": 2}
FEWREL = {"P19": [{"tokens": ["Anna", "of", "New", "Rome"], "h": ["anna", "Q1", [[0]]], "t": ["rome", "Q2", [[2, 3]]]}]}
KARPATHY = {"filename": "a.jpg", "split": "restval", "cocoid": 7, "sentences": [{"raw": "A cat.", "sentid": 3}]}
REFER = {
    "refs": [{"ref_id": 1, "ann_id": 5, "image_id": 7, "split": "testA", "sent_ids": [0, 1]}],
    "anns": [{"ann_id": 5, "box": [10, 5, 20, 10]}],
    "images": [{"image_id": 7, "width": 100, "height": 50, "file_name": "a.jpg"}],
    "sentences": [{"sent_id": 0, "sent": "left cat"}, {"sent_id": 1, "sent": "the cat"}],
}


def as_json(path, value):
    path.write_text(json.dumps(value), encoding="utf-8")
    return path


def as_lines(path, *rows):
    path.write_text("\n".join(json.dumps(row) for row in rows), encoding="utf-8")
    return path


def test_xnli_is_read_in_three_forms(tmp_path):
    raw = tmp_path / "xnli.dev.tsv"
    raw.write_text('language\tgold_label\tx\tsentence1\tsentence2\nde\tneutral\t\tA "b\tC\nfr\tentailment\t\tA\tB\n')
    one, two = read_xnli(raw)
    assert (one.premise, one.label, one.language, one.group) == ('A "b', "neutral", "de", "pair-1") and two.id == "fr-1"
    (tmp_path / "multinli.train.ur.tsv").write_text("premise\thypo\tlabel\nA\tB\tcontradictory\n")
    (pair,) = read_xnli(tmp_path / "multinli.train.ur.tsv")
    assert (pair.label, pair.language) == ("contradiction", "ur")
    (tmp_path / "test-sw.tsv").write_text("A\tB\n\nC\u2028D\tE\tneutral\r\n")
    assert [(pair.premise, pair.label) for pair in read_xnli(tmp_path / "test-sw.tsv")] == [
        ("A", None),
        ("C\u2028D", "neutral"),
    ]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("x-en.tsv", "", "x-en.tsv is empty; a table of cells between tabs was expected"),
        ("x-en.tsv", "A\n", "line 1 has 1 cells between tabs, but 2 are needed"),
        (
            "x-en.tsv",
            "A\tB\tneutral\n \tB\tneutral\n",
            "line 2 has an empty sentence; premise and hypothesis must",
        ),
        ("x-en.tsv", "A\tB\t-\n", 'line 1: the label must be one of contradiction, entailment, neutral, but it is "-"'),
        ("x.tsv", "A\tB\n", r"names its language neither in a header \(language, .*\) nor in its name"),
        ("x-en.tsv", "premise\thypo\tlabel\n", "has a header and no line below it; at least one pair was expected"),
        (
            "x.tsv",
            "language\tgold_label\tsentence1\tsentence2\nde\tneutral\n",
            "line 2 has 2 cells between tabs, but",
        ),
    ],
)
def test_a_malformed_table_is_named(tmp_path, name, content, message):
    (tmp_path / name).write_text(content)
    with pytest.raises(UserError, match=message):
        read_xnli(tmp_path / name)


def test_typed_mentions_are_read_in_every_form(tmp_path):
    (one,) = read_open_entity(as_json(tmp_path / "a.json", [TYPING]))
    assert (one.mention, one.types, one.links) == (
        MentionSpan(0, 4),
        ("city", "place"),
        (MentionSpan(0, 4, "Q220", 0.7),),
    )
    (two,) = read_open_entity(as_lines(tmp_path / "b.json", CHOI))
    assert two.text[two.mention.start : two.mention.end] == "the city" and two.text == "In the city it rains"
    (three,) = read_figer(as_lines(tmp_path / "c.json", FIGER))
    assert (three.text, three.mention, three.types) == ("Rome saw Anna", MentionSpan(0, 4), ("/city",))


def test_relations_are_read_in_every_form(tmp_path):
    (one,) = read_fewrel(as_json(tmp_path / "a.json", [ERNIE]))
    assert (one.head.entity, one.tail, one.relation) == ("Q1", MentionSpan(8, 12, "Q2"), "P19")
    (two,) = read_fewrel(as_json(tmp_path / "b.json", FEWREL))
    assert two.text[two.tail.start : two.tail.end] == "New Rome" and two.relation == "P19"
    (three,) = read_tacred(as_json(tmp_path / "c.json", [{**TACRED, "relation": "no_relation"}]))
    assert (three.text[slice(*three.tail[:2])], three.relation, three.links) == ("Rome", "no_relation", ())
    linked = {**ERNIE, "ann": [["Q9", 5, 7, 0.5]]}
    (four,) = read_tacred(as_json(tmp_path / "d.json", [linked]))
    assert four.links == (MentionSpan(5, 7, "Q9", 0.5),)


@pytest.mark.parametrize(
    ("read", "value", "message"),
    [
        (read_open_entity, [], r"must hold a list of at least one object, but it is \[\]"),
        (read_open_entity, [5], "entry 1 must be an object, but it is 5"),
        (
            read_open_entity,
            [{**TYPING, "end": 40}],
            "entry 1 says characters 0 to 40 of a text of 12; a mention",
        ),
        (read_open_entity, [{**TYPING, "labels": []}], "entry 1: 'labels' is empty; at least one text was expected"),
        (read_open_entity, [{**TYPING, "labels": [1]}], r"entry 1: labels\[0\] must be a text, but it is 1"),
        (read_open_entity, [{**TYPING, "ents": [["Q1", 0]]}], r"ents\[0\] must hold entity, start, end and perhaps"),
        (read_open_entity, [{**TYPING, "ents": [["Q1", 0, "4"]]}], r"ents\[0\]\[2\] must be a whole number"),
        (read_open_entity, {"mention_span": "x"}, "line 1 has no 'left_context_token'; it has mention_span"),
        (
            read_figer,
            {"tokens": ["a"], "mentions": [{"start": 0, "end": 3}]},
            "says tokens 0 to 2, but the tokens are 0",
        ),
        (read_fewrel, [{**ERNIE, "ents": [["Q1", 0, 4]]}], "'ents' must hold head and tail, but it holds 1"),
        (read_fewrel, {}, "holds no relation; at least one was expected"),
        (read_fewrel, {"P": []}, "'P' is empty; at least one entry was expected"),
        (read_fewrel, {"P": [{"tokens": ["a"], "h": ["a"], "t": []}]}, "'h' must hold a name, an entity and mentions"),
        (
            read_fewrel,
            {"P": [{"tokens": ["a"], "h": ["a", "Q", []], "t": []}]},
            "'h' has no mention; the tokens of one",
        ),
        (read_tacred, [{**TACRED, "obj_end": 9}], "obj_start says tokens 2 to 9, but the tokens are 0 to 2"),
        (read_tacred, [{**TACRED, "subj_start": "0"}], "entry 1: 'subj_start' must be a whole number, but it is \"0\""),
    ],
)
def test_a_malformed_mention_is_named(tmp_path, read, value, message):
    with pytest.raises(UserError, match=message):
        read(as_json(tmp_path / "x.json", value))


def test_captions_are_read_with_the_split_of_their_image(tmp_path):
    (image,) = read_karpathy(as_json(tmp_path / "a.json", {"images": [KARPATHY], "dataset": "coco"}))
    assert (image.names, image.captions, image.split) == (("a.jpg", "a", "7"), (("3", "A cat."),), "train")


def test_expressions_are_read_in_both_forms(tmp_path):
    one, two = read_refcoco(as_json(tmp_path / "a.json", REFER))
    assert (one.box, one.text, one.split) == ((0.1, 0.1, 0.3, 0.3), "left cat", "testA") and two.id == "1"
    captioned = {
        "images": [{"id": 1, "file_name": "a.jpg", "width": 100, "height": 50, "caption": "the cat", "original_id": 7}],
        "annotations": [{"id": 4, "image_id": 1, "bbox": [90, 5, 20, 10]}],
    }
    (three,) = read_refcoco(as_json(tmp_path / "b.json", captioned))
    assert (three.names, three.text, three.box) == (("a.jpg", "a", "7"), "the cat", (0.9, 0.1, 1.0, 0.3))


def released(folder, *changed, **objects):
    """The release of REFER: a pickle beside COCO's objects."""
    images = [{"id": 7, "width": 100, "height": 50, "file_name": "COCO_train2014_000000000007.jpg"}]
    things = {"annotations": [{"id": 5, "image_id": 7, "bbox": [10, 5, 20, 10]}], "images": images, **objects}
    as_json(folder / "instances.json", things)
    said = [{"sent_id": number, "sent": text, "tokens": text.split()} for number, text in enumerate(("left cat", "it"))]
    ref = {"ref_id": 1, "ann_id": 5, "image_id": 7, "split": "testA", "sent_ids": [0, 1], "sentences": said}
    (folder / "refs(unc).p").write_bytes(pickle.dumps([ref, *({**ref, **one} for one in changed)], protocol=2))
    return folder / "refs(unc).p"


def test_the_release_of_referring_expressions_is_read(tmp_path):
    one, two = read_refcoco(released(tmp_path))
    assert (one.id, one.text, one.split, one.box) == ("0", "left cat", "testA", (0.1, 0.1, 0.3, 0.3))
    assert one.names == ("COCO_train2014_000000000007.jpg", "COCO_train2014_000000000007", "7") and two.text == "it"
    (tmp_path / "instances.json").rename(tmp_path / "coco.json")
    assert read_refcoco(tmp_path / "refs(unc).p", tmp_path / "coco.json") == (one, two)
    with pytest.raises(UserError, match=r"instances\.json was to be read, but there is no such file"):
        read_refcoco(tmp_path / "refs(unc).p")


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({}, r"refs\[1\], sentences\[0\]: the sentence 0 is there twice, first at .*refs\[0\], sentences\[0\]"),
        ({"ann_id": 6}, r"refs\[1\] names the object 6, which is not in the file"),
        (
            {"split": "minival"},
            r"refs\[1\]: 'split' must be one of train, val, test, testA, testB, but it is \"minival\"",
        ),
        ({"sentences": [{"sent_id": 4}]}, r"refs\[1\], sentences\[0\] has no 'sent'; it has sent_id"),
    ],
)
def test_a_malformed_release_is_named(tmp_path, changed, message):
    with pytest.raises(UserError, match=message):
        read_refcoco(released(tmp_path, changed))


def test_a_pickle_of_expressions_runs_no_code(tmp_path):
    class Harmful:
        def __reduce__(self):
            return print, ("ran",)

    file = released(tmp_path)
    for value, message in (
        ([Harmful()], r"is refused: it asks to run builtins.print"),
        (3, "must hold a list of expr"),
    ):
        file.write_bytes(pickle.dumps(value))
        with pytest.raises(UserError, match=message):
            read_refcoco(file)
    file.unlink()
    with pytest.raises(UserError, match=r"refs\(unc\).p was to be read, but there is no such file"):
        read_refcoco(file)


def broken(key, **changes):
    return {**REFER, key: [{**REFER[key][0], **changes}]}


@pytest.mark.parametrize(
    ("read", "value", "message"),
    [
        (read_karpathy, [], r"x.json must be an object, but it is \[\]"),
        (read_karpathy, {"images": []}, "'images' is empty; at least one entry was expected"),
        (
            read_karpathy,
            {"images": [{**KARPATHY, "split": "dev"}]},
            r"images\[0\]: 'split' must be one of train, restval",
        ),
        (read_karpathy, {"images": [KARPATHY] * 2}, r"images\[1\]: image a.jpg is there twice, first at .*images\[0\]"),
        (read_karpathy, {"images": [{**KARPATHY, "sentences": [{}]}]}, r"sentences\[0\] has no 'raw'; it has nothing"),
        (read_refcoco, {"images": [{"id": "a"}]}, "has no 'annotations'; it has images"),
        (read_refcoco, broken("refs", image_id=8), r"refs\[0\] names the image 8, which is not in the file"),
        (read_refcoco, broken("refs", ann_id=8), r"refs\[0\] names the object 8, which is not in the file"),
        (read_refcoco, broken("refs", sent_ids=[9]), r"refs\[0\] names the sentence 9, which is not in the file"),
        (
            read_refcoco,
            broken("refs", split="dev"),
            r"refs\[0\]: 'split' must be one of train, val, test, testA",
        ),
        (read_refcoco, broken("anns", box=[1, 2, 3]), r"anns\[0\]: 'box' must hold 4 numbers, but it is \[1, 2, 3\]"),
        (read_refcoco, broken("anns", box=[1, 2, 3, "x"]), r"anns\[0\]: box\[3\] must be a number, but it is \"x\""),
        (
            read_refcoco,
            broken("anns", box=[200, 2, 3, 3]),
            "in an image of 100 x 50; a box is x, y, width and height in",
        ),
        (
            read_refcoco,
            broken("anns", image_id=8),
            r"refs\[0\] names the object 5 in image 7, but .*anns\[0\] is in image 8",
        ),
        (read_refcoco, {**REFER, "refs": REFER["refs"] * 2}, r"refs\[1\]: the sentence 0 is there twice, first at"),
        (read_refcoco, broken("images", width=None), r"images\[0\]: 'width' must be a number, but it is null"),
    ],
)
def test_a_malformed_image_is_named(tmp_path, read, value, message):
    with pytest.raises(UserError, match=message):
        read(as_json(tmp_path / "x.json", value))
