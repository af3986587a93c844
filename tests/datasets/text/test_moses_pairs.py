"""Translation is learnt from two aligned files by an experiment file, and scored by sacrebleu with its signature."""

import json
from dataclasses import replace

import pytest

import mm_kptm
from mm_kptm import cli
from mm_kptm.data.sampler import seeded
from mm_kptm.datasets.protocol import DataRequest
from mm_kptm.datasets.text.moses_pairs import MosesPairs, translation
from mm_kptm.errors import UserError, UserNotice
from mm_kptm.models.decoding import Decoding
from mm_kptm.systems.discovery import find
from mm_kptm.tasks.text.translation import written_text

WORDS = {"eins": "one", "zwei": "two", "drei": "three", "rot": "red", "blau": "blue", "hund": "dog", "haus": "house"}
SPECIALS = ["<pad>", "<unk>", "<s>", "</s>", "<mask>", "de_DE", "en_XX"]


def tokenizer_json(folder):
    from tokenizers import Tokenizer, models, pre_tokenizers

    words = [*SPECIALS, *WORDS, *WORDS.values()]
    engine = Tokenizer(models.WordLevel({word: number for number, word in enumerate(words)}, unk_token="<unk>"))
    engine.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    engine.save(str(folder / "tokenizer.json"))
    return words


@pytest.fixture
def home(tmp_path):
    """German sentences, and their translations in the opposite order."""
    tokenizer_json(tmp_path)
    names = list(WORDS)
    german = [[names[(n * 3 + k * k) % 7] for k in range(2 + n % 3)] for n in range(24)]
    for split, rows in (("train", german), ("test", german[:6])):
        (tmp_path / f"{split}.de").write_text("".join(" ".join(row) + "\n" for row in rows))
        english = "".join(" ".join(WORDS[word] for word in reversed(row)) + "\n" for row in rows)
        (tmp_path / f"{split}.en").write_text(english)
    return tmp_path


@pytest.mark.parametrize(("recipe", "method"), [("mbart-large-cc25", "beam"), ("xlm-mt", "greedy")])
def test_a_translation_is_learnt_and_scored_from_an_experiment_file(home, recipe, method, capsys):
    sizes = {"dim": 32, "num_heads": 2, "num_layers": 1, "ffn_dim": 64, "dropout": 0.0}
    file = home / "translate.yaml"
    file.write_text(
        json.dumps(
            {
                "name": f"translate-{recipe}",
                "task": "translation",
                "encoder": {"recipe": recipe, "sizes": sizes, "init_std": 0.1},
                "data": {
                    "name": "moses-pairs",
                    "source": "de",
                    "target": "en",
                    "vocabulary": str(home / "tokenizer.json"),
                    "train": str(home / "train"),
                    "test": str(home / "test"),
                    "max_length": 12,
                    "smoothing": 0.0,
                    "decoding": {"method": method, "beam_size": 2, "max_length": 8},
                },
                "train": {"steps": 160, "batch_size": 24, "lr": 5e-3},
                "out": str(home),
            }
        )
    )
    assert cli.main(["train", str(file)]) == 0
    run = home / f"translate-{recipe}"
    capsys.readouterr()
    assert cli.main(["evaluate", str(run), "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["chrf"] > 90 and result["accuracy"] > 0.9
    assert "tok:13a|smooth:exp" in result["signatures"]["bleu"] and "nc:6|nw:0" in result["signatures"]["chrf"]
    (home / "more.de").write_text("hund rot\nhaus blau\n")
    assert cli.main(["predict", str(run), "--input", str(home / "more.de")]) == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert len(rows) == 2 and all(row["answer"] and "target" not in row for row in rows)


def settings(home, **more):
    files = {"vocabulary": home / "tokenizer.json", "train": home / "train"}
    return MosesPairs(name="moses-pairs", **{"source": "de", "target": "en", **files, **more})


@pytest.mark.parametrize(
    ("recipe", "source", "target"),
    [
        ("mbart-large-cc25", ["eins", "zwei", "</s>", "de_DE"], ["en_XX", "two", "one", "</s>", "en_XX"]),
        ("mbart-large-50", ["de_DE", "eins", "zwei", "</s>"], ["</s>", "en_XX", "two", "one", "</s>"]),
        ("xlm-mt", ["<s>", "eins", "zwei", "</s>"], ["<s>", "two", "one", "</s>"]),
    ],
)
def test_sources_and_targets_have_the_form_of_their_family(home, recipe, source, target):
    words = tokenizer_json(home)
    (home / "train.de").write_text("eins zwei\n")
    (home / "train.en").write_text("two one\n")
    prepared = translation(settings(home), DataRequest(find(recipe)))
    inputs = prepared.sources["train"]().batch([0], seeded(0, 0)).inputs
    assert [words[token] for token in inputs.text.ids.tolist()] == source
    assert [words[token] for token in inputs.target.ids.tolist()] == target
    assert set(inputs.target.languages.tolist()) == {1}


def test_what_cannot_be_translated_is_refused(home):
    with pytest.raises(UserError, match=r"^data.source and data.target are both 'de'; a translation has"):
        settings(home, target="de")
    with pytest.raises(UserError, match=r"^the tokenizer has no token for the language 'fr', such as fr_XX; it has"):
        (home / "train.fr").write_text("un\n" * 24)
        translation(settings(home, target="fr"), DataRequest(find("mbart"))).sources["train"]()
    (home / "train.en").write_text("one\n")
    with pytest.raises(UserError, match=r"translations stand in the same line of every file, but train.de has 24"):
        translation(settings(home), DataRequest(find("mbart"))).sources["train"]()
    (home / "empty.de").write_text("eins\n\nzwei\n")
    prepared = translation(settings(home), DataRequest(find("mbart")))
    with pytest.raises(UserError, match=r"empty.de, line 2 is empty; a sentence a line was expected$"):
        prepared.read_file(home / "empty.de")
    (home / "empty.de").write_text("eins\n\u200b\u2060\nzwei\n")
    with pytest.raises(UserError, match=r"empty.de, line 2 is empty; a sentence a line was expected$"):
        prepared.read_file(home / "empty.de")
    (home / "empty.de").write_bytes(b"")
    with pytest.raises(UserError, match=r"empty.de is empty; a sentence a line was expected$"):
        prepared.read_file(home / "empty.de")
    with pytest.raises(UserError, match=r"^a beam holds at least one hypothesis, not 0$"):
        settings(home, decoding=Decoding("beam", 0))


@pytest.mark.parametrize(("recipe", "family"), [("mbart-large-cc25", "hugging-face"), ("mbart-large-50", "fairseq")])
@pytest.mark.parametrize("method", ["greedy", "beam", "sample"])
def test_what_a_translation_may_say_is_a_setting(home, recipe, family, method):
    (home / "pieces.txt").write_text("one\ntwo\nred\n")
    how = Decoding(method, 2, family, max_length=8, min_length=6)
    data = settings(home, decoding=how, prefix="red", never=("two",), target_vocabulary=home / "pieces.txt")
    sizes = {"dim": 16, "num_heads": 2, "num_layers": 1, "ffn_dim": 16, "vocab_size": len(SPECIALS) + 2 * len(WORDS)}
    prepared = translation(data, DataRequest(find(recipe)))
    task = prepared.model(mm_kptm.build(recipe, heads=["next-tokens"], seed=0, **sizes)).eval()
    source = prepared.sources["train"]()
    answers = [row["answer"].split() for row in task.predict(source.batch(range(4), seeded(0, 0)))]
    assert all(answer[0] == "red" and set(answer) <= {"red", "one", "<unk>"} for answer in answers), answers
    assert prepared.fingerprints.keys() >= {"target_vocabulary"}


def test_a_text_to_text_system_begins_with_the_padding_token(home):
    from tokenizers import Tokenizer, models, pre_tokenizers

    words = ["<pad>", "</s>", "<unk>", *WORDS, *WORDS.values()]
    engine = Tokenizer(models.WordLevel({word: number for number, word in enumerate(words)}, unk_token="<unk>"))
    engine.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    engine.save(str(home / "t5.json"))
    data = settings(home, vocabulary=home / "t5.json", decoding=Decoding("beam", 2, max_length=6))
    prepared = translation(data, DataRequest(find("mt5-small")))
    sizes = {"dim": 16, "num_heads": 2, "head_dim": 8, "num_layers": 1, "ffn_dim": 16, "vocab_size": len(words)}
    task = prepared.model(mm_kptm.build("mt5-small", heads=["next-tokens"], seed=0, **sizes)).eval()
    batch = prepared.sources["train"]().batch([0], seeded(0, 0))
    assert [words[token] for token in batch.inputs.text.ids.tolist()] == ["eins", "zwei", "</s>"]
    assert [words[token] for token in batch.inputs.target.ids.tolist()] == ["<pad>", "two", "one", "</s>"]
    asked = translation(replace(data, source_prefix="rot haus "), DataRequest(find("mt5-small")))
    text = asked.sources["train"]().batch([0], seeded(0, 0)).inputs.text
    assert [words[token] for token in text.ids.tolist()] == ["rot", "haus", "eins", "zwei", "</s>"]
    (home / "new.de").write_text("zwei\n")
    text = asked.read_file(home / "new.de").batch([0], seeded(0, 0)).inputs.text
    assert [words[token] for token in text.ids.tolist()] == ["rot", "haus", "zwei", "</s>"]
    assert set(task.predict(batch)[0]["answer"].split()) <= set(words)


def test_pieces_that_no_translation_can_have_are_named(home):
    (home / "pieces.txt").write_text("uno\n")
    with pytest.raises(UserError, match=r"pieces.txt holds no piece of the vocabulary; list some, one a line$"):
        translation(settings(home, target_vocabulary=home / "pieces.txt"), DataRequest(find("mbart")))
    with pytest.raises(UserError, match=r"^data.never has ' ', of which the tokenizer makes no piece$"):
        translation(settings(home, never=(" ",)), DataRequest(find("mbart")))


def test_pieces_are_joined_as_their_tokenizer_cut_them():
    assert written_text(["▁uni", "corn", "▁s"]) == "unicorn s"
    assert written_text(["lo@@", "w@@", "er", "it"]) == "lower it"


@pytest.mark.parametrize("recipe", ["mbart-large-cc25", "mbart-large-50", "xlm-mt", "mass", "xnlg"])
@pytest.mark.parametrize(
    "how", [("greedy", "xlm"), ("sample", "xlm"), *(("beam", f) for f in ("hugging-face", "fairseq", "xlm"))]
)
def test_a_translation_is_no_longer_than_the_positions(home, recipe, how):
    words = tokenizer_json(home)
    sizes = {"dim": 16, "num_heads": 2, "num_layers": 1, "vocab_size": len(words), "max_positions": 14}
    data = settings(home, decoding=Decoding(how[0], 2, how[1], max_length=60, min_length=13))
    prepared = translation(data, DataRequest(find(recipe)))
    system = mm_kptm.build(recipe, heads=["next-tokens"], seed=0, **sizes)
    with pytest.warns(UserNotice, match=r"^translations have (13|15) tokens at most, as .* has positions for (12|14)"):
        task = prepared.model(system).eval()
    task.predict(prepared.sources["train"]().batch(range(4), seeded(0, 0)))
