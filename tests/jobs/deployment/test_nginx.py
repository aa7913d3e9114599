"""The printed nginx site in front of the real embedding server, with TLS."""

import asyncio
import base64
import ssl
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import httpx
import numpy as np
import pytest
from click.testing import CliRunner
from host_programs import host_program
from sglang_fixtures import SAMPLE_WIDTH, RunningServer

from embed_index.jobs.main import cli
from embed_index.pipeline.embedding.endpoint import EmbeddingEndpoint
from embed_index.pipeline.embedding.preflight import check_access
from embed_index.pipeline.server.launch_checks import free_port

SURROUNDINGS = """
daemon off;
master_process off;
pid {folder}/nginx.pid;
error_log {folder}/error.log;
events {{ }}
http {{
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    include {folder}/site;
}}
"""
"""What Debian's nginx.conf has around a site, for a user without rights."""

PROBE = {"model": "any", "input": ["The pump was replaced."], "encoding_format": "base64"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Proxy:
    folder: Path
    url: str
    key: str
    certificate: Path

    @property
    def access_log(self) -> str:
        return (self.folder / "access.log").read_text()

    def client(self, key: str | None = None) -> httpx.Client:
        headers = {} if key is None else {"Authorization": f"Bearer {key}"}
        tls = ssl.create_default_context(cafile=self.certificate)
        return httpx.Client(base_url=self.url, headers=headers, verify=tls, timeout=120)


@pytest.fixture(scope="module")
def proxy(
    sglang_server: RunningServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Proxy]:
    """Run nginx on the site as it is printed."""
    nginx = host_program("nginx", package="nginx")
    folder = tmp_path_factory.mktemp("nginx")
    certificate, port = make_certificate(folder), free_port()
    site = printed_site(
        "--server-port", sglang_server.server.url.rpartition(":")[2], "--listen-port", port,
        "--certificate-file", certificate, "--certificate-key-file", folder / "private.pem",
        "--access-log", folder / "access.log",
    )  # fmt: skip
    (folder / "site").write_text(site)
    (folder / "nginx.conf").write_text(SURROUNDINGS.format(folder=folder))
    command = [nginx, "-p", f"{folder}", "-e", f"{folder}/error.log", "-c", f"{folder}/nginx.conf"]
    checked = subprocess.run([*command, "-t"], capture_output=True, text=True, timeout=60)
    assert checked.returncode == 0, checked.stderr
    assert "[warn]" not in checked.stderr
    running = Proxy(
        folder=folder,
        url=f"https://localhost:{port}",
        key=sglang_server.server.key.get_secret_value(),
        certificate=certificate,
    )
    with subprocess.Popen(command) as process:
        try:
            wait_until_open(running, process)
            yield running
        finally:
            process.terminate()


def printed_site(*arguments: object) -> str:
    given = ["deploy", "nginx", "--server-name", "localhost", *map(str, arguments)]
    done = CliRunner().invoke(cli, given)
    assert (done.exit_code, done.stderr) == (0, "")
    return done.stdout


def make_certificate(folder: Path) -> Path:
    openssl = host_program("openssl", package="openssl")
    certificate = folder / "certificate.pem"
    subprocess.run(
        [openssl, "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
         "-days", "2", "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost",
         "-keyout", folder / "private.pem", "-out", certificate],
        check=True, capture_output=True, timeout=60,
    )  # fmt: skip
    return certificate


def wait_until_open(proxy: Proxy, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 60
    with proxy.client() as client:
        while process.poll() is None and time.monotonic() < deadline:
            try:
                client.get("/")
            except httpx.ConnectError:
                time.sleep(0.05)
            else:
                return
    raise AssertionError((proxy.folder / "error.log").read_text())


def test_an_embedding_comes_through_with_the_key_as_it_does_without_nginx(
    proxy: Proxy, sglang_server: RunningServer
) -> None:
    with proxy.client(proxy.key) as client:
        through = client.post("/v1/embeddings", json=PROBE)
        listed = client.get("/v1/models")
    headers = {"Authorization": f"Bearer {proxy.key}"}
    direct = httpx.post(
        f"{sglang_server.server.url}/v1/embeddings", json=PROBE, headers=headers, timeout=120
    )

    assert (through.status_code, listed.status_code) == (200, 200)
    vectors = [
        np.frombuffer(base64.b64decode(reply.json()["data"][0]["embedding"]), "<f4")
        for reply in (through, direct)
    ]
    assert vectors[0].shape == (SAMPLE_WIDTH,)
    np.testing.assert_allclose(vectors[0], vectors[1], atol=1e-6)
    assert len(listed.json()["data"]) == 1


@pytest.mark.parametrize("key", [None, "wrong"])
@pytest.mark.parametrize(("method", "route"), [("POST", "/v1/embeddings"), ("GET", "/v1/models")])
def test_nothing_comes_through_without_the_right_key(
    proxy: Proxy, key: str | None, method: str, route: str
) -> None:
    with proxy.client(key) as client:
        reply = client.request(method, route, json=PROBE if method == "POST" else None)

    assert (reply.status_code, reply.json()) == (401, {"error": "Unauthorized"})


@pytest.mark.parametrize(
    ("method", "route", "status"),
    [
        ("GET", "/v1/embeddings", 405),
        ("POST", "/v1/models", 405),
        ("DELETE", "/health", 405),
        *(("GET", f"/{route}", 404) for route in ("", "model_info", "server_info", "metrics")),
        ("GET", "/docs", 404),
        ("GET", "/health_generate", 404),
        ("POST", "/v1/chat/completions", 404),
        ("POST", "/v1/embeddings/", 404),
        ("POST", "/encode", 404),
    ],
)
def test_only_the_routes_of_embedding_are_reached_even_with_the_key(
    proxy: Proxy, method: str, route: str, status: int
) -> None:
    with proxy.client(proxy.key) as client:
        assert client.request(method, route).status_code == status


def test_a_full_batch_of_long_texts_is_let_through_and_more_is_not(proxy: Proxy) -> None:
    full = b"x" * (64 << 20)
    with proxy.client() as client:
        statuses = [
            client.post("/v1/embeddings", content=body).status_code for body in (full, full + b"x")
        ]

    assert statuses == [401, 413]


def test_health_is_told_without_a_key_and_a_flood_of_questions_is_turned_away(
    proxy: Proxy,
) -> None:
    with proxy.client() as client, ThreadPoolExecutor(12) as pool:
        # SGLang says 503 until its own first request is through, which may be after ours.
        deadline = time.monotonic() + 120
        while (first := client.get("/health")).status_code == 503 and time.monotonic() < deadline:
            time.sleep(1)
        replies = list(pool.map(lambda _: client.get("/health"), range(12)))

    assert first.status_code == 200
    assert [reply.status_code for reply in replies].count(429) >= 4


def test_no_way_of_giving_the_key_gets_it_into_the_log(proxy: Proxy) -> None:
    with proxy.client(proxy.key) as client:
        client.post(f"/v1/embeddings?api_key={proxy.key}", json=PROBE)
        client.get("/v1/models", auth=(proxy.key, ""))
        client.get("/v1/models", headers={"Referer": proxy.key, "User-Agent": proxy.key})

    logged = proxy.access_log + (proxy.folder / "error.log").read_text()
    assert "POST /v1/embeddings 200" in logged
    assert proxy.key not in logged
    assert "Bearer" not in logged


def test_a_job_accepts_the_server_behind_nginx(
    proxy: Proxy, monkeypatch: pytest.MonkeyPatch, sglang_server: RunningServer
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(proxy.certificate))
    endpoint = EmbeddingEndpoint.from_settings(
        proxy.url, key=sglang_server.server.key, model=sglang_server.access.models[0]
    )

    access = asyncio.run(check_access(endpoint, dimension=64))

    assert (access.width, access.dialect.cuts) == (SAMPLE_WIDTH, True)


def test_nginx_waits_longer_than_a_client_does(tmp_path: Path) -> None:
    (tmp_path / "job.toml").write_text("[server]\nport = 31000\nrequest_timeout_seconds = 900\n")

    site = printed_site("--job", tmp_path / "job.toml")

    assert "proxy_read_timeout 930s;" in site
    assert "server 127.0.0.1:31000;" in site


def test_a_path_that_nginx_would_misread_is_refused() -> None:
    given = ["deploy", "nginx", "--server-name", "x", "--access-log", "/var/log/$user.log"]
    done = CliRunner().invoke(cli, given)

    assert done.exit_code == 2
    assert "nginx cannot take the path" in done.stderr
