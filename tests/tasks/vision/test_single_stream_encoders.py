"""Every encoder of regions learns Number World's questions."""

import pytest
import torch

import mm_kptm
from mm_kptm.data.sampler import seeded
from mm_kptm.random_streams import RandomStream
from mm_kptm.suites.number_world.datasets import sources as number_world
from mm_kptm.suites.number_world.generator import questions as asking
from mm_kptm.suites.number_world.generator.scene import FEATURES
from mm_kptm.suites.number_world.generator.splits import part
from mm_kptm.systems.discovery import find
from mm_kptm.tasks.vision.vqa import VQA, one_answer

SIZES = {"num_heads": 2, "num_layers": 2, "ffn_dim": 64, "max_positions": 64, "dropout": 0.0}


@pytest.mark.parametrize(
    ("name", "sizes"),
    [
        ("visualbert", {"region_dim": FEATURES}),
        ("oscar", {"region_dim": FEATURES}),
        ("oscar-plus", {"region_dim": FEATURES}),
        ("vl-bert", {"region_dim": FEATURES, "visual_dim": 32}),
        ("vlp", {"region_dim": FEATURES, "num_region_classes": 0}),
        ("pixel-bert", {"dim": FEATURES}),  # its features are as wide as its states
    ],
)
def test_eight_questions_are_learnt_by_heart(name, sizes, answers):
    scenes, asked = asking.generate(part("iid", "train"), 40, RandomStream(0), numbers=20)
    recipe = mm_kptm.catalogue()[f"{name}-base"]
    batch = number_world.questions(scenes, asked, answers, format=recipe.text).batch(range(8), seeded(0))
    system = mm_kptm.build(
        name,
        heads=VQA.heads(recipe, len(answers)),
        seed=0,
        **{"dim": 32, "vocab_size": len(number_world.tokenizer()), **SIZES, **sizes},
    )
    task = VQA(system, answers, criterion=one_answer).train()
    optimizer = torch.optim.AdamW(task.parameters(), lr=3e-3)
    for _ in range(200):
        optimizer.zero_grad()
        loss = task.loss(batch)
        if loss < 0.05:
            break
        loss.backward()
        optimizer.step()
    assert task.measure(batch)["accuracy"].tolist() == [1.0] * 8


@pytest.mark.parametrize(
    ("name", "before", "after", "first", "last"),
    [
        ("uniter", ["[CLS]"], ["[SEP]"], 0, 0),
        ("visualbert", ["[CLS]"], ["[MASK]", "[SEP]"], 0, 0),
        ("vl-bert", ["[CLS]"], ["[SEP]", "[MASK]", "[SEP]"], 0, 1),
        ("vlp", ["[CLS]", "[SEP]"], ["[SEP]"], 0, 1),
    ],
)
def test_a_question_is_laid_out_as_the_family_reads_it(name, before, after, first, last, answers):
    scenes, asked = asking.generate(part("iid", "train"), 3, RandomStream(0), numbers=20)
    source = number_world.questions(scenes, asked, answers, format=find(name).text)
    text = source.batch(range(3), seeded(0)).inputs.text
    words = [number_world.tokenizer().vocabulary[id_] for id_ in next(iter(text.layout.split(text.ids))).tolist()]
    assert words == [*before, *asked[0].words, *after]
    segments = next(iter(text.layout.split(text.segments))).tolist()
    assert (segments[0], segments[-1]) == (first, last) and segments == sorted(segments)
    assert segments.count(1) == (0 if not last else 2 if name == "vl-bert" else len(words) - 2)


@pytest.mark.parametrize(("name", "row"), [("visualbert", -2), ("vl-bert", -2), ("vlp", 1)])
def test_answers_are_read_where_the_family_reads_them(name, row, answers):
    scenes, asked = asking.generate(part("iid", "train"), 2, RandomStream(0), numbers=20)
    recipe = find(name)
    batch = number_world.questions(scenes, asked, answers, format=recipe.text).batch([0, 1], seeded(0))
    sizes = {"num_region_classes": 0} if name == "vlp" else {"visual_dim": 32} if name == "vl-bert" else {}
    system = mm_kptm.build(
        name,
        heads=VQA.heads(recipe, len(answers)),
        seed=0,
        **{"dim": 32, "vocab_size": len(number_world.tokenizer()), "region_dim": FEATURES, **SIZES, **sizes},
    )
    task = VQA(system, answers)
    assert task.head.name in ("vqa-at-mask", "fused-answers")
    states = list(batch.inputs.text.layout.split(system(batch.inputs).text))
    read = torch.stack([one[row] * (one[0] if name == "vlp" else 1) for one in states])
    head = system.head(task.head.name)
    scores = head.out(torch.relu(head.up_proj(read))) if name == "vlp" else head(read)
    torch.testing.assert_close(task(batch.inputs), scores, atol=1e-5, rtol=1e-4)
