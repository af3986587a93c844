"""One data set in every file it may come in is the same examples."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import ipc, parquet

from mm_kptm.data.formats import jsonl as own
from mm_kptm.data.formats import tables
from mm_kptm.data.formats.tables import TableColumns
from mm_kptm.data.formats.uer_tsv import ClassifiedText
from mm_kptm.data.tokenizers.protocol import BERT_SPECIALS
from mm_kptm.datasets.custom import OwnTexts
from mm_kptm.errors import UserError
from mm_kptm.experiment.build import build
from mm_kptm.experiment.settings import EncoderSettings, Experiment

ROWS = [{"sentence": 'a "b", c', "y": 1, "idx": 0}, {"sentence": "d\u2028é", "y": 0, "idx": 1}]
NAMED = TableColumns({"text": "sentence", "label": "y"}, ("negative", "positive"))
EXPECTED = (
    ClassifiedText("1", ('a "b", c',), "positive"),
    ClassifiedText("2", ("d\u2028é",), "negative"),
)
FEATURES = {"y": {"names": ["negative", "positive"], "_type": "ClassLabel"}, "sentence": {"dtype": "string"}}


def arrow(*, named: bool = False, rows: list[dict[str, object]] = ROWS) -> pa.Table:
    table = pa.Table.from_pylist(rows)
    written = {"huggingface": json.dumps({"info": {"features": FEATURES}})}
    return table.replace_schema_metadata(written) if named else table


def write(path: Path, table: pa.Table | None = None) -> Path:
    table = arrow() if table is None else table
    lines = "".join(json.dumps(row) + "\n" for row in ROWS)
    match path.suffix:
        case ".parquet":
            parquet.write_table(table, path)
        case ".arrow":
            with ipc.new_stream(str(path), table.schema) as stream:
                stream.write_table(table)
        case ".feather":
            with ipc.new_file(str(path), table.schema) as file:
                file.write_table(table)
        case ".json":
            path.write_text(json.dumps(ROWS))
        case ".csv":
            path.write_text('\ufeffsentence,y,idx\r\n"a ""b"", c",1,0\r\n\r\nd\u2028é,0,1\r\n')
        case ".tsv":
            path.write_text('sentence\ty\tidx\na "b", c\t1\t0\nd\u2028é\t0\t1\n')
        case ".gz":
            path.write_bytes(gzip.compress(lines.encode()))
        case _:
            path.write_text(lines)
    return path


@pytest.mark.parametrize(
    "name",
    ["x.jsonl", "x.json", "x.csv", "x.TSV".lower(), "x.parquet", "x.arrow", "x.feather", "x.jsonl.gz", "x.txt"],
)
def test_columns_and_names_of_labels_in_every_file(name: str, tmp_path: Path) -> None:
    assert own.read_classification(write(tmp_path / name), NAMED) == EXPECTED


def test_lines_of_json_may_be_called_json(tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    assert own.read_classification(tmp_path / "x.json", NAMED) == EXPECTED


@pytest.mark.parametrize("ending", ["parquet", "arrow", "feather"])
def test_names_that_the_file_has_need_no_settings(ending: str, tmp_path: Path) -> None:
    path = write(tmp_path / f"x.{ending}", arrow(named=True))
    assert own.read_classification(path, TableColumns(NAMED.columns)) == EXPECTED
    silent = write(tmp_path / f"y.{ending}", arrow(named=True, rows=[{**row, "y": -1} for row in ROWS]))
    assert [one.label for one in own.read_classification(silent, TableColumns(NAMED.columns))] == [None, None]
    plain = own.read_classification(write(tmp_path / f"z.{ending}"), TableColumns(NAMED.columns))
    assert [one.label for one in plain] == ["1", "0"]


def test_a_folder_of_shards_is_one_split(tmp_path: Path) -> None:
    for number, row in enumerate(ROWS):
        write(tmp_path / f"data-{number}.arrow", arrow(named=True, rows=[row]))
    assert own.read_classification(tmp_path, NAMED) == EXPECTED
    listed = [{"filename": f"data-{number}.arrow"} for number in (1, 0)]
    (tmp_path / "state.json").write_text(json.dumps({"_data_files": listed}))
    assert [one.label for one in own.read_classification(tmp_path, NAMED)] == ["negative", "positive"]


def test_lists_in_cells_and_in_arrow(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text(
        'words,tags,mention\na b,O B-X,\n"[""a"", ""b""]",[0 1],\n'.replace(",mention", "")
        .replace(",\n", "\n")
        .replace("[0 1]", '"[0, 1]"')
    )
    tagged = own.read_named_entities(tmp_path / "x.csv", TableColumns(label_names=("O", "B-X")))
    assert [one.tags for one in tagged] == [("O", "B-X"), ("O", "B-X")] and tagged[0].words == ("a", "b")
    boxes = pa.array([[0.1, 0.2, 0.3, 0.4]], pa.list_(pa.float32()))
    parquet.write_table(pa.table({"image": ["i"], "text": ["a"], "box": boxes}), tmp_path / "b.parquet")
    (pointed,) = own.read_grounding(tmp_path / "b.parquet")
    assert pointed.box == pytest.approx(np.float32([0.1, 0.2, 0.3, 0.4]))
    (tmp_path / "v.tsv").write_text("image\tquestion\tanswers\ni\tq\tred\n")
    assert own.read_vqa(tmp_path / "v.tsv")[0].answers == ("red",)


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (TableColumns(), r"x.parquet, row 1 has the unknown key 'sentence'.*; .* name them in data.columns"),
        (
            TableColumns({"text": "text"}),
            r"row 1 has no column 'text', which data.columns names for 'text'; it has sent",
        ),
        (
            TableColumns({"txt": "sentence"}),
            r"data.columns names a column for 'txt', but examples have text, pair, label",
        ),
        (TableColumns(NAMED.columns, ("one",)), r"row 1: 'y' is 1, but the label names are 1, for 0 to 0"),
    ],
)
def test_what_fits_no_schema_is_refused(table: TableColumns, message: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=message):
        own.read_classification(write(tmp_path / "x.parquet"), table)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("x.parquet", b"PAR1 and nothing", "x.parquet is no whole Parquet or Arrow file"),
        ("x.csv", b"sentence,y\na\n", "x.csv, line 2 has 1 cells, but the first line names 2: sentence, y"),
        ("x.csv", b'sentence,y\n"a,1\n', "x.csv, line 2 is no CSV"),
        ("x.csv", b"sentence,sentence\na,1\n", "x.csv, line 1 must name the columns, each once"),
        ("x.csv", b"sentence,y\n", "x.csv holds no example; at least one was expected"),
        ("x.csv", "sentence,y\ncafé,1\n".encode("latin-1"), "x.csv, line 2 is not UTF-8"),
        ("x.csv", b"sentence,y\na\0b,1\n", "x.csv, line 2 holds a NUL byte, which no text has; remove it, or fetch"),
    ],
)
def test_a_malformed_file_is_named(name: str, content: bytes, message: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=message):
        own.read_classification(tmp_path / name, NAMED)


def test_an_experiment_reads_them(tmp_path: Path) -> None:
    (tmp_path / "vocab.txt").write_text("\n".join([*BERT_SPECIALS, "a", "d"]) + "\n")
    data = OwnTexts(
        name="custom-text",
        train=write(tmp_path / "train.parquet", arrow(named=True)),
        dev=write(tmp_path / "dev.csv"),
        vocabulary=tmp_path / "vocab.txt",
        columns={"text": "sentence", "label": "y"},
        label_names=("negative", "positive"),
    )
    sizes = {"num_layers": 1, "dim": 8, "num_heads": 2, "ffn_dim": 8}
    built = build(Experiment("x", EncoderSettings("bert-base", sizes=sizes), data, "sentence-classification"))
    assert built.task is not None and built.task.labels == ("negative", "positive")
    assert [about.target for about in built.source("dev").about] == ["positive", "negative"]


def test_arrow_is_read_some_rows_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tables, "_ROWS", 2)
    table = pa.table({"image": [f"i{number}" for number in range(5)], "captions": ["a", "b", "c", "d", "e"]})
    for name in ("x.parquet", "x.arrow", "x.feather"):
        write(tmp_path / name, table)
        rows = tables.each_record_of(tmp_path / name, ("image", "captions"))
        first = next(rows)
        assert first.values == {"image": "i0", "captions": ["a"]} and first.place == f"{tmp_path / name}, row 1"
        assert [row.place.rpartition(" ")[2] for row in rows] == ["2", "3", "4", "5"]
        assert own.read_retrieval(tmp_path / name)[4].captions == (("5-0", "e"),)
