"""What went wrong between us and an embedding server, each cause in its own words. No I/O.

A server's own words are shown: a preflight's requests hold no document that they could repeat.
"""

import socket
import ssl
from collections.abc import Iterator
from urllib.parse import urlsplit

import httpx
import orjson

from embed_index.pipeline.embedding.answers import OversizedAnswerError
from embed_index.pipeline.embedding.endpoint import EmbeddingEndpoint
from embed_index.pipeline.embedding.proven import UnprovenServerError
from embed_index.pipeline.embedding.wire import MalformedReplyError, reply_width
from embed_index.pipeline.secrecy.redaction import mask
from embed_index.schemas.errors import ServerError, shortened

EMBEDDINGS_ROUTE = "/v1/embeddings"

_BUSY = frozenset({429, 503})
_NO_ROUTE = frozenset({404, 405})
_READ_AND_REFUSED = frozenset({400, 413, 422})
_MAX_REASON_CHARS = 200


class BusyServerError(ServerError):
    """The server is there and guards its key, and has no answer to spare at present."""


def busy(endpoint: EmbeddingEndpoint, *, seconds: float) -> BusyServerError:
    """Return the error for a server that answered before, and embeds nothing within a time."""
    return BusyServerError(
        f"{_server(endpoint)} is busy: it answers, and embedded nothing within {seconds:.0f} s.",
        remedy="Try again when it has less to do, or allow it more time. If nobody sends it"
        " anything it hangs: see its log.",
    )


def open_to_anybody(
    response: httpx.Response, *, endpoint: EmbeddingEndpoint, what: str
) -> ServerError:
    """Return the error for status 200 to a request `what`, such as `without a key`."""
    try:
        reply_width(response.content)
    except MalformedReplyError:
        page = "an HTML page" if _is_page(response) else "something else"
        return ServerError(
            f"{_server(endpoint)} answers with {page} instead of vectors.",
            remedy="Check the address: another program or a proxy's login page may be answering.",
        )
    return ServerError(
        f"{_server(endpoint)} answers requests {what}.",
        remedy="Start it with an API key, or close the proxy in front of it.",
    )


def not_refused(response: httpx.Response, *, endpoint: EmbeddingEndpoint, what: str) -> ServerError:
    """Return the error for an answer to a request `what` that neither embeds nor asks for the key.

    A server that embeds texts only refuses the probe; it is open to anybody all the same.
    """
    status = response.status_code
    if status not in _READ_AND_REFUSED:
        return unexpected(response, endpoint=endpoint, what=f"{what}, where 401 was due")
    reason = _reason(response, key=endpoint.key.get_secret_value())
    return ServerError(
        f"{_server(endpoint)} reads requests {what}, and refused one with status {status}{reason}.",
        remedy="Start it with an API key, which it must ask for before all else, and see that it"
        " takes token ids.",
    )


def unexpected(response: httpx.Response, *, endpoint: EmbeddingEndpoint, what: str) -> ServerError:
    """Return the error for an answer to a request `what` that none of the steps can use."""
    status, server = response.status_code, _server(endpoint)
    answered = f"{server} answered status {status} to a request {what}"
    reason = _reason(response, key=endpoint.key.get_secret_value())
    if response.has_redirect_location:
        return ServerError(
            f"{server} redirects to {_origin(response)} (status {status}).",
            remedy="Give that address, if it is the server's: redirects are not followed, because"
            " the key must go nowhere else.",
        )
    if status in _NO_ROUTE:
        return ServerError(
            f"There is no {EMBEDDINGS_ROUTE} at {endpoint.url} (status {status}{reason}).",
            remedy="Give the base address of an OpenAI-compatible embeddings server, with or"
            " without /v1 at its end; another program or a proxy may be answering there.",
        )
    if status in _BUSY:
        return BusyServerError(
            f"{answered}, again and again{reason}.",
            remedy="It is overloaded, or it or a proxy limits how often it may be asked. Try"
            " again later, or raise the limit.",
        )
    if status == httpx.codes.UNAUTHORIZED:
        return ServerError(
            f"{server} refuses the key (status {status}{reason}).",
            remedy="Check that EMBEDDING_API_KEY is this server's key.",
        )
    if status == httpx.codes.FORBIDDEN:
        return ServerError(
            f"{server} forbids what the key asks for (status {status}{reason}).",
            remedy="Check that EMBEDDING_API_KEY is this server's key and may embed, and that no"
            " proxy or firewall rule refuses this host.",
        )
    if status >= httpx.codes.INTERNAL_SERVER_ERROR:
        return ServerError(
            f"{answered}{reason}.",
            remedy="Check the server's log and, where a proxy stands before it, that the proxy"
            " reaches it.",
        )
    return ServerError(
        f"{answered}{reason}.", remedy="Check the server's log, and that it serves embeddings."
    )


def _server(endpoint: EmbeddingEndpoint) -> str:
    return f"The embedding server at {endpoint.url}"


def _is_page(response: httpx.Response) -> bool:
    return "html" in response.headers.get("Content-Type", "")


def _origin(response: httpx.Response) -> str:
    """Return where a redirect leads, without a query that might hold anything."""
    target = urlsplit(str(response.request.url.join(response.headers["Location"])))
    return f"{target.scheme}://{target.netloc.rpartition('@')[2]}{target.path}"


def _reason(response: httpx.Response, *, key: str) -> str:
    """Return the server's own words after a colon; empty where there are none."""
    try:
        said = orjson.loads(response.content)
    except orjson.JSONDecodeError:
        return ": an HTML page" if _is_page(response) else ""
    for field in ("error", "message", "detail"):
        if isinstance(said, dict) and field in said:
            said = said[field]
    if not isinstance(said, str):
        return ""
    # Cut afterwards: of a key that is cut nothing would be recognised.
    words = shortened(mask(" ".join(said.split()), key), max_chars=_MAX_REASON_CHARS).rstrip(".")
    return f": {words}" if words else ""


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
    if isinstance(error, UnprovenServerError):
        return (
            f"What answers at {url} is not the embedding server: it does not know the key.",
            "See which program holds the port, or choose another port.",
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
    if isinstance(error, OversizedAnswerError):
        return (
            f"{server} gives an answer without an end ({error}).",
            "Check the address: that is no embedding server, or it is broken.",
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
