"""Training does what the settings say, and the way it is computed does not change the weights."""

from __future__ import annotations

import json

import pytest
import torch

from mm_kptm.errors import UserError
from mm_kptm.train import Checkpoints, TrainSettings, evaluate, fit, read_weights
from mm_kptm.train.optim import lr_at
from tests.train.toy import Followed, Line, PointSource

SHORT = {"steps": 12, "batch_size": 8, "lr": 0.01, "log_every": 4}


def run(folder, *, model=None, source=None, dev=None, resume=False, **settings):
    model = model or Line()
    splits = {} if dev is None else {"dev": dev}
    fitted = fit(
        model,
        source or PointSource(60),
        TrainSettings(**{**SHORT, **settings}),
        folder,
        evaluate=splits,
        resume=resume,
        progress=False,
    )
    return model, fitted


def records(folder, split):
    lines = (folder / "metrics.jsonl").read_text().splitlines()
    return [record for record in map(json.loads, lines) if record["split"] == split]


def same(one, other, **tolerance):
    torch.testing.assert_close(one.state_dict(), other.state_dict(), **(tolerance or {"rtol": 0, "atol": 0}))


def test_a_model_learns(tmp_path):
    before = evaluate(Line(), PointSource(60)).means["error"]
    _, fitted = run(tmp_path, dev=PointSource(60, shake=0.0), steps=300)
    assert fitted.evaluations["dev"].means["error"] < 0.5 * before


def test_a_run_leaves_its_folder(tmp_path):
    model, fitted = run(tmp_path, dev=PointSource(9), eval_every=5, save_every=5, warmup=0.5)
    assert [record["step"] for record in records(tmp_path, "train")] == [4, 8, 12]
    settings = TrainSettings(**SHORT, warmup=0.5)
    assert [record["lr"] for record in records(tmp_path, "train")] == [lr_at(step, settings) for step in (4, 8, 12)]
    assert [record["step"] for record in records(tmp_path, "dev")] == [5, 10, 12]
    assert records(tmp_path, "dev")[-1] == {"step": 12, "split": "dev", **fitted.evaluations["dev"].means, "n": 9}
    assert fitted.checkpoint.name == "step-00000012"
    torch.testing.assert_close(read_weights(fitted.checkpoint / "model.safetensors"), dict(model.state_dict()))
    assert json.loads((tmp_path / "environment.json").read_text())["seed"] == 0


def test_the_logged_loss_is_the_mean_since_the_last_line(tmp_path):
    run(tmp_path / "each", log_every=1)
    run(tmp_path / "four", log_every=4)
    each = [record["loss"] for record in records(tmp_path / "each", "train")]
    four = [record["loss"] for record in records(tmp_path / "four", "train")]
    assert four == pytest.approx([sum(each[i : i + 4]) / 4 for i in (0, 4, 8)])


@pytest.mark.parametrize(
    "other",
    [
        {"dev": PointSource(9), "eval_every": 3},
        {"save_every": 2, "log_every": 1},
        {"num_workers": 2},
    ],
    ids=["evaluating", "saving", "workers"],
)
def test_looking_at_a_run_does_not_change_it(tmp_path, other):
    one, _ = run(tmp_path / "one")
    two, _ = run(tmp_path / "two", **other)
    same(one, two)


def test_the_seed_decides(tmp_path):
    one, _ = run(tmp_path / "one", seed=1)
    torch.manual_seed(99)
    two, _ = run(tmp_path / "two", seed=1)
    three, _ = run(tmp_path / "three", seed=2)
    same(one, two)
    assert not torch.equal(one.last.weight, three.last.weight)


def test_the_random_state_of_the_caller_is_left_alone(tmp_path):
    model = Line()
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    run(tmp_path, model=model)
    assert torch.equal(torch.rand(3), expected)


def test_a_step_leaves_nothing_behind_for_devices_that_are_absent(tmp_path):
    """Seeding through ``torch.manual_seed`` would queue a call with its stack trace at every step."""
    before = len(torch.cuda._queued_calls)
    run(tmp_path)
    assert len(torch.cuda._queued_calls) == before


def test_accumulated_parts_give_the_gradient_of_the_whole(tmp_path):
    """Also where the parts are uneven and where a batch has fewer examples than parts."""
    for accumulate in (3, 20):
        whole, _ = run(tmp_path / f"whole{accumulate}", model=Line(dropout=0.0), source=PointSource(60, shake=0.0))
        parts, _ = run(
            tmp_path / f"parts{accumulate}",
            model=Line(dropout=0.0),
            source=PointSource(60, shake=0.0),
            gradient_accumulation_steps=accumulate,
        )
        same(whole, parts, rtol=1e-4, atol=1e-5)
        one, other = (records(tmp_path / f"{kind}{accumulate}", "train")[-1] for kind in ("whole", "parts"))
        assert one["loss"] == pytest.approx(other["loss"], rel=1e-4)


def test_no_clipping_still_measures_the_gradient(tmp_path):
    clipped, _ = run(tmp_path / "clipped", max_grad_norm=1e-3, optimizer="bert-adam", eps=1.0)
    free, _ = run(tmp_path / "free", max_grad_norm=None, optimizer="bert-adam", eps=1.0)
    assert not torch.equal(clipped.last.weight, free.last.weight)
    assert records(tmp_path / "free", "train")[0]["grad_norm"] > 1e-3


def test_precision_is_chosen_run_by_run(tmp_path):
    full, _ = run(tmp_path / "full")
    half, _ = run(tmp_path / "half", precision="bf16")
    again, _ = run(tmp_path / "again")
    same(full, again)
    assert not torch.equal(full.last.weight, half.last.weight)
    same(full, half, rtol=0.2, atol=0.05)


def test_batches_of_rows_are_trained_on(tmp_path):
    seen = []

    class Source(PointSource):
        def batch(self, indices, generator):
            seen.append(sum(self.length(i) for i in indices))
            return super().batch(indices, generator)

    run(tmp_path, source=Source(60), max_tokens=20)
    assert len(seen) == 12 and max(seen) <= 20


def test_a_loss_that_is_not_finite_names_step_and_examples(tmp_path):
    with pytest.raises(UserError, match=r"the loss is nan at step \d+ on examples .*\b17\b.* train.lr below 0.01$"):
        run(tmp_path, source=PointSource(60, poison=17), steps=8, save_every=1)
    checkpoint = Checkpoints(tmp_path).find("latest")
    if checkpoint is not None:
        weights = read_weights(checkpoint / "model.safetensors")
        assert all(tensor.isfinite().all() for tensor in weights.values())


def test_the_part_that_is_not_finite_is_singled_out(tmp_path):
    with pytest.raises(UserError, match=r"the loss is nan at step \d+ on examples 17; look"):
        run(tmp_path, source=PointSource(60, poison=17), gradient_accumulation_steps=8, steps=8)


def test_a_gradient_that_is_not_finite_stops_too(tmp_path):
    class Root(Line):
        def loss(self, batch):
            return (super().loss(batch) * 0).sqrt()  # zero, with an infinite slope

    with pytest.raises(UserError, match=r"the gradient has norm nan at step 1 on examples .* and \d+ more; look"):
        run(tmp_path, model=Root(), batch_size=16)


def test_the_best_checkpoint_is_kept_beside_the_last(tmp_path):
    _, fitted = run(
        tmp_path,
        dev=PointSource(9),
        steps=40,
        lr=0.3,
        schedule="constant",
        eval_every=1,
        keep_last=1,
        monitor="dev/closeness",
    )
    best = max(records(tmp_path, "dev"), key=lambda record: record["closeness"])
    assert fitted.best.name == f"step-{best['step']:08d}"
    assert fitted.checkpoint.name == "step-00000040" != fitted.best.name
    assert len(list((tmp_path / "checkpoints").glob("step-*"))) == 2


def test_a_score_that_is_no_number_ends_the_run_and_is_never_the_best(tmp_path):
    class Shy(Line):
        calls = 0

        def measure(self, batch):
            self.calls += 1
            third = self.calls == 4  # before the first step it is only looked whether there is such a measure
            return {"score": torch.full((len(batch),), torch.nan if third else float(self.calls))}

    with pytest.raises(UserError, match="the score is nan on examples 0, 1, 2, 3, 4"):
        run(tmp_path, model=Shy(), dev=PointSource(5), steps=3, eval_every=1, monitor="dev/score")
    assert Checkpoints(tmp_path).named("best").name == "step-00000002"


def test_the_end_of_a_run_says_which_weights_the_model_has(tmp_path, capsys):
    class Falling(Line):
        def measure(self, batch):
            self.calls = getattr(self, "calls", 0) + 1
            return {"score": torch.full((len(batch),), -float(self.calls))}

    settings = TrainSettings(**{**SHORT, "steps": 3}, eval_every=1, monitor="dev/score")
    fit(Falling(), PointSource(60), settings, tmp_path, evaluate={"dev": PointSource(5)}, label="run")
    assert "best dev/score -2 at step 1; the weights of the model are those of step 3\n" in capsys.readouterr().err


def test_a_best_that_nothing_measures_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"train.monitor is test/error, but no split 'test' is evaluated; .* are: dev"):
        run(tmp_path, dev=PointSource(9), monitor="test/error")
    with pytest.raises(UserError, match="dev has no measure 'accuracy'; it has error, closeness"):
        run(tmp_path, dev=PointSource(9), monitor="dev/accuracy", eval_every=None)
    assert not any(tmp_path.iterdir()), "before anything is trained or written"


def test_a_folder_that_holds_a_run_is_not_overwritten(tmp_path):
    run(tmp_path)
    with pytest.raises(UserError, match=r"already holds a run \(step-00000012\); resume it or name another folder"):
        run(tmp_path)


def test_a_finished_run_resumes_to_its_results(tmp_path):
    model, first = run(tmp_path, dev=PointSource(9))
    lines = (tmp_path / "metrics.jsonl").read_text()
    again, second = run(tmp_path, dev=PointSource(9), resume=True)
    same(model, again)
    assert second.evaluations["dev"].means == first.evaluations["dev"].means
    assert (tmp_path / "metrics.jsonl").read_text() == lines
    assert json.loads((tmp_path / "environment.json").read_text())["resumed"][0]["step"] == 12


def test_a_run_cannot_resume_beyond_its_end_or_with_other_data(tmp_path):
    run(tmp_path)
    with pytest.raises(UserError, match=r"is at step 12, past train.steps 10; ask for at least 12 steps"):
        run(tmp_path, resume=True, steps=10)
    with pytest.raises(UserError, match="has examples 60 but examples 61 is asked for"):
        run(tmp_path, resume=True, source=PointSource(61))


@pytest.mark.parametrize("max_tokens", [None, 20])
def test_epochs_are_as_many_steps_as_the_examples_make(max_tokens, tmp_path):
    by_epochs, fitted = run(tmp_path / "epochs", steps=None, epochs=2, max_tokens=max_tokens)
    steps = int(fitted.checkpoint.name.removeprefix("step-"))
    assert steps == 14 if max_tokens is None else 17 < steps < 30  # 60 examples of 3 rows on average, 8 in a batch
    by_steps, _ = run(tmp_path / "steps", steps=steps, max_tokens=max_tokens)
    same(by_epochs, by_steps)


def test_a_run_of_epochs_goes_on_and_cannot_resume_beyond_its_end(tmp_path):
    plain = {"steps": None, "schedule": "constant", "warmup": 0.0}
    whole, _ = run(tmp_path / "whole", epochs=2, **plain)
    run(tmp_path / "parts", epochs=1, **plain)
    with pytest.raises(UserError, match=r"is at step 14, past train.epochs 1 \(7 steps\); ask for at least 14 steps"):
        run(tmp_path / "whole", resume=True, steps=None, epochs=1)
    parts, _ = run(tmp_path / "parts", resume=True, epochs=2, **plain)
    same(whole, parts)


def test_a_damaged_checkpoint_does_not_resume(tmp_path):
    _, fitted = run(tmp_path)
    file = fitted.checkpoint / "model.safetensors"
    file.write_bytes(file.read_bytes()[:50])
    with pytest.raises(UserError, match=r"model.safetensors has 50 bytes where \d+ were written"):
        run(tmp_path, resume=True)


def test_a_launch_of_another_kind_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("mm_kptm.train.parallel.protocol._LAUNCHES", ())
    with pytest.raises(UserError, match=r"this launch asks for NO, but training runs in one process or data-parallel"):
        run(tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_model_must_be_a_module(tmp_path):
    with pytest.raises(TypeError, match="but object is not"):
        run(tmp_path, model=object())


@pytest.mark.slow
def test_a_compiled_loss_trains_alike(tmp_path):
    plain, _ = run(tmp_path / "plain", model=Line(dropout=0.0))
    compiled, _ = run(tmp_path / "compiled", model=Line(dropout=0.0), compile=True)
    same(plain, compiled, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("accumulated", [1, 4])
def test_what_follows_the_weights_is_told_once_after_every_step(accumulated, tmp_path):
    settings = {"gradient_accumulation_steps": accumulated, "schedule": "constant"}
    whole, _ = run(tmp_path / "whole", model=Followed(), save_every=1, **settings)
    weights = read_weights(tmp_path / "whole" / "checkpoints" / "step-00000011" / "model.safetensors")
    torch.testing.assert_close(whole.slow, 0.5 * weights["slow"] + 0.5 * whole.last.weight)
    assert int(whole.told) == 12 and int(weights["told"]) == 11
    run(tmp_path / "two", model=Followed(), **{**settings, "steps": 5})
    resumed, _ = run(tmp_path / "two", model=Followed(), resume=True, **settings)
    same(resumed, whole)
