"""G10: rank one text against 10,000 images, at the recall at 10 of the cross-encoder over all pairs.

A small UNITER learns to match captions and scenes of Number World, and a first stage beside it. The peer scores the
text with every image; the careful peer as well, in batches of one length. Ours compares a vector of the text with
vectors of the images, which are made once and kept, and scores the best 50 with the cross-encoder.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from benchmarks.harness import OURS, PEER, Case, Unequal
from mm_kptm.data.sampler import seeded
from mm_kptm.datasets.protocol import DataRequest
from mm_kptm.suites.number_world.datasets.other_tasks import retrieval
from mm_kptm.suites.number_world.datasets.settings import NumberWorldData
from mm_kptm.systems.discovery import find
from mm_kptm.systems.pretrained import build as build_system
from mm_kptm.tasks.vision.ranking import Ranking, RankingSettings, rank_of
from mm_kptm.tasks.vision.retrieval import CaptionSource, Retrieval

IMAGES, KEPT, ASKED, BEST = 10_000, 50, 48, 10
STEPS, BATCH, SCORED = 1200, 64, 256
SIZES = {"num_layers": 2, "dim": 64, "num_heads": 4, "ffn_dim": 256, "dropout": 0.0, "max_positions": 128}
RECALL = 0.99  #: of that of all pairs
VERSIONS = {"torch": torch.__version__}


def learnt(seed: int) -> tuple[Retrieval, CaptionSource]:
    """A cross-encoder with a first stage, trained for a minute or two, and 10,000 captions with their scenes."""
    data = NumberWorldData(
        questions=6400, eval_questions=IMAGES, candidate_pool_size=IMAGES, languages=("en",), rerank=KEPT, seed=seed
    )
    recipe = find("uniter-base")
    prepared = retrieval(data, DataRequest(recipe))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        system = build_system("uniter-base", heads=prepared.heads, **SIZES, **prepared.sizes)
        for name, weight in system.named_parameters():
            if weight.ndim > 1 and "norm" not in name:
                torch.nn.init.normal_(weight, std=0.1)
        task = prepared.model(system)
    if not isinstance(task, Retrieval):
        raise TypeError("retrieval is trained by another task")
    source = prepared.sources["train"]()
    optimizer = torch.optim.AdamW(task.parameters(), lr=2e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2e-3, total_steps=STEPS, pct_start=0.1)
    order = np.concatenate([np.random.default_rng(seed + epoch).permutation(len(source)) for epoch in range(20)])
    for step in range(STEPS):
        chosen = order[step * BATCH : (step + 1) * BATCH].tolist()
        task.loss(source.batch(chosen, seeded(seed, step))).backward()
        torch.nn.utils.clip_grad_norm_(task.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        schedule.step()
    found = prepared.sources["test"]()
    if not isinstance(found, CaptionSource):
        raise TypeError("retrieval has captions")
    return task.eval(), found


def build(seed: int = 0) -> tuple[Case, ...]:
    """The case at its published size."""
    task, source = learnt(seed)
    ranking = Ranking(task, source, RankingSettings(rerank=KEPT), SCORED)
    images = source.images
    vectors = ranking.image_vectors.detach()
    asked = np.linspace(0, len(source) - 1, ASKED).astype(np.int64)
    (text,) = asked[:1]

    @torch.no_grad()
    def all_pairs(caption: int) -> Tensor:
        return ranking.pairs(np.full(len(images), caption), images)

    @torch.no_grad()
    def in_order(caption: int) -> Tensor:
        """The images as they come, which is how a loop over pairs scores them."""
        parts = []
        for first in range(0, len(images), SCORED):
            shown = images[first : first + SCORED]
            parts.append(task(source.shown.with_images(np.full(len(shown), caption), shown)))
        return torch.cat(parts)

    @torch.no_grad()
    def two_stages(caption: int) -> Tensor:
        first = (ranking.text_vectors(np.array([caption])) @ vectors.T)[0]
        best = first.topk(KEPT).indices
        exact = ranking.pairs(np.full(KEPT, caption), images[best.numpy()])
        return (exact.min() - 3 + first).scatter(0, best, exact)

    def check() -> dict[str, float]:
        mine = [torch.from_numpy(images == source.image_of[caption]) for caption in asked]
        whole, staged = ([rank(caption) for caption in asked.tolist()] for rank in (all_pairs, two_stages))
        recalls = [
            float(np.mean([rank_of(scores, right) <= BEST for scores, right in zip(one, mine, strict=True)]))
            for one in (whole, staged)
        ]
        shared = [
            len(set(one.topk(BEST).indices.tolist()) & set(other.topk(BEST).indices.tolist())) / BEST
            for one, other in zip(whole, staged, strict=True)
        ]
        if not recalls[1] >= RECALL * recalls[0] or recalls[0] == 0:
            raise Unequal(f"g10: recall@{BEST} is {recalls[1]:.3f} in two stages, but {recalls[0]:.3f} of all pairs")
        return {
            f"recall@{BEST} of all pairs": recalls[0],
            "in two stages": recalls[1],
            "shared": float(np.mean(shared)),
        }

    def done(rank: object) -> float:
        assert callable(rank)
        return float(len(rank(int(text))))

    return (
        Case(
            name="g10",
            title="one caption against 10,000 scenes, UNITER of 2 layers of 64",
            unit="images",
            work=float(IMAGES),
            variants={
                PEER: lambda: done(in_order),
                "careful peer": lambda: done(all_pairs),
                OURS: lambda: done(two_stages),
            },
            check=check,
            sizes={**SIZES, "images": IMAGES, "kept": KEPT, "steps": STEPS},
        ),
    )
