"""Memory of a token corpus: ``python -m benchmarks.corpus [FOLDER] [--megabytes N] [--language-sampling ALPHA]``.

Makes text of two languages with words by Zipf's law, unless the folder has it from an earlier run; builds the corpus in
one process, draws batches of blocks from it in another and batches of tensors, as training does, in a third; prints the
peak resident memory of each, and how much of that can be pages of files.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

MEGABYTE, WORDS, WORDS_A_LINE, LINES = 1 << 20, 50_000, 40, 4_000
LANGUAGES = {"en": "abcdefghijklm", "ru": "абвгдежзиклмн"}  #: letters of the words of each

BUILD = """
import sys
from pathlib import Path
from mm_kptm.crosslingual.corpora.token_corpus import build_corpus
from mm_kptm.data.tokenizers.opening import open_tokenizer
folder = Path(sys.argv[1])
files = {language: folder / f"text.{language}" for language in ("en", "ru")}
build_corpus(files, open_tokenizer(folder / "tokenizer.json"), folder / "corpus", source={})
"""
READ = """
import sys
import numpy as np
from pathlib import Path
from mm_kptm.crosslingual.corpora import SampledBlocks, TokenCorpus
blocks = SampledBlocks(TokenCorpus(Path(sys.argv[1]) / "corpus", 256), float(sys.argv[2]))
draws = np.random.default_rng(0)
for _ in range(500):
    blocks.batch(draws.integers(len(blocks), size=32).tolist())
print(f"{len(blocks):,} blocks of 256 tokens", end="; ")
"""
TRAIN = """
import sys
import torch
from pathlib import Path
from mm_kptm.crosslingual.corpora import TokenCorpus
from mm_kptm.datasets.pretraining.token_corpus import BlockSource
source = BlockSource(TokenCorpus(Path(sys.argv[1]) / "corpus", 256), ("en", "ru"), float(sys.argv[2]))
draws = torch.Generator().manual_seed(0)
for _ in range(500):
    source.batch(torch.randint(len(source), (32,), generator=draws).tolist(), draws)
"""
PEAK = """
status = dict(line.split(":", 1) for line in open("/proc/self/status"))
peak, mapped = (int(status[key].split()[0]) // 1024 for key in ("VmHWM", "RssFile"))
print(f"peak resident memory {peak} MB, of which at most {mapped} MB are pages of files")
"""


def make(folder: Path, megabytes: int) -> None:
    """Text of both languages, and a byte-level tokenizer trained on the first of it."""
    from mm_kptm.data.tokenizers.training import train_tokenizer
    from mm_kptm.io.atomic import write_text

    draws = np.random.default_rng(0)
    for language, letters in LANGUAGES.items():
        words = ["".join(draws.choice(list(letters), 2 + number % 8)) for number in range(WORDS)]
        share = 1 / np.arange(1, WORDS + 1)
        written = 0
        with (folder / f"text.{language}").open("w", encoding="utf-8") as stream:
            while written < megabytes * MEGABYTE / len(LANGUAGES):
                rows = draws.choice(WORDS, (LINES, WORDS_A_LINE), p=share / share.sum()).tolist()
                block = "".join(" ".join(words[word] for word in row) + "\n" for row in rows)
                written += len(block.encode())
                stream.write(block)
    heads = []
    for language in LANGUAGES:
        heads.append(folder / f"head.{language}")
        with (folder / f"text.{language}").open(encoding="utf-8") as stream:
            heads[-1].write_text("".join(line for line, _ in zip(stream, range(2000), strict=False)), encoding="utf-8")
    write_text(folder / "tokenizer.json", train_tokenizer(heads, "bpe", vocab_size=8000).to_str())


def measured(code: str, *arguments: str) -> str:
    """What a process of its own prints, with its memory."""
    command = [sys.executable, "-c", code + PEAK, *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def main() -> None:
    """Make, build, draw and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, nargs="?", help="where to make the text; a temporary folder by default")
    parser.add_argument("--megabytes", type=int, default=2048, help="of text (default: 2048)")
    parser.add_argument("--language-sampling", type=float, default=0.3, help="exponent of the shares (default: 0.3)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.folder or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        if not (folder / "tokenizer.json").is_file():
            make(folder, options.megabytes)
        print(f"building {options.megabytes} MB: {measured(BUILD, str(folder))}", flush=True)
        for what, code in (("drawing", READ), ("drawing as tensors, with torch", TRAIN)):
            print(f"{what}: {measured(code, str(folder), str(options.language_sampling))}", flush=True)


if __name__ == "__main__":
    main()
