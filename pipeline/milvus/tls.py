"""TLS to a Milvus server: the files that it takes, and why a handshake fails.

pymilvus reads the files itself, and tells one failed connection from another as little as gRPC
does. So they are checked before, and a handshake that failed is made once more to hear why.
"""

import socket
import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from embed_index.pipeline.secrecy.checks import check_secret_file
from embed_index.schemas.errors import ConfigurationError, StoreError

_EXPIRED, _NOT_YET_VALID, _OTHER_HOST, _OTHER_ADDRESS = 10, 9, 62, 64
"""OpenSSL's X509_V_ERR numbers."""
_WRONG_KEY = "KEY_VALUES_MISMATCH"
_ABOUT_CLIENT = {
    "SSLV3_ALERT_CERTIFICATE_EXPIRED": "says that the client's certificate has expired",
    "TLSV1_ALERT_UNKNOWN_CA": "does not know the authority of the client's certificate",
}
"""Alerts of a server, by OpenSSL's names."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TlsFiles:
    """PEM files for a server with a certificate of one's own authority, and for one's own."""

    ca_file: Path | None = None
    """Of the authority that signed the server's certificate; None for the usual ones."""
    client_cert: Path | None = None
    """What the server knows us by, with `client_key`; None where it asks for nothing."""
    client_key: Path | None = None

    def check(self) -> None:
        """Refuse files that cannot work; gRPC would fail to connect, for ever.

        Raises:
            ConfigurationError: One is missing, damaged, or a key that others can read.
        """
        if self.ca_file is not None:
            _read_authority(self.ca_file)
        if (self.client_cert is None) != (self.client_key is None):
            raise ConfigurationError(
                "a client's certificate and its key are used together, and one is missing",
                remedy="Name both: MILVUS_CLIENT_CERT and MILVUS_CLIENT_KEY.",
            )
        if self.client_cert is None or self.client_key is None:
            return
        if self.ca_file is None:
            raise ConfigurationError(
                "a client's certificate is used with the server's authority, which is not named",
                remedy="Name the PEM file of the authority with MILVUS_CA_FILE.",
            )
        check_secret_file(self.client_key, subject="client key")
        _load_pair(ssl.create_default_context(), self.client_cert, self.client_key)

    def options(self) -> dict[str, str]:
        """Return the files as pymilvus calls them."""
        if self.client_cert is not None:
            return {
                "ca_pem_path": str(self.ca_file),
                "client_pem_path": str(self.client_cert),
                "client_key_path": str(self.client_key),
            }
        # With this one, pymilvus does not look at the others.
        return {} if self.ca_file is None else {"server_pem_path": str(self.ca_file)}

    def context(self) -> ssl.SSLContext:
        """Return what a handshake like gRPC's is made with."""
        context = ssl.create_default_context(cafile=self.ca_file)
        # gRPC servers refuse clients that do not speak HTTP/2.
        context.set_alpn_protocols(["h2"])
        if self.client_cert is not None:
            context.load_cert_chain(self.client_cert, self.client_key)
        return context


def _read_authority(path: Path) -> None:
    try:
        ssl.create_default_context(cafile=path)
    except OSError as error:
        raise ConfigurationError(
            f"milvus_ca_file: {path} is no PEM file of certificates ({error.strerror or error})",
            remedy="Name the file of the authority that signed the Milvus server's certificate.",
        ) from error


def _load_pair(context: ssl.SSLContext, cert: Path, key: Path) -> None:
    def refuse() -> NoReturn:
        raise ConfigurationError(
            f"milvus_client_key: {key} is encrypted, and nobody is there at night to decrypt it",
            remedy=f"Write it without a passphrase, at mode 0600: openssl pkey -in {key} -out FILE",
        )

    try:
        context.load_cert_chain(cert, key, password=refuse)
    except ssl.SSLError as error:
        if error.reason == _WRONG_KEY:
            raise ConfigurationError(
                f"milvus_client_key: {key} is not the key of the certificate {cert}",
                remedy="Name the key that the certificate was made for.",
            ) from None
        # OpenSSL's words, which hold nothing of the files.
        raise ConfigurationError(
            f"milvus_client_cert: {cert} and {key} are no PEM files of a certificate and its key"
            f" ({error.reason or 'no PEM'})",
            remedy="Name the certificate, with those between it and its authority, and its key.",
        ) from None
    except OSError as error:
        raise ConfigurationError(
            f"milvus_client_cert: {cert} cannot be read ({error.strerror})",
            remedy="Check the path and its owner.",
        ) from None


def explain_handshake(where: str, raw: socket.socket, *, host: str, files: TlsFiles) -> StoreError:
    """Say why a server that was to speak TLS was not reached.

    Args:
        where: The server, for the message.
        raw: Connected to it.
        host: Its name in the address.
        files: What the connection was tried with.
    """
    try:
        with files.context().wrap_socket(raw, server_hostname=host) as channel:
            # What a server thinks of the client's certificate it says after the handshake, or
            # it ends the connection without a word, as gRPC's own does.
            if not channel.recv(1):
                seen = "no certificate" if files.client_cert is None else "the certificate"
                return _refused(where, f"ended the connection when it saw {seen} of the client")
    except ssl.SSLCertVerificationError as error:
        return _explain_certificate(where, error, host=host)
    except ssl.SSLError as error:
        return _explain_alert(where, error, files=files)
    except OSError:
        pass
    return StoreError(
        f"{where}: the port is open and does not answer as Milvus",
        remedy="Check that MILVUS_URI names Milvus' gRPC port, and see the server's log.",
    )


def _explain_certificate(
    where: str, error: ssl.SSLCertVerificationError, *, host: str
) -> StoreError:
    match error.verify_code:
        case code if code in (_EXPIRED, _NOT_YET_VALID):
            state = "has expired" if code == _EXPIRED else "is not valid yet"
            return StoreError(
                f"{where}: TLS failed: the server's certificate {state}",
                remedy="Renew it on the Milvus server, or set this host's clock right.",
            )
        case code if code in (_OTHER_HOST, _OTHER_ADDRESS):
            return StoreError(
                f"{where}: TLS failed: the server's certificate is not for {host!r}",
                remedy="Use in MILVUS_URI a host name that the certificate has.",
            )
        case _:
            return StoreError(
                f"{where}: TLS failed: {error.verify_message}",
                remedy="Name the PEM file of its authority: MILVUS_CA_FILE, or `ca_file` under"
                " [milvus] in the job file.",
            )


def _explain_alert(where: str, error: ssl.SSLError, *, files: TlsFiles) -> StoreError:
    reason = error.reason or ""
    if "ALERT" not in reason:
        return StoreError(
            f"{where}: the server does not speak TLS", remedy="Use http:// in MILVUS_URI."
        )
    if "CERT" not in reason and "_CA" not in reason:
        return StoreError(
            f"{where}: TLS failed: the server refuses the handshake ({reason})",
            remedy="See the server's log, and which versions of TLS it takes.",
        )
    if files.client_cert is None:
        # Servers in older Go call also none a bad one.
        return _refused(where, "wants a client's certificate, and got none")
    said = _ABOUT_CLIENT.get(reason, f"does not accept the client's certificate ({reason})")
    return _refused(where, said)


def _refused(where: str, said: str) -> StoreError:
    return StoreError(
        f"{where}: TLS failed: the server {said}",
        remedy="Name a certificate that it accepts, with its key: MILVUS_CLIENT_CERT and"
        " MILVUS_CLIENT_KEY, or `client_cert` and `client_key` under [milvus] in the job file.",
    )
