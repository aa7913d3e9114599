"""Which keys are taken at this moment, and how often each may ask. No I/O."""

import math
import time
from collections import defaultdict, deque
from collections.abc import Callable, Iterable

from embed_index.pipeline.secrecy.keyring import HashedKey
from embed_index.pipeline.secrecy.proof import Address, fingerprint, prove

_WINDOW_SECONDS = 60.0


class Admission:
    """The keys of a gate, which may change while it is asked."""

    def __init__(
        self, keys: Iterable[HashedKey] = (), *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Take these keys; `clock` counts seconds."""
        self._clock = clock
        self._asked: defaultdict[str, deque[float]] = defaultdict(deque)
        self._keys: dict[str, HashedKey] = {}
        self.take(keys)

    def take(self, keys: Iterable[HashedKey]) -> None:
        """Take these keys from now on and no others; any thread may say so."""
        self._keys = {key.fingerprint: key for key in keys}

    def find(self, token: bytes) -> HashedKey | None:
        """Return the key that a token is; the time that it takes tells nothing of other keys."""
        return self._keys.get(fingerprint(token))

    def prove(self, *, nonce: str, client: Address, server: Address) -> str:
        """Return a proof for each key, one after the other: any holder finds his own.

        Raises:
            ValueError: The nonce is none.
        """
        return prove(*self._keys, nonce=nonce, client=client, server=server)

    def seconds_to_wait(self, key: HashedKey) -> int:
        """Count a request of a key; return 0 where it may go on, else when to ask again."""
        if key.per_minute is None:
            return 0
        now, asked = self._clock(), self._asked[key.name]
        while asked and asked[0] <= now - _WINDOW_SECONDS:
            asked.popleft()
        if len(asked) >= key.per_minute:
            return max(1, math.ceil(asked[-key.per_minute] + _WINDOW_SECONDS - now))
        asked.append(now)
        return 0
