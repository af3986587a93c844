"""Token stores of two million sentences, or of two million triples of described entities: how long, how large.

    python -m benchmarks.stores sentences [--count 2000000] [--folder DIR]
    python -m benchmarks.stores triples

writes made files into a temporary folder, builds the store in one process, opens it in another and trains a tiny model
on it for some steps in a third, and prints the CPU seconds, the bytes of the store and the peak memory of each.
"""

from __future__ import annotations

import argparse
import json
import random
import subprocess
import sys
import tempfile
from pathlib import Path

from mm_kptm.data.tokenizers.protocol import BERT_SPECIALS

WORDS, LENGTHS, SENTENCES_A_DOCUMENT = 20_000, range(8, 25), 20
ENTITIES_A_TRIPLE = 4  #: fewer entities than triples by this factor, as in Wikidata5M
STEPS = 20

BUILD = """
from pathlib import Path
from mm_kptm.experiment.build import build
from benchmarks.stores import settings
asked = settings(Path(sys.argv[1]), sys.argv[2])
import torch._dynamo, accelerate, resource
imported = resource.getrusage(resource.RUSAGE_SELF)
began = time.perf_counter()
built = build(asked)
source = built.training
print(len(source), file=sys.stderr)
"""
TRAIN = (
    BUILD
    + """
from mm_kptm.train.loop import fit
fit(built.model, source, asked.train, Path(sys.argv[1]) / "run",
    progress=False)
"""
)
REPORT = """
import json, resource, time
used = resource.getrusage(resource.RUSAGE_SELF)
seconds = used.ru_utime + used.ru_stime - imported.ru_utime - imported.ru_stime
print(json.dumps({"cpu_s": round(seconds, 1), "wall_s": round(time.perf_counter() - began, 1),
                  "peak_mb": round(used.ru_maxrss / 1024), "imports_mb": round(imported.ru_maxrss / 1024)}))
"""


def settings(folder: Path, kind: str) -> object:
    """The experiment of a kind, ``sentences`` or ``triples``, on the files of a folder."""
    from mm_kptm.datasets.pretraining.documents import Documents
    from mm_kptm.datasets.pretraining.knowledge_beside import KnowledgeFiles
    from mm_kptm.experiment.settings import EncoderSettings, Experiment
    from mm_kptm.train.settings import TrainSettings

    triples = KnowledgeFiles(triples=folder / "triples.tsv", descriptions=folder / "texts.tsv")
    data = Documents(
        name="documents",
        train=folder / "train.txt",
        vocabulary=folder / "vocab.txt",
        token_store=folder / "store",
        max_length=128,
        knowledge=triples if kind == "triples" else KnowledgeFiles(),
    )
    sizes = {"dim": 32, "num_heads": 2, "num_layers": 1, "ffn_dim": 64, "max_positions": 130}
    objectives = {"masked-tokens": 1.0, **({"knowledge-embedding": 1.0} if kind == "triples" else {})}
    return Experiment(
        kind,
        EncoderSettings("kepler-base", sizes=sizes, init_std=0.02),
        data,
        objectives=objectives,
        train=TrainSettings(steps=STEPS, batch_size=32),
    )


def make(folder: Path, kind: str, count: int) -> None:
    """Write a vocabulary and made text, a few words far more frequent than the others."""
    dice = random.Random(0)
    words = [f"w{number}" for number in range(WORDS)]
    weights = [1 / (rank + 10) for rank in range(WORDS)]
    pool = dice.choices(words, weights, k=1 << 20)

    def sentence() -> str:
        start = dice.randrange(len(pool) - LENGTHS.stop)
        return " ".join(pool[start : start + dice.choice(LENGTHS)])

    (folder / "vocab.txt").write_text("\n".join([*BERT_SPECIALS, *words]) + "\n")
    with (folder / "train.txt").open("w") as file:
        for number in range(count if kind == "sentences" else 1000):
            file.write(sentence() + ("\n\n" if number % SENTENCES_A_DOCUMENT == 0 else "\n"))
    if kind == "triples":
        entities = count // ENTITIES_A_TRIPLE
        with (folder / "texts.tsv").open("w") as file:
            file.writelines(f"Q{number}\t{sentence()} {sentence()}\n" for number in range(entities))
        with (folder / "triples.tsv").open("w") as file:
            for _ in range(count):
                head, relation, tail = dice.randrange(entities), dice.randrange(800), dice.randrange(entities)
                file.write(f"Q{head}\tP{relation}\tQ{tail}\n")


def measured(code: str, folder: Path, kind: str) -> dict[str, float]:
    """CPU seconds and seconds behind the imports, peak memory, and what the imports alone take of it."""
    program = "import sys, time\n" + code + REPORT
    done = subprocess.run(
        [sys.executable, "-c", program, str(folder), kind], stdout=subprocess.PIPE, text=True, check=True
    )
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def run(folder: Path, kind: str, count: int) -> dict[str, object]:
    """All measurements of a kind."""
    make(folder, kind, count)
    built, opened, trained = (measured(code, folder, kind) for code in (BUILD, BUILD, TRAIN))
    store = folder / "store"
    size = sum(path.stat().st_size for path in store.rglob("*.npy"))
    tokens = sum(json.loads(path.read_text()).get("rows", 0) for path in store.rglob("store.json"))
    return {
        "kind": kind,
        "count": count,
        "tokens": tokens,
        "bytes_a_token": round(size / tokens, 2),
        "build": built,
        "second_start": opened,
        "train": trained,
    }


def main() -> None:
    """Measure one kind and print a line of JSON."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("kind", choices=("sentences", "triples"))
    parser.add_argument("--count", type=int, default=2_000_000, help="sentences or triples (default: 2,000,000)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        print(json.dumps(run(Path(folder), options.kind, options.count)))


if __name__ == "__main__":
    main()
