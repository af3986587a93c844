"""Own captions with region features pretrain vision-language systems."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from mm_kptm.data import token_store
from mm_kptm.data.sampler import seeded
from mm_kptm.data.text_store import StoredTexts
from mm_kptm.data.tokenizers.protocol import BERT_SPECIALS
from mm_kptm.datasets.pretraining.image_text_pairs import ImageTextPairs
from mm_kptm.errors import UserError
from mm_kptm.experiment.build import Built, build
from mm_kptm.experiment.settings import EncoderSettings, Experiment
from mm_kptm.io.own_process import _pickled
from mm_kptm.objectives.tokens import Bernoulli, BernoulliOrFirst
from mm_kptm.train.protocol import lengths_of
from mm_kptm.vision.objectives.masked_captions import CaptionShare
from mm_kptm.vision.objectives.vl_bert import mean_over_examples, mean_over_predictions
from tests.arrow_folders import save
from tests.stores import write_regions

CAPTIONS = [{"image": "a", "captions": ["one dog", "a dog"]}, {"image": "b", "captions": ["two"]}]
QUESTIONS = [
    {"image": "b", "question": "one dog", "answers": ["Yes"]},
    {"image": "a", "question": "two", "answers": ["no"]},
    {"image": "a", "question": "a two"},
]
PAIRED = "sentence-image-prediction"
SIZES = {"dim": 8, "num_heads": 2, "num_layers": 1, "ffn_dim": 8, "max_positions": 24, "dropout": 0.0}


@pytest.fixture
def data(tmp_path: Path) -> ImageTextPairs:
    rng = np.random.default_rng(0)
    boxes = np.tile([0.0, 0.0, 1.0, 1.0], (3, 1))
    write_regions(tmp_path / "regions", [(image, rng.random((n, 6)), boxes[:n]) for image, n in (("a", 2), ("b", 3))])
    np.save(tmp_path / "regions" / "class_probs.npy", np.eye(5, 4, dtype="<f2"))
    for name, ids in (("object", [0, 1, 2, 3, 0]), ("attribute", [2, 1, 0, 1, 2])):
        np.save(tmp_path / "regions" / f"{name}_ids.npy", np.array(ids, "<i4"))
        np.save(tmp_path / "regions" / f"{name}_confidences.npy", np.full(5, 0.5, "<f4"))
    for name, lines in (("captions", CAPTIONS), ("questions", QUESTIONS)):
        (tmp_path / f"{name}.jsonl").write_text("\n".join(map(json.dumps, lines)) + "\n")
    (tmp_path / "vocab.txt").write_text("\n".join([*BERT_SPECIALS, "one", "two", "a", "dog"]) + "\n")
    return ImageTextPairs(
        name="image-text-pairs",
        vocabulary=tmp_path / "vocab.txt",
        train=tmp_path / "captions.jsonl",
        dev=tmp_path / "captions.jsonl",
        questions=tmp_path / "questions.jsonl",
        features=tmp_path / "regions",
        num_objects=4,
        num_attributes=3,
    )


def built(data: ImageTextPairs, *objectives: str, recipe: str = "uniter-base") -> Built:
    sizes = SIZES | ({"num_region_layers": 1, "num_cross_layers": 1} if recipe == "lxmert-base" else {})
    return build(Experiment("own", EncoderSettings(recipe, sizes), data, objectives=dict.fromkeys(objectives, 1.0)))


def test_every_caption_is_shown_with_its_image(data: ImageTextPairs) -> None:
    source = built(replace(data, questions=None), "masked-tokens", "image-text-matching").training
    assert len(source) == 3 and [source.length(number) for number in range(3)] == [4 + 2, 4 + 2, 3 + 3]
    batch = source.batch([0, 1, 2], seeded(0)).by_name["masked-tokens"]
    assert batch.inputs.regions.layout.lengths == (2, 3) and batch.inputs.image_of.tolist() == [0, 0, 1]
    pairs = source.batch([0, 1, 2], seeded(0)).by_name["image-text-matching"]
    own = torch.tensor([0, 0, 1])
    assert torch.equal(pairs.matched, (pairs.inputs.image_of == own).long())


def test_what_the_detector_said_comes_with_the_regions(data: ImageTextPairs) -> None:
    batch = built(data, "masked-region-classes").training.batch([2], seeded(3)).by_name["masked-region-classes"]
    assert batch.targets.shape[1] == 4
    made = built(data, "masked-objects", recipe="lxmert-base")
    targets = made.training.batch([2], seeded(0)).by_name["masked-objects"].targets
    assert targets.objects.ids.tolist() == [2, 3, 0] and targets.attributes.ids.tolist() == [0, 1, 2]
    assert targets.objects.confidence.tolist() == [0.5] * 3
    assert made.system.head("masked-objects").widths == (4, 3, 6)


def test_questions_are_texts_whose_answers_are_known(data: ImageTextPairs) -> None:
    made = built(data, "question-answering", recipe="lxmert-base")
    batch = made.training.batch(range(6), seeded(0)).by_name["question-answering"]
    assert batch.classes.tolist() == [-1, -1, -1, 1, 0, -1], "three captions; yes, no, and a question without an answer"
    assert made.system.head("question-answering").out.out_features == 2
    losses = made.model.objectives["question-answering"].losses(made.system, batch)
    assert (losses != 0).tolist() == [False, False, False, True, True, False]
    mean = losses[3:5].mean()
    assert torch.isclose(made.model.objectives["question-answering"].loss(made.system, batch), mean)


@pytest.mark.parametrize("asked", [True, False])
def test_lxmert_is_pretrained_in_one_pass_with_or_without_questions(asked: bool, data: ImageTextPairs) -> None:
    made = built(data if asked else replace(data, questions=None), "joint-pretraining", recipe="lxmert-base")
    batch = made.training.batch(range(len(made.training)), seeded(0))
    answers = batch.by_name["joint-pretraining"].answers
    assert (answers is None) is not asked and ("question-answering" in made.system.heads) is asked
    if answers is not None:
        assert answers[:3].tolist() == [-1] * 3 and answers.max() >= 0
    made.model.loss(batch).backward()


@pytest.mark.parametrize(
    ("column", "values", "message"),
    [
        (
            "class_probs",
            np.ones((4, 3), "<f2"),
            r"class_probs.npy must hold 5 rows of float16, but it holds float16 of ",
        ),
        (
            "object_ids",
            np.full(5, 4, "<i4"),
            r"^object_ids.npy holds numbers from 4 to 4, but data.num_objects is 4; th",
        ),
        (
            "attribute_ids",
            np.ones((5, 1)),
            r"attribute_ids.npy must hold 5 rows of int32, but it holds float64 of shap",
        ),
    ],
)
def test_columns_that_do_not_fit_the_store_are_refused(
    column: str, values: np.ndarray, message: str, data: ImageTextPairs
) -> None:
    np.save(data.features / f"{column}.npy", values)
    with pytest.raises(UserError, match=message):
        built(data, "masked-objects", recipe="lxmert-base")


def test_what_cannot_be_learnt_is_refused(data: ImageTextPairs, tmp_path: Path) -> None:
    (tmp_path / "questions.jsonl").write_text(json.dumps(QUESTIONS[0]) + "\n")
    with pytest.raises(UserError, match=r"questions.jsonl has 1 different answers; there must be two at least"):
        built(data, "question-answering", recipe="lxmert-base")
    (tmp_path / "captions.jsonl").write_text(json.dumps({"image": "c", "captions": ["two"]}) + "\n")
    with pytest.raises(UserError, match=r"has no regions of image 'c'; it holds 2 images$"):
        built(replace(data, questions=None), "masked-tokens").source("train")
    with pytest.raises(
        UserError, match=r"^data.mask_rate is 2 but must be a share of the tokens, above 0 and below 1$"
    ):
        replace(data, mask_rate=2)


def test_names_of_objects_stand_behind_the_texts_about_their_image(data: ImageTextPairs) -> None:
    tagged = replace(data, tags=True, questions=None, max_length=8)
    with pytest.raises(UserError, match=r"^data.tags are names of objects, but .*regions holds no object_names.npy$"):
        built(tagged, "tag-contrast", recipe="oscar-base").source("train")
    np.save(data.features / "object_names.npy", np.array([1, 1, 0, 1, 0], "<i4"))
    (data.features / "names.json").write_text(json.dumps(["dog", "two"]))
    text = built(tagged, "tag-contrast", recipe="oscar-base").training.inputs.batch([0, 2], seeded(0)).text
    one, two, dog = (len(BERT_SPECIALS) + at for at in (0, 1, 3))
    assert text.ids.tolist() == [2, one, dog, 3, two, 3, 2, two, 3, dog, two, 3], "each name once"
    assert text.segments.tolist() == [0, 0, 0, 0, 1, 1, 0, 0, 0, 1, 1, 1]
    short = replace(tagged, train=data.train, max_length=8)
    assert max(built(short, "tag-contrast", recipe="oscar-base").training.inputs.texts.lengths) <= 8


@pytest.mark.parametrize("tags", [False, True])
def test_a_token_store_gives_the_same_batches(tags: bool, data: ImageTextPairs, tmp_path: Path) -> None:
    """Of captions and questions; of lines of JSON as of a folder that `datasets` saved."""
    np.save(data.features / "object_names.npy", np.array([1, 1, 0, 1, 0], "<i4"))
    (data.features / "names.json").write_text(json.dumps(["dog", "two"]))
    (tmp_path / "captions.jsonl").write_text(
        "\n".join(
            json.dumps({**line, "language": language}) for line, language in zip(CAPTIONS, ("en", "de"), strict=True)
        )
    )
    columns = {key: [line[key] for line in CAPTIONS] for key in ("image", "captions")}
    folder = save(tmp_path / "saved", {**columns, "language": ["en", "de"]}, files=2)
    kept = replace(data, tags=tags, languages=("de", "en"), max_length=8)
    first, second = replace(kept, token_store=tmp_path / "store"), replace(kept, train=folder)
    third = replace(second, token_store=tmp_path / "folder")
    sources = [
        built(one, "question-answering", recipe="lxmert-base").training for one in (kept, first, first, second, third)
    ]
    assert lengths_of(sources[0]).tolist() == [sources[1].length(number) for number in range(len(sources[1]))]
    expected, *others = (made.inputs.batch(range(len(made)), seeded(0)) for made in sources)
    for other in others:
        for name in ("ids", "positions", "segments", "languages"):
            assert torch.equal(getattr(expected.text, name), getattr(other.text, name)), name
        assert torch.equal(expected.text.token_labels["answer"], other.text.token_labels["answer"])
        assert torch.equal(expected.image_of, other.image_of) and expected.text.layout == other.text.layout
    assert expected.text.languages[expected.text.layout.starts(torch.device("cpu"))].tolist() == [1, 1, 0, 1, 1, 1]
    index = json.loads((tmp_path / "store" / "train" / "store.json").read_text())
    assert index["columns"]["ids"] == index["columns"]["segments"] == "uint8" and index["sequences"] == 6
    stale = built(replace(first, max_length=9), "question-answering", recipe="lxmert-base")
    with pytest.raises(UserError, match=r"train was built from other files, with another tokenizer or with other set"):
        stale.source("train")


def test_two_captions_of_an_image_are_kept_as_one_text(data: ImageTextPairs, tmp_path: Path) -> None:
    kept = replace(data, questions=None, caption_pairs=True)
    sources = [
        built(one, PAIRED, recipe="visualbert").training.inputs for one in (kept, replace(kept, token_store=tmp_path))
    ]
    one, other = (source.batch(range(len(source)), seeded(0)) for source in sources)
    assert (
        one.text.ids.tolist() == other.text.ids.tolist() and one.text.segments.tolist() == other.text.segments.tolist()
    )
    words = {word: len(BERT_SPECIALS) + place for place, word in enumerate(("one", "two", "a", "dog"))}
    first = [2, words["one"], words["dog"], 3, words["a"], words["dog"], 3]
    assert next(iter(one.text.layout.split(one.text.ids))).tolist() == first and len(sources[0]) == 2


def test_captions_are_tokenized_by_a_process_of_their_own(
    data: ImageTextPairs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it is given can be sent to it, and needs no torch."""
    made = built(replace(data, questions=None, token_store=tmp_path / "store"), "masked-tokens")
    sent: list[bytes | None] = []

    def send(build: object, *given: object, keep_open: object) -> None:
        sent.append(_pickled(build, given))

    monkeypatch.setattr(token_store, "call_in_own_process", send)
    with pytest.raises(UserError, match=r"is no token store"):
        made.source("train")
    assert sent and sent[0] is not None
    program = "import pickle, sys; pickle.load(sys.stdin.buffer); sys.exit('torch' in sys.modules)"
    assert not subprocess.run([sys.executable, "-c", program], input=sent[0], check=False).returncode


def test_words_are_switched_out_of_a_store_as_in_memory(data: ImageTextPairs, tmp_path: Path) -> None:
    (tmp_path / "switch.json").write_text(json.dumps({"dog": {"one": ["two"]}}))
    asked = replace(data, questions=None, switch=tmp_path / "switch.json")
    kept, stored = (
        built(one, "masked-tokens").training.inputs for one in (asked, replace(asked, token_store=tmp_path / "store"))
    )
    drawn = [
        [source.batch(range(3), seeded(0, step)).text.ids.tolist() for step in range(4)] for source in (kept, stored)
    ]
    assert drawn[0] == drawn[1] and len({*map(str, drawn[0])}) > 1
    assert isinstance(stored.texts, StoredTexts) and [stored.texts[place] for place in range(3)] == kept.texts


def test_uniter_replaces_by_words_and_masks_one_word_at_least(data: ImageTextPairs) -> None:
    """Chen et al. (2020), released code: replacements begin at the id of an exclamation mark."""
    (data.vocabulary).write_text("\n".join([*BERT_SPECIALS, "one", "!", "two", "a", "dog"]) + "\n")
    masking = built(data, "masked-tokens").model.objectives["masked-tokens"].masking
    assert masking.policy == BernoulliOrFirst(0.15) and masking.pool == (6, 10)
    chosen = {"masked-tokens": {"at_least_one": False, "random_from": ""}}
    asked = Experiment(
        "own",
        EncoderSettings("uniter-base", SIZES),
        data,
        objectives={"masked-tokens": 1.0},
        objective_arguments=chosen,
    )
    masking = build(asked).model.objectives["masked-tokens"].masking
    assert masking.policy == Bernoulli(0.15) and masking.pool == (0, 10)


def test_vl_bert_masks_whole_words_and_regions_in_one_pass(data: ImageTextPairs) -> None:
    (data.vocabulary).write_text("\n".join([*BERT_SPECIALS, "one", "two", "a", "dog", "##s"]) + "\n")
    made = built(data, "vl-bert-pretraining", recipe="vl-bert-base")
    objective = made.model.objectives["vl-bert-pretraining"]
    assert objective.tokens.masking.continuing == {9} and objective.tokens.masking.masking.mask_units_alike
    assert objective.matching is None and objective.reduction is mean_over_predictions
    assert made.system.head("masked-region-classes").out.out_features == 4
    made.model.loss(made.training.batch(range(len(made.training)), seeded(0))).backward()


def test_vl_bert_may_match_pairs_and_average_over_examples(data: ImageTextPairs) -> None:
    def asked(**arguments: object) -> Built:
        recipe = EncoderSettings("vl-bert-base", {**SIZES, "with_pooler": True})
        name = "vl-bert-pretraining"
        return build(Experiment("own", recipe, data, objectives={name: 1.0}, objective_arguments={name: arguments}))

    made = asked(matching=True, mean_over="examples")
    assert made.model.objectives["vl-bert-pretraining"].reduction is mean_over_examples
    assert "image-text-matching" in made.system.heads
    with pytest.raises(UserError, match=r"'words', but losses are averaged over predictions or examples$"):
        asked(mean_over="words")


def test_vl_bert_reads_texts_without_images_beside_captions(data: ImageTextPairs, tmp_path: Path) -> None:
    """The released step adds the losses of a batch of captions and of a batch of text alone."""
    (tmp_path / "texts.txt").write_text("one dog\na two\ndog\n\ntwo\n")
    both = ("vl-bert-pretraining", "vl-bert-texts")
    alone = replace(data, questions=None, texts=tmp_path / "texts.txt", texts_length=4)
    made = built(alone, *both, recipe="vl-bert-base")
    batch = made.training.batch([0, 1, 2], seeded(0))
    texts = batch.by_name["vl-bert-texts"].inputs
    assert texts.regions is None and texts.text.layout.lengths == (4, 1, 1)
    said = batch.by_name["vl-bert-texts"]
    ids = texts.text.ids.clone()
    ids[said.rows] = said.labels
    assert ids.tolist() == [5, 8, 7, 6, 8, 6], "sentences in a row, without [CLS] and [SEP]; documents stay apart"
    assert batch.by_name["vl-bert-pretraining"].inputs.regions is not None
    made.model.loss(batch).backward()
    stored = built(replace(alone, token_store=tmp_path / "store"), *both, recipe="vl-bert-base").training
    assert torch.equal(stored.batch([0, 1, 2], seeded(0)).by_name["vl-bert-texts"].inputs.text.ids, texts.text.ids)
    with pytest.raises(UserError, match=r"has no texts without images of dev; name some as data.dev_texts, or leave"):
        made.source("dev")
    with pytest.raises(
        UserError, match=r"vl-bert-texts needs texts without images, .* a sentence a line, as data.texts"
    ):
        built(data, *both, recipe="vl-bert-base")
    with pytest.raises(UserError, match=r"data.texts_length is 0 but must be 1 piece or more"):
        replace(alone, texts_length=0)


VILBERT = {"region_states": 8, "region_heads": 2, "region_ffn_dim": 8, "cross_dim": 8, "cross_heads": 2}
VILBERT |= SIZES | {"num_region_layers": 1, "num_cross_layers": 1}
VOLTA = {"dim": 8, "num_heads": 2, "ffn_dim": 8, "pooled_dim": 8, "max_positions": 24, "schedule": "tt+vv t+v"}


def targeted(data: ImageTextPairs, recipe: str, **arguments: object) -> Built:
    """A pretraining of ViLBERT's family with these arguments."""
    name = "vilbert-pretraining"
    sizes = VILBERT if recipe == "vilbert-base" else VOLTA
    given = {name: arguments}
    asked = Experiment("own", EncoderSettings(recipe, sizes), data, objectives={name: 1.0}, objective_arguments=given)
    return build(asked)


@pytest.mark.parametrize(
    ("recipe", "targets", "widths"),
    [
        ("vilbert-base", "distributions", {"distributions": 4}),
        ("vilbert-base", "features", {"features": 6}),
        ("vilbert-base", "contrast", {"contrast": 6}),
        ("volta-vilbert", "distributions features=0.5", {"distributions": 4, "features": 6}),
        ("volta-vilbert", "objects attributes", {"objects": 4, "attributes": 3}),
        ("volta-vilbert", "classes, smooth-features", {"classes": 4, "smooth-features": 6}),
    ],
)
def test_what_is_predicted_of_regions_is_named_in_the_file(
    data: ImageTextPairs, recipe: str, targets: str, widths: dict[str, int]
) -> None:
    made = targeted(data, recipe, targets=targets, rate=0.25)
    objective = made.model.objectives["vilbert-pretraining"]
    assert made.system.head("masked-regions").widths == widths and objective.targets.keys() == widths.keys()
    assert objective.matching.rate == 0.25 and ("=0.5" in targets) is (0.5 in objective.targets.values())
    made.model.loss(made.training.batch(range(len(made.training)), seeded(0))).backward()


@pytest.mark.parametrize(
    ("recipe", "arguments", "message"),
    [
        (
            "vilbert-base",
            {"targets": "features contrast"},
            "vilbert-base predicts one of distributions, features, contr",
        ),
        ("vilbert-base", {"targets": "objects"}, "as published, not objects; VOLTA's models predict several"),
        (
            "volta-vilbert",
            {"targets": "colours"},
            "nothing called 'colours' is predicted of regions; there are distrib",
        ),
        ("volta-vilbert", {"targets": ""}, "targets of vilbert-pretraining name nothing; there are distributions"),
        ("volta-vilbert", {"targets": "features=x"}, "must be names, each once, with a weight above 0 where it is not"),
        ("volta-vilbert", {"targets": "features features"}, "must be names, each once, with a weight above 0 where it"),
        (
            "volta-vilbert",
            {"rate": 2},
            "rate of vilbert-pretraining is 2 but must be a share of the pairs, from 0 to 1",
        ),
        ("volta-vilbert", {"num_negatives": 0}, "num_negatives of vilbert-pretraining is 0 but must be 1 or more"),
        ("volta-vilbert", {"ask_mismatched": 1}, "ask_mismatched of vilbert-pretraining is 1 but must be true or fal"),
    ],
)
def test_targets_of_regions_that_cannot_be_are_named(
    data: ImageTextPairs, recipe: str, arguments: dict[str, object], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        targeted(data, recipe, **arguments)


def test_targets_need_what_a_detector_said(data: ImageTextPairs) -> None:
    for target, column in (("classes", "class_probs.npy"), ("objects", "object_ids.npy")):
        path = data.features / column
        path.rename(path.with_suffix(".bak"))
        with pytest.raises(
            UserError, match=f"vilbert-pretraining needs .*; give the folder of data.features .*{column}"
        ):
            targeted(data, "volta-vilbert", targets=target)
    assert targeted(data, "volta-vilbert", targets="features").system.head("masked-regions").widths == {"features": 6}


def test_visualbert_reads_two_captions_and_half_of_the_second_ones_are_of_other_images(data: ImageTextPairs) -> None:
    lines = [{"image": "a", "captions": ["one dog", "a dog"]}, {"image": "b", "captions": ["two", "a two", "one"]}]
    data.train.write_text("\n".join(map(json.dumps, lines)) + "\n")
    paired = replace(data, questions=None, caption_pairs=True)
    made = built(paired, PAIRED, recipe="visualbert")
    assert len(made.training) == 5
    batch = made.training.batch(range(5), seeded(1)).by_name[PAIRED]
    text = batch.inputs.text
    parts = [text.segments[row].tolist() for row in text.layout.split(torch.arange(text.rows))]
    assert all(part[0] == 0 and part[-1] == 1 for part in parts)
    assert set(batch.classes.tolist()) == {0, 1}
    made.model.loss(made.training.batch(range(5), seeded(0))).backward()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"tags": True}, "leaves no place for data.tags; leave one of the two out$"),
        ({"questions": "q"}, "leaves no place for data.questions; leave one of the two out$"),
    ],
)
def test_a_second_caption_stands_alone_behind_the_first(
    change: dict[str, object], message: str, data: ImageTextPairs
) -> None:
    with pytest.raises(UserError, match=message):
        replace(data, **{"questions": None, "caption_pairs": True, **change})


def test_images_of_one_caption_have_no_second(data: ImageTextPairs) -> None:
    data.train.write_text(json.dumps({"image": "a", "captions": ["one dog"]}) + "\n")
    with pytest.raises(UserError, match=r"needs images of two captions or more, but every image has one$"):
        len(built(replace(data, questions=None, caption_pairs=True), PAIRED, recipe="visualbert").training)
    with pytest.raises(UserError, match=r"let data.caption_pairs be true, and give images of two captions or more$"):
        built(data, PAIRED, recipe="visualbert")


def test_vlp_masks_the_end_and_writes_three_of_four_captions(data: ImageTextPairs) -> None:
    made = built(replace(data, questions=None), "vlp-pretraining", recipe="vlp-base")
    objective = made.model.objectives["vlp-pretraining"]
    assert objective.written == 0.75 and objective.masking.policy == CaptionShare(0.15, beside=-1)
    assert objective.masking.never == {0, 2}, "padding and [CLS]; the last [SEP] may be masked"
    assert made.system.encoder.embed.regions.num_classes == 4, "as many as the detector's of the data"
    batch = made.training.batch(range(3), seeded(0)).by_name["vlp-pretraining"]
    assert (batch.labels == 3).any() or len(batch.rows) == 3
    made.model.loss(made.training.batch(range(3), seeded(0))).backward()
    with pytest.raises(UserError, match=r"but oscar-base reads the image elsewhere; take vlp-base, or masked-tokens$"):
        built(data, "vlp-pretraining", recipe="oscar-base")
