"""InfoXLM's contrast over two steps, XLM-Align's losses, and its alignment of words."""

import torch
from torch import Tensor

import mm_kptm
from mm_kptm.batch import Inputs, Tokens, pad
from mm_kptm.crosslingual.objectives.momentum_contrast import CrossLingualContrast, mixed_up, mixup_modes
from mm_kptm.crosslingual.objectives.word_alignment import WordAlignment, align_words, pairs_of, pointers, sinkhorn
from mm_kptm.nn.positions import counted_positions
from mm_kptm.objectives.tokens import Masking
from tests.golden.case import Answer, Case

PAD, NONE = 1, 1000000


def contrast(case: Case) -> dict[str, Answer]:
    given, settings = case.inputs, case.config
    queue = {"queue_size": settings["xlco_queue_size"]}
    system = mm_kptm.load("infoxlm", case.folder, heads={"masked-tokens": {}, "xlco": queue}).train()
    sides = [texts(given["pair_lines"][side::2]) for side in (0, 1)]
    modes = given["modes"].tolist()
    assert mixup_modes(range(len(modes)), epoch=0) == modes
    batch = mixed_up(*sides, modes)
    objective = CrossLingualContrast(
        layer=settings["xlco_layer"], temperature=settings["xlco_softmax_tau"], momentum=settings["momentum"]
    )
    head = system.head("xlco")
    optimizer = torch.optim.SGD(
        [p for p in (*system.encoder.parameters(), head.projection) if p.requires_grad], lr=settings["sgd_lr"]
    )
    answers = {
        "xlco_src": Answer(pad(batch.queries.ids, batch.queries.layout, value=PAD)),
        "xlco_tgt": Answer(pad(batch.keys.ids, batch.keys.layout, value=PAD)),
    }
    steps = sum(name.startswith("xlco_loss_") for name in case.outputs)
    for step in range(steps):
        with torch.enable_grad():
            scores, _ = objective.scores(system, batch)
            loss = objective.losses(system, batch).sum() * settings["xlco_lambda"]
            optimizer.zero_grad()
            loss.backward()
        if step == 0:
            answers["grad_proj_fast"] = Answer(head.projection.grad.clone())
        optimizer.step()
        objective.after_step(system)
        answers |= {
            f"xlco_loss_{step}": Answer(loss.detach()),
            f"ncorrect_{step}": Answer((scores.argmax(1) == 0).sum()),
            f"queue_{step}": Answer(head.queue.detach().clone()),
            f"queue_ptr_{step}": Answer(head.pointer.detach().clone()),
            f"slow_proj_{step}": Answer(head.slow_projection.detach().clone()),
        }
    return answers


def texts(ids: Tensor) -> Tokens:
    return Tokens.padded(ids, ids != PAD)


def alignment(case: Case) -> dict[str, Answer]:
    given = case.inputs
    system = mm_kptm.load("xlm-align", case.folder)
    ids, target = given["src_tokens"], given["target"]
    real = ids != PAD
    tokens = Tokens.padded(ids, real, positions=counted_positions(ids, PAD))
    rows = (target[real] != PAD).nonzero().squeeze(1)
    clean = torch.where(target == PAD, ids, target)[real]
    batch = pairs_of(tokens, clean, rows, given["offsets"].T)
    firsts = tokens.layout.starts(ids.device)
    count = len(ids)
    aligned = [given["align"][given["align"][:, 0] == number, 1:] + firsts[number] for number in range(count)]
    objective = WordAlignment(Masking(mask_id=int(ids.max()), pool=(0, 1), never=frozenset()))
    forward, back, hidden, _ = objective.parts(system, batch, aligned)
    total = torch.cat([forward, back, hidden])
    ways = pointers(aligned, rows, total=tokens.rows)
    places = tokens.layout.offsets_in_sequence(ids.device)
    tables: dict[str, Answer] = {}
    for name, way in zip(("fwd", "bwd"), ways, strict=True):
        owners = tokens.layout.sequence_ids(ids.device)[way.rows]
        width = case.outputs[f"mask_{name}"].shape[1]
        for what, numbers in (("mask", way.rows), ("pos", way.gold)):
            table = torch.full((count, width), NONE)
            for owner in range(count):
                mine = places[numbers[owners == owner]]
                table[owner, : len(mine)] = mine
            tables[f"{what}_{name}"] = Answer(table)
    return {
        "features": Answer(system(Inputs(text=tokens)).text, real),
        "fwd_loss": Answer(forward.sum()),
        "bwd_loss": Answer(back.sum()),
        "total_loss": Answer(total.sum()),
        "sample_size": Answer(torch.tensor(len(total))),
        **tables,
    }


def words(case: Case) -> dict[str, Answer]:
    settings, answers = case.config, {}
    for name, source in case.inputs.items():
        if name.startswith("src_"):
            number = name.removeprefix("src_")
            plan = sinkhorn(source @ case.inputs[f"trg_{number}"].T, iterations=settings["sinkhorn_iter"])
            pairs = align_words(plan, rounds=settings["wa_max_count"], decay=settings["alpha_ratio"])
            answers |= {f"pi_{number}": Answer(plan), f"align_{number}": Answer(pairs)}
    return answers


CASES = {"xlco": contrast, "xlm-align": alignment, "word-align": words}
