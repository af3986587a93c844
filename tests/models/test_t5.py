"""T5 and mT5 against transformers at random weights, in what they compute, write and save."""

from pathlib import Path
from typing import Any

import pytest
import tokenizers
import torch

import mm_kptm
from mm_kptm.batch import Inputs, OutputRows, Tokens
from mm_kptm.datasets.text.moses_pairs import MosesPairs
from mm_kptm.errors import UserError
from mm_kptm.experiment.build import build
from mm_kptm.experiment.settings import EncoderSettings, Experiment
from mm_kptm.models.decoding import Decoding, Request, generate
from mm_kptm.objectives.next_tokens import NextTokens

transformers = pytest.importorskip("transformers")

SIZES: dict[str, Any] = {
    "vocab_size": 60,
    "d_model": 16,
    "d_kv": 6,
    "d_ff": 32,
    "num_layers": 3,
    "num_decoder_layers": 2,
    "num_heads": 3,
    "relative_attention_num_buckets": 8,
    "relative_attention_max_distance": 9,
    "decoder_start_token_id": 0,
}
KINDS = {
    "t5-base": ("T5", {"feed_forward_proj": "relu"}),
    "t5-v1_1-base": ("T5", {"feed_forward_proj": "gated-gelu", "tie_word_embeddings": False}),
    "mt5-small": ("MT5", {"feed_forward_proj": "gated-gelu"}),
}


def both(name: str, folder: Path, *, own_output: bool = False) -> tuple[Any, Any]:
    """A model of transformers at random weights, and ours from its files."""
    family, more = KINDS[name]
    torch.manual_seed(0)
    config = getattr(transformers, f"{family}Config")(**SIZES, **more)
    theirs = getattr(transformers, f"{family}ForConditionalGeneration")(config).eval()
    with torch.no_grad():
        for parameter in theirs.parameters():
            if parameter.dim() == 1:  # norms start at one, where mistakes cannot be seen
                parameter.add_(torch.randn_like(parameter) * 0.3)
        if own_output:
            theirs.lm_head.weight = torch.nn.Parameter(torch.randn_like(theirs.lm_head.weight))
            theirs.config.tie_word_embeddings = False
    theirs.save_pretrained(folder)
    return theirs, mm_kptm.load(name, folder)


def texts() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Sources, which of their columns are real, and what the decoder reads."""
    draws = torch.Generator().manual_seed(1)
    ids, read = (torch.randint(2, 60, (3, width), generator=draws) for width in (14, 8))
    real = torch.arange(14) < torch.tensor([[9], [5], [14]])
    read[:, 0] = 0
    return ids.masked_fill(~real, 0), real, read


def exact_norm(norm: Any, states: torch.Tensor) -> torch.Tensor:
    """T5's norm in the precision of its input; that of transformers is always in float32."""
    return norm.weight * states * torch.rsqrt(states.square().mean(-1, keepdim=True) + norm.variance_epsilon)


@pytest.mark.parametrize(("dtype", "atol"), [(torch.float32, 1e-5), (torch.float64, 1e-10)])
@pytest.mark.parametrize("own_output", [False, True])
@pytest.mark.parametrize("name", KINDS)
@torch.no_grad()
def test_it_agrees_with_transformers(
    name: str, own_output: bool, dtype: torch.dtype, atol: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    theirs, ours = both(name, tmp_path, own_output=own_output)
    norm = type(theirs.encoder.final_layer_norm)
    monkeypatch.setattr(norm, "forward", exact_norm)
    theirs, ours = theirs.to(dtype), ours.to(dtype)
    ids, real, read = texts()
    expected = theirs(input_ids=ids, attention_mask=real.long(), decoder_input_ids=read, output_hidden_states=True)
    inputs = Inputs(text=Tokens.padded(ids, real), target=Tokens.padded(read, torch.ones_like(read)))
    states = ours(inputs)["target"]
    logits = ours.head("next-tokens")(states).unflatten(0, read.shape)
    torch.testing.assert_close(logits, expected.logits, atol=atol, rtol=atol)
    for stream, other in zip(ours.encoder.source.hidden_states(inputs), expected.encoder_hidden_states, strict=True):
        torch.testing.assert_close(stream.x, other[real], atol=atol, rtol=atol)
    rows = torch.tensor([1, 9, 10, 20])
    some = ours(inputs, OutputRows({"target": rows}))["target"]
    torch.testing.assert_close(some, states[rows], atol=atol, rtol=atol)
    ours.heads["next-tokens"].word.weight.sum().item()  # there, tied or not
    assert (ours.heads["next-tokens"].word.weight is ours.encoder.target.embed.word.weight) is not own_output


@pytest.mark.parametrize("method", ["greedy", "beam"])
@pytest.mark.parametrize("name", KINDS)
def test_it_writes_what_transformers_writes(name: str, method: str, tmp_path: Path) -> None:
    theirs, ours = both(name, tmp_path)
    ids, real, _ = texts()
    beams = 3 if method == "beam" else 1
    found = theirs.generate(
        input_ids=ids, attention_mask=real.long(), max_length=9, do_sample=False, forced_eos_token_id=1, num_beams=beams
    )
    expected = [row[: row.index(1) + 1] if 1 in row else row for row in found.tolist()]
    how = Decoding(method, 3, max_length=9)
    assert generate(ours, Inputs(text=Tokens.padded(ids, real)), Request(0, 1), how) == expected


def test_a_saved_model_answers_alike_and_all_of_it_is_trained(tmp_path: Path) -> None:
    sizes = {"dim": 16, "num_heads": 2, "head_dim": 6, "num_layers": 2, "ffn_dim": 24, "vocab_size": 60}
    for name in KINDS:
        built = mm_kptm.build(name, seed=0, **sizes)
        mm_kptm.save(built, tmp_path / name)
        loaded = mm_kptm.load(str(tmp_path / name))
        ids, real, read = texts()
        inputs = Inputs(text=Tokens.padded(ids, real), target=Tokens.padded(read, torch.ones_like(read)))
        assert torch.equal(built.eval()(inputs)["target"], loaded.eval()(inputs)["target"])
        objective = NextTokens()
        objective.loss(loaded.train(), objective.prepare(inputs)).backward()
        still = [name for name, one in loaded.named_parameters() if one.grad is None or not one.grad.any()]
        assert still == [], still


def test_a_configuration_that_asks_for_more_is_refused() -> None:
    with pytest.raises(UserError, match="is_decoder=True, but t5 is built with is_decoder=False"):
        mm_kptm.catalogue()["t5-base"].configured_sizes({"is_decoder": True})


@pytest.mark.parametrize("saved", [False, True])
@pytest.mark.parametrize("name", KINDS)
def test_a_translator_begins_from_published_weights(name: str, saved: bool, tmp_path: Path) -> None:
    """The head of the first version is the word table, so that a file of weights has none of its own."""
    theirs, ours = both(name, tmp_path / "published")
    if saved:
        mm_kptm.save(ours, tmp_path / "saved")
    words = ["<pad>", "</s>", "<unk>", *(f"w{number}" for number in range(3, 60))]
    engine = tokenizers.Tokenizer(
        tokenizers.models.WordLevel({word: number for number, word in enumerate(words)}, unk_token="<unk>")
    )
    engine.pre_tokenizer = tokenizers.pre_tokenizers.WhitespaceSplit()
    engine.save(str(tmp_path / "tokenizer.json"))
    for language in ("de", "en"):
        (tmp_path / f"ted.{language}").write_text("w5 w9\nw7\n")
    data = MosesPairs(
        name="moses-pairs", source="de", target="en", train=tmp_path / "ted", vocabulary=tmp_path / "tokenizer.json"
    )
    encoder = EncoderSettings(name, weights=tmp_path / ("saved" if saved else "published"))
    built = build(Experiment("own", encoder, data, task="translation"))
    batch = built.training.batch([0, 1], torch.Generator())
    built.model.eval()
    assert torch.equal(built.system.encoder.source.embed.text.word.weight, theirs.shared.weight)
    found = built.model.measure(batch)["loss"]
    labels = torch.tensor([[5, 9, 1], [7, 1, -100]])
    ids = labels.where(labels >= 0, 0)
    logits = theirs(input_ids=ids, attention_mask=(labels >= 0).long(), labels=labels).logits
    each = torch.nn.functional.cross_entropy(logits.transpose(1, 2), labels, reduction="none")
    torch.testing.assert_close(found, each.sum(1) / torch.tensor([3.0, 2.0]), rtol=1e-4, atol=1e-5)
