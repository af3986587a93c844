"""Token stores of two million sentences, or of two million triples of described entities: how long, how large.

    python -m benchmarks.stores sentences [--count 2000000] [--folder DIR]
    python -m benchmarks.stores triples

writes made files into a temporary folder, builds the store by one process, opens it in another and trains a tiny model
on it for some steps in a third, and prints the CPU seconds, the bytes of the store and the memory of each, in MB:

- ``peak``: the most that was resident, pages of libraries and of the mapped store included;
- ``libraries``: what of it torch, its compiler and accelerate take, before anything of ours is imported;
- ``own``: the difference;
- ``anonymous`` and ``mapped``: what is resident in the end, without and with a file behind it, which processes share;
- ``builder_peak``: the most of the process that builds, which imports none of these libraries.
"""

from __future__ import annotations

import argparse
import json
import random
import resource
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

from mm_kptm.data.tokenizers.protocol import BERT_SPECIALS

WORDS, LENGTHS, SENTENCES_A_DOCUMENT = 20_000, range(8, 25), 20
ENTITIES_A_TRIPLE = 4  #: fewer entities than triples by this factor, as in Wikidata5M
STEPS = 20

BUILD = """
import torch, torch._dynamo, accelerate
from benchmarks.stores import Watched, memory
watched, libraries = Watched(), memory("VmHWM")
from pathlib import Path
from mm_kptm.experiment.build import build
from benchmarks.stores import settings
asked = settings(Path(sys.argv[1]), sys.argv[2])
imported = watched.cpu()
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
import json
print(json.dumps({"cpu_s": round(watched.cpu() - imported, 1), "wall_s": round(time.perf_counter() - began, 1),
                  "peak": memory("VmHWM"), "libraries": libraries, "own": memory("VmHWM") - libraries,
                  "anonymous": memory("RssAnon"), "mapped": memory("RssFile"), "builder_peak": watched.peak}))
"""


def memory(kind: str, process: int | str = "self") -> int:
    """One of the lines of ``/proc/PROCESS/status``, in MB; 0 where the process has ended."""
    try:
        lines = Path(f"/proc/{process}/status").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) // 1024 for line in lines if line.startswith(f"{kind}:")), 0)


class Watched:
    """What this process and those that it starts take.

    The processes are looked at while they run: what the system counts for ended ones has their parent's memory in it.
    """

    def __init__(self) -> None:
        self.peak = 0  #: of the largest of the other processes, in MB
        threading.Thread(target=self._watch, daemon=True).start()

    def cpu(self) -> float:
        """CPU seconds so far, those of ended processes included."""
        used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
        return sum(one.ru_utime + one.ru_stime for one in used)

    def _watch(self) -> None:
        while True:
            for listed in Path("/proc/self/task").glob("*/children"):
                for process in listed.read_text().split():
                    program = Path(f"/proc/{process}/cmdline")
                    if program.exists() and b"own_process" in program.read_bytes():
                        self.peak = max(self.peak, memory("VmHWM", int(process)))
            time.sleep(0.1)


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
    """CPU seconds and seconds behind the imports, and the memory of the process and its builder, in MB."""
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
