"""Frozen parameters stay as they are, as in XNLG's stages."""

from pathlib import Path

import pytest
import torch

import mm_kptm
from mm_kptm import config
from mm_kptm.errors import UserError
from mm_kptm.experiment.build import build
from mm_kptm.experiment.freezing import freeze
from mm_kptm.experiment.run import train
from mm_kptm.experiment.settings import Experiment

SIZES = {"dim": 8, "num_heads": 2, "num_layers": 2, "num_decoder_layers": 1, "max_positions": 20, "vocab_size": 12}


def test_the_second_stage_of_xnlg_trains_the_decoder_alone(tmp_path: Path) -> None:
    for language, text in {"de": "a b c\nd e f\n", "en": "f e d\nc b a\n"}.items():
        (tmp_path / f"ted.{language}").write_text(text)
    (tmp_path / "vocab.txt").write_text("\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *"abcdef"]) + "\n")
    settings = config.of(
        Experiment,
        {
            "name": "stage-2",
            "data": {
                "name": "multilingual-text",
                "vocabulary": str(tmp_path / "vocab.txt"),
                "train": {"de-en": str(tmp_path / "ted")},
                "max_length": 12,
            },
            "objectives": {"word-denoising": 0.5, "next-tokens": 1.0},
            "encoder": {
                "recipe": "xnlg",
                "sizes": {key: size for key, size in SIZES.items() if key != "vocab_size"},
                "frozen": ["encoder.source.*"],
            },
            "train": {"steps": 2, "batch_size": 4, "lr": 0.01},
            "out": str(tmp_path / "runs"),
        },
    )
    fresh = dict(build(settings).system.named_parameters())
    trained = dict(train(settings, settings.folder, progress=False).system.named_parameters())
    same = {name for name, parameter in trained.items() if torch.equal(parameter, fresh[name])}
    source = {name for name in trained if name.startswith("encoder.source.")}
    assert source <= same and trained.keys() - same
    assert "encoder.target.embed.word.weight" not in same


def test_patterns_leave_what_they_match(tmp_path: Path) -> None:
    system = mm_kptm.build("xnlg", seed=0, **SIZES)
    freeze(system, ["encoder.source.embed.*", "encoder.target.*", "heads.*"])
    trained = [name for name, parameter in system.named_parameters() if parameter.requires_grad]
    assert trained and all(name.startswith("encoder.source.layers.") for name in trained)
    before = {name: parameter.clone() for name, parameter in system.named_parameters()}
    optimizer = torch.optim.SGD([parameter for parameter in system.parameters() if parameter.requires_grad], lr=1.0)
    sum(parameter.sum() for parameter in system.parameters() if parameter.requires_grad).backward()
    optimizer.step()
    for name, parameter in system.named_parameters():
        assert torch.equal(parameter, before[name]) == (name not in trained), name


def test_patterns_that_fit_nothing_or_everything_are_refused() -> None:
    system = mm_kptm.build("xnlg", seed=0, **SIZES)
    with pytest.raises(
        UserError, match=r"^encoder\.frozen has 'source\.\*', which is no parameter's name; there are encod"
    ):
        freeze(system, ["source.*"])
    with pytest.raises(UserError, match=r"^encoder\.frozen leaves nothing to train; take a pattern out"):
        freeze(system, ["*"])
