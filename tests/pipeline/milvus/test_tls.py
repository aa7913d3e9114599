"""TLS to Milvus: what is wrong is said in a sentence, whatever gRPC makes of it."""

import datetime as dt
import logging
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import grpc
import pytest
import trustme
from stalling_milvus import StallingMilvus

from embed_index.pipeline.milvus.store import open_store
from embed_index.pipeline.milvus.tls import TlsFiles, explain_handshake
from embed_index.schemas.errors import ConfigurationError, EmbedIndexError, StoreError

LONG_AGO = dt.datetime(2020, 1, 1, tzinfo=dt.UTC)

Serve = Callable[..., str]
"""Takes the server's certificate, and whether it asks clients for theirs; returns its URI."""


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(scope="module")
def stranger() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def serve(tmp_path: Path, authority: trustme.CA) -> Iterator[Serve]:
    with ExitStack() as servers:

        def start(cert: trustme.LeafCert, *, asks: bool = False) -> str:
            credentials = grpc.ssl_server_credentials(
                [(cert.private_key_pem.bytes(), cert.cert_chain_pems[0].bytes())],
                root_certificates=authority.cert_pem.bytes() if asks else None,
                require_client_auth=asks,
            )
            milvus = StallingMilvus(tmp_path / "store.db", credentials=credentials)
            return servers.enter_context(milvus).uri

        yield start


@pytest.fixture
def files(tmp_path: Path, authority: trustme.CA) -> TlsFiles:
    """The authority's certificate, and nothing of our own."""
    path = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(str(path))
    return TlsFiles(ca_file=path)


def with_client(files: TlsFiles, cert: trustme.LeafCert, *, mode: int = 0o600) -> TlsFiles:
    """Add a client's certificate and key beside the authority's."""
    assert files.ca_file is not None
    client_cert, client_key = (files.ca_file.with_name(f"client.{kind}") for kind in ("pem", "key"))
    cert.cert_chain_pems[0].write_to_path(str(client_cert))
    client_key.touch(mode=0o600)
    cert.private_key_pem.write_to_path(str(client_key))
    client_key.chmod(mode)
    return TlsFiles(ca_file=files.ca_file, client_cert=client_cert, client_key=client_key)


def refusal(uri: str, files: TlsFiles) -> str:
    """Return the one sentence and the remedy with which opening fails."""
    with pytest.raises(EmbedIndexError) as raised:
        open_store(uri, tls=files, connect_seconds=0.5, call_seconds=5)
    assert raised.value.remedy
    return str(raised.value)


def test_a_server_that_knows_its_clients_takes_one_with_its_authoritys_certificate(
    serve: Serve, files: TlsFiles, authority: trustme.CA
) -> None:
    uri = serve(authority.issue_cert("localhost"), asks=True)

    with open_store(uri, tls=with_client(files, authority.issue_cert("loader"))) as store:
        assert store.server_version()


def test_the_servers_certificate_has_expired(
    serve: Serve, files: TlsFiles, authority: trustme.CA
) -> None:
    uri = serve(authority.issue_cert("localhost", not_after=LONG_AGO))

    said = refusal(uri, files)

    assert "the server's certificate has expired" in said
    assert "Renew it" in said


def test_the_servers_certificate_is_for_another_host(
    serve: Serve, files: TlsFiles, authority: trustme.CA
) -> None:
    said = refusal(serve(authority.issue_cert("milvus.example.org")), files)

    assert "the server's certificate is not for 'localhost'" in said
    assert "MILVUS_URI" in said


@pytest.mark.parametrize("named", [True, False], ids=["another authority", "no authority"])
def test_the_servers_certificate_is_of_an_unknown_authority(
    serve: Serve, files: TlsFiles, authority: trustme.CA, stranger: trustme.CA, named: bool
) -> None:
    said = refusal(serve(stranger.issue_cert("localhost")), files if named else TlsFiles())

    assert "TLS failed: unable to get local issuer certificate" in said
    assert "MILVUS_CA_FILE" in said


@pytest.mark.parametrize("fault", ["none", "expired", "unknown"])
@pytest.mark.parametrize("silent", [True, False], ids=["gRPC in C", "with alerts"])
def test_the_server_does_not_accept_the_clients_certificate(
    serve: Serve,
    files: TlsFiles,
    authority: trustme.CA,
    stranger: trustme.CA,
    fault: str,
    silent: bool,
) -> None:
    if fault == "expired":
        files = with_client(files, authority.issue_cert("loader", not_after=LONG_AGO))
    elif fault == "unknown":
        files = with_client(files, stranger.issue_cert("loader"))
    cert = authority.issue_cert("localhost")

    if silent:
        said = refusal(serve(cert, asks=True), files)
        which = "no certificate" if fault == "none" else "the certificate"
        expected = f"the server ended the connection when it saw {which} of the client"
    else:
        said = refusal_by_alert(cert, authority, files)
        expected = {
            "none": "the server wants a client's certificate, and got none",
            "expired": "the server says that the client's certificate has expired",
            "unknown": "the server does not know the authority of the client's certificate",
        }[fault]

    assert expected in said
    assert "MILVUS_CLIENT_CERT and MILVUS_CLIENT_KEY" in said


def refusal_by_alert(cert: trustme.LeafCert, authority: trustme.CA, files: TlsFiles) -> str:
    """Return what is said of a server that says why, as those in Go and with OpenSSL do."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.verify_mode = ssl.CERT_REQUIRED
    authority.configure_trust(context)
    cert.configure_cert(context)

    def serve_once() -> None:
        accepted, _ = listener.accept()
        with accepted, suppress(ssl.SSLError):
            context.wrap_socket(accepted, server_side=True).close()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve_once)
        thread.start()
        with socket.create_connection(listener.getsockname()) as raw:
            error = explain_handshake("Milvus", raw, host="localhost", files=files)
        thread.join()
    return str(error)


@pytest.mark.parametrize("plain", [True, False], ids=["http to TLS", "https to no TLS"])
def test_one_side_speaks_tls_alone(
    serve: Serve, files: TlsFiles, authority: trustme.CA, tmp_path: Path, plain: bool
) -> None:
    if plain:
        uri = serve(authority.issue_cert("localhost")).replace("https", "http")
        assert "the server speaks TLS\nUse https://" in refusal(uri, TlsFiles())
        return
    with StallingMilvus(tmp_path / "plain.db") as milvus:
        said = refusal(milvus.uri.replace("http", "https"), files)
    assert "the server does not speak TLS\nUse http://" in said


def test_a_key_that_others_can_read_is_refused(files: TlsFiles, authority: trustme.CA) -> None:
    ours = with_client(files, authority.issue_cert("loader"), mode=0o640)

    said = refusal("https://localhost:1", ours)

    assert f"{ours.client_key} is open to others (mode 0640)" in said
    assert "chmod 600" in said


def test_a_key_of_another_certificate_is_refused(
    files: TlsFiles, authority: trustme.CA, tmp_path: Path
) -> None:
    ours = with_client(files, authority.issue_cert("loader"))
    assert ours.client_key is not None
    authority.issue_cert("other").private_key_pem.write_to_path(str(ours.client_key))

    said = refusal("https://localhost:1", ours)

    assert f"{ours.client_key} is not the key of the certificate {ours.client_cert}" in said


def test_an_encrypted_key_is_refused(files: TlsFiles, authority: trustme.CA) -> None:
    from cryptography.hazmat.primitives import serialization

    cert = authority.issue_cert("loader")
    ours = with_client(files, cert)
    assert ours.client_key is not None
    key = serialization.load_pem_private_key(cert.private_key_pem.bytes(), password=None)
    encrypted = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(b"a passphrase"),
    )
    ours.client_key.write_bytes(encrypted)

    said = refusal("https://localhost:1", ours)

    assert f"{ours.client_key} is encrypted" in said
    assert "openssl pkey" in said


def test_what_is_no_certificate_is_refused_without_its_content(
    files: TlsFiles, authority: trustme.CA
) -> None:
    ours = with_client(files, authority.issue_cert("loader"))
    assert ours.client_cert is not None
    ours.client_cert.write_text("content-f00d")

    said = refusal("https://localhost:1", ours)

    assert f"{ours.client_cert}" in said
    assert "no PEM" in said
    assert "f00d" not in said


@pytest.mark.parametrize("absent", ["client_cert", "client_key", "ca_file"])
def test_certificate_key_and_authority_go_together(
    files: TlsFiles, authority: trustme.CA, absent: str
) -> None:
    ours = with_client(files, authority.issue_cert("loader"))
    given = {
        name: getattr(ours, name)
        for name in ("ca_file", "client_cert", "client_key")
        if name != absent
    }

    with pytest.raises(ConfigurationError) as raised:
        TlsFiles(**given).check()

    assert "MILVUS_" in (raised.value.remedy or "")


def test_neither_key_nor_token_is_in_a_message_or_a_log(
    serve: Serve,
    files: TlsFiles,
    authority: trustme.CA,
    stranger: trustme.CA,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    caplog.set_level(logging.DEBUG)
    ours = with_client(files, stranger.issue_cert("loader"))
    assert ours.client_key is not None
    uri = serve(authority.issue_cert("localhost"), asks=True)

    with pytest.raises(StoreError) as raised:
        open_store(uri, token="user:pass-5ec7", tls=ours, connect_seconds=0.5, call_seconds=5)

    captured = capfd.readouterr()
    shown = f"{raised.value!r} {raised.value} {caplog.text} {captured.out} {captured.err} {ours!r}"
    assert "5ec7" not in shown
    assert ours.client_key.read_text().splitlines()[1] not in shown
