"""Where Milvus is: the address as the user gives it, and why nothing answers there."""

import socket
import ssl
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from embed_index.pipeline.milvus.tls import TlsFiles, explain_handshake
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


def explain_unreachable(address: MilvusAddress, *, files: TlsFiles) -> StoreError:
    """Find out by connecting once more why a server cannot be reached.

    gRPC reports a closed port, an unknown name and a failed TLS handshake with one status.
    """
    where = f"Milvus at {address.uri}"
    try:
        with socket.create_connection((address.host, address.port), _PROBE_SECONDS) as raw:
            if address.secure:
                return explain_handshake(where, raw, host=address.host, files=files)
            return _explain_silence(where, raw)
    except socket.gaierror:
        return StoreError(
            f"{where}: the host name {address.host!r} is unknown", remedy="Check MILVUS_URI."
        )
    except OSError as error:
        return StoreError(
            f"{where} cannot be reached: {error.strerror or 'timed out'}",
            remedy="Start the server or correct MILVUS_URI.",
        )


def _explain_silence(where: str, raw: socket.socket) -> StoreError:
    """Say why a server that was to speak plainly did not: it may want TLS."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE  # nothing is sent, and only that it answers counts
    try:
        context.wrap_socket(raw).close()
    except OSError:
        return StoreError(
            f"{where}: the port is open and does not answer as Milvus",
            remedy="Check that MILVUS_URI names Milvus' gRPC port, and see the server's log.",
        )
    return StoreError(f"{where}: the server speaks TLS", remedy="Use https:// in MILVUS_URI.")
