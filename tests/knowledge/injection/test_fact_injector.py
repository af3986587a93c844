"""Facts of a graph hang from the names in texts, and arms of an experiment differ in them alone."""

from dataclasses import replace

import pytest
import torch

from mm_kptm.data.formats.mentions import MentionSpan, RelatedMentions, TypedMention
from mm_kptm.data.formats.uer_tsv import ClassifiedText, Tagged
from mm_kptm.data.sampler import seeded
from mm_kptm.data.tokenizers.protocol import BERT_SPECIALS
from mm_kptm.data.tokenizers.wordpiece import WordPiece
from mm_kptm.datasets.text.mention_datasets import OpenEntityData
from mm_kptm.datasets.text.sources import classified, related, tagged, typed
from mm_kptm.datasets.text.uer_tsv import KbertData
from mm_kptm.errors import UserError
from mm_kptm.experiment.build import build
from mm_kptm.experiment.settings import EncoderSettings, Experiment, KnowledgeSettings
from mm_kptm.knowledge.graph.graph import KnowledgeGraph
from mm_kptm.knowledge.graph.triples import Triple, relation_blank_tail
from mm_kptm.knowledge.injection.characters import Characters
from mm_kptm.knowledge.injection.fact_injector import FactInjector
from mm_kptm.knowledge.injection.marker_tokens import marker_tokenizer
from mm_kptm.preprocessing import text as encoding
from mm_kptm.preprocessing.text import TextEncoding, TextExample
from mm_kptm.random_streams import RandomStream
from mm_kptm.systems.text_format import BERT_TEMPLATE, UER_FORMAT, MarkerTokens
from mm_kptm.tasks.labelling import LabelledSource

FACTS = [
    Triple("new york", "in", "usa"),
    Triple("new york", "is", "big"),
    Triple("new york", "has", "parks"),
    Triple("rome", "in", "italy"),
    Triple("oslo", "in", "norway"),
    Triple("oslo", "is", "small"),
]
WORDS = "i saw new york and rome oslo in is has usa italy norway big small parks # $ 。 . ny ##c".split()  # noqa: SIM905
BERT, UER, UER_WORDS = BERT_TEMPLATE, UER_FORMAT.template, UER_FORMAT.word_template
PIECES = WordPiece([*BERT_SPECIALS, *WORDS], lowercase=True)
TELLER = FactInjector(KnowledgeGraph(FACTS), relation_blank_tail, 2, RandomStream(0))
TEXT = "i saw new york and rome ."


def told(facts: str, text: str = TEXT, *, max_length: int = 64, id_: str = "1", **how: object):
    reading = TextEncoding(PIECES, max_length, injector=TELLER, facts=facts)
    return reading.texts([TextExample(id_, (text,), "en", **how)]).batch([0], seeded(0)).text


def spelled(ids) -> str:
    return " ".join(PIECES.vocabulary[number] for number in ids.tolist())


def test_facts_stand_behind_their_name_and_are_seen_by_it_alone():
    tokens = told("true")
    assert spelled(tokens.ids) == "[CLS] i saw new york in usa is big and rome in italy . [SEP]"
    assert tokens.positions.tolist() == [0, 1, 2, 3, 4, 5, 6, 5, 6, 5, 6, 7, 8, 7, 8]
    rows = torch.arange(15)
    seen = tokens.attention_mask.mask_mod(rows[:, None], rows[None, :])
    assert seen[5].nonzero().flatten().tolist() == [3, 4, 5, 6]  # both pieces of its name and its own fact
    assert seen[0].nonzero().flatten().tolist() == [0, 1, 2, 3, 4, 9, 10, 13, 14]


def test_arms_differ_in_facts_alone():
    bare = TextEncoding(PIECES, 64).texts([TextExample("1", (TEXT,), "en")]).batch([0], seeded(0)).text
    assert torch.equal(told("none").ids, bare.ids) and told("none").attention_mask is None
    for facts in ("true", "swapped", "random"):
        tokens = told(facts)
        trunk = tokens.attention_mask.branches == 0
        assert torch.equal(tokens.ids[trunk], bare.ids)
        assert torch.equal(tokens.positions[trunk], bare.positions)
        assert tokens.ids[~trunk].shape == told("true").ids[~trunk].shape
        assert torch.equal(tokens.ids, told(facts).ids)


def test_texts_are_packed_some_at_a_time_with_the_same_result(monkeypatch):
    """Facts, languages and shapes of several blocks are those of one."""
    languages = ("en", "de", "en", "de", "en")
    said = [TextExample(str(n), (TEXT, "oslo"), language) for n, language in enumerate(languages)]
    made, shapes = [], []
    for size in (1000, 2):
        monkeypatch.setattr(encoding, "AT_ONCE", size)
        shapes.append([])
        reading = TextEncoding(PIECES, 64, ("en", "de"), injector=TELLER, facts="random", shapes=shapes[-1])
        made.append(reading.texts(said).texts)
    whole, blocks = made
    assert shapes[0] == shapes[1] and len(shapes[0]) == len(said)
    assert whole.offsets.tolist() == blocks.offsets.tolist() and whole.columns.keys() == blocks.columns.keys()
    for name, column in whole.columns.items():
        assert column.tolist() == blocks.columns[name].tolist(), name
    assert TextEncoding(PIECES, 64).texts([]).texts.offsets.tolist() == [0]


def test_swapped_facts_are_those_of_another_name_wherever_one_is_mentioned():
    true, swapped = (spelled(told(facts).ids) for facts in ("true", "swapped"))
    assert true != swapped
    again = spelled(told("swapped", "rome and rome", id_="2").ids).split("rome")
    assert again[1].split()[:2] == again[2].split()[:2] != ["in", "italy"]


def test_random_facts_are_drawn_anew_for_every_text():
    seen = {spelled(told("random", "rome", id_=str(n)).ids) for n in range(30)}
    assert seen == {f"[CLS] rome in {place} [SEP]" for place in ("usa", "italy", "norway")}


def test_only_needed_facts_are_told_by_the_oracle():
    tokens = told("oracle", needed=lambda fact: fact.tail == "parks")
    assert spelled(tokens.ids) == "[CLS] i saw new york has parks and rome . [SEP]"
    assert told("oracle").attention_mask is None


def test_facts_give_way_to_the_text_and_a_name_that_is_cut_has_none():
    assert spelled(told("true", max_length=11).ids) == "[CLS] i saw new york in usa and rome . [SEP]"
    assert spelled(told("true", max_length=8).ids) == "[CLS] i saw new york and rome [SEP]"
    assert (
        spelled(told("true", "oslo and i saw i saw new york", max_length=9).ids)
        == "[CLS] oslo and i saw i saw new [SEP]"
    )


def test_texts_are_laid_out_as_the_encoder_reads_them():
    spelling = Characters([*BERT_SPECIALS, *"abcdxy"])
    a, pair = TextExample("1", ("a b",), "zh"), TextExample("2", ("ab", "c"), "zh")
    injector = FactInjector(KnowledgeGraph([("b", "x", "y")]), relation_blank_tail, 2, RandomStream(0))
    rows = {
        frame: TextEncoding(spelling, 32, injector=injector, facts="true", template=frame).texts([a, pair])
        for frame in (BERT, UER, UER_WORDS)
    }
    shown = {frame: texts.batch([0, 1], seeded(0)).text for frame, texts in rows.items()}
    as_text = {
        frame: ["".join(spelling.vocabulary[n] for n in part.tolist()) for part in tokens.layout.split(tokens.ids)]
        for frame, tokens in shown.items()
    }
    assert as_text[BERT] == ["[CLS]abxy[SEP]", "[CLS]ab[SEP]c[SEP]"]
    assert as_text[UER] == ["[CLS]abxy", "[CLS]ab[SEP]c[SEP]"]
    assert as_text[UER_WORDS][0] == "abxy"
    assert [part.tolist() for part in shown[UER].layout.split(shown[UER].segments)] == [[1] * 5, [1, 1, 1, 1, 2, 2]]
    assert set(shown[UER_WORDS].segments[:4].tolist()) == {1}


def test_every_labelled_text_is_told_its_facts():
    reading = TextEncoding(PIECES, 64, injector=TELLER, facts="true")
    mention = TypedMention("1", "i saw rome .", MentionSpan(6, 10), ("place",))
    pair = RelatedMentions("2", "rome is in italy", MentionSpan(0, 4), MentionSpan(11, 16), "in")
    sources = [
        classified([ClassifiedText("3", ("i saw", "rome"), "1")], ("0", "1"), reading),
        typed([mention], ("place",), reading),
        related([pair], ("in",), reading),
    ]
    assert [spelled(source.batch([0], seeded(0)).inputs.text.ids) for source in sources] == [
        "[CLS] i saw [SEP] rome in italy [SEP]",
        "[CLS] i saw 。 rome in italy 。 . [SEP]",
        "[CLS] # rome in italy # is in $ italy $ [SEP]",
    ]
    oracle = replace(reading, facts="oracle")
    for source in (typed([mention], ("place",), oracle), related([pair], ("in",), oracle)):
        assert isinstance(source, LabelledSource)
        assert "rome in italy" in spelled(source.batch([0], seeded(0)).inputs.text.ids)
    elsewhere = replace(mention, mention=MentionSpan(2, 5))
    assert "italy" not in spelled(typed([elsewhere], ("place",), oracle).batch([0], seeded(0)).inputs.text.ids)


def test_words_keep_their_tags_beside_facts_and_pieces():
    reading = TextEncoding(PIECES, 64, injector=TELLER, facts="true")
    sentence = Tagged("1", ("i", "saw", "nyc", "and", "new", "york"), ("O", "O", "B-L", "O", "B-L", "I-L"))
    batch = tagged([sentence], ("O", "B-L", "I-L"), reading).batch([0], seeded(0))
    ids = batch.inputs.text.ids
    assert spelled(ids) == "[CLS] i saw ny ##c and new york in usa is big [SEP]"
    assert spelled(ids[batch.rows]) == "i saw ny and new york in usa is big"
    assert batch.words.tolist() == [0, 1, 2, 3, 4, 5, -1, -1, -1, -1]
    assert batch.truth.tolist() == [2, 2, 3, 2, 3, 4, 1, 1, 1, 1]


class CountingTokenizer(WordPiece):
    """Remembers the texts that it cut."""

    def __init__(self) -> None:
        super().__init__(PIECES.vocabulary, lowercase=True)
        self.cut: list[str] = []

    def encode(self, text, language=None):
        self.cut.append(text)
        return super().encode(text, language)


def test_tagged_and_marked_texts_are_tokenised_once():
    sentence = Tagged("1", ("i", "saw", "rome"), ("O", "O", "B-L"))
    tokenizer = CountingTokenizer()
    tagged([sentence], ("O", "B-L"), TextEncoding(tokenizer, 64))
    assert tokenizer.cut == ["i saw rome"]

    tokenizer = CountingTokenizer()
    markers = MarkerTokens(("#", "$"))
    reading = TextEncoding(marker_tokenizer(tokenizer, markers), 64, markers=markers)
    source = typed([TypedMention("1", "i saw rome .", MentionSpan(6, 10), ("place",))], ("place",), reading)
    assert tokenizer.cut == ["i saw", " rome", " ."]
    text = source.batch([0], seeded(0)).inputs.text
    assert spelled(text.ids) == "[CLS] i saw # rome $ . [SEP]"


@pytest.fixture
def home(tmp_path):
    (tmp_path / "vocab.txt").write_text("\n".join([*BERT_SPECIALS, *WORDS]) + "\n")
    (tmp_path / "graph.spo").write_text("".join("\t".join(fact) + "\n" for fact in FACTS))
    (tmp_path / "train.tsv").write_text("label\ttext_a\n1\ti saw rome\n0\ti saw oslo\n")
    return tmp_path


def _built(home, facts="true", kind="sentence-tree", task="sentence-classification", **settings):
    data = KbertData(
        name="kbert-tsv",
        **{"train": home / "train.tsv", "vocabulary": home / "vocab.txt", "graph": home / "graph.spo", **settings},
    )
    sizes = {"num_layers": 1, "dim": 8, "num_heads": 2, "ffn_dim": 8}
    encoder = EncoderSettings("bert-base", sizes=sizes)
    return build(Experiment("x", encoder, data, task, KnowledgeSettings(kind, facts)))


def test_facts_that_cannot_be_told_are_refused(home):
    with pytest.raises(
        UserError, match=r"knowledge.kind is sentence-tree, but data.graph is null; name a file of triples"
    ):
        _built(home, graph=None)
    with pytest.raises(UserError, match=r"facts is oracle, but no example of kbert-tsv says for this task which fact"):
        _built(home, "oracle")
    with pytest.raises(UserError, match=r"data.facts_per_name is 0 but must be between 1 and 127"):
        _built(home, facts_per_name=0)
    with pytest.raises(UserError, match=r"missing.spo was to be read, but there is no such file|there is no graph"):
        _built(home, graph=home / "missing.spo")
    (home / "kg").mkdir()
    (home / "kg" / "entity2id.txt").write_text("1\nQ1\t0\n")
    (home / "kg" / "entity2vec.vec").write_text("0.1\t0.2\n")
    (home / "typing.json").write_text('[{"sent": "rome", "start": 0, "end": 4, "ents": [], "labels": ["a"]}]')
    both = OpenEntityData(
        name="open-entity",
        train=home / "typing.json",
        vocabulary=home / "vocab.txt",
        graph=home / "graph.spo",
        entities=home / "kg",
    )
    with pytest.raises(
        UserError, match=r"data.entities is .*kg and knowledge.kind is sentence-tree, but a text carries either"
    ):
        build(
            Experiment(
                "x", EncoderSettings("ernie-thu-base"), both, "entity-typing", KnowledgeSettings("sentence-tree")
            )
        )


def test_a_test_is_told_other_facts_under_a_name_of_its_own(home):
    built = _built(home, test=home / "train.tsv")
    assert set(built.prepared.sources) == {
        "train", "test", "test-true", "test-swapped", "test-random", "test-none"
    }  # fmt: skip
    ids = {split: built.source(split).batch([0], seeded(0)).inputs.text.ids for split in built.prepared.sources}
    assert torch.equal(ids["test"], ids["test-true"]) and not torch.equal(ids["test"], ids["test-swapped"])
    assert len(ids["test-none"]) == 5
    assert set(_built(home, kind="none", test=home / "train.tsv").prepared.sources) == {"train", "test"}


def test_another_graph_makes_other_data(home):
    before = _built(home).prepared.fingerprints
    (home / "graph.spo").write_text("rome\tin\titaly\n")
    assert _built(home).prepared.fingerprints["graph"] != before["graph"]
