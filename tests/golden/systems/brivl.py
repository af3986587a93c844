"""BriVL over two training steps: towers, momentum, queues."""

from __future__ import annotations

import torch
from torch import Tensor

import mm_kptm
from mm_kptm.batch import Inputs, Tokens
from mm_kptm.systems.system import System
from mm_kptm.vision.contrastive.grid_pooling import BoxedImages
from mm_kptm.vision.contrastive.two_queues import queries
from mm_kptm.vision.objectives.two_queue_contrast import TwoQueueContrast
from tests.golden.case import Answer, Case


def pairs(given: dict[str, Tensor], step: int, order: Tensor | None = None) -> Inputs:
    """A batch; the released loader shuffles everything of its key batch but the mask of the boxes."""
    every = slice(None) if order is None else order
    text, mask = given[f"texts_{step}"][every], given[f"text_mask_{step}"][every]
    images, boxes = given[f"img_{step}"][every], given[f"boxes_{step}"][every]
    boxed = BoxedImages.padded(images, boxes, given[f"img_mask_{step}"])
    return Inputs(text=Tokens.padded(text, mask), images=boxed)


def two_queue(case: Case) -> dict[str, Answer]:
    given, config = case.inputs, case.config
    contrast = TwoQueueContrast(momentum=config["MOMENTUM"], temperature=config["TEMPERATURE"])
    shuffled = mm_kptm.load("brivl", case.folder)
    keys = pairs(given, 0, given["perm"])
    answers = {"loss_0_shuffled": Answer(shuffled_loss(contrast, shuffled, pairs(given, 0), keys, given["perm"]))}
    system = mm_kptm.load("brivl", case.folder)
    optimizer = torch.optim.SGD(system.encoder.parameters(), lr=config["sgd_lr"])
    queues = system.head("two-queues")
    for step in range(sum(name.startswith("img_q_") for name in case.outputs)):
        inputs = pairs(given, step)
        images, texts = queries(system.encoder, inputs)
        answers |= {f"img_q_{step}": Answer(images), f"text_q_{step}": Answer(texts)}
        with torch.enable_grad():
            contrast.after_step(system, step)  # what follows moves after a step, and so before the keys of the next
            loss = contrast.losses(system, inputs, enqueues=True).mean()
            optimizer.zero_grad()
            loss.backward()
        if step == 0:
            answers["grad_textFC_fc2_0"] = Answer(system.encoder.text.attention.out_proj.weight.grad.clone())
        optimizer.step()
        pointers = torch.cat([queues.image_queue.pointer, queues.text_queue.pointer])
        answers |= {
            f"loss_{step}": Answer(loss),
            f"img_queue_{step}": Answer(queues.image_queue.negatives().T),
            f"text_queue_{step}": Answer(queues.text_queue.negatives().T),
            f"ptr_{step}": Answer(pointers.clone()),
            f"mom_imgFC_fc1_{step}": Answer(queues.image.attention.up_proj.weight.detach().clone()),
        }
    return answers


def shuffled_loss(contrast: TwoQueueContrast, system: System, inputs: Inputs, keys: Inputs, order: Tensor) -> Tensor:
    """The loss with keys in another order, which are put back before they are scored."""
    queues, back = system.head("two-queues"), order.argsort()
    queues.follow(system.encoder, contrast.momentum)
    images, texts = queries(system.encoder, inputs)
    image_keys, text_keys = (one[back] for one in queues.keys(keys))
    total = torch.zeros(())
    for query, key, queue in ((images, text_keys, queues.text_queue), (texts, image_keys, queues.image_queue)):
        scores = torch.cat([(query * key).sum(-1, keepdim=True), query @ queue.negatives().T], 1) / contrast.temperature
        total = total - scores.log_softmax(1)[:, 0].mean()
    return total


CASES = {"two-queue": two_queue}
