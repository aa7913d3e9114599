"""One text on its way through the splitter: what was found of it so far, and what is near a cut."""

from operator import itemgetter

from embed_index.pipeline.model.blocks import Block, blocks_of
from embed_index.pipeline.model.boundaries import LOOKAHEAD_CHARS, WIDE_TOLERANCE, line_feeds
from embed_index.pipeline.model.fences import Fences
from embed_index.pipeline.model.prefixes import Prefixes
from embed_index.schemas.records import TokenIds


class Cutting:
    """One text that is being cut."""

    def __init__(self, text: str, *, reach: int, prefixes: Prefixes) -> None:
        self.text = text
        self.prefixes = prefixes
        self.reach = reach
        """How many characters the next chunk may have, about."""
        self.limits: dict[int, tuple[int, TokenIds | None]] = {}
        """How far a chunk reaches, by its beginning: the one that was asked for last."""
        self._fences = Fences(text)

    def window(self, start: int, limit: int) -> str:
        """Return what is to be seen of the text to end a chunk at `limit` or before."""
        return line_feeds(self.text[start : limit + LOOKAHEAD_CHARS])

    def blocks(self, window: str, start: int, limit: int) -> list[Block]:
        """Return what should stay whole, from the front, counted from the window's beginning."""
        near = int((limit - start) * (1 - WIDE_TOLERANCE))
        blocks = blocks_of(window, near=near)
        if self._fences.exist:
            self._fences.forget(start)
            blocks += [
                (begin - start, None if end is None else end - start)
                for begin, end in self._fences.within(start + near, limit)
            ]
        blocks.sort(key=itemgetter(0))
        return blocks

    def block_end(self, begin: int, num_chars: int) -> int | None:
        """Return the end of the block that begins at a place, if it is no longer than so much."""
        horizon = begin + num_chars
        for first, end in self._fences.within(begin, horizon) if self._fences.exist else ():
            if first == begin and end is not None:
                return end
        behind = self.text[begin - 1 : horizon + LOOKAHEAD_CHARS]
        for first, end in blocks_of("\n" + line_feeds(behind[1:])):
            if first == 1 and end is not None:
                return begin + end - 1
        return None
