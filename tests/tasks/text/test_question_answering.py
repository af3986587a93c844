"""Spans are found in the windows that show them best, and long passages are answered as short ones."""

import json
import math

import pytest
import torch

import mm_kptm
from mm_kptm.batch import SequenceLayout
from mm_kptm.data.formats.squad import read_squad
from mm_kptm.data.sampler import seeded
from mm_kptm.data.tokenizers.protocol import BERT_SPECIALS
from mm_kptm.data.tokenizers.wordpiece import WordPiece
from mm_kptm.datasets.text.passage_windows import Window, central_windows, passage_questions, windows_of
from mm_kptm.errors import UserError
from mm_kptm.preprocessing.text import TextEncoding
from mm_kptm.tasks.text.question_answering import QuestionAnswering, best_span, span_losses

WORDS = [f"w{number}" for number in range(30)]
SIZES = {"num_layers": 2, "dim": 64, "num_heads": 2, "ffn_dim": 128, "dropout": 0.0, "max_positions": 64}


@pytest.fixture
def tokenizer(tmp_path):
    (tmp_path / "vocab.txt").write_text("\n".join([*BERT_SPECIALS, *WORDS, "who", "?"]) + "\n")
    return WordPiece.open(tmp_path / "vocab.txt", lowercase=True)


def squad(path, questions):
    """A file of questions ``(id, question, passage, answer)``."""
    paragraphs = [
        {
            "context": passage,
            "qas": [
                {
                    "id": id_,
                    "question": question,
                    "answers": [{"text": answer, "answer_start": passage.index(answer)}] if answer else [],
                }
            ],
        }
        for id_, question, passage, answer in questions
    ]
    path.write_text(json.dumps({"data": [{"title": "t", "paragraphs": paragraphs}]}))
    return path


def test_windows_overlap_and_every_piece_has_one_that_shows_it_best():
    windows = windows_of(10, 6, 2)
    assert windows == [Window(0, 6), Window(2, 8), Window(4, 10)]
    assert central_windows(windows, 10) == [0, 0, 0, 0, 1, 1, 2, 2, 2, 2]
    assert windows_of(3, 6, 2) == [Window(0, 3)]


@pytest.mark.parametrize("n_best", [3, 20])
def test_the_best_span_is_that_of_all_spans(n_best):
    generator = torch.Generator().manual_seed(0)
    for _ in range(20):
        logits = torch.randn(12, 2, generator=generator)
        pieces = torch.tensor([-1, -1, -1, *range(8), -1])
        central = torch.tensor([False] * 5 + [True] * 6 + [False])
        found = best_span(logits, pieces, central, max_answer_length=3, n_best=n_best)
        starts, ends = (set(logits[:, edge].topk(min(n_best, 12)).indices.tolist()) for edge in (0, 1))
        every = [
            (float(logits[start, 0] + logits[end, 1]), int(pieces[start]), int(pieces[end]))
            for start in range(12)
            for end in range(start, min(start + 3, 12))
            if central[start] and pieces[start] >= 0 and pieces[end] >= 0 and start in starts and end in ends
        ]
        assert found == (max(every) if every else None)


def test_the_loss_is_over_the_rows_of_each_window():
    scores = torch.zeros(7, 2)
    losses = span_losses(scores, SequenceLayout((3, 4)), torch.tensor([0, 9]), torch.tensor([2, -1]))
    assert losses.tolist() == [pytest.approx(math.log(3)), 0.0]


def test_a_passage_in_many_windows_is_answered_like_one_in_a_single_window(tokenizer, tmp_path):
    passage = " ".join(WORDS[:24])
    path = squad(tmp_path / "train-en.json", [(f"q{n}", f"who w{n} ?", passage, f"w{n}") for n in range(0, 24, 3)])
    questions = read_squad(path)
    reading = TextEncoding(tokenizer, 16)
    source = passage_questions(questions, reading, stride=4)
    assert source.first.tolist()[:3] == [0, 5, 10]
    torch.manual_seed(0)
    task = QuestionAnswering(mm_kptm.build("bert-base", vocab_size=len(tokenizer), **SIZES))
    optimizer = torch.optim.AdamW(task.parameters(), lr=2e-3)
    for step in range(80):
        loss = task.loss(source.batch(range(len(source)), seeded(0, step)))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    rows = task.predictions(source, batch_size=3)
    assert [row["answer"] for row in rows] == [f"w{n}" for n in range(0, 24, 3)]
    assert task.summary(rows) == {"f1": 1.0, "exact-match": 1.0}
    measured = task.measure(source.batch([0, 5], seeded(0, 0)))
    assert measured["f1"].tolist() == [1.0, 1.0] and measured["loss"].shape == (2,)


def test_each_language_is_scored_by_its_own_rule():
    task = QuestionAnswering(mm_kptm.build("bert-base", vocab_size=9, **SIZES), normalisation="mlqa")
    rows = [
        {"language": "de", "correct": 1.0, "exact_match": 1.0},
        {"language": "de", "correct": 0.5, "exact_match": 0.0},
        {"language": "zh", "correct": 0.25, "exact_match": 0.0},
    ]
    assert task.summary(rows) == {
        "f1": pytest.approx(1.75 / 3),
        "exact-match": pytest.approx(1 / 3),
        "exact-match-de": 0.5,
        "exact-match-zh": 0.0,
        "f1-of-languages": 0.5,
        "exact-match-of-languages": 0.25,
    }
    with pytest.raises(UserError, match=r"^answers are compared by squad or mlqa, not by 'bleu'$"):
        QuestionAnswering(mm_kptm.build("bert-base", vocab_size=9, **SIZES), normalisation="bleu")


def test_a_question_that_fills_its_window_is_refused(tokenizer, tmp_path):
    path = squad(tmp_path / "xquad.de.json", [("q", " ".join(WORDS), "w1 w2", "w1")])
    with pytest.raises(UserError, match=r"^data.max_length is 16, which leaves no room for the passage of question q"):
        passage_questions(read_squad(path), TextEncoding(tokenizer, 16))
