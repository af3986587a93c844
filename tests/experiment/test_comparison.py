"""A comparison spends the same on every arm, asks all the same, adds their nulls, and goes on where it stopped."""

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from mm_kptm.datasets.pretraining.multilingual_text import MultilingualText
from mm_kptm.errors import UserError
from mm_kptm.experiment import comparison
from mm_kptm.experiment.budget import Budget, check_same_examples, differences
from mm_kptm.experiment.comparison import Compared, Job, compare
from mm_kptm.experiment.null_arms import arms_of
from mm_kptm.experiment.settings import EncoderSettings, Experiment, KnowledgeSettings
from mm_kptm.experiment.worker_pool import WorkerDied
from mm_kptm.io.lock import locked
from mm_kptm.report import read_comparison
from mm_kptm.suites.number_world.datasets.settings import NumberWorldData
from mm_kptm.train.checkpoint import Checkpoints
from mm_kptm.train.settings import TrainSettings

TREE = Experiment(
    name="tree",
    task="knowledge-vqa",
    encoder=EncoderSettings(
        "uniter-base", {"num_layers": 1, "dim": 16, "num_heads": 2, "ffn_dim": 32, "dropout": 0.0}, init_std=0.1
    ),
    data=NumberWorldData(questions=120, eval_questions=40, numbers=20, languages=("en", "fr")),
    knowledge=KnowledgeSettings("sentence-tree"),
    train=TrainSettings(steps=4, batch_size=16, lr=1e-3, log_every=2),
)
BARE = replace(TREE, name="bare", knowledge=KnowledgeSettings("none"))


def one_by_one(work: Callable[[Job], str], jobs: Sequence[Job], *, workers: int) -> Iterator[tuple[int, str]]:
    """The pool without its processes."""
    return ((place, work(job)) for place, job in enumerate(jobs))


@pytest.fixture
def here(monkeypatch):
    """Run jobs in this process."""
    monkeypatch.setattr(comparison, "outcomes", one_by_one)


@pytest.fixture(scope="module")
def compared(tmp_path_factory) -> tuple[Path, Compared, list[str]]:
    """Two arms with two seeds, run in this process, and what was said."""
    out, said = tmp_path_factory.mktemp("compared"), []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(comparison, "outcomes", one_by_one)
        found = compare([TREE, BARE], out, seeds=2, nulls=False, say=said.append)
    return out, found, said


def test_every_arm_has_its_mean_its_spread_and_the_baselines(compared):
    out, found, _ = compared
    accuracy, gaps, spoken = found.comparison.tables
    assert {row.metric for row in spoken.rows} == {"en", "fr", "average"}
    rows = {row.arm: row for row in accuracy.rows}
    assert set(rows) == {"tree", "bare", "chance", "majority", "question-only", "image-only", "facts-only (tree)"}
    seeds = [json.loads(line) for seed in (0, 1) for line in (out / f"tree-seed-{seed}/predictions/test.jsonl").open()]
    assert rows["tree"].value == pytest.approx(sum(row["correct"] for row in seeds) / len(seeds))
    assert rows["tree"].std is not None and rows["tree"].n == 40
    (gap,) = gaps.rows
    assert (gap.arm, gap.value) == ("bare over tree", pytest.approx(rows["bare"].value - rows["tree"].value))
    assert gap.low <= gap.value <= gap.high and 0 < gap.p <= 1
    assert "4 steps of 16 examples out of 120, 41,117 parameters" in accuracy.note


def test_where_facts_are_swapped_it_is_said_who_uses_them(here, tmp_path):
    accuracy, used, *_ = compare(
        [TREE, BARE], tmp_path, seeds=1, nulls=False, splits=["test-swapped"]
    ).comparison.tables
    assert used.title == "Split test-swapped, knowledge use"
    follows = {row.arm: row.value for row in accuracy.rows}
    rows = {(row.arm, row.metric): row.value for row in used.rows}
    for arm in ("tree", "bare"):
        assert rows[arm, "knowledge use"] == pytest.approx(follows[arm] - rows[arm, "memorised"])


def test_it_is_written_as_json_and_as_a_page(compared):
    out, found, _ = compared
    assert read_comparison(out) == found.comparison
    assert found.comparison.arms["bare"] == ("bare-seed-0", "bare-seed-1")
    page = found.report.read_text()
    assert found.report == out / "report.html" and "bare over tree" in page and "2 seeds" in page


def test_what_it_will_do_is_said_before_and_every_run_after(compared):
    _, _, said = compared
    assert said[0].startswith("2 arms with 2 seeds: 4 runs. Every run: 4 steps of 16 examples out of 120")
    names = [line.split()[3].rstrip(",") for line in said[1:]]
    assert names == ["tree-seed-0", "bare-seed-0", "tree-seed-1", "bare-seed-1"]
    assert said[1].startswith("1 of 4: tree-seed-0, test 0.") and said[1].endswith("s left")


def test_what_is_whole_is_not_run_again(compared):
    out, found, _ = compared
    times = {path: path.stat().st_mtime_ns for path in out.glob("*/metrics.jsonl")}
    said: list[str] = []
    again = compare([TREE, BARE], out, seeds=2, nulls=False, say=said.append)
    assert again.comparison == found.comparison
    assert "4 runs, 4 of them done" in said[0] and len(said) == 1
    assert times == {path: path.stat().st_mtime_ns for path in out.glob("*/metrics.jsonl")}


def test_a_run_that_was_killed_goes_on_to_the_same_answers(compared, here, monkeypatch, tmp_path):
    """Stopped behind its second checkpoint, a run gives the answers that it would have given."""
    out, _, _ = compared
    save = Checkpoints.save

    def stop_behind_the_second(self, weights, trainer, extra):
        checkpoint = save(self, weights, trainer, extra)
        if trainer["step"] == 2:
            raise KeyboardInterrupt
        return checkpoint

    with monkeypatch.context() as patch:
        patch.setattr(Checkpoints, "save", stop_behind_the_second)
        with pytest.raises(KeyboardInterrupt):
            compare([BARE], tmp_path, seeds=1, nulls=False)
    assert (tmp_path / "bare-seed-0/checkpoints/latest").read_text().strip() == "step-00000002"
    compare([BARE], tmp_path, seeds=1, nulls=False)
    logged = [json.loads(line)["step"] for line in (tmp_path / "bare-seed-0/metrics.jsonl").open()]
    assert logged == [2, 4, 4]  # training spoke at 2 before it was stopped, then went on
    answers = "bare-seed-0/predictions/test.jsonl"
    assert (tmp_path / answers).read_bytes() == (out / answers).read_bytes()


def test_workers_change_nothing(compared, tmp_path):
    """Two processes at a time leave the same answers, byte for byte."""
    out, _, _ = compared
    again = compare([TREE, BARE], tmp_path, seeds=1, nulls=False, workers=2)
    for name in ("tree-seed-0", "bare-seed-0"):
        answers = "predictions/test.jsonl"
        assert (tmp_path / name / answers).read_bytes() == (out / name / answers).read_bytes()
    assert again.comparison.seeds == 1


def test_null_arms_take_away_or_make_up_what_an_arm_uses():
    arms = arms_of([TREE, BARE], nulls=True)
    assert [arm.name for arm in arms if not arm.null] == ["tree", "bare"]
    assert [arm.name for arm in arms if arm.null] == [
        "tree-blank-vision", "tree-shuffled-vision", "tree-random-facts", "bare-blank-vision", "bare-shuffled-vision",
    ]  # fmt: skip
    alone = arms_of([TREE], nulls=True)
    assert "tree-no-facts" in [arm.name for arm in alone]  # with the bare arm it would have been run twice
    assert arms_of([TREE, BARE], nulls=False) == arms[:2]


def test_objectives_on_translations_bring_their_nulls():
    data = MultilingualText(name="multilingual-text", vocabulary=Path("v"), train={"de-en": Path("ted")})
    objectives = {"masked-tokens": 1.0, "xlco": 0.5}
    arguments = {"xlco": {"queue_size": 9}}
    settings = replace(BARE, objectives=objectives, objective_data=data, objective_arguments=arguments, task_weight=0.0)
    found = {arm.name: arm.settings for arm in arms_of([settings], nulls=True)}
    assert set(found) == {
        "bare", "bare-blank-vision", "bare-shuffled-vision", "bare-shuffled-translations", "bare-no-translations",
    }  # fmt: skip
    assert found["bare-shuffled-translations"].objective_data == replace(data, alignment="shuffled")
    alone = found["bare-no-translations"]
    assert (alone.objectives, alone.objective_arguments) == ({"masked-tokens": 1.0}, {})


def test_translation_language_modeling_without_translations_is_masked_tokens():
    data = MultilingualText(name="multilingual-text", vocabulary=Path("v"), train={"de-en": Path("ted")})
    for objectives, alone in (({"translation-language-modeling": 2.0}, {"masked-tokens": 2.0}), ({"xlco": 1.0}, None)):
        settings = replace(BARE, objectives=objectives, objective_data=data, task_weight=0.0)
        found = {arm.name: arm.settings for arm in arms_of([settings], nulls=True)}
        assert "bare-shuffled-translations" in found
        assert (found["bare-no-translations"].objectives if "bare-no-translations" in found else None) == alone


def test_null_arms_are_run_and_counted(here, tmp_path):
    said: list[str] = []
    only = replace(
        TREE, data=replace(TREE.data, questions=40, eval_questions=20), train=TrainSettings(steps=1, batch_size=8)
    )
    found = compare([only], tmp_path, seeds=1, say=said.append)
    assert said[0].startswith("1 arm and 4 null arms with 1 seed: 5 runs.")
    assert {row.arm for row in found.comparison.tables[1].rows} == {
        f"tree-{null} over tree" for null in ("blank-vision", "shuffled-vision", "no-facts", "random-facts")
    }


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"train": replace(TREE.train, steps=5)}, r"steps: tree 4, bare 5"),
        ({"train": replace(TREE.train, batch_size=8)}, r"batch size: tree 16, bare 8"),
        ({"train": replace(TREE.train, max_tokens=90)}, r"max tokens: tree none, bare 90"),
        ({"data": replace(TREE.data, questions=100)}, r"examples: tree 120, bare 100"),
        ({"encoder": EncoderSettings("uniter-base", {**TREE.encoder.sizes, "dim": 18})}, r"parameters: tree 41,117"),
    ],
)
def test_an_unequal_budget_is_refused_with_the_difference(tmp_path, change, sentence):
    with pytest.raises(UserError, match=rf"the arms do not have the same budget \({sentence}.*or say --unequal"):
        compare([TREE, replace(BARE, **change)], tmp_path, nulls=False)
    assert not any(tmp_path.iterdir())


def test_epochs_are_a_budget_in_steps(here, tmp_path):
    by_epochs = replace(TREE, name="epochs", train=TrainSettings(epochs=1, batch_size=60, lr=1e-3, log_every=2))
    by_steps = replace(BARE, train=replace(TREE.train, steps=2, batch_size=60))
    said: list[str] = []
    compare([by_epochs, by_steps], tmp_path, seeds=1, nulls=False, say=said.append)  # 120 questions, 2 steps each
    assert "Every run: 2 steps of 60 examples out of 120" in said[0]
    with pytest.raises(UserError, match=r"steps: epochs 4, bare 2"):
        longer = replace(by_epochs, train=replace(by_epochs.train, epochs=2))
        compare([longer, by_steps], tmp_path / "longer", seeds=1, nulls=False)


def test_an_unequal_budget_that_was_asked_for_is_printed(here, tmp_path):
    short = replace(BARE, train=replace(TREE.train, steps=2))
    found = compare(
        [replace(TREE, train=replace(TREE.train, steps=1)), short], tmp_path, seeds=1, nulls=False, unequal=True
    )
    assert "Budgets differ in steps: tree 1, bare 2." in found.comparison.tables[0].note


def test_other_questions_are_refused_before_anything_is_trained(tmp_path):
    other = replace(BARE, data=replace(BARE.data, seed=1))
    message = "tree and bare are not asked the same: in the split test example .* is .* for one and .* for the other"
    with pytest.raises(UserError, match=message):
        compare([TREE, other], tmp_path, nulls=False)
    assert not any(tmp_path.iterdir())


def test_an_example_that_one_arm_lacks_is_named():
    with pytest.raises(UserError, match="example 7 is owner / person:anna for one and missing for the other"):
        check_same_examples("test", {"a": {"7": ("owner", "", "person:anna")}, "b": {}})


def test_a_folder_of_another_comparison_is_refused(compared):
    out, _, _ = compared
    with pytest.raises(UserError, match=r"tree-seed-0 began with train.lr 0.001, not 0.002; name another --out"):
        compare([replace(TREE, train=replace(TREE.train, lr=2e-3))], out, seeds=1, nulls=False)


def test_a_folder_that_is_no_run_is_refused(tmp_path):
    (tmp_path / "bare-seed-0").mkdir()
    (tmp_path / "bare-seed-0" / "notes.txt").write_text("mine")
    with pytest.raises(UserError, match=r"bare-seed-0 is no run of this comparison: it has no config.yaml"):
        compare([BARE], tmp_path, seeds=1, nulls=False)


def test_a_mistake_in_a_run_names_the_run(tmp_path):
    job = Job(replace(BARE, out=tmp_path, encoder=EncoderSettings("uniter-base", {"nix": 1})), ("test",))
    with pytest.raises(UserError, match=r"^bare: "):
        comparison.run(job)


def test_the_others_go_on_where_an_arm_fails(tmp_path, monkeypatch):
    """In this process, so that the failure can be made."""
    other = replace(BARE, name="other")

    def in_turn(work, jobs, *, workers):
        return ((index, work(job)) for index, job in enumerate(jobs))

    def failing(job):
        if job.settings.name == "other-seed-0":
            raise UserError(f"{job.settings.name}: the disk is full")
        return run(job)

    run = comparison.run
    monkeypatch.setattr(comparison, "outcomes", in_turn)
    monkeypatch.setattr(comparison, "run", failing)
    other = replace(other, train=replace(other.train, seed=other.train.seed, lr=2 * other.train.lr))
    said = []
    done = compare([BARE, other], tmp_path, seeds=1, nulls=False, say=said.append)
    assert done.missing == {"other-seed-0": "failed: the disk is full"}
    assert said[-1].endswith("other-seed-0, failed: the disk is full")
    assert list(done.comparison.arms) == ["bare"] and done.comparison.runs == ("bare-seed-0",)
    assert "Missing, with the other seeds of their arms: other-seed-0 failed" in str(done)
    with pytest.raises(UserError, match="the reference arm other is missing, so there is nothing to compare with"):
        compare([other, BARE], tmp_path, seeds=1, nulls=False)
    monkeypatch.setattr(comparison, "run", run)
    whole = compare([BARE, other], tmp_path, seeds=1, nulls=False)
    assert not whole.missing and list(whole.comparison.arms) == ["bare", "other"]


def test_the_others_go_on_where_a_process_is_killed(tmp_path, monkeypatch):
    """What was left goes on alone; what is killed alone is missing, and is made up for by the next call."""
    other = replace(BARE, name="other", train=replace(BARE.train, lr=2 * BARE.train.lr))
    third = replace(BARE, name="third", train=replace(BARE.train, lr=3 * BARE.train.lr))
    asked, deadly = [], {"other-seed-0"}

    def deaths(work, jobs, *, workers):
        asked.append([job.settings.name for job in jobs])
        for index, job in enumerate(jobs):
            if job.settings.name in deadly:
                raise WorkerDied("a worker process died")
            yield index, work(job)

    monkeypatch.setattr(comparison, "outcomes", deaths)
    said = []
    done = compare([BARE, other, third], tmp_path, seeds=1, nulls=False, say=said.append)
    assert asked == [["bare-seed-0", "other-seed-0", "third-seed-0"], ["other-seed-0"], ["third-seed-0"]]
    assert any("a worker process died without a word" in line for line in said)
    assert done.missing == {"other-seed-0": "failed: its process died without a word, as it does when memory runs out"}
    assert list(done.comparison.arms) == ["bare", "third"] and "Missing, with the other seeds" in str(done)
    deadly.clear()
    whole = compare([BARE, other, third], tmp_path, seeds=1, nulls=False)
    assert asked[-1] == ["other-seed-0"] and list(whole.comparison.arms) == ["bare", "other", "third"]


def test_two_comparisons_in_one_folder_are_refused(tmp_path):
    with (
        locked(tmp_path / "both", "folder of a comparison"),
        pytest.raises(UserError, match=r"the folder of a comparison .*both is being written by process \d+ on"),
    ):
        compare([BARE], tmp_path / "both", seeds=1, nulls=False)
    assert not (tmp_path / "both").exists()


@pytest.mark.parametrize(
    ("experiments", "sentence"),
    [
        ([], "a comparison was asked for without an experiment"),
        ([TREE, replace(BARE, name="tree")], "two experiments are called tree; give them different names"),
        ([TREE, replace(TREE, name="twin")], "tree and twin are the same experiment; seeds are added by themselves"),
        (
            [replace(TREE, task=None, objectives={"masked-tokens": 1.0})],
            "tree has no task, so there is nothing that its arms could be compared by",
        ),
        (
            [TREE, replace(BARE, name="tree-blank-vision")],
            "tree-blank-vision is the name of a null arm of tree; call the experiment otherwise",
        ),
    ],
)
def test_what_is_no_comparison_is_refused(experiments, sentence):
    with pytest.raises(UserError, match=sentence):
        arms_of(experiments, nulls=True)


def test_no_seed_is_refused(tmp_path):
    with pytest.raises(UserError, match="0 seeds were asked for; at least 1 is needed"):
        compare([TREE], tmp_path, seeds=0)


def test_equal_budgets_do_not_differ():
    one = Budget(steps=10, batch_size=2, max_tokens=None, examples=5, parameters=7)
    assert differences({"a": one, "b": one}) == []
    assert differences({"a": one, "b": replace(one, parameters=1234)}) == ["parameters: a 7, b 1,234"]
