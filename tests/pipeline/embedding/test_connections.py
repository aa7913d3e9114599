"""What lies between an external server and us: certificates, plain HTTP, proxies."""

import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import trustme
from misbehaving_server import KEY, Answer, MisbehavingServer, Request, embeds, misbehaving_server
from pydantic import SecretStr

from embed_index.pipeline.embedding import endpoint as endpoints
from embed_index.pipeline.embedding.endpoint import EmbeddingEndpoint
from embed_index.pipeline.embedding.preflight import ServerAccess, check_access
from embed_index.schemas.errors import ConfigurationError, ServerError

PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY")


def guarded(request: Request) -> Answer:
    if request.headers.get("authorization") != f"Bearer {KEY}":
        return Answer(status=401)
    return embeds(request) if request.method == "POST" else Answer(status=404)


async def check(url: str) -> ServerAccess:
    endpoint = EmbeddingEndpoint.from_settings(url, key=SecretStr(KEY), model="m")
    return await check_access(endpoint, answer_seconds=20)


@pytest.fixture(autouse=True)
def no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in PROXIES:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def trusted(authority: trustme.CA, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The system trusts the authority."""
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))


@asynccontextmanager
async def tls_server(certificate: trustme.LeafCert) -> AsyncIterator[MisbehavingServer]:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    certificate.configure_cert(context)
    async with misbehaving_server(always=guarded, tls=context) as server:
        yield server


@pytest.mark.usefixtures("trusted")
async def test_a_server_with_a_trusted_certificate_is_used(authority: trustme.CA) -> None:
    async with tls_server(authority.issue_cert("127.0.0.1")) as server:
        assert (await check(server.url)).width > 0


async def test_an_untrusted_certificate_is_named(authority: trustme.CA) -> None:
    async with tls_server(authority.issue_cert("127.0.0.1")) as server:
        with pytest.raises(ServerError, match="is not trusted") as error:
            await check(server.url)
        assert server.requests == []
    assert "SSL_CERT_FILE" in error.value.remedy


@pytest.mark.usefixtures("trusted")
@pytest.mark.parametrize(
    ("days", "fault"), [((-20, -10), "has expired"), ((10, 20), "is not valid yet")]
)
async def test_a_certificate_out_of_its_time_is_named(
    authority: trustme.CA, days: tuple[int, int], fault: str
) -> None:
    begins, ends = (datetime.now(UTC) + timedelta(days=day) for day in days)
    certificate = authority.issue_cert("127.0.0.1", not_before=begins, not_after=ends)
    async with tls_server(certificate) as server:
        with pytest.raises(ServerError, match=fault):
            await check(server.url)


@pytest.mark.usefixtures("trusted")
@pytest.mark.parametrize(
    ("asked", "certified", "fault"),
    [
        ("localhost", "gpu-host", "is for another host name"),
        ("127.0.0.1", "gpu-host", "is not for this IP address"),
    ],
)
async def test_a_certificate_for_another_host_is_named(
    authority: trustme.CA, asked: str, certified: str, fault: str
) -> None:
    async with tls_server(authority.issue_cert(certified)) as server:
        with pytest.raises(ServerError, match=fault):
            await check(server.url.replace("127.0.0.1", asked))


async def test_https_to_a_server_of_plain_http_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(endpoints, "_CONNECT_SECONDS", 0.5)
    async with misbehaving_server(always=guarded) as server:
        with pytest.raises(ServerError, match="does not speak TLS") as error:
            await check(server.url.replace("http:", "https:"))
    assert "http://" in error.value.remedy


async def test_plain_http_to_a_server_of_tls_is_named(authority: trustme.CA) -> None:
    async with tls_server(authority.issue_cert("127.0.0.1")) as server:
        with pytest.raises(ServerError, match="without an answer in HTTP") as error:
            await check(server.url.replace("https:", "http:"))
    assert "should begin with https://" in error.value.remedy


async def test_a_proxy_of_the_environment_is_used_for_other_hosts(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with misbehaving_server(always=guarded) as proxy:
        monkeypatch.setenv("HTTP_PROXY", proxy.url)
        await check("http://gpu-host.invalid:8000/v1")

    assert proxy.requests[0].route == "http://gpu-host.invalid:8000/v1/embeddings"


async def test_a_proxy_of_the_environment_is_not_used_on_this_host(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with misbehaving_server() as proxy, misbehaving_server(always=guarded) as server:
        monkeypatch.setenv("HTTP_PROXY", proxy.url)
        await check(server.url)

    assert proxy.num_connections == 0


async def test_a_proxy_that_refuses_is_named_and_sees_no_key(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with misbehaving_server(always=lambda _: Answer(status=407)) as proxy:
        monkeypatch.setenv("HTTPS_PROXY", proxy.url)
        with pytest.raises(ServerError, match=r"proxy before .* refuses to connect \(407") as error:
            await check("https://gpu-host.invalid")
    assert "NO_PROXY" in error.value.remedy
    (request,) = proxy.requests
    assert request.method == "CONNECT"
    assert "authorization" not in request.headers


async def test_a_proxy_that_is_not_there_is_said_to_be_in_between(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        monkeypatch.setenv("HTTPS_PROXY", f"http://u:secret@127.0.0.1:{closed.getsockname()[1]}")
    with pytest.raises(ServerError, match="go through the proxy") as error:
        await check("https://gpu-host.invalid")
    assert "secret" not in str(error.value)


async def test_a_host_named_in_no_proxy_is_asked_directly(monkeypatch: pytest.MonkeyPatch) -> None:
    async with misbehaving_server() as proxy:
        monkeypatch.setenv("HTTP_PROXY", proxy.url)
        monkeypatch.setenv("NO_PROXY", "gpu-host.invalid")
        with pytest.raises(ServerError, match=r"host name in .* is not known") as error:
            await check("http://gpu-host.invalid")
    assert "proxy" not in str(error.value)
    assert proxy.num_connections == 0


async def test_a_proxy_of_an_unknown_kind_is_a_configuration_error(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("ALL_PROXY", "gopher://u:secret@proxy")
    with pytest.raises(ConfigurationError, match=r"proxy .* cannot be used") as error:
        await check("https://gpu-host.invalid")
    assert "secret" not in str(error.value)


async def test_no_authorities_are_read_for_plain_http_on_this_host(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Reading them takes longer than a small job's requests."""
    monkeypatch.setattr(ssl.SSLContext, "set_default_verify_paths", pytest.fail)
    async with misbehaving_server(always=guarded) as server:
        await check(server.url)
