"""Fills the texts in `templates/`.

`@field@` stands for a value. A line that begins with `@field?` is there only when the field is
neither empty nor false.
"""

import re
from importlib.resources import files

_FIELD = re.compile(r"@([a-z_]+)@")
_OPTIONAL_LINE = re.compile(r"^@([a-z_]+)\?(.*\n)", re.MULTILINE)


def fill(template: str, **values: object) -> str:
    """Return a template with all its fields filled in.

    Raises:
        ValueError: A field has no value, or a value has no field.
    """
    text = (files(__package__) / "templates" / template).read_text(encoding="utf-8")
    fields = {*_FIELD.findall(text), *(field for field, _ in _OPTIONAL_LINE.findall(text))}
    if odd := fields ^ values.keys():
        raise ValueError(f"{template}: missing or unused: {', '.join(sorted(odd))}")
    kept = _OPTIONAL_LINE.sub(lambda line: line[2] if values[line[1]] else "", text)
    return _FIELD.sub(lambda field: str(values[field[1]]), kept)
