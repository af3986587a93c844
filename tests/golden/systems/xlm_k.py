"""XLM-K against its released model and loss, in training mode."""

import torch

import mm_kptm
from mm_kptm.batch import Tokens
from mm_kptm.crosslingual.objectives.entity_definition import DefinedMentions, EntityDefinition
from mm_kptm.crosslingual.objectives.fairseq_masking import FairseqMasking
from mm_kptm.nn.positions import counted_positions
from tests.golden.case import Answer, Case

PAD = 1
#: Batch norm divides by the spread of a few rows: released states carry their own float32 rounding, here made larger.
ROUNDED = 1e-4


def definition(case: Case) -> dict[str, Answer]:
    given, settings = case.inputs, case.config
    head_sizes = {"num_layers": settings["head_layers"], "queue_size": settings["memory_bank_size"]}
    system = mm_kptm.load(
        "xlm-k",
        case.folder,
        heads={"masked-tokens": {}, "entity-definition": head_sizes},
        fresh=["heads.entity-definition.words", "heads.entity-definition.documents"],
        dropout=0.0,
    ).double()
    system.train()
    head = system.head("entity-definition")
    head.documents.copy_(given["queue_word2doc"])
    head.words.copy_(given["queue_doc2word"])
    ids, target = given["src_tokens"], given["target"]
    real = ids != PAD
    text = Tokens.padded(ids, real, positions=counted_positions(ids, PAD))
    rows = (target[real] != PAD).nonzero().squeeze(1)
    documents = Tokens.padded(
        given["document_tokens"],
        given["document_tokens"] != PAD,
        positions=counted_positions(given["document_tokens"], PAD),
    )
    starts = given["start_end_position"][:, 0]
    places = text.layout.starts(ids.device) + (counted_positions(ids, PAD).gather(1, starts.clamp(0)[:, None])).squeeze(
        1
    )
    batch = DefinedMentions(text, rows, target[real][rows], documents, torch.where(starts < 0, -1, places))
    objective = EntityDefinition(
        FairseqMasking(mask_id=settings["vocab"] - 1, vocab_size=settings["vocab"]),
        layer=settings["layer_of_cts_loss"],
        temperature=settings["cts_temp"],
        normalised=settings["enable_l2_norm"],
        word_scale=settings["word2doc_scale"],
        document_scale=settings["doc2word_scale"],
    )
    _, words, described = objective.states(system, batch)
    queues = head.documents.clone(), head.words.clone()
    projected = head.word(words), head.document(described)
    with torch.enable_grad():
        found = objective.losses(system, batch)
        pushed = head.documents.clone(), head.words.clone()
        head.documents.copy_(queues[0])
        head.words.copy_(queues[1])
        total = objective.loss(system, batch) * len(rows)
        total.backward()
    gradient = head.word.linears[0].weight.grad.clone()
    return {
        "before_head_word": Answer(words),
        "before_head_doc": Answer(described),
        "state_word": Answer(projected[0], atol=ROUNDED),
        "state_doc": Answer(projected[1], atol=ROUNDED),
        "loss": Answer(total.detach()),
        "loss_mlm": Answer(found["masked"].sum()),
        "loss_word2doc": Answer(found["word2doc"].sum()),
        "loss_doc2word": Answer(found["doc2word"].sum()),
        "sample_size": Answer(torch.tensor(len(rows))),
        "sample_size_contrastive": Answer(torch.tensor(len(found["word2doc"]))),
        "grad_head0_linear0": Answer(gradient, atol=ROUNDED * max(1.0, float(gradient.abs().max()))),
        "queue_word2doc_after": Answer(pushed[0], atol=ROUNDED),
        "queue_doc2word_after": Answer(pushed[1], atol=ROUNDED),
    }


CASES = {"definition": definition}
"""What each system is asked in its golden cases."""
