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
    batch = number_world.questions(scenes, asked, answers).batch(range(8), seeded(0))
    system = mm_kptm.build(
        name,
        heads=VQA.heads(mm_kptm.catalogue()[f"{name}-base"], len(answers)),
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
