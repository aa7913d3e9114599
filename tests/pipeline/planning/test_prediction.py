"""What past runs teach, and what a run is expected to take."""

from dataclasses import replace

import pytest

from embed_index.pipeline.planning.curve import QWEN3, Curve, curve_of
from embed_index.pipeline.planning.devices import KINDS, Device
from embed_index.pipeline.planning.prediction import (
    Experience,
    Prediction,
    assumed_start,
    expect,
)
from embed_index.pipeline.planning.workload import Workload

WORK = Workload.of_lengths([2048] * 5000)
H200 = Device(name="NVIDIA H200", kind=KINDS["H200"], is_here=True)


def curve() -> Curve:
    found = curve_of(KINDS["H200"], shape=QWEN3["4B"], precision="bfloat16")
    assert found is not None
    return found


CURVE = curve()

PAST = Prediction(
    model="4B",
    precision="bfloat16",
    host="gpu-1",
    device="NVIDIA H200",
    num_devices=1,
    basis="measured",
    num_past_runs=0,
    num_chunks=5000,
    num_tokens=5000 * 2048,
    sum_of_squares=5000 * 2048**2,
    curve_seconds=100.0,
    expected_start_seconds=56.0,
    expected_embedding_seconds=100.0,
    expected_total_seconds=159.0,
    start_seconds=30.0,
    embedding_seconds=110.0,
    total_seconds=145.0,
)


def learned(*past: Prediction) -> Experience:
    return Experience.of(past, setup=PAST.setup)


def test_the_second_run_is_expected_to_be_as_the_first_one_was() -> None:
    first = expect(WORK, curve=CURVE, device=H200, experience=Experience(), start_seconds=56.0)
    second = expect(WORK, curve=CURVE, device=H200, experience=learned(PAST), start_seconds=56.0)

    assert first is not None
    assert second is not None
    assert second.embedding == pytest.approx(1.1 * first.embedding)
    assert (first.start, second.start) == (56.0, 30.0)
    assert second.total == pytest.approx(30.0 + second.embedding + 5.0)


@pytest.mark.parametrize(
    ("model", "weight_bytes", "lengths", "total"),
    [
        ("4B", 8_050_000_000, [512] * 3_745, 59.7),
        ("4B", 8_050_000_000, [32_768] * 28, 62.8),
        ("0.6B", 1_200_000_000, [512] * 17_759, 58.6),
        ("0.6B", 1_200_000_000, [32_768] * 78, 53.6),
    ],
)
def test_a_first_run_of_half_a_minute_takes_what_it_took_on_an_h200(
    model: str, weight_bytes: int, lengths: list[int], total: float
) -> None:
    measured = curve_of(KINDS["H200"], shape=QWEN3[model], precision="bfloat16")
    assert measured is not None

    expected = expect(
        Workload.of_lengths(lengths),
        curve=measured,
        device=H200,
        experience=Experience(),
        start_seconds=assumed_start(weight_bytes),
    )

    assert expected is not None
    assert expected.total == pytest.approx(total, rel=0.15)


def test_one_run_that_was_held_up_does_not_count() -> None:
    slow = replace(PAST, embedding_seconds=900.0, total_seconds=940.0)

    assert learned(PAST, slow, PAST).pace == pytest.approx(1.1)


def test_short_nights_do_not_speak_for_a_long_one() -> None:
    short = replace(PAST, curve_seconds=6.0, embedding_seconds=18.0)

    assert learned(short, short, short, PAST).pace == pytest.approx(1.1)


@pytest.mark.parametrize(
    "other",
    [
        {"model": "8B"},
        {"precision": "fp8"},
        {"host": "gpu-2"},
        {"device": "NVIDIA H100"},
        {"num_devices": 2},
        {"embedding_seconds": 4.0},
    ],
    ids=str,
)
def test_runs_of_another_setup_and_runs_too_short_teach_nothing(other: dict[str, object]) -> None:
    assert learned(replace(PAST, **other)) == Experience()  # type: ignore[arg-type]


def test_only_the_latest_runs_count() -> None:
    old = replace(PAST, embedding_seconds=200.0)

    assert learned(*[PAST] * 8, *[old] * 50).pace == pytest.approx(1.1)


def test_without_a_curve_only_past_runs_tell_the_time() -> None:
    plain = curve_of(None, shape=QWEN3["0.6B"], precision="float32")
    cpu = Device(name="the CPU", is_gpu=False, is_here=True)
    assert plain is not None
    past = replace(PAST, curve_seconds=plain.seconds(WORK), embedding_seconds=60.0)

    unknown = expect(WORK, curve=plain, device=cpu, experience=Experience(), start_seconds=40.0)
    known = expect(WORK, curve=plain, device=cpu, experience=learned(past), start_seconds=40.0)

    assert unknown is None
    assert known is not None
    assert known.embedding == pytest.approx(60.0)


def test_a_night_that_embeds_nothing_starts_nothing_and_reads() -> None:
    expected = expect(
        Workload(),
        curve=CURVE,
        device=H200,
        experience=Experience(),
        start_seconds=56.0,
        text_bytes=10**12,
    )

    assert expected is not None
    assert (expected.start, expected.embedding) == (0.0, 0.0)
    assert 3600 < expected.total < 5000


def test_what_is_kept_is_read_again_and_what_is_newer_is_left_alone() -> None:
    assert Prediction.from_json(PAST.to_json()) == PAST
    assert Prediction.from_json(replace(PAST, format=2).to_json()) is None
    assert Prediction.from_json(PAST.to_json().replace('"model"', '"later": 1, "model"')) == PAST
