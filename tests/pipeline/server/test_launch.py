import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace

import pytest

from embed_index.pipeline.server.launch import (
    Device,
    ServerProfile,
    child_environment,
    sglang_flags,
)
from embed_index.schemas.errors import ConfigurationError
from embed_index.schemas.limits import MAX_SECONDS

HOPPER = (9, 0)


def profile(
    *extra_flags: str,
    device: Device = "cuda",
    max_tokens: int = 32_768,
    compute_capability: tuple[int, int] | None = HOPPER,
) -> ServerProfile:
    return ServerProfile(
        model="m",
        device=device,
        max_tokens=max_tokens,
        compute_capability=compute_capability,
        extra_flags=extra_flags,
    )


def value_of(flag: str, flags: Sequence[str]) -> str:
    """The value that counts: of a flag given twice, argparse takes the last."""
    return flags[len(flags) - 1 - flags[::-1].index(flag) + 1]


@pytest.mark.parametrize("device", ["cuda", "cpu"])
def test_the_context_holds_more_than_the_longest_input(device: Device) -> None:
    flags = sglang_flags(profile(device=device), port=1)

    assert int(value_of("--context-length", flags)) > 32_768


def test_the_pool_of_a_cpu_server_is_bounded_and_holds_the_context() -> None:
    for max_tokens in (32, 8_192, 32_768):
        flags = sglang_flags(profile(device="cpu", max_tokens=max_tokens), port=1)

        pool = int(value_of("--max-total-tokens", flags))
        assert int(value_of("--context-length", flags)) < pool <= max(8_192, max_tokens + 4_096)


@pytest.mark.parametrize("device", ["cuda", "cpu"])
def test_the_share_of_memory_is_not_left_to_sglang(device: Device) -> None:
    flags = sglang_flags(profile(device=device), port=1)

    assert 0.5 < float(value_of("--mem-fraction-static", flags)) < 0.9


def test_a_hopper_gpu_needs_no_key_value_pool() -> None:
    flags = sglang_flags(profile(), port=1)

    assert value_of("--attention-backend", flags) == "fa3"
    assert "--prefill-only-disable-kv-cache" in flags
    assert value_of("--chunked-prefill-size", flags) == "-1"
    assert "--disable-radix-cache" in flags


@pytest.mark.parametrize("capability", [(7, 5), (10, 0), None])
def test_a_gpu_without_flash_attention_3_keeps_its_own_choice(
    capability: tuple[int, int] | None,
) -> None:
    flags = sglang_flags(profile(compute_capability=capability), port=1)

    assert "--attention-backend" not in flags
    assert "--prefill-only-disable-kv-cache" not in flags


@pytest.mark.parametrize("override", ["--attention-backend", "--chunked-prefill-size"])
def test_an_override_takes_the_flags_along_that_depend_on_it(override: str) -> None:
    flags = sglang_flags(profile(override, "4096"), port=1)

    assert value_of(override, flags) == "4096"
    assert "--prefill-only-disable-kv-cache" not in flags


def test_sglang_quantises_where_it_is_told_to_and_not_of_itself() -> None:
    in_fp8 = replace(profile(), dtype="bfloat16", quantization="fp8")

    flags = sglang_flags(in_fp8, port=1)
    assert (value_of("--dtype", flags), value_of("--quantization", flags)) == ("bfloat16", "fp8")
    assert value_of("--attention-backend", flags) == "fa3"
    assert "--quantization" not in sglang_flags(profile(), port=1)


def test_extra_flags_win() -> None:
    flags = sglang_flags(profile("--max-prefill-tokens", "7"), port=1)

    assert value_of("--max-prefill-tokens", flags) == "7"


@pytest.mark.parametrize("flag", ["--api-key=secret-value", "--api", "--ho", "--config"])
def test_a_refusal_names_the_flag_and_not_its_value(flag: str) -> None:
    with pytest.raises(ConfigurationError) as error:
        sglang_flags(profile(flag), port=1)

    assert flag.partition("=")[0] in str(error.value)
    assert "secret-value" not in str(error.value)


def test_no_secret_of_ours_reaches_the_servers_environment() -> None:
    ours = {
        "PATH": "/bin",
        "HF_HOME": "/models",
        "EMBEDDING_API_KEY": "a",
        "MILVUS_TOKEN": "b",
        "AWS_SECRET_ACCESS_KEY": "c",
        "SGLANG_LOGGING_CONFIG_PATH": "d",
    }

    theirs = child_environment(ours, device="cuda", local_model=True)

    assert theirs["PATH"] == "/bin"
    assert theirs["HF_HOME"] == "/models"
    assert not set(theirs.values()) & {"a", "b", "c", "d"}


def test_a_server_at_work_on_a_long_input_does_not_call_itself_unhealthy() -> None:
    ours = {"SGLANG_HEALTH_CHECK_TIMEOUT": "20"}

    theirs = child_environment(ours, device="cpu", local_model=True)

    assert int(theirs["SGLANG_HEALTH_CHECK_TIMEOUT"]) >= MAX_SECONDS


def test_a_local_model_never_asks_the_hub() -> None:
    assert child_environment({}, device="cpu", local_model=True)["HF_HUB_OFFLINE"] == "1"
    assert "HF_HUB_OFFLINE" not in child_environment({}, device="cpu", local_model=False)


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        ({}, "127.0.0.1"),
        ({"NO_PROXY": "hub"}, "hub,127.0.0.1"),
        ({"no_proxy": "a", "NO_PROXY": "b"}, "a,127.0.0.1"),
    ],
)
def test_no_proxy_is_told_what_a_server_asks_itself(ours: dict[str, str], theirs: str) -> None:
    environment = child_environment(
        {"HTTP_PROXY": "http://proxy:3128"} | ours, device="cpu", local_model=True
    )

    assert {environment["no_proxy"], environment["NO_PROXY"]} == {theirs}


@pytest.mark.parametrize(("visible", "expected"), [("", "1"), ("4,6", "6")])
def test_one_gpu_is_counted_among_the_visible_ones(visible: str, expected: str) -> None:
    environment = child_environment(
        {"CUDA_VISIBLE_DEVICES": visible}, device="cuda", local_model=True, gpu=1
    )

    assert environment["CUDA_VISIBLE_DEVICES"] == expected


def test_a_server_on_the_cpu_sees_no_gpu() -> None:
    environment = child_environment({}, device="cpu", local_model=True)

    assert environment["CUDA_VISIBLE_DEVICES"] == ""


def test_neither_torch_nor_sglang_enters_our_process() -> None:
    program = (
        "import sys, embed_index.pipeline.server.process, embed_index.pipeline.stages.isolation;"
        "print(sorted({'torch', 'sglang', 'transformers'} & set(sys.modules)))"
    )
    printed = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)

    assert printed.stdout.strip() == b"[]"
