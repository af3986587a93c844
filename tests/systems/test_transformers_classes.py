"""Fine-tuned heads in both directions: opened by transformers' classes, and theirs opened here, with equal logits."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers as hf

import mm_kptm
from mm_kptm.batch import POOLED_ONLY, Inputs, OutputRows, Tokens
from mm_kptm.errors import UserNotice
from mm_kptm.systems.labels import published_labels
from mm_kptm.systems.system import System
from mm_kptm.tasks.text.entailment import Entailment
from mm_kptm.tasks.text.tagging import NamedEntities

SIZES: dict[str, Any] = {
    "dim": 16,
    "num_heads": 2,
    "num_layers": 2,
    "ffn_dim": 24,
    "vocab_size": 12,
    "max_positions": 20,
}
IDS, SHORT = [5, 7, 9, 10, 6, 8], [6, 11, 8]
RECIPES = {
    "bert-base": hf.BertConfig,
    "roberta-base": hf.RobertaConfig,
    "xlm-r-base": hf.XLMRobertaConfig,
    "infoxlm-base": hf.XLMRobertaConfig,
    "rembert": hf.RemBertConfig,
    "xlm-17": hf.XLMConfig,
}
CLASSES: dict[str, Any] = {
    "classifier": hf.AutoModelForSequenceClassification,
    "token-classifier": hf.AutoModelForTokenClassification,
    "answer-spans": hf.AutoModelForQuestionAnswering,
}
LABELS = ("neutral", "entailment", "contradiction")
CASES = [(recipe, head) for recipe in RECIPES for head in CLASSES]


def drawn(module: torch.nn.Module) -> None:
    for number, parameter in enumerate(module.parameters()):
        torch.nn.init.normal_(parameter, std=0.3, generator=torch.Generator().manual_seed(number))


def made(recipe: str, head: str) -> System:
    more: dict[str, Any] = {"input_dim": 6, "output_dim": 10} if recipe == "rembert" else {}
    more |= {"ffn_dim": 64} if recipe == "xlm-17" else {}
    sizes = {} if head == "answer-spans" else {"num_classes": len(LABELS)}
    system = mm_kptm.build(recipe, heads={head: sizes}, seed=0, **{**SIZES, **more})
    drawn(system)
    return system


def theirs(recipe: str, head: str, folder: Path, **more: Any) -> Any:
    sizes: dict[str, Any] = {
        "hidden_size": 16,
        "num_attention_heads": 2,
        "num_hidden_layers": 2,
        "intermediate_size": 24,
        "pad_token_id": 1,
    }
    if recipe == "xlm-17":
        sizes = {"emb_dim": 16, "n_heads": 2, "n_layers": 2, "n_langs": 1, "pad_index": 1}
    if recipe == "rembert":
        sizes |= {"input_embedding_size": 6, "output_embedding_size": 10}
    labels = 2 if head == "answer-spans" else len(LABELS)
    config = RECIPES[recipe](vocab_size=12, max_position_embeddings=20, num_labels=labels, **sizes, **more)
    model = CLASSES[head].from_config(config).eval()
    drawn(model)
    model.save_pretrained(folder)
    return model


@torch.no_grad()
def ours_of(system: System, head: str, *texts: list[int]) -> torch.Tensor:
    inputs = Inputs(text=Tokens.of(list(texts)))
    if head == "classifier":
        return system.head(head)(system(inputs, POOLED_ONLY).pooled)
    rows = torch.arange(sum(map(len, texts)))
    return system.head(head)(system(inputs, OutputRows({"text": rows}, pooled=False)).text)


@torch.no_grad()
def theirs_of(model: Any, head: str, *texts: list[int]) -> torch.Tensor:
    longest = max(map(len, texts))
    ids = torch.tensor([text + [1] * (longest - len(text)) for text in texts])
    mask = torch.tensor([[1] * len(text) + [0] * (longest - len(text)) for text in texts])
    out = model(input_ids=ids, attention_mask=mask)
    if head == "answer-spans":
        return torch.stack([out.start_logits, out.end_logits], -1)[mask.bool()]
    return out.logits if head == "classifier" else out.logits[mask.bool()]


@pytest.mark.parametrize(("recipe", "head"), CASES)
def test_transformers_opens_a_fine_tuned_head(recipe: str, head: str, tmp_path: Path) -> None:
    system = made(recipe, head)
    mm_kptm.save(system, tmp_path / "m")
    model, loading = CLASSES[head].from_pretrained(tmp_path / "m", output_loading_info=True)
    assert not loading["missing_keys"]
    torch.testing.assert_close(
        theirs_of(model.eval(), head, IDS, SHORT), ours_of(system, head, IDS, SHORT), atol=1e-5, rtol=0
    )
    again = mm_kptm.load(str(tmp_path / "m"))
    torch.testing.assert_close(ours_of(again, head, IDS), ours_of(system, head, IDS), atol=0, rtol=0)


@pytest.mark.parametrize(("recipe", "head"), CASES)
def test_fine_tuned_checkpoints_of_transformers_are_opened(recipe: str, head: str, tmp_path: Path) -> None:
    model = theirs(recipe, head, tmp_path / "m")
    system = mm_kptm.load(recipe, tmp_path / "m")
    assert list(system.heads) == [head]
    torch.testing.assert_close(ours_of(system, head, IDS, SHORT), theirs_of(model, head, IDS, SHORT), atol=1e-5, rtol=0)


@pytest.mark.parametrize("head", ["classifier", "token-classifier"])
def test_labels_go_both_ways(head: str, tmp_path: Path) -> None:
    named = {"id2label": dict(enumerate(LABELS)), "label2id": {name: n for n, name in enumerate(LABELS)}}
    theirs("xlm-r-base", head, tmp_path / "m", **named)
    system = mm_kptm.load("xlm-r-base", tmp_path / "m")
    assert system.labels == {head: LABELS}
    mm_kptm.save(system, tmp_path / "again")
    config = hf.AutoConfig.from_pretrained(tmp_path / "again")
    assert tuple(config.id2label[number] for number in range(3)) == LABELS
    assert config.label2id == named["label2id"]
    assert mm_kptm.load(str(tmp_path / "again")).labels == {head: LABELS}


def test_another_summary_of_a_text_is_refused(tmp_path: Path) -> None:
    theirs("xlm-17", "classifier", tmp_path / "m", summary_type="mean")
    with pytest.raises(mm_kptm.errors.UserError, match="the configuration says summary_type='mean', but xlm is built"):
        mm_kptm.load("xlm-17", tmp_path / "m")


@pytest.mark.parametrize("sizes", [{"ffn_dim": 24}, {"num_languages": 1}, {"activation": "tanh"}])
def test_sizes_that_their_class_lacks_keep_our_names(sizes: dict[str, Any], tmp_path: Path) -> None:
    mm_kptm.save(mm_kptm.build("xlm-15", seed=0, **{**SIZES, "ffn_dim": 64, **sizes}), tmp_path / "m")
    assert "architectures" not in json.loads((tmp_path / "m" / "config.json").read_text("utf-8"))
    assert mm_kptm.load(str(tmp_path / "m")).sizes["dim"] == 16


@torch.no_grad()
@pytest.mark.parametrize("tied", [True, False])
def test_an_xlm_with_languages_opens_with_its_output_layer(tied: bool, tmp_path: Path) -> None:
    heads = {"masked-tokens": {"tied": tied}}
    system = mm_kptm.build("xlm-15", heads=heads, seed=0, **{**SIZES, "ffn_dim": 64, "num_languages": 4})
    drawn(system)
    mm_kptm.save(system, tmp_path / "m")
    model = hf.XLMWithLMHeadModel.from_pretrained(tmp_path / "m").eval()
    languages = torch.tensor([3, 3, 3, 1, 1, 1])
    expected = model(torch.tensor([IDS]), langs=languages[None]).logits[0]
    text = replace(Tokens.of([IDS]), languages=languages)
    states = system(Inputs(text=text)).text
    torch.testing.assert_close(system.head("masked-tokens")(states), expected, atol=1e-4, rtol=0)


def test_an_unnamed_head_has_as_many_labels_as_logits(tmp_path: Path) -> None:
    mm_kptm.save(made("bert-base", "classifier"), tmp_path / "m")
    assert hf.AutoConfig.from_pretrained(tmp_path / "m").id2label == {0: "LABEL_0", 1: "LABEL_1", 2: "LABEL_2"}
    assert mm_kptm.load(str(tmp_path / "m")).labels == {}


def test_the_architecture_is_that_of_the_head(tmp_path: Path) -> None:
    for head, ending in (("classifier", "ForSequenceClassification"), ("answer-spans", "ForQuestionAnswering")):
        mm_kptm.save(made("xlm-r-base", head), tmp_path / head)
        config = json.loads((tmp_path / head / "config.json").read_text("utf-8"))
        assert config["architectures"] == [f"XLMRoberta{ending}"]


def test_two_heads_of_one_name_there_keep_ours(tmp_path: Path) -> None:
    system = mm_kptm.build("bert-base", heads=["classifier", "token-classifier"], seed=0, **SIZES)
    mm_kptm.save(system, tmp_path / "m")
    again = mm_kptm.load(str(tmp_path / "m"))
    ours = dict(system.named_parameters())
    assert all(torch.equal(parameter, ours[name]) for name, parameter in again.named_parameters())
    assert hf.AutoConfig.from_pretrained(tmp_path / "m").architectures == ["BertModel"]


def test_a_tagger_of_transformers_is_a_tagger_here(tmp_path: Path) -> None:
    """The tags of the data in their own order choose the logits that the checkpoint names so."""
    tags = {0: "O", 1: "B-PER", 2: "I-PER"}
    model = theirs("xlm-r-base", "token-classifier", tmp_path / "m", id2label=tags)
    system = mm_kptm.load("xlm-r-base", tmp_path / "m")
    task = NamedEntities(system, ("B-PER", "I-PER", "O")).eval()
    assert task.tags == ("B-PER", "I-PER", "O")
    logits = task(Inputs(text=Tokens.of([IDS])), torch.arange(len(IDS)))
    expected = theirs_of(model, "token-classifier", IDS)[:, [1, 2, 0]]
    torch.testing.assert_close(logits.detach(), expected, atol=1e-5, rtol=0)


def test_labels_are_the_same_whatever_their_case(tmp_path: Path) -> None:
    model = theirs(
        "xlm-r-base", "classifier", tmp_path / "m", id2label={0: "ENTAILMENT", 1: "NEUTRAL", 2: "CONTRADICTION"}
    )
    task = Entailment(mm_kptm.load("xlm-r-base", tmp_path / "m"), ("contradiction", "entailment", "neutral")).eval()
    expected = theirs_of(model, "classifier", IDS)[:, [2, 0, 1]]
    torch.testing.assert_close(task(Inputs(text=Tokens.of([IDS]))).detach(), expected, atol=1e-5, rtol=0)


def test_other_labels_start_the_output_layer_anew(tmp_path: Path) -> None:
    theirs("xlm-r-base", "classifier", tmp_path / "m", id2label={0: "bad", 1: "fair", 2: "good"})
    system = mm_kptm.load("xlm-r-base", tmp_path / "m")
    before = system.heads["classifier"].out.weight.detach().clone()  # type: ignore[union-attr, operator]
    message = "the head classifier was trained to tell bad, fair, good, and the data have x, y, z: its last layer"
    with pytest.warns(UserNotice, match=message):
        Entailment(system, ("x", "y", "z"))
    assert not torch.equal(system.heads["classifier"].out.weight, before)  # type: ignore[union-attr, operator]
    assert system.labels == {"classifier": ("x", "y", "z")}


def test_a_fresh_head_may_have_another_number_of_classes(tmp_path: Path) -> None:
    """As when an intermediate task tells three labels and the next one two."""
    mm_kptm.save(made("xlm-r-base", "classifier"), tmp_path / "m")
    heads = {"classifier": {"num_classes": 2}}
    system = mm_kptm.load("xlm-r-base", tmp_path / "m", heads=heads, fresh=["heads.classifier."], seed=0)
    assert system.heads["classifier"].out.out_features == 2  # type: ignore[union-attr]
    with pytest.raises(mm_kptm.errors.UserError, match=r"other shapes than this model has: heads\.classifier\.out"):
        mm_kptm.load("xlm-r-base", tmp_path / "m", heads=heads)


@pytest.mark.parametrize(
    ("config", "labels"),
    [
        ({"id2label": {"1": "b", "0": "a"}}, ("a", "b")),
        ({"id2label": {"0": "LABEL_0", "1": "LABEL_1"}}, ()),
        ({"id2label": {"0": "a", "2": "b"}}, ()),
        ({"id2label": {"0": "a", "1": "a"}}, ()),
        ({"id2label": {"x": "a"}}, ()),
        ({"id2label": ["a"]}, ()),
        ({}, ()),
    ],
)
def test_what_a_configuration_names(config: dict[str, Any], labels: tuple[str, ...]) -> None:
    assert published_labels(config) == labels
