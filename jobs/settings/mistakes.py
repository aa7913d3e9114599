"""All mistakes of settings that can be seen at once, reported together."""

from collections.abc import Iterator
from contextlib import contextmanager

from embed_index.schemas.errors import ConfigurationError


class Mistakes:
    """What is wrong with settings, in the order in which it was found."""

    def __init__(self) -> None:
        self._errors: list[ConfigurationError] = []
        self.names: set[str] = set()
        """Settings whose values are not known, because what was given is wrong."""

    def __bool__(self) -> bool:
        return bool(self._errors)

    def add(self, error: ConfigurationError) -> None:
        """Take note of one."""
        self._errors.append(error)

    @contextmanager
    def noted(self, name: str = "") -> Iterator[None]:
        """Take note of what is refused within the context, and go on behind it.

        Args:
            name: The setting that it is about; empty for none.
        """
        try:
            yield
        except ConfigurationError as error:
            self.add(error)
            if name:
                self.names.add(name)

    def refuse(self) -> None:
        """End here if there are any.

        Raises:
            ConfigurationError: The first mistake, with a note for each other one.
        """
        if not self._errors:
            return
        first, *others = self._errors
        if not others:
            raise first
        error = ConfigurationError(
            f"{first.message} (the first of {len(self._errors)} mistakes)", remedy=first.remedy
        )
        for other in others:
            error.add_note(f"also: {other.message.rstrip('.')}. {other.remedy}".rstrip())
        raise error
