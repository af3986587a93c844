"""A malformed file is named with its line or place and its key."""

import json

import pytest

from mm_kptm.errors import UserError
from mm_kptm.report import read_comparison, read_gallery, read_run

EXAMPLE = {
    "id": 7,
    "image": "data:image/png;base64,AAAA",
    "width": 4,
    "height": 4,
    "question": "how many?",
    "answer": "2",
    "target": "2",
    "correct": True,
}


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        (
            "metrics.jsonl",
            '{"step": 1, "split": "dev"}\n{"step": 2,',
            "line 2, column 12: no valid JSON",
        ),
        (
            "metrics.jsonl",
            '\n{"step": -1, "split": "dev"}',
            "line 2: 'step' must be a whole number of 0 or more, but it is -1",
        ),
        ("metrics.jsonl", '{"step": 1}', "line 1 has no 'split'; it has step"),
        ("metrics.jsonl", "[1]", r"line 1 must be an object, but it is \[1\]"),
        (
            "metrics.jsonl",
            '{"step": "x", "split": "dev"}',
            "'step' must be a whole number of 0 or more, but",
        ),
        ("metrics.jsonl", '{"step": 1, "split": {}}', "'split' must be a text, but it is {}"),
        (
            "predictions/test.jsonl",
            '{"id": 1, "correct": 81}',
            "line 1: 'correct' must be a number between 0 and 1, but it is 81",
        ),
        (
            "predictions/test.jsonl",
            '{"id": 1, "correct": 1}\n{"id": 1, "correct": 0}',
            "test.jsonl, line 2: the id '1' was predicted before in this file; ids must differ",
        ),
        (
            "predictions/test.jsonl",
            "\n",
            "test.jsonl holds no prediction; write one JSON object a line, or remove the file",
        ),
        (
            "baselines.json",
            '{"test": {"chance": 3}}',
            "test: 'chance' must be a number between 0 and 1",
        ),
        ("baselines.json", '{"test": 0.1}', "baselines.json, test must be an object, but it is 0.1"),
        ("config.yaml", "a: 1\nb: [", "config.yaml, line 2: this is not YAML"),
        ("config.yaml", "- 1", r"config.yaml must be an object, but it is \[1\]"),
        ("examples/test.json", "{}", "test.json: a gallery is a list of examples; this file holds something else"),
    ],
)
def test_a_malformed_run_file_is_named(run_folder, name, content, message):
    (run_folder / name).write_text(content)
    with pytest.raises(UserError, match=message):
        read_run(run_folder)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"image": "http://elsewhere/x.png"}, "example 0: 'image' must be a PNG or JPEG data address .* found 'http://else"),
        ({"image": 'data:image/png;base64,AA"onload="x'}, "'image' must be a PNG or JPEG data address"),
        ({"boxes": [{"xyxy": [0, 0, 20, 20]}]}, r"example 0, boxes\[0\]: 'xyxy' must be left, top"),
        ({"boxes": [{"xyxy": [0.9, 0, 0.1, 1]}]}, "'xyxy' must be left, top, right and bottom"),
        ({"boxes": 3}, "example 0: 'boxes' must be a list, but it is 3"),
        ({"facts": [{"subject": 27, "relation": "owner", "object": "Mo", "used": 1}]}, "'used' must be true or false"),
        ({"tokens": [{"text": "a", "attention": 2}]}, r"tokens\[0\]: 'attention' must be a number between 0 and 1"),
        ({"question": None}, "example 0: 'question' must be a text, but it is null"),
    ],
)  # fmt: skip
def test_a_malformed_example_is_named(tmp_path, change, message):
    path = tmp_path / "test.json"
    path.write_text(json.dumps([EXAMPLE | change]))
    with pytest.raises(UserError, match=message):
        read_gallery(path)


ROW = {"arm": "a", "metric": "accuracy", "value": 0.5, "low": 0.4, "high": 0.6}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"value": 50}, r"tables\[0\], rows\[0\]: 'value' is 50; shares and their differences lie between -1 and 1"),
        ({"value": 0.7}, "the value 0.7 must lie between 'low' 0.4 and 'high' 0.6"),
        ({"high": None}, "the value 0.5 must lie between 'low' 0.4 and 'high' None"),
    ],
)
def test_a_malformed_arm_is_named(tmp_path, change, message):
    table = {"title": "t", "rows": [ROW | change]}
    (tmp_path / "arms.json").write_text(json.dumps({"title": "t", "tier": "tiny", "seeds": 1, "tables": [table]}))
    with pytest.raises(UserError, match=message):
        read_comparison(tmp_path)


def test_runs_of_a_comparison_are_names(tmp_path):
    (tmp_path / "arms.json").write_text(json.dumps({"title": "t", "tier": "tiny", "seeds": 1, "runs": [3]}))
    with pytest.raises(UserError, match="'runs' must be a list of folder names, found 3"):
        read_comparison(tmp_path)


def test_a_broken_json_file_is_named_with_its_line(tmp_path):
    (tmp_path / "test.json").write_text("[\n1,\n")
    with pytest.raises(UserError, match=r"test.json, line 3, column 1: no valid JSON"):
        read_gallery(tmp_path / "test.json")
