"""Texts that are put together for a batch are those that were once made beforehand, sentence by sentence."""

from __future__ import annotations

import random

import pytest
import torch

from mm_kptm.data.formats.documents import DocumentSentence
from mm_kptm.data.sampler import seeded
from mm_kptm.data.tokenizers.protocol import Specials, framed
from mm_kptm.datasets.pretraining import document_segments
from mm_kptm.datasets.pretraining.document_segments import Chunks
from mm_kptm.datasets.pretraining.document_sources import segments
from mm_kptm.preprocessing.tokenized_documents import TokenizedDocuments

SPECIALS = Specials(0, 1, 2, 3, 4)
ROBERTA, T5 = Specials(0, 1, 2, 3, 4, between=2), Specials(0, 1, 0, 3, 1, opens=False)


def made(dice: random.Random) -> list[list[DocumentSentence]]:
    """Documents of sentences of 1 to 9 pieces, some in the same unit."""
    documents = []
    for _ in range(12):
        document = []
        for _ in range(dice.randrange(1, 8)):
            ids = tuple(dice.randrange(5, 30) for _ in range(dice.randrange(1, 10)))
            units = [0]
            for _ in ids[1:]:
                units.append(units[-1] + dice.randrange(2))
            document.append(DocumentSentence(ids, tuple(units), tuple(dice.random() < 0.3 for _ in ids)))
        documents.append(document)
    return documents


def chunked(document, room):
    """Greedily as many sentences as fit, each cut to ``room``."""
    held, found = [], []
    for sentence in document:
        short = DocumentSentence(sentence.ids[:room], sentence.units[:room], sentence.capitals[:room])
        if held and sum(len(one.ids) for one in held) + len(short.ids) > room:
            found.append(held)
            held = []
        held.append(short)
    return [*found, held]


def halved(chunk):
    lengths = [len(sentence.ids) for sentence in chunk]
    if len(chunk) < 2:
        return None
    cut = min(range(1, len(chunk)), key=lambda place: abs(2 * sum(lengths[:place]) - sum(lengths)))
    return chunk[:cut], chunk[cut:]


def columns(parts, others, specials):
    """Every column of a text, written piece by piece."""
    ids, numbers = framed(specials, *([token for one in part for token in one.ids] for part in parts))
    rows = [(-1, -1, -1, -1)] * specials.opens
    units = sentences = 0
    for number, part in enumerate(parts, 1):
        for one in part:
            for token, unit, capital in zip(one.ids, one.units, one.capitals, strict=True):
                rows.append((units + unit, int(capital), sentences, -1 if others is None else int(token in others)))
            units += max(one.units) + 1
            sentences += 1
        rows += [(-1, -1, -1, -1)] * (specials.between if number < len(parts) else 1)
    return [*zip(ids, numbers, range(len(ids)), *zip(*rows, strict=True), strict=True)]


@pytest.mark.parametrize("block", [4, document_segments.BLOCK])
@pytest.mark.parametrize("parts", [1, 2])
@pytest.mark.parametrize("max_length", [9, 14, 100])
@pytest.mark.parametrize("specials", [SPECIALS, ROBERTA, T5])
def test_texts_are_those_made_sentence_by_sentence(
    parts: int, max_length: int, block: int, specials: Specials, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(document_segments, "BLOCK", block)  # documents of one to seven sentences
    documents = made(random.Random(max_length))
    room = max_length - specials.around(parts)
    expected = []
    for document in documents:
        whole = chunked(document, room)
        for place, chunk in enumerate(whole):
            others = {token for at, other in enumerate(whole) if at != place for one in other for token in one.ids}
            split = (chunk,) if parts == 1 else halved(chunk)
            if split is not None:
                expected.append(columns(split, others if len(whole) > 1 else None, specials))
    source = segments(TokenizedDocuments.of(documents), specials, max_length, parts, document_words=True)
    assert [source.length(index) for index in range(len(source))] == list(map(len, expected))
    for indices in (range(len(source)), [3, 1, 1, 2]):
        text = source.batch(indices, seeded(0)).text
        first = torch.tensor(text.layout.offsets[:-1])[text.layout.sequence_ids(text.ids.device)]
        groups = torch.where(text.mask_groups < 0, -1, text.mask_groups - first)
        labels = [text.token_labels[name] for name in ("capitalization", "sentence", "document-words")]
        found = torch.stack([text.ids, text.segments, text.positions, groups, *labels], dim=1)
        wanted = [row for index in indices for row in expected[index]]
        assert found.tolist() == [list(row) for row in wanted]


def test_the_words_of_other_texts_are_looked_up_only_where_they_are_asked_for() -> None:
    source = segments(TokenizedDocuments.of(made(random.Random(0))), SPECIALS, 14, 1)
    assert "document-words" not in source.batch([0], seeded(0)).text.token_labels


def test_chunks_hold_as_many_sentences_as_fit() -> None:
    def sentence(length: int) -> DocumentSentence:
        return DocumentSentence(tuple(range(length)), tuple(range(length)), (False,) * length)

    chunks = Chunks.of(TokenizedDocuments.of([[sentence(n) for n in (3, 4, 2, 20, 1)], [sentence(1)]]), 9)
    assert (chunks.firsts.tolist(), chunks.ends.tolist()) == ([0, 3, 4, 5], [3, 4, 5, 6])
    assert chunks.middles.tolist() == [1, 4, 5, 6], "between 3 and 4 + 2; the others are one sentence"
