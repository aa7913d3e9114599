"""A run's pace: recorded in a bounded number of points, kept in the ledger, read again."""

import itertools
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from job_fixtures import JobFolder

from embed_index.pipeline.ledger.ledger import Ledger
from embed_index.pipeline.report.pace import PHASES, Pace, PacePoint, PaceRecorder, read_pace


def recorded(moments: list[float], *, max_points: int = 8) -> Pace:
    recorder = PaceRecorder(max_points=max_points)
    for seconds in moments:
        recorder.see(PacePoint(seconds, int(10 * seconds), int(seconds)))
    end = moments[-1] + 1
    return recorder.pace(PacePoint(end, int(10 * end), int(end)))


@given(steps=st.lists(st.floats(0.01, 500), min_size=1, max_size=300))
def test_a_pace_is_bounded_in_order_and_ends_with_the_run(steps: list[float]) -> None:
    moments = [sum(steps[: n + 1]) for n in range(len(steps))]

    pace = recorded(moments)

    seconds = [point.seconds for point in pace.points]
    assert len(pace.points) <= 9
    assert seconds == sorted(set(seconds))
    assert seconds[0] == moments[0]
    assert seconds[-1] == moments[-1] + 1


def test_a_long_night_keeps_points_over_all_of_it() -> None:
    seconds = [point.seconds for point in recorded([n / 4 for n in range(40_000)]).points]

    gaps = [later - earlier for earlier, later in itertools.pairwise(seconds[:-1])]
    assert len(seconds) > 4
    assert max(gaps) <= 2 * min(gaps)


def test_time_is_counted_to_the_phase_that_was_entered(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr("time.monotonic", lambda: now)
    recorder = PaceRecorder()
    for seconds, phase in enumerate(PHASES[:4]):
        recorder.phases.enter(phase)
        now += seconds + 1
    recorder.phases.enter("embedding")
    now += 0.5

    pace = recorder.pace(PacePoint(now, 9, 1))

    assert pace.phase_seconds == {
        "reading": 1.0,
        "starting": 2.0,
        "embedding": 3.5,
        "server_idle": 4.0,
    }
    assert pace.server_seconds == 7.5


def test_what_is_kept_is_read_again_whatever_else_a_later_release_writes() -> None:
    pace = recorded([1.0, 2.0, 3.5])
    kept = json.loads(pace.to_json())
    kept["phase_seconds"] |= {"dreaming": 3.0, "embedding": 2.5}

    read = read_pace(json.dumps(kept | {"more": 1}))

    assert read == Pace(points=pace.points, phase_seconds={"embedding": 2.5})


def test_a_run_that_embeds_leaves_its_pace_in_the_ledger_and_a_quiet_one_none(
    lite_job: JobFolder,
) -> None:
    lite_job.write({f"d{n}": f"Text number {n} speaks of pumps. " * 9 for n in range(40)})
    lite_job.run()
    lite_job.run()

    quiet, first = lite_job.history()
    with Ledger(lite_job.ledger) as ledger:
        (kept,) = ledger.figures.latest(kind="pace")
    pace = read_pace(kept.content)

    assert (kept.run_id, kept.version) == (first["id"], f"{lite_job.collection}_v1")
    assert kept.run_id != quiet["id"]
    assert pace.points[-1].num_tokens == first["num_tokens"] > 0
    assert pace.points[-1].num_documents == 40
    assert pace.phase_seconds["embedding"] > 0
    assert set(pace.phase_seconds) == {*PHASES}
    assert sum(pace.phase_seconds.values()) <= first["seconds"]
