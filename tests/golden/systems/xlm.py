"""XLM against its released code: streams, sentence pairs, the encoder, and the encoder-decoder.

The released tensors lie [rows, sequences], padded behind; a sequence is a row of ours.
"""

import re
from dataclasses import replace

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

import mm_kptm
from mm_kptm.batch import POOLED_ONLY, Inputs, OutputRows, SequenceLayout, Tokens, pad
from mm_kptm.crosslingual.corpora.bitext import EncodedSentence, monolingual, sentence_pairs, translations
from mm_kptm.crosslingual.corpora.token_stream import TokenStream
from mm_kptm.data.packing import Packed
from mm_kptm.data.tokenizers.protocol import Specials
from mm_kptm.models.generation import Writing, beam, greedy
from mm_kptm.objectives.next_tokens import NextTokens
from mm_kptm.objectives.tokens import token_loss
from mm_kptm.preprocessing.inputs import tokens
from tests.golden.case import Answer, Case

#: What the README of a case says of its beam; the configuration says nothing of it.
ASKED = re.compile(
    r"beam-(?P<width>\d+) output, length_penalty (?P<penalty>[\d.]+), (?P<early>early_stopping True)?.*"
    r"max_len (?P<longest>\d+)"
)


def encoder(case: Case) -> dict[str, Answer]:
    given, special = case.inputs, specials(case)
    system = mm_kptm.load("xlm", case.folder, heads=("masked-tokens", "parallel-pairs"))
    score = system.head("masked-tokens")

    ids, lengths = given["mlm_x"], given["mlm_lengths"]
    length, columns = ids.shape
    languages = given["mlm_langs"]
    corpus = TokenStream.of(given["stream_tokens"].numpy(), columns=columns, length=length, stop=special.stop)
    cut = [corpus.batch(number).ids.view(columns, length).T for number in range(len(corpus))]
    masked = Inputs(text=upright(ids, lengths, languages=languages))
    before = Inputs(text=upright(given["mlm_x_before"], lengths, languages=languages))
    mlm_rows = rows_of(given["mlm_pred_mask"], lengths)
    mlm_scores = score(system(masked, OutputRows({"text": mlm_rows})).text)
    causal = NextTokens(head="masked-tokens")
    continued = causal.prepare(before)

    first, second = (sentences(given[f"para_s{side}"], given["lang_ids"][side - 1]) for side in (1, 2))
    alone = [whole(monolingual(side, special)) for side in (first, second)]
    couples = list(zip(first, second, strict=True))
    tlm = whole(translations(couples, special))
    pair = whole(sentence_pairs(couples, special))
    real = behind(tlm.layout)
    hidden = Inputs(text=replace(tlm, ids=given["tlm_x"].T[real]))
    tlm_rows = rows_of(given["tlm_pred_mask"], lengths_of(tlm.layout))
    tlm_scores = score(system(hidden, OutputRows({"text": tlm_rows})).text)
    depths = [stream.x for stream in system.hidden_states(hidden)]
    sentence = system(Inputs(text=pair), POOLED_ONLY).pooled
    parallel = system.head("parallel-pairs")(sentence)

    return {
        "stream_data": Answer(torch.from_numpy(corpus.rows)),
        "stream_batches": Answer(torch.stack(cut)),
        "mlm_hidden": Answer(*standing(system(masked).text, masked.text.layout)),
        "mlm_scores": Answer(mlm_scores),
        "mlm_loss": Answer(token_loss(mlm_scores, given["mlm_y"])),
        "clm_hidden": Answer(*standing(system(continued.inputs).text, before.text.layout)),
        "clm_loss": Answer(causal.loss(system, continued)),
        **{f"para_x{side}": Answer(upright_ids(text, special)) for side, text in enumerate(alone, 1)},
        **{f"para_len{side}": Answer(lengths_of(text.layout)) for side, text in enumerate(alone, 1)},
        "tlm_x_before": Answer(upright_ids(tlm, special)),
        "tlm_lengths": Answer(lengths_of(tlm.layout)),
        "tlm_positions": Answer(*standing(tlm.positions, tlm.layout)),
        "tlm_langs": Answer(*standing(tlm.languages, tlm.layout)),
        "tlm_emb": Answer(depths[0], real),
        **{f"tlm_l{number}": Answer(x, real) for number, x in enumerate(depths[1:])},
        "tlm_hidden": Answer(*standing(system(hidden).text, tlm.layout)),
        "tlm_scores": Answer(tlm_scores),
        "tlm_loss": Answer(token_loss(tlm_scores, given["tlm_y"])),
        "pair_x": Answer(upright_ids(pair, special)),
        "pair_lengths": Answer(lengths_of(pair.layout)),
        "pair_positions": Answer(*standing(pair.positions, pair.layout)),
        "pair_langs": Answer(*standing(pair.languages, pair.layout)),
        "sent_emb": Answer(sentence),
        "pc_logits": Answer(parallel),
        "pc_loss": Answer(F.binary_cross_entropy_with_logits(parallel, given["pc_y"].float())),
    }


def translation(case: Case) -> dict[str, Answer]:
    given, special = case.inputs, specials(case)
    system = mm_kptm.load("xlm-mt", case.folder)
    source, target = (
        upright(given[f"x{side}"], given[f"len{side}"], languages=torch.full_like(given[f"x{side}"], language))
        for side, language in enumerate(given["lang_ids"].tolist(), 1)
    )
    inputs = Inputs(text=source, target=target)
    batch = NextTokens().prepare(inputs)
    predicted = torch.zeros(target.rows, dtype=torch.bool)
    predicted[batch.rows] = True
    mask = laid(predicted, target.layout, len(given["x2"]))
    rows = rows_of(mask, given["len2"])
    scores = system.head("next-tokens")(system(inputs, OutputRows({"target": rows}))["target"])
    labels = laid(target.ids, target.layout, len(given["x2"]))
    asked = ASKED.search((case.folder / "README.md").read_text(encoding="utf-8"))
    assert asked, "how long texts may become and how wide the beam is stands in the README of a case"
    width, penalty, early = int(asked["width"]), float(asked["penalty"]), asked["early"] is not None
    writing = Writing(special.start, special.stop, int(asked["longest"]), language=int(given["lang_ids"][1]))
    texts = {
        "greedy": greedy(system, Inputs(text=source), writing),
        "beam": beam(system, Inputs(text=source), writing, width=width, length_penalty=penalty, stop_early=early),
    }
    return {
        "enc_hidden": Answer(system(Inputs(text=source)).text, behind(source.layout, len(given["x1"]))),
        "dec_hidden": Answer(*standing(system(inputs)["target"], target.layout, length=len(given["x2"]))),
        "y": Answer(labels[1:][mask[:-1]]),
        "pred_mask": Answer(mask),
        "scores": Answer(scores),
        "mt_loss": Answer(NextTokens().loss(system, batch)),
        **{name: Answer(upright_ids(Tokens.of(written), special)) for name, written in texts.items()},
        **{f"{name}_len": Answer(torch.tensor([len(text) for text in written])) for name, written in texts.items()},
    }


def specials(case: Case) -> Specials:
    """As the configuration numbers them."""
    params = case.config["params"]
    stop = params["eos_index"]
    return Specials(params["pad_index"], params["unk_index"], start=stop, stop=stop, mask=params["mask_index"])


def sentences(raw: Tensor, language: Tensor) -> list[EncodedSentence]:
    """The rows of a table of ids in which -1 is none."""
    return [EncodedSentence(row[row >= 0].tolist(), int(language)) for row in raw]


def whole(texts: Packed) -> Tokens:
    return tokens(texts, np.arange(len(texts)))


def behind(layout: SequenceLayout, length: int | None = None) -> Tensor:
    """True where a padded tensor [sequences, rows] is real."""
    return pad(torch.ones(layout.total, dtype=torch.bool), layout, length=length)


def lengths_of(layout: SequenceLayout) -> Tensor:
    return torch.tensor(layout.lengths)


def upright(ids: Tensor, lengths: Tensor, *, languages: Tensor) -> Tokens:
    """The tokens of tensors [rows, sequences]."""
    real = torch.arange(len(ids)) < lengths[:, None]
    return Tokens.padded(ids.T, real, languages=languages.T)


def upright_ids(text: Tokens, special: Specials) -> Tensor:
    return pad(text.ids, text.layout, value=special.pad).T


def laid(rows: Tensor, layout: SequenceLayout, length: int | None = None) -> Tensor:
    """Our rows as a tensor [rows, sequences, ...]."""
    return pad(rows, layout, length=length).transpose(0, 1)


def standing(rows: Tensor, layout: SequenceLayout, *, length: int | None = None) -> tuple[Tensor, Tensor]:
    """Our rows in the order of a tensor [rows, sequences], and where that one is real."""
    real = laid(torch.ones(layout.total, dtype=torch.bool), layout, length)
    return laid(rows, layout, length)[real], real


def rows_of(mask: Tensor, lengths: Tensor) -> Tensor:
    """Our numbers of the rows marked in a tensor [rows, sequences], in the order of that tensor."""
    layout = SequenceLayout(tuple(lengths.tolist()))
    return laid(torch.arange(layout.total), layout, len(mask))[mask]


CASES = {"mlm-tlm": encoder, "mlm-nolang": encoder, "mt-encdec": translation}
