"""Where Milvus is: the address as the user gives it, and why nothing answers there."""

import socket
import ssl
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from embed_index.schemas.errors import ConfigurationError, StoreError
from embed_index.schemas.setting_checks import milvus_uri

_DEFAULT_PORT = 19530
_PROBE_SECONDS = 3.0


@dataclass(frozen=True, slots=True, kw_only=True)
class MilvusAddress:
    """A Milvus Lite folder or a server, never with credentials in it."""

    uri: str
    embedded_path: Path | None
    """The folder of an embedded Milvus Lite; None for a server."""
    host: str = ""
    port: int = 0
    secure: bool = False


def parse_address(uri: str) -> MilvusAddress:
    """Read `MILVUS_URI`.

    Raises:
        ConfigurationError: Neither a path that ends in `.db` nor `http(s)://host:port`, or the
            URI holds credentials; the message repeats nothing of it.
    """
    try:
        uri = milvus_uri(uri)
    except ValueError as error:
        raise ConfigurationError(
            f"the Milvus URI {error}",
            remedy="Give a path ending in `.db` for Milvus Lite, or `http(s)://host:port`, and put"
            " `user:password` in MILVUS_TOKEN.",
        ) from error
    if "://" not in uri:
        return MilvusAddress(uri=uri, embedded_path=Path(uri).absolute())
    parts = urlsplit(uri)
    assert parts.hostname
    secure = parts.scheme == "https"
    return MilvusAddress(
        uri=uri,
        embedded_path=None,
        host=parts.hostname,
        port=parts.port or (443 if secure else _DEFAULT_PORT),
        secure=secure,
    )


def check_ca_file(ca_file: Path | None) -> None:
    """Refuse a file that holds no authority's certificate; gRPC would fail to connect, for ever."""
    if ca_file is None:
        return
    try:
        ssl.create_default_context(cafile=str(ca_file))
    except OSError as error:
        raise ConfigurationError(
            f"milvus_ca_file: {ca_file} is no PEM file of certificates ({error.strerror or error})",
            remedy="Name the file of the authority that signed the Milvus server's certificate.",
        ) from error


def explain_unreachable(address: MilvusAddress, *, ca_file: Path | None) -> StoreError:
    """Find out by connecting once more why a server cannot be reached.

    gRPC reports a closed port, an unknown name and a failed TLS handshake with one status.
    """
    where = f"Milvus at {address.uri}"
    try:
        with socket.create_connection((address.host, address.port), _PROBE_SECONDS) as raw:
            return _explain_handshake(where, raw, address, ca_file=ca_file)
    except socket.gaierror:
        return StoreError(
            f"{where}: the host name {address.host!r} is unknown", remedy="Check MILVUS_URI."
        )
    except OSError as error:
        return StoreError(
            f"{where} cannot be reached: {error.strerror or 'timed out'}",
            remedy="Start the server or correct MILVUS_URI.",
        )


def _explain_handshake(
    where: str, raw: socket.socket, address: MilvusAddress, *, ca_file: Path | None
) -> StoreError:
    context = ssl.create_default_context(cafile=None if ca_file is None else str(ca_file))
    try:
        context.wrap_socket(raw, server_hostname=address.host).close()
    except ssl.SSLCertVerificationError as error:
        if address.secure:
            return StoreError(
                f"{where}: TLS failed: {error.verify_message}",
                remedy="Name the PEM file of its authority: MILVUS_CA_FILE, or `ca_file` under"
                " [milvus] in the job file.",
            )
        return _wants_tls(where)
    except (ssl.SSLError, OSError):
        if address.secure:
            return StoreError(
                f"{where}: the server does not speak TLS", remedy="Use http:// in MILVUS_URI."
            )
        return StoreError(
            f"{where}: the port is open and does not answer as Milvus",
            remedy="Check that MILVUS_URI names Milvus' gRPC port, and see the server's log.",
        )
    if address.secure:
        return StoreError(
            f"{where}: the port is open and does not answer as Milvus",
            remedy="Check that MILVUS_URI names Milvus' gRPC port, and see the server's log.",
        )
    return _wants_tls(where)


def _wants_tls(where: str) -> StoreError:
    return StoreError(f"{where}: the server speaks TLS", remedy="Use https:// in MILVUS_URI.")
