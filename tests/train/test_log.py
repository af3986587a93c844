"""What a run says: lines that are never doubled, and one line of progress."""

from __future__ import annotations

import io
import json

from mm_kptm.train.log import Log, Metrics, Progress


class Terminal(io.StringIO):
    def isatty(self):
        return True


def records(folder):
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def test_a_line_is_on_disk_as_soon_as_it_is_written(tmp_path):
    metrics = Metrics(tmp_path, after=0)
    metrics.write(1, "train", {"loss": 0.5})
    assert records(tmp_path) == [{"step": 1, "split": "train", "loss": 0.5}]
    metrics.close()


def test_a_resumed_run_drops_later_and_torn_lines(tmp_path):
    lines = [
        '{"step": 1, "loss": 1}',
        '{"step": 3, "loss": 2}',
        "nonsense",
        '{"step": 2, "loss": 3}',
        '{"step": 2, "lo',
    ]
    (tmp_path / "metrics.jsonl").write_text("\n".join(lines))
    metrics = Metrics(tmp_path, after=2)
    metrics.write(3, "train", {"loss": 4.0})
    metrics.close()
    assert [(record["step"], record["loss"]) for record in records(tmp_path)] == [(1, 1), (2, 3), (3, 4)]


def test_no_number_is_null(tmp_path):
    metrics = Metrics(tmp_path, after=0)
    metrics.write(1, "dev", {"accuracy": float("nan"), "n": 3})
    metrics.close()
    assert records(tmp_path) == [{"step": 1, "split": "dev", "accuracy": None, "n": 3}]


def test_without_a_terminal_progress_is_plain_lines_now_and_then(monkeypatch):
    now = [100.0]
    monkeypatch.setattr("mm_kptm.train.log.time.monotonic", lambda: now[0])
    stream = io.StringIO()
    progress = Progress("pretrain", steps=12, start=0, stream=stream)
    for step in range(1, 13):
        now[0] += 1
        if step == 4:
            progress.note(loss=1.25, rows_per_s=4000)
        progress.step()
    progress.close()
    assert stream.getvalue().splitlines() == [
        "pretrain 5/12, loss 1.25, 4,000 rows/s, about 7 s left",
        "pretrain 10/12, loss 1.25, 4,000 rows/s, about 2 s left",
        "pretrain 12/12, loss 1.25, 4,000 rows/s, done in 12 s",
    ]


def test_a_resumed_run_estimates_from_its_own_steps(monkeypatch):
    now = [0.0]
    monkeypatch.setattr("mm_kptm.train.log.time.monotonic", lambda: now[0])
    stream = io.StringIO()
    progress = Progress("train", steps=100, start=90, stream=stream)
    now[0] = 6
    progress.step()
    assert stream.getvalue() == "train 91/100, about 54 s left\n"


def test_on_a_terminal_progress_is_one_live_line():
    stream = Terminal()
    progress = Progress("train", steps=3, start=1, stream=stream)
    progress.note(loss=0.5, rows_per_s=1234)
    progress.step()
    progress.step()
    progress.close()
    shown = stream.getvalue()
    assert shown.count("\n") == 1 and "3/3" in shown and "loss 0.5, 1,234 rows/s" in shown


def test_only_the_first_process_speaks(tmp_path, capfd):
    with Log(tmp_path, label="train", steps=1, start=0, speaking=False, progress=True) as log:
        log.measures(1, "train", {"loss": 1.0, "rows_per_s": 3})
        log.step()
    assert not list(tmp_path.iterdir())
    assert capfd.readouterr() == ("", "")


def test_progress_never_goes_to_standard_output(tmp_path, capfd):
    with Log(tmp_path, label="train", steps=1, start=0, speaking=True, progress=True) as log:
        log.measures(1, "train", {"loss": 1.0, "rows_per_s": 3})
        log.step()
    out, err = capfd.readouterr()
    assert out == "" and err.startswith("train 1/1, loss 1, 3 rows/s")
    assert list((tmp_path / "events").iterdir())
