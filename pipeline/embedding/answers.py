"""Answers of a server, read up to a bound: one that never ends must not fill the memory."""

import httpx

_MAX_BYTES = 16 * 1024 * 1024
"""Of what describes a server; SGLang's list of routes has some 100 KB."""
_NOT_OF_THE_CONTENT = frozenset({"content-encoding", "content-length", "transfer-encoding"})
"""Headers of the bytes as they came, before they were decoded."""


class OversizedAnswerError(httpx.DecodingError):
    """An answer is longer than any that the request can have."""


async def ask(
    http: httpx.AsyncClient,
    method: str,
    route: str,
    *,
    headers: dict[str, str],
    content: bytes | None = None,
    max_bytes: int = _MAX_BYTES,
) -> httpx.Response:
    """Send a request and read its whole answer; the caller limits the time.

    Args:
        http: The server's client.
        method: Such as `GET`.
        route: Below the base address.
        headers: Besides the client's own.
        content: Body of the request.
        max_bytes: Bound of the answer's, decompressed.

    Raises:
        httpx.RequestError: There is no usable answer.
        OversizedAnswerError: The answer is longer.
    """
    request = http.build_request(method, route, headers=headers, content=content)
    response = await http.send(request, stream=True)
    body = bytearray()
    try:
        async for piece in response.aiter_bytes():
            body += piece
            if len(body) > max_bytes:
                raise OversizedAnswerError(f"more than {max_bytes:,} bytes", request=request)
    finally:
        await response.aclose()
    kept = [(k, v) for k, v in response.headers.multi_items() if k not in _NOT_OF_THE_CONTENT]
    return httpx.Response(response.status_code, headers=kept, content=bytes(body), request=request)
