"""Folders in the hub's layout: tokenizer and card inside, opened by transformers, fetched from a cache, uploaded."""

import json
import os
import stat
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import huggingface_hub
import pytest
import torch
import transformers as hf
from safetensors.torch import load_file

import mm_kptm
from mm_kptm.batch import Inputs, Tokens
from mm_kptm.data.tokenizers.opening import open_tokenizer
from mm_kptm.errors import UserError
from mm_kptm.systems.hub import is_repository
from mm_kptm.systems.model_card import Measured
from mm_kptm.systems.saved import record_result, tokenizer_of
from mm_kptm.systems.system import System

SIZES: dict[str, Any] = {
    "dim": 16,
    "num_heads": 2,
    "num_layers": 2,
    "ffn_dim": 24,
    "vocab_size": 12,
    "max_positions": 20,
}
PIECES = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "man", "rides", "horse", "##s", ".", "the"]
TEXTS = ["a man rides a horse .", "horses"]


def system(name: str = "bert-base", **more: Any) -> System:
    made = mm_kptm.build(name, seed=0, **{**SIZES, **more})
    for parameter in made.parameters():
        torch.nn.init.normal_(parameter, std=0.3, generator=torch.Generator().manual_seed(parameter.numel()))
    return made


@pytest.fixture
def vocabulary(tmp_path: Path) -> Path:
    (tmp_path / "pieces.txt").write_text("\n".join(PIECES) + "\n", "utf-8")
    return tmp_path / "pieces.txt"


@torch.no_grad()
def states(made: System) -> torch.Tensor:
    return made(Inputs(text=Tokens.of([[5, 7, 9, 10, 6, 8]]))).text


@torch.no_grad()
def opened_states(folder: Path, **more: Any) -> torch.Tensor:
    model = hf.AutoModel.from_pretrained(folder, **more).eval()
    return model(torch.tensor([[5, 7, 9, 10, 6, 8]])).last_hidden_state[0]


CASES = [
    ("bert-base", {}),
    ("bert-base", {"activation": "relu", "norm_eps": 1e-3}),
    ("mbert-base", {}),
    ("roberta-base", {}),
    ("roberta-base", {"num_segments": 1}),
    ("roberta-base", {"position_offset": 4}),
]


@pytest.mark.parametrize(("name", "sizes"), CASES)
def test_transformers_opens_what_was_saved_with_equal_states(name: str, sizes: dict[str, Any], tmp_path: Path) -> None:
    made = system(name, **sizes)
    mm_kptm.save(made, tmp_path / "m")
    torch.testing.assert_close(opened_states(tmp_path / "m"), states(made), atol=1e-5, rtol=0)


@pytest.mark.parametrize(("name", "sizes"), CASES)
def test_what_was_saved_comes_back_with_every_head(name: str, sizes: dict[str, Any], tmp_path: Path) -> None:
    made = system(name, **sizes)
    mm_kptm.save(made, tmp_path / "m")
    again = mm_kptm.load(str(tmp_path / "m"))
    assert again.sizes == made.sizes and again.head_sizes == made.head_sizes
    ours = dict(made.named_parameters())
    assert all(torch.equal(parameter, ours[key]) for key, parameter in again.named_parameters())


@pytest.mark.parametrize(("name", "sizes"), CASES)
def test_what_transformers_saves_again_comes_back(name: str, sizes: dict[str, Any], tmp_path: Path) -> None:
    made = system(name, **sizes)
    mm_kptm.save(made, tmp_path / "m")
    hf.AutoModel.from_pretrained(tmp_path / "m").save_pretrained(tmp_path / "again")
    again = mm_kptm.load(str(tmp_path / "again"), heads=())
    torch.testing.assert_close(states(again), states(made), atol=1e-5, rtol=0)


def test_the_masked_token_head_opens_in_transformers(tmp_path: Path) -> None:
    made = system()
    mm_kptm.save(made, tmp_path / "m")
    model = hf.AutoModelForMaskedLM.from_pretrained(tmp_path / "m").eval()
    with torch.no_grad():
        scores = model(torch.tensor([[5, 7, 9, 10, 6, 8]])).logits[0]
        ours = made.head("masked-tokens")(states(made))
    torch.testing.assert_close(scores, ours, atol=1e-4, rtol=0)


def test_a_system_with_added_parts_keeps_our_names(tmp_path: Path) -> None:
    """No class of transformers equals it, so none is named."""
    mm_kptm.save(system("uniter-base", region_dim=8), tmp_path / "m")
    assert "model_type" not in json.loads((tmp_path / "m" / "config.json").read_text("utf-8"))
    assert any(name.startswith("encoder.embed.") for name in load_file(tmp_path / "m" / "model.safetensors"))


def test_the_weights_are_readable_by_the_group(tmp_path: Path) -> None:
    old = os.umask(0o022)
    try:
        mm_kptm.save(system(), tmp_path / "m")
    finally:
        os.umask(old)
    for file in (tmp_path / "m").iterdir():
        assert stat.S_IMODE(file.stat().st_mode) == 0o644, file.name


def test_a_saved_folder_holds_its_tokenizer(vocabulary: Path, tmp_path: Path) -> None:
    made = system()
    made.tokenizer = tokenizer_of(made, vocabulary, lowercase=True)
    mm_kptm.save(made, tmp_path / "m")
    again = mm_kptm.load(str(tmp_path / "m"))
    assert (tmp_path / "m" / "vocab.txt").read_text("utf-8").splitlines() == PIECES
    assert torch.equal(again.tokenizer(TEXTS).text.ids, made.tokenizer(TEXTS).text.ids)  # type: ignore[union-attr]
    theirs = hf.AutoTokenizer.from_pretrained(tmp_path / "m")(TEXTS)["input_ids"]
    assert [piece for text in theirs for piece in text] == again.tokenizer(TEXTS).text.ids.tolist()  # type: ignore[union-attr]


def test_texts_become_inputs(vocabulary: Path) -> None:
    made = system()
    made.tokenizer = tokenizer_of(made, vocabulary, lowercase=True)
    inputs = made.tokenizer(["A man", "horses ."])
    assert inputs.text is not None
    assert inputs.text.ids.tolist() == [2, 5, 6, 3, 2, 8, 9, 10, 3]
    assert made(inputs).text.shape == (9, 16)
    pair = made.tokenizer(["a man"], ["rides"]).text
    assert pair is not None
    assert (pair.ids.tolist(), pair.segments.tolist()) == ([2, 5, 6, 3, 7, 3], [0, 0, 0, 0, 1, 1])


def test_what_is_too_long_is_cut_the_longer_part_first(vocabulary: Path) -> None:
    made = system()
    made.tokenizer = tokenizer_of(made, vocabulary, lowercase=True)
    longest = made.tokenizer(["a " * 50]).text
    cut = made.tokenizer(["a a a a a a"], ["man man"], max_length=8).text
    even = made.tokenizer(["a a a a a a"], ["man man man man man"], max_length=7).text
    assert longest is not None and cut is not None and even is not None
    assert len(longest.ids) == 20
    assert cut.ids.tolist() == [2, 5, 5, 5, 3, 6, 6, 3]
    assert even.ids.tolist() == [2, 5, 5, 3, 6, 6, 3]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("a man",), r'^texts must be a list of texts, not "a man"; one text is a list of one: \[text\]$'),
        ((3,), r"^texts must be a list of texts, not int; one text is a list of one"),
        ((["a", None],), r"^texts must be a list of texts, but texts\[1\] is of type NoneType$"),
        ((["a", "man"], ["rides"]), r"^there are 2 texts but 1 pairs; give one for each$"),
    ],
)
def test_a_wrong_type_is_one_sentence(arguments: Any, message: str, vocabulary: Path) -> None:
    made = system()
    made.tokenizer = tokenizer_of(made, vocabulary)
    with pytest.raises(UserError, match=message):
        made.tokenizer(*arguments)


def test_a_system_reads_inputs_alone() -> None:
    with pytest.raises(UserError, match=r"^bert-base reads Inputs, not a value of type list; make them of texts with"):
        system()([[5, 7]])


def test_a_system_without_a_tokenizer_says_so() -> None:
    with pytest.raises(UserError, match=r"^this bert-base has no tokenizer: load it from a folder with vocab\.txt"):
        _ = system().tokenizer


def test_a_tokenizer_of_another_system_is_refused(vocabulary: Path) -> None:
    made = system(vocab_size=8)
    made.tokenizer = tokenizer_of(made, vocabulary)
    with pytest.raises(UserError, match=r"has 12 pieces, but the system embeds 8; take the one"):
        made.tokenizer(["a"])


def test_languages_are_asked_for_and_numbered(vocabulary: Path) -> None:
    made = system("xlm-15", ffn_dim=None)
    made.tokenizer = tokenizer_of(made, vocabulary)
    with pytest.raises(
        UserError, match=r"^this system embeds languages: give languages=\[\.\.\.\], each one of ar, bg"
    ):
        made.tokenizer(["a"])
    with pytest.raises(UserError, match=r"^this system knows no language 'xx'"):
        made.tokenizer(["a"], languages=["xx"])
    tokens = made.tokenizer(["a", "man"], languages=["de", "fr"]).text
    assert tokens is not None and tokens.languages is not None
    assert tokens.languages.tolist() == [2, 2, 2, 6, 6, 6]


def test_the_card_tells_data_training_and_results(tmp_path: Path) -> None:
    made = system()
    made.data = {"train.tsv": "ab12"}
    result = Measured("accuracy", "test", 0.8125, 400, (0.77, 0.85), {"majority": 0.5})
    mm_kptm.save(made, tmp_path / "m", training={"seed": 3}, results=[result])
    card = (tmp_path / "m" / "README.md").read_text("utf-8")
    assert card.startswith("---\nlibrary_name: transformers\ntags:\n- mm-kptm\n- bert\n- text\n---\n\n# bert-base\n")
    assert "| train.tsv | `ab12` |" in card and "- seed: 3" in card
    assert "| test | accuracy | 0.812 | 0.770 to 0.850 | 400 | majority 0.500 |" in card
    assert "Devlin et al. 2019" in card


# the hub


@pytest.fixture
def cache(tmp_path: Path, vocabulary: Path) -> Path:
    """A cache of the hub as its library lays it out, with one repository in two revisions."""
    made = system()
    made.tokenizer = tokenizer_of(made, vocabulary, lowercase=True)
    repository = tmp_path / "cache" / "models--lab--tiny"
    for revision, commit in (("main", "a" * 40), ("v1", "b" * 40)):
        mm_kptm.save(made, repository / "snapshots" / commit)
        (repository / "refs").mkdir(exist_ok=True)
        (repository / "refs" / revision).write_text(commit)
    with torch.no_grad():
        made.encoder.embed.text.word.weight.zero_()  # type: ignore[union-attr]
    mm_kptm.save(made, repository / "snapshots" / ("b" * 40))
    return tmp_path / "cache"


def test_a_repository_of_the_hub_opens_from_the_cache(cache: Path) -> None:
    loaded = mm_kptm.load("lab/tiny", cache_dir=cache, local_files_only=True)
    assert torch.equal(states(loaded), states(system()))
    assert len(loaded.tokenizer(["a man"])) == 1


def test_a_revision_is_another_system(cache: Path) -> None:
    loaded = mm_kptm.load("lab/tiny", cache_dir=cache, revision="v1", local_files_only=True)
    assert not loaded.encoder.embed.text.word.weight.any()  # type: ignore[union-attr]


def test_an_official_checkpoint_of_the_hub_is_read_by_its_recipe(cache: Path, tmp_path: Path) -> None:
    folder = cache / "models--lab--official" / "snapshots" / ("c" * 40)
    torch.manual_seed(0)
    config = hf.BertConfig(
        vocab_size=12, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=8
    )
    model = hf.BertModel(config).eval()
    model.save_pretrained(folder)
    (folder.parents[1] / "refs").mkdir()
    (folder.parents[1] / "refs" / "main").write_text("c" * 40)
    loaded = mm_kptm.load("bert-base", "lab/official", cache_dir=cache, local_files_only=True)
    with torch.no_grad():
        expected = model(torch.tensor([[5, 7, 9, 10, 6, 8]])).last_hidden_state[0]
    torch.testing.assert_close(states(loaded), expected, atol=1e-5, rtol=0)
    with pytest.raises(UserError, match=r"was not saved by this suite; its model_type is 'bert', so name the system"):
        mm_kptm.load("lab/official", cache_dir=cache, local_files_only=True)


def test_what_the_cache_lacks_is_one_sentence(tmp_path: Path) -> None:
    message = r"^lab/none is not in the cache and cannot be fetched; go online, or give its folder$"
    with pytest.raises(UserError, match=message):
        mm_kptm.load("lab/none", cache_dir=tmp_path, local_files_only=True)


def test_a_folder_that_is_there_wins_over_the_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    mm_kptm.save(system(), "lab/tiny")
    assert is_repository("other/tiny") and not is_repository("other/model.bin")
    assert not is_repository("lab/tiny") and not is_repository("lab/other")
    assert torch.equal(states(mm_kptm.load("lab/tiny")), states(system()))


def test_a_revision_of_a_folder_is_refused(tmp_path: Path) -> None:
    mm_kptm.save(system(), tmp_path / "m")
    with pytest.raises(UserError, match=r"^a revision is of a repository of the hub, and .* is none$"):
        mm_kptm.load(str(tmp_path / "m"), revision="v1")


def test_push_uploads_the_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[tuple[str, Any]] = []

    class Api:
        def create_repo(self, repository: str, **more: Any) -> None:
            done.append(("create", (repository, more)))

        def upload_folder(self, **more: Any) -> SimpleNamespace:
            done.append(("upload", more))
            return SimpleNamespace(commit_url="https://hub/lab/tiny/commit/1")

    monkeypatch.setattr(huggingface_hub, "HfApi", Api)
    mm_kptm.save(system(), tmp_path / "m")
    assert mm_kptm.push(tmp_path / "m", "lab/tiny", private=True) == "https://hub/lab/tiny/commit/1"
    assert done[0] == ("create", ("lab/tiny", {"private": True, "exist_ok": True}))
    assert done[1][1]["repo_id"] == "lab/tiny" and done[1][1]["folder_path"] == tmp_path / "m"


def test_push_refuses_what_is_no_saved_folder_or_no_repository(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"holds no config\.json and model\.safetensors; save a system there first$"):
        mm_kptm.push(tmp_path, "lab/tiny")
    mm_kptm.save(system(), tmp_path / "m")
    with pytest.raises(UserError, match=r"^'tiny' is no repository of the hub; name it organisation/name$"):
        mm_kptm.push(tmp_path / "m", "tiny")


def test_the_hub_is_imported_when_it_is_called() -> None:
    """Starting the suite must not cost what the hub's library costs."""
    import subprocess
    import sys

    code = "import sys, mm_kptm.systems.pretrained; assert 'huggingface_hub' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_open_tokenizer_reads_what_was_copied(vocabulary: Path) -> None:
    assert len(open_tokenizer(vocabulary)) == len(PIECES)


def test_a_later_result_joins_the_card(tmp_path: Path) -> None:
    mm_kptm.save(system(), tmp_path / "m", training={"seed": 3})
    assert "Nothing was measured yet." in (tmp_path / "m" / "README.md").read_text("utf-8")
    for value in (0.5, 0.75):
        record_result(tmp_path / "m", Measured("accuracy", "test", value, 8))
    record_result(tmp_path / "m", Measured("accuracy", "dev", 0.25, 8, (0.1, 0.5)))
    card = (tmp_path / "m" / "README.md").read_text("utf-8")
    assert "| test | accuracy | 0.750 |" in card and "| test | accuracy | 0.500" not in card
    assert "| dev | accuracy | 0.250 | 0.100 to 0.500 | 8 | none |" in card and "- seed: 3" in card


def test_a_run_folder_is_opened_by_its_model(tmp_path: Path) -> None:
    made = system()
    mm_kptm.save(made, tmp_path / "run" / "model")
    torch.testing.assert_close(states(mm_kptm.load(str(tmp_path / "run"))), states(made))
    with pytest.raises(UserError, match=r"run is a run folder; the system that it trained lies in .*run/model$"):
        mm_kptm.load("bert-base", tmp_path / "run")


def test_an_empty_configuration_is_called_empty(tmp_path: Path) -> None:
    mm_kptm.save(system(), tmp_path / "saved")
    (tmp_path / "saved" / "manifest.json").unlink()
    for content, sentence in (("{}", "is an empty object, so it does not say which system"), ("", "is empty; a JSON")):
        (tmp_path / "saved" / "config.json").write_text(content)
        with pytest.raises(UserError, match=rf"saved/config\.json {sentence}"):
            mm_kptm.load(str(tmp_path / "saved"))
