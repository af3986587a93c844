"""The smallest tier of the demonstration on Atlas ends with a page, and confirms no effect that it cannot show."""

import json
from pathlib import Path

import pytest

from mm_kptm import cli
from mm_kptm.suites.atlas.demo.arms import NAMES, experiments, tiers

pytestmark = pytest.mark.slow


def test_the_tiny_tier_leaves_a_page_and_ticks_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "atlas"
    assert cli.main(["demo", "--suite", "atlas", "--tier", "tiny", "--out", str(out), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert Path(found["report"]).is_file()
    assert (out / "arms.json").is_file()
    assert [claim["holds"] for claim in found["claims"]] == [None] * 7
    arms = experiments(tiers()["tiny"], 0, out)
    assert NAMES in arms
    for settings in arms.values():
        assert (settings.folder / "predictions").is_dir()
    assert cli.main(["demo", "--suite", "atlas", "--tier", "tiny", "--out", str(out), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == found
