"""Text larger than memory is built once into streams of tokens, and drawn in blocks by language."""

import json
import re
import subprocess
import sys
import tracemalloc
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from mm_kptm import config
from mm_kptm.crosslingual.corpora import token_corpus
from mm_kptm.crosslingual.corpora.sampled_blocks import SampledBlocks
from mm_kptm.crosslingual.corpora.token_corpus import TokenCorpus, build_corpus
from mm_kptm.data.sampler import seeded
from mm_kptm.data.tokenizers.protocol import BERT_SPECIALS
from mm_kptm.data.tokenizers.tokenizer_json import TokenizerJson
from mm_kptm.data.tokenizers.training import train_tokenizer
from mm_kptm.data.tokenizers.wordpiece import WordPiece
from mm_kptm.datasets.pretraining.token_corpus import BlockSource
from mm_kptm.errors import UserError
from mm_kptm.experiment.build import build
from mm_kptm.experiment.run import train
from mm_kptm.experiment.settings import Experiment
from mm_kptm.experiment.show import show
from mm_kptm.train.protocol import lengths_of

WORDS = ["a", "b", "c", "d", "e", "f", "g", "h"]
STOP = BERT_SPECIALS.index("[SEP]")
IDS = {word: number for number, word in enumerate((*BERT_SPECIALS, *WORDS))}


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Path]:
    (tmp_path / "vocab.txt").write_text("\n".join([*BERT_SPECIALS, *WORDS]) + "\n")
    texts = {"de": "a b\n\nc\n", "en": "d e f\ng h\n" * 20}
    for language, text in texts.items():
        (tmp_path / f"text.{language}").write_text(text)
    return {language: tmp_path / f"text.{language}" for language in texts}


def corpus(files: dict[str, Path], tmp_path: Path, block: int) -> TokenCorpus:
    tokenizer = WordPiece.open(tmp_path / "vocab.txt", lowercase=True)
    build_corpus(files, tokenizer, tmp_path / "corpus", source={"x": "1"})
    return TokenCorpus(tmp_path / "corpus", block, {"x": "1"})


def test_blocks_are_the_stream_of_a_language(files: dict[str, Path], tmp_path: Path) -> None:
    found = corpus(files, tmp_path, 6)
    assert found.counts == {"de": 5, "en": 140} and found.blocks == {"de": 1, "en": 23}
    assert found.read("de", 0).tolist() == [IDS["a"], IDS["b"], STOP, IDS["c"], STOP]
    whole = np.concatenate([found.read("en", number) for number in range(23)])
    once = [IDS["d"], IDS["e"], IDS["f"], STOP, IDS["g"], IDS["h"], STOP]
    assert whole.tolist() == (once * 20)[: 23 * 6]
    assert found.tokens.dtype == np.uint16 and isinstance(found.tokens, np.memmap)
    assert sorted(path.name for path in (tmp_path / "corpus").iterdir()) == ["corpus.json", "tokens.npy"]


@pytest.mark.parametrize(("factor", "expected"), [(None, 1 / 24), (1.0, 1 / 24), (0.0, 0.5), (0.5, 0.173)])
def test_languages_have_their_shares(factor: float | None, expected: float, files: Any, tmp_path: Path) -> None:
    source = BlockSource(corpus(files, tmp_path, 6), ("de", "en"), factor)
    batch = source.batch(range(len(source)), seeded(0))
    firsts = batch.text.languages[batch.text.layout.starts(batch.text.ids.device)].tolist()
    assert Counter(firsts)[0] / len(source) == pytest.approx(expected, abs=0.03)
    assert [source.length(index) for index in range(len(source))] == list(batch.text.layout.lengths)
    assert lengths_of(source).tolist() == list(batch.text.layout.lengths)
    again = BlockSource(source.corpus, ("de", "en"), factor).batch(range(len(source)), seeded(9))
    assert torch.equal(again.text.ids, batch.text.ids), "which blocks there are depends on the seed of the data alone"


def test_memory_does_not_grow_with_the_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Four times the text: the same peak, but for what is kept of each block (a number)."""
    monkeypatch.setattr(token_corpus, "LINES", 16)
    line = " ".join(WORDS * 20) + "\n"
    (tmp_path / "small.txt").write_text(line * 40)
    tokenizer = TokenizerJson(train_tokenizer([tmp_path / "small.txt"], "wordpiece", vocab_size=60))
    peaks = {}
    for lines in (200, 800):
        path = tmp_path / f"{lines}.txt"
        path.write_text(line * lines)
        tracemalloc.start()
        build_corpus({"en": path}, tokenizer, tmp_path / str(lines), source={})
        source = BlockSource(TokenCorpus(tmp_path / str(lines), 256), ("en",), 0.7)
        for first in range(0, 64, 8):
            source.batch(range(first, first + 8), seeded(0))
        peaks[lines] = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    growth = (800 - 200) * len(line)
    assert peaks[800] - peaks[200] < growth / 8


def test_it_is_trained_on_and_built_once(files: dict[str, Path], tmp_path: Path) -> None:
    settings = {
        "name": "stream",
        "objectives": {"masked-tokens": 1.0},
        "data": {
            "name": "token-corpus",
            "train": {language: str(path) for language, path in files.items()},
            "folder": str(tmp_path / "corpus"),
            "vocabulary": str(tmp_path / "vocab.txt"),
            "max_length": 8,
            "language_sampling": 0.7,
        },
        "encoder": {"recipe": "xlm-15", "sizes": {"dim": 8, "num_heads": 2, "num_layers": 1, "max_positions": 16}},
        "train": {"steps": 4, "batch_size": 4, "save_every": 2},
        "out": str(tmp_path),
    }
    path = tmp_path / "stream.yaml"
    path.write_text(json.dumps(settings))
    experiment = config.read(Experiment, path)
    shown = show(experiment, count=2)
    assert [one.text for one in shown.examples] == ["a b [SEP] c [SEP]"] * 2, "blocks before any masking"
    train(experiment, tmp_path / "run", progress=False)
    written = (tmp_path / "corpus" / "tokens.npy").stat().st_mtime_ns
    train(experiment, tmp_path / "run", resume=True, progress=False)
    assert (tmp_path / "corpus" / "tokens.npy").stat().st_mtime_ns == written
    files["de"].write_text("h\n")
    with pytest.raises(UserError, match="was built from other text or with another tokenizer; remove it"):
        build(config.read(Experiment, path)).source("train").batch([0], seeded(0))


def test_what_is_no_corpus_is_refused(files: dict[str, Path], tmp_path: Path) -> None:
    found = corpus(files, tmp_path, 6)
    torn = tmp_path / "corpus" / "tokens.npy"
    torn.write_bytes(torn.read_bytes()[:140])
    with pytest.raises(UserError, match=r"tokens.npy is torn; remove"):
        found.read("en", 0)
    torn.unlink()
    with pytest.raises(UserError, match=r"is no token corpus: it has no tokens.npy; remove it"):
        TokenCorpus(tmp_path / "corpus", 6).read("en", 0)
    (tmp_path / "blank.txt").write_text(" \n\n")
    tokenizer = WordPiece.open(tmp_path / "vocab.txt", lowercase=True)
    with pytest.raises(UserError, match=r"blank.txt"):
        build_corpus({"en": tmp_path / "blank.txt"}, tokenizer, tmp_path / "other", source={})
    assert not (tmp_path / "other").exists(), "a corpus that was not finished is not there"


@pytest.mark.slow
def test_peak_memory_of_a_process_does_not_grow_with_the_text(tmp_path: Path) -> None:
    """Four times the text takes at most a tenth of it more to build, and to draw from beside the mapped pages."""
    from benchmarks import corpus as benchmark

    peaks: dict[str, list[int]] = {"build": [], "read": [], "train": []}
    for megabytes in (8, 32):
        folder = tmp_path / str(megabytes)
        folder.mkdir()
        benchmark.make(folder, megabytes)
        for what, code, arguments in (
            ("build", benchmark.BUILD, ()),
            ("read", benchmark.READ, ("0.3",)),
            ("train", benchmark.TRAIN, ("0.3",)),
        ):
            said = benchmark.measured(code, str(folder), *arguments)
            peak, mapped = (int(number) for number in re.findall(r"(\d+) MB", said))
            peaks[what].append(peak - (mapped if what == "train" else 0))
    assert max(peaks["build"] + peaks["read"]) < 150 and max(peaks["train"]) < 500, peaks
    for first, second in peaks.values():
        assert second - first < 2.4 + 8, peaks  # megabytes; the allocator moves by a few


def test_blocks_are_read_and_drawn_where_torch_is_not_imported(files: dict[str, Path], tmp_path: Path) -> None:
    found = corpus(files, tmp_path, 6)
    code = f"""
import sys
from pathlib import Path
from mm_kptm.crosslingual.corpora import SampledBlocks, TokenCorpus
blocks = SampledBlocks(TokenCorpus(Path({str(found.folder)!r}), 6), 0.5, seed=3)
for language, ids in blocks.batch(range(len(blocks))):
    print(language, *ids)
assert not {{"torch", "transformers"}} & set(sys.modules), "drawing needs no torch"
"""
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    here = SampledBlocks(found, 0.5, seed=3)
    drawn = here.batch(range(len(here)))
    assert printed.splitlines() == [" ".join((block.language, *map(str, block.ids))) for block in drawn]
    trained = BlockSource(found, ("de", "en"), 0.5, seed=3).batch(range(len(here)), seeded(0))
    assert trained.text.ids.tolist() == np.concatenate([block.ids for block in drawn]).tolist()
    with pytest.raises(IndexError, match=f"there is no block {len(here)} among {len(here)}"):
        here.batch([len(here)])


@pytest.mark.skipif(not Path("/proc/self/smaps").is_file(), reason="resident pages are read where Linux tells them")
def test_pages_that_were_read_are_given_back(files: dict[str, Path], tmp_path: Path) -> None:
    found = corpus(files, tmp_path, 6)

    def resident() -> int:
        maps, total, ours = Path("/proc/self/smaps").read_text(), 0, False
        for line in maps.splitlines():
            if "-" in line.split()[0]:
                ours = line.endswith(str(tmp_path / "corpus" / "tokens.npy"))
            elif ours and line.startswith("Rss:"):
                total += int(line.split()[1])
        return total

    before = found.read("en", 3)
    assert resident() > 0
    found.release()
    assert resident() == 0
    assert np.array_equal(found.read("en", 3), before)
