"""Why an embedding server cannot be reached, each cause in its own words and with its remedy."""

import socket
import ssl
from collections.abc import Iterator

import httpx

from embed_index.pipeline.embedding_endpoint import EmbeddingEndpoint
from embed_index.schemas.errors import ServerError

# OpenSSL's X509_V_ERR_* numbers.
_NOT_YET_VALID = 9
_EXPIRED = 10
_HOST_MISMATCH = 62
_ADDRESS_MISMATCH = 64
_CERTIFICATE_FAULTS = {
    _EXPIRED: ("has expired", "Have it renewed."),
    _NOT_YET_VALID: ("is not valid yet", "Check the clock of this host and of the server."),
    _HOST_MISMATCH: ("is for another host name", "Use a name that the certificate is for."),
    _ADDRESS_MISMATCH: (
        "is not for this IP address",
        "Use the host name that the certificate is for.",
    ),
}
_NO_ANSWER_IN_HTTP = (httpx.RemoteProtocolError, httpx.ReadError, httpx.WriteError)


def unreachable(
    endpoint: EmbeddingEndpoint, *, error: httpx.RequestError | TimeoutError
) -> ServerError:
    """Name what kept a request from being answered: name, route, certificate, protocol or time."""
    message, remedy = _explain(endpoint.url, error=error)
    if endpoint.is_proxied:
        message += " Requests go through the proxy that the environment names."
        remedy += " NO_PROXY with the server's host name goes past the proxy."
    return ServerError(message, remedy=remedy)


def _explain(url: str, *, error: httpx.RequestError | TimeoutError) -> tuple[str, str]:
    causes = list(_causes(error))
    server = f"The embedding server at {url}"
    for cause in causes:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return _explain_certificate(url, error=cause)
    if any(isinstance(cause, ssl.SSLError) for cause in causes):
        return (
            f"{server} does not speak TLS as expected.",
            "Check whether the address should begin with http:// instead of https://.",
        )
    if isinstance(error, httpx.ProxyError):
        # The words are a status line's, such as `407 Proxy Authentication Required`.
        return f"The proxy before {url} refuses to connect ({error}).", "Check HTTPS_PROXY."
    if any(isinstance(cause, socket.gaierror) for cause in causes):
        return (
            f"The host name in {url} is not known.",
            "Check EMBEDDING_API_BASE and the name resolution of this host.",
        )
    if isinstance(error, httpx.TimeoutException | TimeoutError):
        return f"{server} does not answer in time.", "Check that it is running and not overloaded."
    if any(isinstance(cause, ConnectionRefusedError) for cause in causes):
        return (
            f"{server} cannot be reached: the connection is refused.",
            "Check that it is running, and the address and port.",
        )
    if isinstance(error, httpx.DecodingError):
        return (
            f"{server} compresses its answers, unasked, in a way that cannot be read.",
            "Check the server, and proxies between.",
        )
    if isinstance(error, _NO_ANSWER_IN_HTTP):
        other = "https://" if url.startswith("http://") else "http://"
        return (
            f"{server} closes the connection without an answer in HTTP.",
            f"Check whether the address should begin with {other}, and the server's log.",
        )
    return f"{server} cannot be reached.", "Check the address, the network and firewalls between."


def _explain_certificate(url: str, *, error: ssl.SSLCertVerificationError) -> tuple[str, str]:
    fault, remedy = _CERTIFICATE_FAULTS.get(
        error.verify_code,
        (
            "is not trusted",
            "Install its authority in the system's store, or name a file of it in SSL_CERT_FILE.",
        ),
    )
    return f"The certificate of the embedding server at {url} {fault}.", remedy


def _causes(error: BaseException) -> Iterator[BaseException]:
    cause: BaseException | None = error
    while cause is not None:
        yield cause
        cause = cause.__cause__ or cause.__context__
