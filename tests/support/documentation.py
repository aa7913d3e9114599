"""The documentation as tests read it: pages, sentences, code spans, and the commands they print."""

import ast
import re
import shlex
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[2]

_FOLDERS = ("docs", "jobs", "pipeline", "sample_data", "schemas", "tests")
_FENCED = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_INDENTED = re.compile(r"^\n(?: {4,}.*\n)+", re.MULTILINE)
_SPAN = re.compile(r"`([^`\n]+(?:\n[^`\n]+)?)`")
_LINK = re.compile(r"\[([^\]]*)\]\(([^)]+)\)")
_COMMENT = re.compile(r"<!--.*?-->", re.DOTALL)
_BLOCK_START = re.compile(r"^(?:#+ |- |\d+\. |\|)")
_SENTENCE_END = re.compile(r"(?<=[.!?])\s+")


class Page(NamedTuple):
    """One page; what it holds besides code is cut from its `prose`."""

    path: Path
    text: str

    @property
    def name(self) -> str:
        return str(self.path.relative_to(ROOT))

    @property
    def prose(self) -> str:
        return _INDENTED.sub("\n", _FENCED.sub("", _COMMENT.sub("", self.text)))

    def blocks(self, language: str) -> list[str]:
        """Return the code blocks of a language."""
        return [body for marked, body in _FENCED.findall(self.text) if marked == language]

    def marked(self, name: str) -> str:
        """Return what stands between `<!-- name -->` and `<!-- /name -->`."""
        return self.text.partition(f"<!-- {name} -->")[2].partition(f"<!-- /{name} -->")[0]

    def spans(self) -> list[str]:
        """Return the texts in backticks."""
        return [" ".join(span.replace(r"\|", "|").split()) for span in _SPAN.findall(self.prose)]

    def links(self) -> list[str]:
        """Return the targets of links."""
        return [target for _, target in _LINK.findall(self.prose)]

    def commands(self, *program: str) -> list[list[str]]:
        """Return the arguments of a program wherever a code block or a span calls it."""
        blocks = "\n".join(self.blocks("sh")).replace("\\\n", " ")
        return find_commands([*blocks.splitlines(), *self.spans()], *program)

    def sentences(self) -> Iterator[str]:
        """Yield the sentences of paragraphs, lists and cells of tables; code counts as one word."""
        prose = _LINK.sub(r"\1", _SPAN.sub("code", self.prose))
        paragraph: list[str] = []
        for line in [*prose.splitlines(), ""]:
            if not line.strip() or _BLOCK_START.match(line.lstrip()):
                yield from _SENTENCE_END.split(" ".join(paragraph).strip())
                paragraph = []
            if line.startswith("|"):
                for cell in line.split("|"):
                    yield from _SENTENCE_END.split(cell.strip())
            else:
                paragraph.append(line.strip())


def find_commands(lines: Iterable[str], *program: str) -> list[list[str]]:
    """Return the arguments of a program in each line that begins with it, up to a pipe."""
    found = []
    for line in lines:
        given = line.strip().removeprefix(".venv/bin/")
        if given.split()[: len(program)] == [*program]:
            arguments = shlex.split(given, comments=True)[len(program) :]
            ends = [place for place, word in enumerate(arguments) if word in {"|", ">", "&"}]
            found.append(arguments[: min(ends, default=len(arguments))])
    return found


def find_messages(file: Path) -> Iterator[str]:
    """Yield the texts of a module, with X in the place of what they are filled with."""
    tree = ast.parse(file.read_text(encoding="utf-8"))
    filled = [node for node in ast.walk(tree) if isinstance(node, ast.JoinedStr)]
    pieces = {id(piece) for node in filled for piece in node.values}
    for node in filled:
        yield "".join(
            str(piece.value) if isinstance(piece, ast.Constant) else "X" for piece in node.values
        )
    for text in ast.walk(tree):
        if not isinstance(text, ast.Constant) or id(text) in pieces:
            continue
        if isinstance(text.value, str):
            yield text.value


def read_pages() -> list[Page]:
    """Return every page that people read to use or to understand this, the front one first."""
    paths = [ROOT / "README.md"]
    for folder in _FOLDERS:
        paths += sorted((ROOT / folder).rglob("*.md"))
    return [Page(path, path.read_text(encoding="utf-8")) for path in paths]
