"""The documentation as tests read it: pages, sentences, code spans, and the commands they print."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[2]

_FOLDERS = ("docs", "jobs", "pipeline", "sample_data", "schemas", "tests")
_FENCED = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_INDENTED = re.compile(r"^\n(?: {4,}.*\n)+", re.MULTILINE)
_SPAN = re.compile(r"`([^`\n]+)`")
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
        return [span.replace(r"\|", "|") for span in _SPAN.findall(self.prose)]

    def links(self) -> list[str]:
        """Return the targets of links."""
        return [target for _, target in _LINK.findall(self.prose)]

    def shell_lines(self) -> list[str]:
        """Return every line that people may paste, from code blocks and from backticks."""
        blocks = "\n".join(self.blocks("sh")).replace("\\\n", " ")
        return [*blocks.splitlines(), *self.spans()]

    def commands(self, *program: str) -> list[list[str]]:
        """Return the arguments of a program wherever it is called, up to a pipe or redirection."""
        found = []
        for line in self.shell_lines():
            words = shlex.split(line, comments=True)
            if words and words[0].startswith(".venv/bin/"):
                words[0] = words[0].removeprefix(".venv/bin/")
            if words[: len(program)] == [*program]:
                arguments = words[len(program) :]
                ends = [place for place, word in enumerate(arguments) if word in {"|", ">", "&"}]
                found.append(arguments[: min(ends, default=len(arguments))])
        return found

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


def read_pages() -> list[Page]:
    """Return every page that people read to use or to understand this, the front one first."""
    paths = [ROOT / "README.md"]
    for folder in _FOLDERS:
        paths += sorted((ROOT / folder).rglob("*.md"))
    return [Page(path, path.read_text(encoding="utf-8")) for path in paths]
