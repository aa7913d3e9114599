"""A column of strings left where Arrow has it: as bytes, most of which never become a `str`."""

from collections.abc import Sequence
from functools import cached_property
from hashlib import blake2b
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from embed_index.schemas.ids import CONTENT_HASH_BYTES
from embed_index.schemas.records import Words

_MAX_SHORT_BYTES = 64
"""What is longer takes less time to hash."""
_LENGTH_OF_NULL = (1 << 32) - 1


class TextColumn:
    """Strings of one column of a batch, null and invalid ones included."""

    def __init__(self, array: pa.Array) -> None:
        """Wrap strings of any Arrow type, or integers, which are read as their decimal digits."""
        self.array = _with_offsets(array)
        is_wide = pa.types.is_large_string(self.array.type)
        _, bounds, content = self.array.buffers()
        num_before, num_rows = self.array.offset, len(self.array)
        self._bounds: NDArray[np.int64] = np.zeros(1, dtype=np.int64)
        if num_rows:
            every = np.frombuffer(bounds, dtype=np.int64 if is_wide else np.int32)
            self._bounds = every[num_before : num_before + num_rows + 1].astype(np.int64)
        self._content = memoryview(content if content is not None else b"")

    def __len__(self) -> int:
        return len(self.array)

    def __getitem__(self, row: int) -> str | bytes | None:
        """Return one value; one that is not UTF-8 as its bytes."""
        if self._is_null[row]:
            return None
        start, end = self._bounds[row : row + 2].tolist()
        raw = self._content[start:end]
        try:
            return str(raw, "utf-8")
        except UnicodeDecodeError:
            return bytes(raw)

    @property
    def num_bytes(self) -> NDArray[np.int64]:
        """Length of each value; that of a null means nothing."""
        return np.diff(self._bounds)

    @cached_property
    def is_utf8(self) -> bool:
        """Whether every value is valid UTF-8."""
        try:
            self.array.validate(full=True)
        except pa.ArrowInvalid:
            return False
        return True

    def beyond(self, first: int, last: int) -> NDArray[np.bool_]:
        """Return for each value whether it has a byte outside `first` to `last`."""
        start, end = self._bounds[[0, -1]].tolist()
        content = np.frombuffer(self._content[start:end], dtype=np.uint8)
        is_beyond = np.zeros(len(self), dtype=np.bool_)
        # Both extremes are found without a copy, and mostly no byte is outside.
        if content.size and not first <= content.min() <= content.max() <= last:
            places = np.flatnonzero((content < first) | (content > last))
            is_beyond[np.searchsorted(self._bounds - start, places, "right") - 1] = True
        return is_beyond

    def blank(self) -> NDArray[np.bool_]:
        """Return for each value whether it is null, empty or white space; UTF-8 only."""
        # Arrow looks at the bytes below nulls, too.
        clean = self.array.fill_null("") if self.array.null_count else self.array
        is_space = pc.utf8_is_space(clean).to_numpy(zero_copy_only=False)
        blank: NDArray[np.bool_] = is_space | (self.num_bytes == 0) | self._is_null
        return blank

    def strings(self) -> list[str]:
        """Return the values of a column without null and invalid ones."""
        strings: list[str] = self.array.to_pylist()
        return strings

    def hashes(self) -> NDArray[np.uint8]:
        """Return the content hash of each value of a column without nulls, in rows of bytes."""
        content, size = self._content, CONTENT_HASH_BYTES
        hashes = [
            blake2b(content[start:end], digest_size=size).digest()
            for start, end in pairwise(self._bounds.tolist())
        ]
        return np.frombuffer(b"".join(hashes), np.uint8).reshape(-1, size)

    def words(self) -> Words:
        """Return what each value is: a short one itself, a longer one's hash; UTF-8 only."""
        lengths = np.where(self._is_null, 0, self.num_bytes)
        is_short = lengths <= _MAX_SHORT_BYTES
        width = -(-int(lengths.max(where=is_short, initial=CONTENT_HASH_BYTES)) // 4) * 4
        shown = np.zeros((len(self), width), dtype=np.uint8)
        start, end = self._bounds[[0, -1]].tolist()
        content = np.frombuffer(self._content[start:end], dtype=np.uint8)
        is_shown = is_short & ~self._is_null
        if not is_shown.all():
            content = content[np.repeat(is_shown, self.num_bytes)]
        shown[np.arange(width) < np.where(is_shown, lengths, 0)[:, None]] = content
        if not is_short.all():
            shown[~is_short, :CONTENT_HASH_BYTES] = self.take(np.flatnonzero(~is_short)).hashes()
        lengths[self._is_null] = _LENGTH_OF_NULL
        return np.column_stack((lengths, shown.view("<u4"))).astype(np.uint64)

    def take(self, rows: Sequence[int] | NDArray[np.int64]) -> "TextColumn":
        """Return some of the values, in the order given."""
        return TextColumn(self.array.take(pa.array(rows, pa.int64())))

    def release(self) -> None:
        """Give back the memory of a column whose values are not needed any more."""
        self.array = pa.array([], self.array.type)
        self._content = memoryview(b"")
        self._bounds = np.zeros(1, dtype=np.int64)

    @cached_property
    def _is_null(self) -> NDArray[np.bool_]:
        is_null: NDArray[np.bool_] = self.array.is_null().to_numpy(zero_copy_only=False)
        return is_null


def _with_offsets(array: pa.Array) -> pa.Array:
    """Convert to the layout of `string` or `large_string`, without a look at the bytes."""
    if pa.types.is_dictionary(array.type):
        array = array.dictionary_decode()
    if pa.types.is_integer(array.type) or pa.types.is_null(array.type):
        return array.cast(pa.string())
    if pa.types.is_string_view(array.type):
        # Its values need not be UTF-8, and a cast does not say what becomes of those.
        raw = array.view(pa.binary_view()).to_pylist()
        return pa.array(raw, pa.large_binary()).view(pa.large_string())
    return array
