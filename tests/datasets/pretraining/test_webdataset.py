"""Pictures with texts in tars and tables: the same examples from every kind of file, and no broken one is fatal."""

from __future__ import annotations

import io
import json
import tarfile

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
import webdataset
from PIL import Image

from mm_kptm import cli
from mm_kptm.data.formats.image_text import open_shards
from mm_kptm.data.sampler import Sampler, seeded, share
from mm_kptm.data.tokenizers.opening import open_tokenizer
from mm_kptm.data.tokenizers.protocol import BERT_SPECIALS
from mm_kptm.datasets.pretraining.webdataset import ImageTextSource
from mm_kptm.errors import UserError
from mm_kptm.preprocessing.text import TextEncoding
from mm_kptm.train.loading import prefetch
from mm_kptm.vision.contrastive.preparation import ImagePreparation

COLOURS = ("red", "green", "blue", "black", "white", "grey", "brown")


def encoded(number, kind="PNG"):
    file = io.BytesIO()
    Image.new("RGB", (6, 5), (number * 30, 0, 200 - number)).save(file, kind)
    return file.getvalue()


def add(tar, name, content):
    member = tarfile.TarInfo(name)
    member.size = len(content)
    tar.addfile(member, io.BytesIO(content))


def write(folder, kind):
    """Seven pictures with texts, in two files of a kind; the pattern that names them."""
    examples = [(f"{number:03d}", encoded(number), f"a {colour} wall") for number, colour in enumerate(COLOURS)]
    for part, some in enumerate((examples[:4], examples[4:])):
        path = folder / f"part-{part}.{kind}"
        if kind == "tar":
            with webdataset.TarWriter(str(path)) as writer:
                for key, picture, text in some:
                    writer.write({"__key__": key, "png": picture, "txt": text})
        elif kind == "parquet":
            images = [{"bytes": picture, "path": None} for _, picture, _ in some]
            pq.write_table(pa.table({"image": images, "text": [text for *_, text in some]}), path, row_group_size=3)
        else:
            for key, picture, _ in some:
                (folder / f"{key}.png").write_bytes(picture)
            rows = [{"image": f"{key}.png", "caption": text} for key, _, text in some]
            tab = {"csv": ",", "tsv": "\t"}.get(kind)
            lines = [json.dumps(row) for row in rows] if tab is None else [tab.join(row.values()) for row in rows]
            path.write_text("\n".join([*([] if tab is None else [tab.join(rows[0])]), *lines]) + "\n")
    return folder / f"part-*.{kind}"


KINDS = ("tar", "parquet", "csv", "tsv", "jsonl")


@pytest.fixture
def encoding(tmp_path):
    words = sorted({word for text in (*COLOURS, "a wall") for word in text.split()})
    (tmp_path / "vocab.txt").write_text("\n".join([*BERT_SPECIALS, *words]))
    return TextEncoding(open_tokenizer(tmp_path / "vocab.txt"), 16)


def source(shards, encoding):
    return ImageTextSource(shards, encoding, ImagePreparation(4))


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_file_holds_the_same_examples(tmp_path, kind):
    shards = open_shards(write(tmp_path, kind))
    assert len(shards) == 7
    order = [6, 0, 3, 4, 1, 5, 2]  # any order, across the files
    assert [shards.caption(index).text for index in order] == [f"a {COLOURS[index]} wall" for index in order]
    assert [shards.picture(index)[0] for index in order] == [encoded(index) for index in order]


def test_a_tar_is_read_as_the_webdataset_library_reads_it(tmp_path):
    path = tmp_path / "odd.tar"
    with tarfile.open(path, "w") as tar:
        add(tar, "a/one.jpg", b"1")
        add(tar, "a/one.txt", b"first")
        add(tar, "b/one.seg.png", b"mask")
        add(tar, "b/one.PNG", b"2")
        add(tar, "b/one.json", b'{"caption": "second", "width": 3}')
        add(tar, "b/alone.png", b"no text")
        add(tar, "two.cls", b"7")
    found = {example["__key__"]: example for example in webdataset.WebDataset(str(path), shardshuffle=False)}
    (shard,) = open_shards(path).shards
    keys = [shard.caption(index).id for index in range(len(shard))]
    assert keys == [key for key in found if {"jpg", "png"} & found[key].keys() and {"txt", "json"} & found[key].keys()]
    for index, key in enumerate(keys):
        assert shard.picture(index)[0] == (found[key].get("jpg") or found[key].get("png"))
    assert [shard.caption(index).text for index in range(2)] == ["first", "second"]


@pytest.mark.parametrize("kind", ["tar", "parquet", "csv"])
def test_a_corrupt_picture_is_skipped_and_counted_in_every_worker(tmp_path, encoding, kind):
    write(tmp_path, kind)
    if kind == "tar":
        path = tmp_path / "part-0.tar"
        path.write_bytes(path.read_bytes().replace(encoded(1), b"x" * len(encoded(1))))
    elif kind == "parquet":
        table = {"image": [encoded(0), b"none", encoded(2), encoded(3)], "text": ["a wall"] * 4}
        pq.write_table(pa.table(table), tmp_path / "part-0.parquet")
    else:
        (tmp_path / "001.png").unlink()
    pairs = source(open_shards(tmp_path / f"part-*.{kind}"), encoding)
    with pytest.warns(match="skipped, as all examples that cannot be read: .*(001|1 in)"):
        batch = pairs.batch([0, 1, 2], seeded(0))
    assert (len(batch.text.layout), len(batch.images.pixels), pairs.skipped) == (3, 3, 1)
    instead = pairs.batch([2], seeded(0))
    assert torch.equal(batch.images.pixels[1], instead.images.pixels[0]), "the next readable example stands in"
    again = source(pairs.shards, encoding)
    batches = prefetch(lambda order: again.batch(order, seeded(0)), [(0, 1), (1,), (2, 3)], num_workers=2)
    sizes = [len(batch.images.pixels) for _, batch in batches]
    assert sizes == [2, 1, 2], "batches keep their size"
    assert again.skipped == 1
    skips = again.skips()
    missing = kind == "csv"
    assert skips.reasons == {
        "cannot be read: No such file or directory" if missing else "is no picture of a known kind": 1
    }
    assert "001" in skips.first or "1 in" in skips.first
    assert str(skips).endswith(f"(1); the first is {skips.first}") and len(skips) == 1


def test_a_hundred_unreadable_pictures_in_a_row_are_no_data(tmp_path, encoding):
    with tarfile.open(tmp_path / "x.tar", "w") as tar:
        for number in range(120):
            add(tar, f"{number}.png", b"none")
            add(tar, f"{number}.txt", b"a wall")
    pairs = source(open_shards(tmp_path / "x.tar"), encoding)
    with pytest.warns(), pytest.raises(UserError, match=r"100 examples in a row, from number 3 on, have no readable"):
        pairs.batch([3], seeded(0))


def test_processes_read_disjoint_parts_and_go_on_where_they_stopped(tmp_path, encoding):
    pairs = source(open_shards(write(tmp_path, "tar")), encoding)

    def orders(sampler, batches):
        found = []
        for draw, _ in zip(sampler, range(batches), strict=False):
            found.append(draw)
            sampler.advance(draw)
        return found

    lengths = [pairs.length(index) for index in range(len(pairs))]
    whole = orders(Sampler(lengths, batch_size=3, seed=4), 9)
    first = Sampler(lengths, batch_size=3, seed=4)
    head = orders(first, 4)
    resumed = Sampler(lengths, batch_size=3, seed=4)
    resumed.load_state_dict(first.state_dict())
    assert head + orders(resumed, 5) == whole
    for draw in whole:
        for processes in (2, 3):
            parts = [share(draw.indices, part, processes) for part in range(processes)]
            assert sorted(one for part in parts for one in part) == sorted(draw.indices), (
                "every example once, in one process"
            )
    one, other = (pairs.batch(draw.indices, seeded(1)) for draw in (whole[0], whole[0]))
    assert torch.equal(one.images.pixels, other.images.pixels) and torch.equal(one.text.ids, other.text.ids)


def truncated(folder):
    path = folder / "part-1.tar"
    path.write_bytes(path.read_bytes()[:2600])


def zipped(folder):
    with tarfile.open(folder / "part-2.tar.gz", "w:gz") as tar:
        add(tar, "a.txt", b"")


def holding(name, content):
    """A way to spoil a folder: a file of that content."""
    return lambda folder: (folder / name).write_bytes(content)


def other_columns(folder):
    pq.write_table(pa.table({"jpg": [b""], "says": ["x"]}), folder / "x.parquet")


@pytest.mark.parametrize(
    ("spoil", "pattern", "message"),
    [
        (truncated, "part-*.tar", r"part-1.tar is cut short at 00\d.(png|txt); copy it again, or leave it out"),
        (zipped, "part-*.gz", r"part-2.tar.gz cannot be read as a tar: unpack it to a plain .tar"),
        (holding("x.tar", b"words"), "x.tar", r"x.tar cannot be read as a tar: it is no"),
        (holding("x.tar", b""), "x.tar", r"x.tar cannot be read as a tar: it is no"),
        (holding("x.zip", b""), "none-*.tar", r"no file fits .*none-\*"),
        (holding("x.zip", b""), "part-{0..2}.tar", r"part-2.tar was to be read, but there is no such file"),
        (holding("x.zip", b""), "x.zip", r"x.zip is no file of pictures with texts; .tar, "),
        (
            other_columns,
            "x.parquet",
            r"has no column of texts by a usual name \(text, .*\); it has jpg, says; n",
        ),
        (holding("x.parquet", b"words"), "x.parquet", r"cannot be read as Parquet"),
        (holding("x.csv", b"image,text\n"), "x.csv", r"and no row behind it"),
        (holding("x.csv", b"image,text\na.png\n"), "x.csv", r"x.csv, line 2: a row has no"),
        (holding("x.jsonl", b'{"a": 1}\n'), "x.jsonl", r"x.jsonl, line 1 has no column"),
    ],
)
def test_a_file_that_cannot_be_read_is_named(tmp_path, spoil, pattern, message):
    write(tmp_path, "tar")
    spoil(tmp_path)
    with pytest.raises(UserError, match=message):
        open_shards(tmp_path / pattern)


def test_a_name_that_leads_out_of_the_folder_is_not_read(tmp_path, encoding):
    (tmp_path / "in").mkdir()
    (tmp_path / "secret.png").write_bytes(encoded(1))
    (tmp_path / "in/x.csv").write_text("image,text\n../secret.png,a wall\n")
    with pytest.raises(UserError, match=r"picture name '../secret.png' leads out of"):
        open_shards(tmp_path / "in/x.csv").picture(0)


EXPERIMENT = """
name: {name}
data: {{name: image-text-files, train: "{folder}/part-{{0..1}}.tar", vocabulary: "{folder}/vocab.txt", image_size: 8}}
encoder:
  recipe: dual-tower
  sizes: {{embed_dim: 8, image: {image}, text: {text}}}
objectives: {{image-text-contrastive: 1.0}}
train:
  {{steps: {steps}, schedule: constant, warmup: 0.0, batch_size: 3, save_every: 2, seed: 5, num_workers: {workers}}}
"""


def losses(folder):
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [row["loss"] for row in rows if "loss" in row]


def test_two_towers_train_on_tars_and_a_stopped_run_goes_on_exactly(tmp_path, monkeypatch, encoding):
    monkeypatch.chdir(tmp_path)
    write(tmp_path, "tar")
    image = "{layers: 1, width: 8, head_width: 4, patch_size: 4, mlp_ratio: 2.0}"
    text = "{recipe: bert-base, num_layers: 1, dim: 8, num_heads: 2, ffn_dim: 16, max_positions: 80}"

    def run(name, steps, workers, *more):
        settings = {"folder": tmp_path, "image": image, "text": text, "steps": steps, "workers": workers}
        (tmp_path / "x.yaml").write_text(EXPERIMENT.format(name=name, **settings))
        assert cli.main(["train", "x.yaml", "--train.log_every=1", *more]) == 0
        return losses(tmp_path / "runs" / name)

    whole = run("whole", 6, 0)
    assert len(whole) == 6 and np.isfinite(whole).all()
    run("stopped", 3, 1)
    assert run("stopped", 6, 1, "--resume") == whole


def test_pictures_of_tars_are_ranked_and_a_corrupt_one_is_counted(tmp_path, monkeypatch, encoding, capsys):
    """Training skips it and says so at the end; retrieval searches the six others."""
    monkeypatch.chdir(tmp_path)
    write(tmp_path, "tar")
    with tarfile.open(tmp_path / "part-0.tar", "a") as tar:
        add(tar, "099.png", b"no picture")
        add(tar, "099.txt", b"a wall")
    settings = {
        "name": "ranked",
        "folder": tmp_path,
        "image": "{layers: 1, width: 8, head_width: 4, patch_size: 4, mlp_ratio: 2.0}",
        "text": "{recipe: bert-base, num_layers: 1, dim: 8, num_heads: 2, ffn_dim: 16, max_positions: 80}",
        "steps": 3,
        "workers": 0,
    }
    text = EXPERIMENT.format(**settings).replace("objectives: {image-text-contrastive: 1.0}", "")
    (tmp_path / "x.yaml").write_text(f"task: contrastive-retrieval\n{text}")
    assert cli.main(["train", "x.yaml", f"--data.test={tmp_path}/part-*.tar"]) == 0
    assert "1 example of train was skipped: is no picture of a known kind (1); the first is " in capsys.readouterr().err
    assert cli.main(["evaluate", "runs/ranked", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["left_out_by_reason"] == {"is no picture of a known kind": 1}
    assert found["left_out"] == 1 and 0 <= found["text-to-image-recall@10"] <= 1
    rows = [json.loads(one) for one in (tmp_path / "runs/ranked/predictions/test.jsonl").read_text().splitlines()]
    assert len(rows) == 14, "seven captions and seven pictures"


@pytest.mark.parametrize(
    ("spoil", "train", "message"),
    [
        (truncated, "part-{0..1}.tar", "part-1.tar is cut short at 00"),
        (other_columns, "x.parquet", "has no column of texts by a usual name"),
    ],
)
def test_a_bad_file_ends_a_command_with_one_sentence(tmp_path, monkeypatch, encoding, capsys, spoil, train, message):
    monkeypatch.chdir(tmp_path)
    write(tmp_path, "tar")
    spoil(tmp_path)
    settings = {
        "name": "x",
        "folder": tmp_path,
        "image": "{patch_size: 4}",
        "text": "{recipe: bert-base}",
        "steps": 1,
        "workers": 0,
    }
    (tmp_path / "x.yaml").write_text(EXPERIMENT.format(**settings))
    assert cli.main(["train", "x.yaml", f"--data.train={tmp_path / train}"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("mm-kptm: ") and message in line
