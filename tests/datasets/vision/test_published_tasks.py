"""Every public data set of vision and language trains from an experiment file, is measured, and submits."""

import json
from itertools import cycle

import pytest

from mm_kptm import config
from mm_kptm.data.sampler import seeded
from mm_kptm.datasets.protocol import find_task_dataset
from mm_kptm.datasets.schemas import count_examples, reader
from mm_kptm.datasets.vision.refcoco import RefCocoData
from mm_kptm.errors import UserError
from mm_kptm.experiment.build import build
from mm_kptm.experiment.predict import check_submission, predict, submit
from mm_kptm.experiment.run import evaluate, train
from mm_kptm.experiment.settings import Experiment
from mm_kptm.vision.modules.single_stream.vl_bert_embedding import REGION_LABEL
from tests.datasets.vision.conftest import SIZES

COLOURS = ("red", "blue")


def lines(path, rows):
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows))


def gqa(folder, split):
    asked = {
        str(number): {
            "imageId": f"n{number % 2}",
            "question": "what is it ?",
            **({"answer": COLOURS[number % 2]} if split != "test" else {}),
            "isBalanced": number != 3,
            "types": {"structural": "query" if number % 2 else "verify", "detailed": "color"},
            "groups": {"global": "colour"},
            "entailed": [str(number), str((number + 1) % 4)],
        }
        for number in range(4)
    }
    (folder / f"{split}.json").write_text(json.dumps(asked))
    choices = {str(number): {"valid": ["red", "blue"], "plausible": ["red"]} for number in range(4)}
    (folder / "choices.json").write_text(json.dumps(choices))
    return f"{split}.json", ("n0", "n1")


def vizwiz(folder, split):
    asked = [
        {
            "image": f"VizWiz_{number}.jpg",
            "question": "what is it ?",
            **(
                {
                    "answers": [{"answer": COLOURS[number % 2], "answer_confidence": "yes"}] * 10,
                    "answer_type": "other",
                    "answerable": number % 2,
                }
                if split != "test"
                else {}
            ),
        }
        for number in range(4)
    ]
    (folder / f"{split}.json").write_text(json.dumps(asked))
    return f"{split}.json", [f"VizWiz_{number}.jpg" for number in range(4)]


def nlvr2(folder, split):
    rows = [
        {
            "identifier": f"{split}-{number}-0-{other}",
            "sentence": "two red hats",
            **({"label": ("True", "False")[number % 2]} if split != "test" else {}),
        }
        for number in range(2)
        for other in range(2)
    ]
    lines(folder / f"{split}.json", rows)
    names = [
        f"{part}-{number}-0-img{side}" for part in ("train", "dev", "test") for number in range(2) for side in (0, 1)
    ]
    return f"{split}.json", names


def snli_ve(folder, split):
    labels = cycle(("entailment", "neutral", "contradiction"))
    rows = [
        {
            "pairID": f"{number}.jpg#0r{number}e",
            "Flickr30K_ID": str(100 + number % 2),
            "sentence1": "a man",
            "sentence2": "a man sits",
            **({"gold_label": next(labels)} if split != "test" else {}),
        }
        for number in range(4)
    ]
    lines(folder / f"{split}.jsonl", rows)
    return f"{split}.jsonl", ("100", "101")


def vcr(folder, split):
    rows = [
        {
            "annot_id": f"{split}-{number}",
            "img_fn": f"movie/{number}.jpg",
            "objects": ["person", "person", "hat"],
            "question": ["why", "is", [0], "red", "?"],
            "answer_choices": [["because", [1, 0], "sits"], ["it", "is", [2]], ["yes"], ["no", [1]]],
            "rationale_choices": [["he", "likes", [2]], ["she", "likes", "it"], ["a", "mat"], [[0], "is", "blue"]],
            **({"answer_label": number % 4, "rationale_label": (number + 1) % 4} if split != "test" else {}),
        }
        for number in range(3)
    ]
    lines(folder / f"{split}.jsonl", rows)
    names = ("spare", "movie/0.jpg", "movie/1.jpg", "another", "movie/2.jpg")  # three regions at least of the films
    return f"{split}.jsonl", names


def entities(folder, split):
    for inner in ("Sentences", "Annotations"):
        (folder / inner).mkdir(exist_ok=True)
    for number in (7, 8):
        (folder / "Sentences" / f"{number}.txt").write_text(
            "[/EN#1/people A man] in [/EN#2/clothing a red hat] sits on [/EN#3/other the mat] .\nA man sits .\n"
        )
        (folder / "Annotations" / f"{number}.xml").write_text(
            "<annotation><size><width>100</width><height>50</height><depth>3</depth></size>"
            "<object><name>1</name><bndbox><xmin>0</xmin><ymin>0</ymin><xmax>50</xmax><ymax>50</ymax></bndbox></object>"
            "<object><name>2</name><name>9</name>"
            "<bndbox><xmin>50</xmin><ymin>0</ymin><xmax>100</xmax><ymax>50</ymax></bndbox></object>"
            "<object><name>3</name><scene>1</scene><nobndbox>0</nobndbox></object></annotation>"
        )
    (folder / f"{split}.txt").write_text("7\n8\n")
    return f"{split}.txt", ("7", "8")


def visual7w(folder, split):
    images = [
        {
            "image_id": number,
            "filename": f"v7w_{number}.jpg",
            "split": ("train", "val", "test")[number % 3],
            "qa_pairs": [
                {
                    "qa_id": 10 * number + at,
                    "question": "what is it ?",
                    "type": "what",
                    "answer": "a hat",
                    "multiple_choices": ["a cat", "a dog", "a mat"],
                }
                for at in range(2)
            ],
        }
        for number in range(6)
    ]
    (folder / "dataset.json").write_text(json.dumps({"images": images}))
    return "dataset.json", [f"v7w_{number}" for number in range(6)]


def ok_vqa(folder, split):
    asked = [{"question_id": number, "image_id": number % 2, "question": "what is it ?"} for number in range(4)]
    given = [
        {
            "question_id": number,
            "image_id": number % 2,
            "question_type": "one",
            "answers": [{"answer_id": at, "answer": COLOURS[number % 2], "raw_answer": "Red!"} for at in range(10)],
        }
        for number in range(4)
    ]
    (folder / "questions.json").write_text(json.dumps({"questions": asked}))
    (folder / "annotations.json").write_text(json.dumps({"annotations": given, "question_types": {"one": "Vehicles"}}))
    return "questions.json", ("0", "1")


SETS = {
    ("gqa", "gqa"): (gqa, {"choices": "choices.json"}),
    ("vqa", "vizwiz"): (vizwiz, {"min_count": 1}),
    ("answerability", "vizwiz"): (vizwiz, {}),
    ("nlvr2", "nlvr2"): (nlvr2, {}),
    ("visual-entailment", "snli-ve"): (snli_ve, {}),
    ("vcr", "vcr"): (vcr, {}),
    ("phrase-grounding", "flickr30k-entities"): (entities, {"entities": "."}),
    ("grounding", "flickr30k-entities"): (entities, {"entities": "."}),
}
SUBMITTED = {"gqa": "questionId", "vizwiz": "image", "nlvr2": None, "vcr": None}


@pytest.mark.parametrize(
    ("task", "name"), [("multiple-choice", "visual7w"), ("vqa", "ok-vqa"), ("knowledge-vqa", "ok-vqa")]
)
def test_data_sets_whose_files_are_no_splits(task, name, tmp_path, vocabulary, regions):
    file, images = (visual7w if name == "visual7w" else ok_vqa)(tmp_path, "train")
    files = {"questions": str(tmp_path / file)}
    if name == "ok-vqa":
        files |= {"annotations": str(tmp_path / "annotations.json"), "min_count": 1}
        files |= {
            "dev_questions": files["questions"],
            "dev_annotations": files["annotations"],
            "test_questions": files["questions"],
        }
    settings = {
        "name": "run",
        "task": task,
        "data": {"name": name, **files, "features": str(regions(images)), "vocabulary": str(vocabulary)},
        "encoder": {"recipe": "uniter-base", "sizes": dict(SIZES)},
        "train": {"steps": 2, "batch_size": 4},
        "out": str(tmp_path / "runs"),
    }
    (tmp_path / "run.yaml").write_text(json.dumps(settings))
    settings = config.read(Experiment, tmp_path / "run.yaml")
    built = train(settings, settings.folder, progress=False)
    found = evaluate(settings.folder, "dev")
    assert found["n"] == 4 and 0 <= found["accuracy"] <= 1
    if name == "visual7w":
        assert found["baselines"] == {"chance": 0.25}
        places = [int(row["target"]) for row in built.task.predictions(built.source("dev"))]
        assert len(set(places)) > 1  # the right answer is in no fixed place
        return
    assert found["by_type"].keys() == {"Vehicles"} and built.task.answers == ("blue", "red")
    (path,) = submit(settings.folder, split="test")
    assert path.name == "ok-vqa-test.json" and len(json.loads(path.read_text())) == 4


def test_referring_expressions_on_given_and_on_detected_regions(tmp_path, vocabulary, regions):
    """One run; the regions of training are the objects of the file, those of a detector stand beside them."""
    images = [{"image_id": n, "file_name": f"{n}.jpg", "width": 100, "height": 50} for n in range(4)]
    objects = [{"ann_id": n, "image_id": n, "box": [0, 0, 50, 50]} for n in range(4)]
    refs = [
        {"ann_id": n, "image_id": n, "split": ("train", "train", "val", "testA")[n], "sent_ids": [n]} for n in range(4)
    ]
    said = [{"sent_id": n, "sent": "left red hat"} for n in range(4)]
    whole = {"refs": refs, "anns": objects, "images": images, "sentences": said}
    (tmp_path / "refs.json").write_text(json.dumps(whole))
    detected = regions(["spare", "3", "2"]).rename(tmp_path / "detected")  # 3 regions of image 3, 4 of image 2
    given = regions("0123")
    settings = {
        "name": "run",
        "task": "grounding",
        "data": {
            "name": "refcoco",
            "expressions": str(tmp_path / "refs.json"),
            "features": str(given),
            "detected": str(detected),
            "vocabulary": str(vocabulary),
        },
        "encoder": {"recipe": "uniter-base", "sizes": dict(SIZES)},
        "train": {"steps": 2, "batch_size": 2},
        "out": str(tmp_path / "runs"),
    }
    (tmp_path / "run.yaml").write_text(json.dumps(settings))
    settings = config.read(Experiment, tmp_path / "run.yaml")
    built = train(settings, settings.folder, progress=False)
    assert list(built.prepared.sources) == ["train", "dev", "testA", "dev-detected", "testA-detected"]
    counts = {
        split: built.source(split).batch([0], seeded(0)).inputs.regions.layout.lengths
        for split in ("dev", "dev-detected", "testA", "testA-detected")
    }
    assert counts == {"dev": (4,), "dev-detected": (4,), "testA": (2,), "testA-detected": (3,)}
    assert evaluate(settings.folder, "testA-detected")["n"] == 1
    rows = predict(settings.folder, file=tmp_path / "refs.json")
    assert [row["id"] for row in rows] == ["0", "1", "2", "3"]
    assert 0 <= rows[3]["x1"] < rows[3]["x2"] <= 1 and rows[3]["y2"] == 1


def test_several_tasks_have_splits_of_their_own(tmp_path, vocabulary, regions):
    """GQA has a test whose answers a server knows, RefCOCO has testA; both are learnt together."""
    asked = {split: gqa(tmp_path, split)[0] for split in ("train", "dev", "test")}
    images = [{"image_id": f"n{n}", "width": 100, "height": 50} for n in range(2)]
    objects = [{"ann_id": n, "image_id": f"n{n % 2}", "box": [0, 0, 50, 50]} for n in range(4)]
    refs = [
        {"ann_id": n, "image_id": f"n{n % 2}", "split": ("train", "train", "val", "testA")[n], "sent_ids": [n]}
        for n in range(4)
    ]
    said = [{"sent_id": n, "sent": "left red hat"} for n in range(4)]
    whole = {"refs": refs, "anns": objects, "images": images, "sentences": said}
    (tmp_path / "refs.json").write_text(json.dumps(whole))
    shared = {"features": str(regions(("n0", "n1"))), "vocabulary": str(vocabulary)}
    tasks = {
        "gqa": {"name": "gqa", **{split: str(tmp_path / file) for split, file in asked.items()}, **shared},
        "grounding": {"name": "refcoco", "expressions": str(tmp_path / "refs.json"), **shared},
    }
    settings = {
        "name": "run",
        "task": "multi-task",
        "data": {"name": "several-tasks", "tasks": tasks},
        "encoder": {"recipe": "uniter-base", "sizes": dict(SIZES)},
        "train": {"steps": 2, "batch_size": 2},
        "out": str(tmp_path / "runs"),
    }
    (tmp_path / "run.yaml").write_text(json.dumps(settings))
    settings = config.read(Experiment, tmp_path / "run.yaml")
    built = train(settings, settings.folder, progress=False)
    assert list(built.prepared.sources) == ["train", "dev", "test", "testA"]
    assert {"gqa/accuracy", "grounding/accuracy"} <= evaluate(settings.folder, "dev").keys()
    assert {row["task"] for row in predict(settings.folder, split="test")} == {"gqa"}
    assert [path.name for path in submit(settings.folder, split="test")] == ["gqa-test.json"]
    assert evaluate(settings.folder, "testA")["n"] == 1
    with pytest.raises(UserError, match="no server takes answers to testA of grounding; predict writes them"):
        submit(settings.folder, split="testA")


def test_a_list_of_images_is_checked_where_it_lies_beside_sentences_and_boxes(tmp_path):
    file, _ = entities(tmp_path, "val")
    for task in ("phrase-grounding", "grounding"):
        assert count_examples(reader(task, "flickr30k-entities"), tmp_path / file) == 4


def test_detected_regions_stand_beside_given_ones(tmp_path, vocabulary):
    with pytest.raises(
        UserError, match=r"data\.detected is .*, other regions than those of training, but encoder.vision"
    ):
        RefCocoData(
            name="refcoco",
            expressions=tmp_path / "a",
            images=tmp_path,
            detected=tmp_path / "b",
            vocabulary=vocabulary,
        )


@pytest.fixture
def experiment(tmp_path, vocabulary, regions):
    def make(task, name, recipe="uniter-base", **data):
        write, more = SETS[task, name]
        files = {}
        for split in ("train", "dev", "test"):
            files[split], images = write(tmp_path, split)
        store = regions([f"{image}" for image in images])
        more = {key: str(tmp_path / value) if key in ("choices", "entities") else value for key, value in more.items()}
        settings = {
            "name": "run",
            "task": task,
            "data": {
                "name": name,
                **{split: str(tmp_path / file) for split, file in files.items()},
                "features": str(store),
                "vocabulary": str(vocabulary),
                **more,
                **data,
            },
            "encoder": {"recipe": recipe, "sizes": dict(SIZES)},
            "train": {"steps": 2, "batch_size": 4},
            "out": str(tmp_path / "runs"),
        }
        (tmp_path / "run.yaml").write_text(json.dumps(settings))
        return config.read(Experiment, tmp_path / "run.yaml")

    return make


@pytest.mark.parametrize(("task", "name"), SETS)
def test_from_an_experiment_file_to_scores_and_a_submission(task, name, experiment, tmp_path):
    settings = experiment(task, name)
    built = train(settings, settings.folder, progress=False)
    found = evaluate(settings.folder, "dev")
    assert 0 <= found["accuracy"] <= 1
    expected = {
        "gqa": {"balanced-accuracy", "open-accuracy", "binary-accuracy", "validity", "plausibility", "distribution"},
        "answerability": {"unanswerable-ap", "unanswerable-f1"},
        "nlvr2": {"consistency"},
        "vcr": {"q-a", "qa-r", "q-ar"},
        "phrase-grounding": {"recall@1", "recall@5", "recall@10", "upper-bound"},
    }.get(task, set())
    assert expected <= found.keys()
    if task == "phrase-grounding":
        assert found["recall@10"] == found["upper-bound"] == 1  # two phrases have a box, and a region on it
        assert len(built.task.predictions(built.source("dev"))) == 4
        return
    if name in ("snli-ve", "flickr30k-entities"):
        return
    unlabelled = evaluate(settings.folder, "test")
    assert "accuracy" not in unlabelled and "none of the" in unlabelled["labels"]
    (path,) = submit(settings.folder, split="test")
    rows = built.task.predictions(built.source("test"))
    if (key := SUBMITTED[name]) is not None:
        assert len({entry[key] for entry in json.loads(path.read_text())}) == 4
    elif name == "nlvr2":
        assert [line.split(",")[0] for line in path.read_text().splitlines()] == [row["id"] for row in rows]
    else:
        header, *body = path.read_text().splitlines()
        assert len(header.split(",")) == 21 and len(body) == 3 and len(rows) == 15
    check_submission(settings.folder, path, split="test")
    whole = path.read_text()
    path.write_text(whole.replace(whole[whole.rindex("0") :], ""))
    with pytest.raises(UserError, match=path.name):
        check_submission(settings.folder, path, split="test")
    again = predict(settings.folder, file=tmp_path / f"test.{settings.data.test.suffix[1:]}")
    assert [row["id"] for row in again] == [row["id"] for row in rows]


@pytest.mark.parametrize("recipe", ["visualbert-base", "lxmert-base", "vilbert-base", "oscar-base", "vl-bert-base"])
def test_two_images_are_read_in_the_form_of_the_head(recipe, experiment):
    settings = experiment("nlvr2", "nlvr2", recipe)
    small = {
        "lxmert-base": {"num_region_layers": 1, "num_cross_layers": 1},
        "vilbert-base": {"num_region_layers": 1, "num_cross_layers": 1, "region_states": 16, "region_heads": 2}
        | {"region_ffn_dim": 32, "cross_dim": 16, "cross_heads": 2},
        "vl-bert-base": {"visual_dim": 32},
    }.get(recipe, {})
    dry = {} if recipe in ("lxmert-base", "vilbert-base") else {"dropout": 0.0}
    settings.encoder.sizes.update(small | dry)
    built = build(settings)
    batch = built.source("train").batch(range(4), seeded(0))
    assert built.task(batch).shape == (4, 2)
    assert built.task.form == ("triplet" if recipe == "visualbert-base" else "pair")
    if built.task.form == "triplet":
        joined = batch.joined(built.task.segments)
        assert joined.regions.layout.lengths == tuple(
            a + b for a, b in zip(batch.regions.layout.lengths[::2], batch.regions.layout.lengths[1::2], strict=True)
        )
        assert joined.regions.segments.unique().tolist() == [0, 1]


def test_uniter_tells_left_from_right_and_reads_a_triplet(experiment):
    task = build(experiment("nlvr2", "nlvr2")).task
    table = task.system.encoder.embed.text.segment
    assert task.segments == (1, 2) and table.num_embeddings == 3 and task.system.sizes["num_segments"] == 3
    assert (table.weight[1] == table.weight[2]).all()
    assert task.system.encoder.embed.regions.segment is table
    built = build(experiment("nlvr2", "nlvr2", form="triplet"))
    batch = built.source("train").batch(range(4), seeded(0))
    assert built.task.form == "triplet" and built.task(batch).shape == (4, 2)
    with pytest.raises(UserError, match="the head nlvr2 of uniter-base reads images in the form pair, not triplet"):
        type(task)(task.system, form="triplet")


def test_vcr_in_the_words_of_each_family(experiment):
    settings = experiment("vcr", "vcr")
    batch = build(settings).source("train").batch([0, 1], seeded(0))
    first, _, _, _, rationale, *_ = batch.inputs.text.layout.split(batch.inputs.text.segments)
    assert sorted(set(first.tolist())) == [0, 2] and sorted(set(rationale.tolist())) == [0, 2, 3]
    table = build(settings).system.encoder.embed.text.segment
    assert table.num_embeddings == 4 and (table.weight[2] == table.weight[0]).all()
    settings = experiment("vcr", "vcr", "vl-bert-base")
    settings.encoder.sizes.update({"visual_dim": 32})
    built = build(settings)
    batch = built.source("train").batch([0], seeded(0))
    named = next(iter(batch.inputs.text.layout.split(batch.inputs.text.token_labels[REGION_LABEL])))
    # [CLS] why is Casey red ? [SEP] because Riley and Casey sits [SEP]; names are unknown pieces
    assert named.tolist() == [0, 0, 0, 1, 0, 0, 0, 0, 2, 1, 1, 0, 0]
    assert built.task(batch.inputs).shape == (4, 1)


def test_vcr_wants_the_objects_of_its_file(experiment, tmp_path):
    settings = experiment("vcr", "vcr")
    text = (tmp_path / "train.jsonl").read_text().replace('"hat"]', '"hat", "cat", "dog"]')
    (tmp_path / "train.jsonl").write_text(text)
    with pytest.raises(
        UserError, match=r"train-\d has 5 objects, but .* has \d regions of its image movie/\d.jpg; the"
    ):
        build(settings).source("train")


def test_labelled_splits_are_no_submission_of_vcr(experiment):
    settings = experiment("vcr", "vcr")
    train(settings, settings.folder, progress=False)
    with pytest.raises(
        UserError, match="the server wants the rationales of dev-0 for each of its answers, but there is no"
    ):
        submit(settings.folder, split="dev")


@pytest.mark.parametrize(("task", "name"), [key for key in SETS if key[1] != "flickr30k-entities"])
def test_missing_features_are_named(task, name, experiment, regions):
    settings = experiment(task, name)
    regions(["another"])
    with pytest.raises(UserError, match=r"regions has no regions of image '.*'; it holds 1 images"):
        build(settings).source("train")


def test_answers_from_a_list_that_is_of_another_data_set(experiment, tmp_path):
    (tmp_path / "answers.txt").write_text("yes\nno\n")
    settings = experiment("gqa", "gqa", answers=str(tmp_path / "answers.txt"))
    with pytest.raises(UserError, match="none of the 2 answers of training questions, such as 'red', is one of the 2"):
        build(settings)
    (tmp_path / "answers.json").write_text(json.dumps({"red": 1, "yes": 0}))
    built = build(experiment("gqa", "gqa", answers=str(tmp_path / "answers.json")))
    assert built.task.answers == ("yes", "red")
    batch = built.source("train").batch(range(4), seeded(0))
    assert batch.scores.tolist() == [[0, 1], [0, 0], [0, 1], [0, 0]]  # blue is no answer to choose, and never right
    assert find_task_dataset("gqa", settings.data).task.name == "gqa"


def test_an_image_whose_name_leads_out_of_the_folder(experiment, tmp_path):
    settings = experiment("phrase-grounding", "flickr30k-entities")
    (tmp_path / "train.txt").write_text("../../7\n")
    with pytest.raises(UserError, match=r"picture name 'Annotations/../../7.xml' leads out of"):
        build(settings).source("train")
