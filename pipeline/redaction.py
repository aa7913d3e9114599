"""Removing a key from a stream of bytes, however the stream is cut into pieces."""

REDACTED = b"<redacted>"


class KeyRedactor:
    """Replaces every occurrence of a key, also as Python and JSON write it between quotes."""

    def __init__(self, key: bytes) -> None:
        if not key:
            raise ValueError("an empty key cannot be redacted")
        self._stages = [_Replacement(form) for form in _written_forms(key)]

    def __repr__(self) -> str:
        return "KeyRedactor()"

    def feed(self, piece: bytes) -> bytes:
        """Return what can be shown of the stream so far and was not returned before."""
        for stage in self._stages:
            piece = stage.feed(piece)
        return piece

    def flush(self) -> bytes:
        """Return the held bytes at the end of the stream; they are no whole key."""
        rest = b""
        for stage in self._stages:
            rest = stage.feed(rest) + stage.flush()
        return rest


def _written_forms(key: bytes) -> list[bytes]:
    in_python = repr(key.decode("latin-1"))[1:-1].encode("latin-1")
    in_json = key.replace(b"\\", b"\\\\").replace(b'"', b'\\"')
    return list(dict.fromkeys((key, in_python, in_json)))


class _Replacement:
    """Replaces one form of a key; holds back only bytes that may begin one."""

    def __init__(self, key: bytes) -> None:
        self._key = key
        self._held = b""

    def feed(self, piece: bytes) -> bytes:
        *clean, rest = (self._held + piece).split(self._key)
        num_held = self._num_begun(rest)
        self._held = rest[len(rest) - num_held :]
        return REDACTED.join([*clean, rest[: len(rest) - num_held]])

    def flush(self) -> bytes:
        held, self._held = self._held, b""
        return held

    def _num_begun(self, rest: bytes) -> int:
        """Return the length of the longest end of `rest` that is a beginning of the key."""
        longest = min(len(rest), len(self._key) - 1)
        return next((n for n in range(longest, 0, -1) if rest.endswith(self._key[:n])), 0)
