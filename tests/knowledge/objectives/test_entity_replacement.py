"""Replaced entities are told from what stands around them."""

import json
import random
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

import mm_kptm
from mm_kptm.batch import Inputs, Tokens
from mm_kptm.data.sampler import seeded
from mm_kptm.data.tokenizers.protocol import BERT_SPECIALS
from mm_kptm.data.tokenizers.wordpiece import WordPiece
from mm_kptm.datasets.pretraining.linked_texts import MentionedTexts
from mm_kptm.errors import UserError
from mm_kptm.experiment.build import build
from mm_kptm.experiment.settings import EncoderSettings, Experiment
from mm_kptm.knowledge.injection.entity_grid import Mention
from mm_kptm.knowledge.objectives.entity_replacement import EntityReplacement, mentions_of, packed
from mm_kptm.knowledge.objectives.entity_replacement_data import Mentioned, Replaced, Replacer, TypedEntity
from mm_kptm.objectives.tokens import Bernoulli, Masking
from mm_kptm.preprocessing.inputs import InputSource

WORDS = ["rome", "par", "##is", "oslo", "ada", "bob", "saw", "and", "left", "then", "in", "spring", "."]
TOKENIZER = WordPiece([*BERT_SPECIALS, *WORDS], lowercase=True)
SIZES = {"dim": 32, "num_heads": 2, "num_layers": 2, "ffn_dim": 64, "dropout": 0.0}
ENTITIES = {
    **{f"Q{n}": TypedEntity("city", (name,)) for n, name in enumerate(("Rome", "Paris", "Oslo"))},
    **{f"P{n}": TypedEntity("person", (name,)) for n, name in enumerate(("Ada", "Bob"))},
}
#: Who saw what is always the same, so that a replaced name is a false one.
TEXTS = [
    Mentioned("Ada saw Rome in spring.", (Mention("P0", 0, 3), Mention("Q0", 8, 12))),
    Mentioned("Bob saw Paris and left.", (Mention("P1", 0, 3), Mention("Q1", 8, 13))),
    Mentioned("then Ada left Oslo.", (Mention("P0", 5, 8), Mention("Q2", 14, 18))),
]
MASKING = Masking(4, (5, len(TOKENIZER)), TOKENIZER.specials.never_masked, policy=Bernoulli(0.05))
OBJECTIVE = EntityReplacement(MASKING)


def inputs(versions: int = 8) -> Inputs:
    replacer, rng = Replacer(ENTITIES), random.Random(0)
    made = [version for text in TEXTS for version in replacer.versions(text, versions, rng)]
    source = InputSource(packed(made, TOKENIZER))
    return source.batch(range(len(source)), seeded(0))


def test_pieces_know_their_mention() -> None:
    """A mention of two pieces, and one that is cut off in the middle, which is none."""
    text = Replaced("Ada saw Paris", (Mention("P0", 0, 3), Mention("Q1", 8, 13)), (True, False))
    whole, cut = (packed([text], TOKENIZER, max_length=length).take([0])[0] for length in (20, 5))
    assert whole["mark_mention"].tolist() == [-1, 0, -1, 1, 1, -1]
    assert whole["mark_true"].tolist() == [0, 1, 0, 0, 0, 0]
    assert whole["units"].tolist() == [0, -1, 2, -1, -1, 5]
    assert cut["mark_mention"].tolist() == [-1, 0, -1, -1, -1]
    assert cut["units"].tolist() == [0, -1, 2, -1, 4]


def test_a_text_without_a_start_token_begins_with_its_first_word() -> None:
    """A mention that nothing stands before is not asked about."""
    bare = WordPiece([*BERT_SPECIALS, *WORDS], lowercase=True)
    bare.specials = replace(bare.specials, opens=False)
    text = Replaced("Ada saw Paris", (Mention("P0", 0, 3), Mention("Q1", 8, 13)), (True, False))
    row = packed([text], bare, max_length=5).take([0])[0]
    assert row["ids"].tolist() == [*bare.encode("Ada saw Paris").ids, bare.specials.stop]
    assert row["mark_mention"].tolist() == [-1, -1, 1, 1, -1] and row["units"].tolist() == [-1, 1, -1, -1, 4]


def test_rows_around_mentions() -> None:
    """Of two texts; two mentions stand side by side, and the same number names two mentions in two texts."""
    marks = torch.tensor([-1, 0, 0, 1, -1, -1, 0, -1])
    around, first = mentions_of(marks)
    assert around.tolist() == [[0, 3], [2, 4], [5, 7]]
    assert first.tolist() == [1, 3, 6]


def test_hidden_tokens_are_five_in_a_hundred_and_in_no_mention() -> None:
    given, hidden, free = inputs(100), 0, 0
    for seed in range(10):
        batch = OBJECTIVE.prepare(given, seeded(seed))
        assert (given.text.token_labels["mention"][batch.rows] == -1).all()
        hidden += len(batch.rows)
        words = ~torch.isin(given.text.ids, torch.tensor(sorted(MASKING.never)))
        free += int((words & (given.text.token_labels["mention"] == -1)).sum())
    assert abs(hidden / free - 0.05) < 4 * (0.05 * 0.95 / free) ** 0.5


def test_the_loss_is_both_means() -> None:
    """Against every state of the encoder and a loop over mentions."""
    system = mm_kptm.build("wklm", seed=0, vocab_size=len(TOKENIZER), **SIZES)
    batch = OBJECTIVE.prepare(inputs(), seeded(1))
    states = system(batch.inputs).text
    doubted = []
    for (before, behind), true in zip(batch.around, batch.true, strict=True):
        score = system.head("entity-replacement")(torch.cat([states[before], states[behind]])).sigmoid()
        doubted.append(-(score if true else 1 - score).log())
    hidden = F.cross_entropy(system.head("masked-tokens")(states[batch.rows]), batch.labels)
    assert len(doubted) == 2 * 24
    torch.testing.assert_close(OBJECTIVE.loss(system, batch), torch.cat(doubted).mean() + hidden)
    assert OBJECTIVE.measure(system, batch).shape == (24,)


def test_marks_are_needed() -> None:
    message = (
        r"^entity-replacement classifies the mentions of a text, but the inputs have no mention labels; use a dataset"
    )
    for given in (Inputs(), Inputs(text=Tokens.of([[2, 5, 3]]))):
        with pytest.raises(UserError, match=message):
            OBJECTIVE.prepare(given, seeded(0))


@pytest.fixture
def settings(tmp_path: Path) -> Experiment:
    """Those texts as an experiment, all in files."""
    (tmp_path / "vocab.txt").write_text("\n".join([*BERT_SPECIALS, *WORDS]) + "\n")
    rows = [
        {"text": text.text, "mentions": [{"span": [m.start, m.end], "entity": m.entity} for m in text.mentions]}
        for text in TEXTS
    ]
    (tmp_path / "texts.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    table = [f"{entity}\t{known.type}\t{known.names[0]}\n" for entity, known in ENTITIES.items()]
    (tmp_path / "entities.tsv").write_text("".join(table))
    data = MentionedTexts(
        name="linked-texts",
        train=tmp_path / "texts.jsonl",
        vocabulary=tmp_path / "vocab.txt",
        entities=tmp_path / "entities.tsv",
        versions=6,
    )
    encoder = EncoderSettings("wklm", sizes=SIZES, init_std=0.1)
    return Experiment("wklm", encoder, data, objectives={"entity-replacement": 1.0})


def test_an_experiment_learns_which_entities_are_false(settings: Experiment) -> None:
    built = build(settings)
    source, model = built.source("train"), built.model
    assert len(source) == 18
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-3)
    for step in range(120):
        optimizer.zero_grad()
        model.loss(source.batch(range(18), seeded(step))).backward()
        optimizer.step()
    batch = source.batch(range(18), seeded(99)).by_name["entity-replacement"]
    with torch.no_grad():
        doubted, _ = OBJECTIVE.losses(built.system, batch)
    assert doubted.mean() < 0.1 and 0 < batch.true.mean() < 1


def test_a_seed_gives_the_same_versions(settings: Experiment) -> None:
    first, again = (build(settings).source("train").batch(range(18), seeded(0)) for _ in range(2))
    ids = [one.by_name["entity-replacement"].inputs.text.ids for one in (first, again)]
    assert torch.equal(*ids)


def test_settings_that_say_nothing_are_refused(settings: Experiment) -> None:
    given = vars(settings.data)
    with pytest.raises(UserError, match=r"^data.versions is 0 but must be at least 1$"):
        MentionedTexts(**{**given, "versions": 0})
    with pytest.raises(UserError, match=r"^data.mask_rate is 0.0 but must be a share of the tokens"):
        MentionedTexts(**{**given, "mask_rate": 0.0})
