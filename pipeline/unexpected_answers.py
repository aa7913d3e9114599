"""What an answer means that is not the one a preflight expects. No I/O.

The server's own words are shown: a preflight's requests hold no document that they could repeat.
"""

from urllib.parse import urlsplit

import httpx
import orjson

from embed_index.pipeline.embedding_endpoint import EmbeddingEndpoint
from embed_index.pipeline.vectors import MalformedReplyError, reply_width
from embed_index.schemas.errors import ServerError

EMBEDDINGS_ROUTE = "/v1/embeddings"

_BUSY = frozenset({429, 503})
_NO_ROUTE = frozenset({404, 405})
_READ_AND_REFUSED = frozenset({400, 413, 422})
_MAX_REASON_CHARS = 200


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
        return ServerError(
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
    words = " ".join(said.split()).replace(key, "<redacted>")[:_MAX_REASON_CHARS].rstrip(".")
    return f": {words}" if words else ""
