"""The blocks: attention alone, then H1 to H9, each a workload in several ways with the peer in the same run.

Weights are random and alike in all ways of a block; layouts differ from step to step, as those of a sampler do.
"""

from __future__ import annotations

import copy
import itertools
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import mm_kptm
from benchmarks.gpu.timing import Way
from benchmarks.texts import CLS, MASK, SEP, Texts
from mm_kptm.batch import POOLED_ONLY, Inputs, Regions, SequenceLayout
from mm_kptm.nn.kernels.calls import compute_calls
from mm_kptm.nn.kernels.choice import Kernel
from mm_kptm.nn.ragged import AttentionLayout, padded_attend
from mm_kptm.nn.visibility import Branches
from mm_kptm.objectives.tokens import ExactCount, MaskedTokens, Masking
from mm_kptm.systems.system import System
from mm_kptm.train.compilation import compiled_layers
from mm_kptm.vision.contrastive.losses.streamed import streamed_contrast
from mm_kptm.vision.objectives.image_text_contrast import ImageTextContrastive

VOCABULARY, BATCHES = 30522, 8
TINY: dict[str, Any] = {"dim": 32, "num_heads": 2, "num_layers": 2, "ffn_dim": 64}


@dataclass(frozen=True)
class Block:
    """A workload with its goal and the time it may take."""

    title: str
    goal: str
    seconds: int
    ways: Callable[[torch.device, bool], Iterator[Way]]  #: of the device, and whether sizes are tiny


def _lengths(rows: int, low: int, high: int, generator: torch.Generator) -> list[int]:
    """Lengths, uniform between two bounds, of about so many rows together."""
    count = max(2, round(rows / ((low + high) / 2)))
    return torch.randint(low, high + 1, (count,), generator=generator).tolist()


def _masked(objective: MaskedTokens, lengths: list[int], seed: int, *, tree: bool = False) -> Any:
    generator = torch.Generator().manual_seed(seed)
    tokens = Texts.draw(lengths, VOCABULARY, generator).tokens()
    if tree:
        tokens = replace(tokens, attention_mask=Branches(tokens.positions // 4, tokens.positions % 4))
    return objective.prepare(Inputs(text=tokens), generator)


def _trained(model: nn.Module, losses: Iterator[Callable[[], Tensor]], device: torch.device, *, bf16: bool) -> Any:
    """A step of the optimiser on the next batch."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-6, fused=True)

    def step() -> Tensor:
        with torch.autocast(device.type, torch.bfloat16, enabled=bf16):
            loss = next(losses)().float()
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        return loss.detach()

    return step


def _mlm(
    device: torch.device,
    dry: bool,
    *,
    sizes: dict[str, Any],
    rows: int,
    low: int = 10,
    tree: bool = False,
    peer: bool = True,
    plain: bool = False,
) -> Iterator[Way]:
    """Masked-language modelling of a BERT: with the published dropout, without, compiled; Transformers padded."""
    rows, high, low = (96, 24, min(low, 20)) if dry else (rows, 512, low)
    sizes = {**(TINY if dry else sizes), "vocab_size": VOCABULARY}
    objective = MaskedTokens(Masking(MASK, (1000, VOCABULARY), frozenset({CLS, SEP}), ExactCount(0.15)))
    lengths = [
        _lengths(rows, low, high, torch.Generator().manual_seed(seed)) if low < high else [high] * (rows // high)
        for seed in range(BATCHES)
    ]
    torch.manual_seed(0)
    fresh = mm_kptm.build("bert-base", heads=["masked-tokens"], dropout=0.0, **sizes)
    total = sum(lengths[0])
    ways = [("bf16", 0.0, False, False), ("bf16 compiled", 0.0, True, False), ("bf16, dropout 0.1", 0.1, False, False)]
    ways += [("bf16, dropout 0.1, compiled", 0.1, True, False)]
    ways += [("bf16 without the tree", 0.0, False, True)] if plain else []
    for name, dropout, compiled, flat in ways:
        batches = [_masked(objective, one, seed, tree=tree and not flat).to(device) for seed, one in enumerate(lengths)]
        system = copy.deepcopy(fresh).to(device).train()
        _set_dropout(system, dropout)
        losses = itertools.cycle([partial(objective.loss, system, batch) for batch in batches])
        yield Way(
            name=name,
            step=_trained(system, losses, device, bf16=True),
            rows=total,
            model=system,
            compared=not dropout and not flat,
            ready=partial(compiled_layers, system, enabled=compiled),
        )
    if peer:
        yield _padded_peer(fresh, [_masked(objective, one, seed) for seed, one in enumerate(lengths)], sizes, device)


def _set_dropout(system: nn.Module, rate: float) -> None:
    for part in system.modules():
        if isinstance(part, nn.Dropout):
            part.p = rate
        elif isinstance(getattr(part, "dropout", None), float):
            part.dropout = rate  # type: ignore[assignment]  # of attention


def _padded_peer(ours: System, batches: list[Any], sizes: dict[str, Any], device: torch.device) -> Way:
    """Transformers with SDPA on padded batches; other weights, so its loss is not compared."""
    from transformers import BertForMaskedLM

    from benchmarks.peers import hf
    from mm_kptm.batch import pad

    shape = {key: sizes[key] for key in ("dim", "num_heads", "num_layers", "vocab_size")}
    model = BertForMaskedLM(hf.bert_config(**shape)).to(device).train()
    given = []
    for batch in batches:
        text = batch.inputs.text
        labels = torch.full_like(text.ids, -100).index_copy(0, batch.rows, batch.labels)
        real = pad(torch.ones_like(text.ids), text.layout)
        padded = {"input_ids": pad(text.ids, text.layout), "attention_mask": real}
        padded["labels"] = pad(labels, text.layout, value=-100)
        given.append({name: tensor.to(device) for name, tensor in padded.items()})
    losses = itertools.cycle([lambda one=one: model(**one).loss for one in given])
    step = _trained(model, losses, device, bf16=True)
    return Way("Transformers, sdpa, padded", step, batches[0].inputs.text.layout.total, compared=False)


def _attention(device: torch.device, dry: bool) -> Iterator[Way]:
    """Attention alone, forward and backward: every kernel, against the padded form in float32 on few rows first."""
    lengths = _lengths(96 if dry else 65536, 10, 24 if dry else 512, torch.Generator().manual_seed(0))
    layout = SequenceLayout(tuple(sorted(lengths)))
    numbers = torch.arange(layout.total, device=device)
    tree = Branches(numbers // 4, numbers % 4)
    heads, width = (2, 8) if dry else (12, 64)
    flops = 3.5 * 4 * sum(n * n for n in layout.lengths) * heads * width
    rows = [torch.randn(layout.total, heads, width, device=device) for _ in range(3)]
    cuda: list[tuple[str, Kernel, bool, float, torch.dtype]] = [
        ("padded groups, tree", "groups", True, 0.0, torch.bfloat16),
        ("padded groups, tree, dropout 0.1", "groups", True, 0.1, torch.bfloat16),
        ("a loop of calls, dropout 0.1", "runs", False, 0.1, torch.bfloat16),
        ("varlen", "varlen", False, 0.0, torch.bfloat16),
        ("varlen, dropout 0.1", "varlen", False, 0.1, torch.bfloat16),
        ("varlen, float32", "varlen", False, 0.0, torch.float32),
    ]
    for name, kernel, masked, dropout, dtype in cuda:
        if device.type == "cpu" and kernel == "varlen":
            continue  # no such kernel there
        reading = AttentionLayout(layout, layout, tree if masked else None)
        streams = [one.to(dtype).requires_grad_() for one in rows]
        _check_kernel(reading, kernel, device, dtype, heads, width)

        def step(streams: Any = streams, reading: Any = reading, kernel: Any = kernel, rate: float = dropout) -> Tensor:
            out = compute_calls(*streams, reading.calls(kernel, device), rate)
            torch.autograd.grad(out.sum(), streams)
            return out.detach().float().mean()

        precision = "fp32" if dtype == torch.float32 else "bf16"
        yield Way(name, step, layout.total, flops=flops, compared=False, precision=precision)  # type: ignore[arg-type]


def _check_kernel(
    reading: AttentionLayout, kernel: Kernel, device: torch.device, dtype: torch.dtype, heads: int, width: int
) -> None:
    """Compare a kernel with the padded reference on few sequences, an empty one among them."""
    few = SequenceLayout((*reading.queries.lengths[:8], 0, 3))
    mask = None
    if reading.mask is not None:
        numbers = torch.arange(few.total, device=device)
        mask = Branches(numbers // 4, numbers % 4)
    short = AttentionLayout(few, few, mask)
    streams = [torch.randn(few.total, heads, width, device=device, dtype=dtype, requires_grad=True) for _ in range(3)]
    ours = compute_calls(streams[0], streams[1], streams[2], short.calls(kernel, device), 0.0)
    exact = [one.detach().float().requires_grad_() for one in streams]
    truth = padded_attend(exact[0], exact[1], exact[2], short)
    loose = 4e-2 if dtype != torch.float32 else 1e-3
    torch.testing.assert_close(ours.float(), truth, atol=loose, rtol=loose)
    found = torch.autograd.grad(ours.square().sum(), streams)
    expected = torch.autograd.grad(truth.square().sum(), exact)
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one.float(), other, atol=loose, rtol=loose)


def _pictures(count: int, regions: int, dim: int, device: torch.device) -> Regions:
    boxes = torch.rand(count * regions, 4, device=device)
    return Regions(torch.rand(count * regions, dim, device=device), boxes, SequenceLayout((regions,) * count))


def _questions(name: str, device: torch.device, dry: bool, *, questions: int, low: int, high: int) -> Iterator[Way]:
    """Questions about images, five to an image; the pooled vectors are trained."""
    questions = 10 if dry else questions
    images = questions // 5
    sizes = {**TINY, "num_region_layers": 1, "num_cross_layers": 1} if dry else {}
    published = mm_kptm.catalogue()[name].published_sizes()
    torch.manual_seed(0)
    fresh = mm_kptm.build(name, heads=[], dropout=0.0, **{key: one for key, one in sizes.items() if key in published})
    lengths = _lengths(questions * (low + high) // 2, low, high, torch.Generator().manual_seed(0))[:questions]
    texts = Texts.draw(lengths, 28000, torch.Generator().manual_seed(1)).tokens()
    image_of = torch.arange(len(texts.layout)) % images
    inputs = Inputs(text=texts, regions=_pictures(images, 36, 2048, torch.device("cpu")), image_of=image_of).to(device)
    for compiled in (False, True):
        system = copy.deepcopy(fresh).to(device).train()

        def loss(system: System = system) -> Tensor:
            return system(inputs, POOLED_ONLY).pooled.float().square().mean()

        step = _trained(system, itertools.repeat(loss), device, bf16=True)
        ready = partial(compiled_layers, system, enabled=compiled)
        yield Way("bf16 compiled" if compiled else "bf16", step, texts.layout.total, model=system, ready=ready)


def _clip(device: torch.device, dry: bool) -> Iterator[Way]:
    """A step of CLIP ViT-B/32: open_clip, and ours with captions unpadded."""
    import open_clip

    from benchmarks.cases.g08_clip_text import MODEL, captions, ours_of, packed
    from mm_kptm.batch import Images

    pairs = 2 if dry else 2048
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        theirs: Any = open_clip.create_model(MODEL, pretrained=None)
    system = ours_of(theirs, MODEL)
    ids = captions(pairs, torch.Generator().manual_seed(0))
    order = (torch.arange(ids.shape[1]) <= ids.argmax(1, keepdim=True)).sum(1).argsort()
    pixels = torch.randn(pairs, 3, 224, 224)[order].to(device)
    there = ids[order].to(device)
    flops = 3 * pairs * 9.9e9
    theirs, system = theirs.to(device).train(), system.to(device).train()
    batch = packed(ids).with_streams(images=Images(pixels=pixels)).to(device)
    contrast, objective = open_clip.ClipLoss(), ImageTextContrastive()

    def peer() -> Tensor:
        loss: Tensor = contrast(*theirs(pixels, there))
        return loss

    yield Way("open_clip", _trained(theirs, itertools.repeat(peer), device, bf16=True), pairs, flops=flops)
    ours = itertools.repeat(lambda: objective.loss(system, batch))
    yield Way("ours", _trained(system, ours, device, bf16=True), pairs, flops=flops, compared=False)


def _contrast(device: torch.device, dry: bool) -> Iterator[Way]:
    """The contrastive loss with its gradients: open_clip's, and ours in pieces."""
    from open_clip import ClipLoss

    for count in (64,) if dry else (8192, 16384, 32768, 65536):
        images, texts = (torch.randn(count, 512, device=device).requires_grad_() for _ in range(2))
        scale = torch.tensor(math.log(1 / 0.07), device=device, requires_grad=True)

        def peer(images: Tensor = images, texts: Tensor = texts, scale: Tensor = scale) -> Tensor:
            loss: Tensor = ClipLoss()(F.normalize(images, dim=-1), F.normalize(texts, dim=-1), scale.exp())
            torch.autograd.grad(loss, (images, texts, scale))
            return loss.detach()

        def ours(images: Tensor = images, texts: Tensor = texts, scale: Tensor = scale) -> Tensor:
            loss = streamed_contrast(images, texts, scale.exp())
            torch.autograd.grad(loss, (images, texts, scale))
            return loss.detach()

        flops = 6.0 * count**2 * 512
        for name, step in (("open_clip", peer), ("ours", ours)):
            if name == "ours" or count <= 32768:
                yield Way(f"{name}, {count} pairs", step, count, flops=flops, compared=False, precision="fp32")


BASE = {"dim": 768, "num_heads": 12, "num_layers": 12}
LARGE = {"dim": 1024, "num_heads": 16, "num_layers": 24}
SMALL = {"dim": 256, "num_heads": 4, "num_layers": 4}
BLOCKS = {
    "A": Block("attention alone, 64k rows, every kernel", "which kernel is fastest", 90, _attention),
    "H1": Block("BERT-base MLM, 64k tokens a step, fill 0.5", "MFU 55 %", 110, partial(_mlm, sizes=BASE, rows=65536)),
    "H2": Block("the same, fill 1.0", "MFU 57 %", 45, partial(_mlm, sizes=BASE, rows=65536, low=512, peer=False)),
    "H3": Block("BERT-large MLM, 32k tokens", "MFU 62 %", 60, partial(_mlm, sizes=LARGE, rows=32768, peer=False)),
    "H4": Block("4 layers of 256, 32k tokens", "MFU 25 %", 35, partial(_mlm, sizes=SMALL, rows=32768)),
    "H5": Block(
        "K-BERT base, trees, 64k tokens",
        "within 10 % of the way without the tree",
        70,
        partial(_mlm, sizes=BASE, rows=65536, tree=True, peer=False, plain=True),
    ),
    "H6": Block(
        "LXMERT, 512 questions on 102 images",
        "MFU 40 %",
        35,
        partial(_questions, "lxmert-base", questions=512, low=8, high=20),
    ),
    "H7": Block(
        "UNITER-base, 512 texts with 36 regions",
        "MFU 45 %",
        35,
        partial(_questions, "uniter-base", questions=512, low=10, high=40),
    ),
    "H8": Block("CLIP ViT-B/32, 2,048 pairs", "MFU 45 %, x1.4 of open_clip", 45, _clip),
    "H9": Block("contrastive loss, 8,192 to 65,536 pairs", "MFU 45 %, 1 GB", 35, _contrast),
}
