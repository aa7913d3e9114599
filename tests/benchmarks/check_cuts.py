"""Count how chunks of real documents end that a human would have ended elsewhere.

    python tests/benchmarks/check_cuts.py TOKENIZER_JSON FOLDER_OR_FILE... [--max-tokens 256]

Reads text files (Markdown, reStructuredText, plain text, the source of manual pages, also gzipped),
cuts them, and looks at each cut with rules of its own, not the splitter's. `--splitter FILE` counts
for another version of `splitter.py`, such as `git show COMMIT:pipeline/model/splitter.py` writes.
`--show KIND` prints the surroundings of the cuts of a kind.
"""

import argparse
import gzip
import importlib.util
import re
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

from embed_index.pipeline.model import splitter as own_splitter
from embed_index.pipeline.model.tokenizer import ModelTokenizer

KINDS = {
    "fence": "inside a code fence that would have fitted into a chunk",
    "fence, too long": "inside a code fence that would not",
    "table": "inside a table that would have fitted",
    "table, too long": "inside a table that would not",
    "heading": "right after a heading",
    "man heading": "right after a manual page's .SH, .SS or .TP",
    "mid-sentence": "within a sentence of wrapped prose",
    "mid-sentence, avoidable": "the same, with a sentence's end in the last 40 % of the chunk",
    "CJK word": "between two ideographs or kana",
    "CJK word, avoidable": "the same, with a mark or a line's end in the last 40 % of the chunk",
}
UNWANTED = ("fence", "table")

_FENCE = re.compile(r"[ \t>]*(?:(?:[-*+]|\d+[.)])[ \t]+)?(`{3,}|~{3,})([^\n]*)")
_ROW = re.compile(r"[ \t>]*(?:\||\+[-=+])")
_HEADING = re.compile(r" {0,3}#{1,6} +\S")
_UNDERLINE = re.compile(r"([=\-~^*+\"'#])\1{2,}[ \t]*$")
_SENTENCE = re.compile(r"[.!?]['\")\]*_`]*\s+(?=[^\sa-z])|[。！？]")
_ABBREVIATED = re.compile(r"(?:\be\.g|\bi\.e|\bcf|\bvs|\b[A-Za-z]|(?:^|\s)\d{1,3})\.\s+$")
_IDEOGRAPH = re.compile(r"[\u3041-\u30fa\u4e00-\u9fff]")
_CJK_MARK = re.compile(r"[。！？，、；：」』）]|\n")


class CutDocument:
    """One document and what its cuts are to be judged by."""

    def __init__(self, text: str, *, is_man_page: bool) -> None:
        self.text = text
        self.is_man_page = is_man_page
        self.lines = [0, *(found.end() for found in re.finditer(r"\r\n|\r|\n", text))]
        self.fences = list(self._fences())
        self.tables = [x for x in self._tables() if not _inside(x[0], self.fences)]

    def _fences(self) -> Iterator[tuple[int, int]]:
        mark, begin, above = "", 0, ""
        for line in self.lines:
            found = _FENCE.match(self.text, line)
            title, above = above, self.text[line : line + 200].split("\n")[0].strip()
            if found and not mark and not found[2].strip() and 0 < len(title) <= len(found[1]):
                continue
            if found and mark and found[1].startswith(mark) and not found[2].strip():
                yield begin, found.end()
                mark = ""
            elif found and not mark and not ("`" in found[1] and "`" in found[2]):
                mark, begin = found[1], line

    def _tables(self) -> Iterator[tuple[int, int]]:
        begin = None
        for line in [*self.lines, len(self.text)]:
            is_row = _ROW.match(self.text, line) is not None
            if is_row and begin is None:
                begin, rows = line, 0
            if is_row:
                rows += 1
            elif begin is not None:
                if rows > 1:
                    yield begin, line
                begin = None

    def kinds(self, start: int, cut: int) -> Iterator[str]:
        """Yield what is wrong with a cut of the chunk that began at `start`."""
        if inside := _inside(cut, self.fences):
            yield f"fence {inside[0]} {inside[1]}"
        if inside := _inside(cut, self.tables):
            yield f"table {inside[0]} {inside[1]}"
        before = self.text[start:cut].rstrip()
        lines = before.splitlines()
        if not _inside(cut - 1, self.fences):
            yield from self._headings(lines, cut)
        yield from self._sentences(start, cut, lines)

    def _headings(self, lines: list[str], cut: int) -> Iterator[str]:
        last = lines[-1] if lines else ""
        above = lines[-2] if len(lines) > 1 else ""
        if self.is_man_page:
            if re.match(r"\.(SH|SS|Sh|Ss|TP)\b", last) or above.startswith(".TP"):
                yield "man heading"
        elif len(lines) > 1 and (
            _HEADING.match(last)
            or (_UNDERLINE.match(last) and above.strip() and not _UNDERLINE.match(above))
        ):
            yield "heading"

    def _sentences(self, start: int, cut: int, lines: list[str]) -> Iterator[str]:
        chunk = self.text[start:cut]
        behind = self.text[cut : cut + 1]
        far = start + int((cut - start) * 0.6)
        if _IDEOGRAPH.match(behind) and _IDEOGRAPH.match(chunk.rstrip()[-1:]):
            yield "CJK word"
            if _CJK_MARK.search(self.text, far, cut - 1):
                yield "CJK word, avoidable"
            return
        last = lines[-1] if lines else ""
        blank = re.search(r"\n[ \t\r]*\n\s*$", chunk)
        goes_on = re.match(r"[a-z]", behind) and re.search(r"[a-z,]$", last.rstrip())
        if blank or not goes_on or len(last) < 40 or _inside(cut, self.fences):
            return
        yield "mid-sentence"
        for found in _SENTENCE.finditer(self.text, far, cut - 1):
            if not _ABBREVIATED.search(self.text, max(0, found.end() - 12), found.end()):
                yield "mid-sentence, avoidable"
                return


def _inside(place: int, stretches: list[tuple[int, int]]) -> tuple[int, int] | None:
    return next((x for x in stretches if x[0] < place < x[1]), None)


def read(path: Path) -> str:
    raw = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    return raw.decode("utf-8", errors="replace")


def files(places: list[Path]) -> Iterator[Path]:
    for place in places:
        yield from sorted(x for x in place.rglob("*") if x.is_file()) if place.is_dir() else [place]


def module(file: Path | None) -> ModuleType:
    if file is None:
        return own_splitter
    spec = importlib.util.spec_from_file_location("other_splitter", file)
    assert spec is not None
    assert spec.loader is not None
    loaded = importlib.util.module_from_spec(spec)
    sys.modules["other_splitter"] = loaded
    spec.loader.exec_module(loaded)
    return loaded


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("tokenizer", type=Path)
    parser.add_argument("places", type=Path, nargs="+")
    parser.add_argument("--max-tokens", type=int, default=256)
    parser.add_argument("--splitter", type=Path)
    parser.add_argument("--show", choices=sorted(KINDS))
    options = parser.parse_args()
    tokenizer = ModelTokenizer.of(options.tokenizer.read_text(encoding="utf-8"))
    splitter = module(options.splitter).TextSplitter(tokenizer, max_tokens=options.max_tokens)
    counts: Counter[str] = Counter()
    num_cuts = num_documents = num_tokens = 0
    for path in files(options.places):
        text = read(path)
        is_man_page = re.search(r"^\.S[Hh] ", text, re.MULTILINE) is not None
        document = CutDocument(text, is_man_page=is_man_page)
        spans = list(splitter.split(text))
        assert "".join(text[span.char_start : span.char_end] for span in spans) == text
        num_documents += 1
        for span in spans[:-1]:
            num_cuts += 1
            num_tokens += span.token_ids.size
            for kind in document.kinds(span.char_start, span.char_end):
                name, *place = kind.rsplit(" ", 2) if kind[:5] in UNWANTED else (kind,)
                if place:
                    block = text[int(place[0]) : int(place[1])]
                    too_long = tokenizer.encode(block).size >= options.max_tokens
                    name += ", too long" if too_long else ""
                counts[name] += 1
                if name == options.show:
                    end = span.char_end
                    print(f"== {path} at {end}")
                    print(text[max(0, end - 300) : end] + "<<<CUT>>>" + text[end : end + 200])
    fill = num_tokens / max(1, num_cuts) / options.max_tokens
    print(f"{num_documents} documents, {num_cuts:,} cuts, chunks filled to {fill:.2f}")
    for kind, meaning in KINDS.items():
        print(f"{counts[kind]:6} {kind:26} {meaning}")
    sys.exit(1 if any(counts[kind] for kind in UNWANTED) else 0)


if __name__ == "__main__":
    main()
