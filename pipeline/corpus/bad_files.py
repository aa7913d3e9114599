"""Files of a corpus that cannot be read: the first ends the reading, or each is left out."""

from collections.abc import Iterator
from contextlib import contextmanager

from embed_index.schemas.errors import ConfigurationError
from embed_index.schemas.records import DeadLetter, SourceRow


class BadFiles:
    """The files that were left out, each as one dead letter; what was read of them stays."""

    def __init__(self, *, skip: bool) -> None:
        """Leave files out if `skip`; otherwise their errors pass."""
        self._skip = skip
        self._letters: dict[str, DeadLetter] = {}
        self._untold: list[str] = []

    @contextmanager
    def left_out(self, name: str) -> Iterator[None]:
        """Read a file in this context, from its start.

        A file that was changed or taken away meanwhile is none of these: its writer is at work,
        and another run finds it whole.
        """
        known = self._letters.pop(name, None)
        try:
            yield
        except ConfigurationError as error:
            if not self._skip:
                raise
            self._letters[name] = DeadLetter(
                source=SourceRow.of_file(name),
                stage="read",
                reason="bad_file",
                detail=error.message,
            )
            if known is None:
                self._untold.append(f"{error.message}; the file is skipped (on_bad_file)")

    def letters(self) -> tuple[DeadLetter, ...]:
        """Return one letter for each file that was left out when it was read last."""
        return tuple(self._letters.values())

    def take_untold(self) -> list[str]:
        """Return what should be said of files and was not yet."""
        untold, self._untold = self._untold, []
        return untold

    def check_any_left(self, num_files: int) -> None:
        """Refuse a corpus that has no other files.

        Raises:
            ConfigurationError: All were left out; that is no accident of one file.
        """
        if self._letters and len(self._letters) == num_files:
            first = next(iter(self._letters.values()))
            others = f", and so are the others of {num_files:,} files" if num_files > 1 else ""
            raise ConfigurationError(
                f"{first.detail}{others}",
                remedy='on_bad_file = "skip" is for single files. Check --input and the columns'
                " that the job names.",
            )
