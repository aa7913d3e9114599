"""Charts of a report, drawn beforehand by Vega-Lite, so that the page needs no program for them.

Colours are the names of the style's own, so that one drawing serves light, dark and paper. Each is
drawn twice, for wide and for narrow screens. What a mark says stands in its `aria-label`.
"""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from embed_index.schemas.errors import ConfigurationError

Spec: TypeAlias = dict[str, Any]
"""A part of a Vega-Lite specification."""
Row: TypeAlias = Mapping[str, float | str]

WIDE, NARROW = 470, 300
"""In pixels, as cards on a page with two columns and on a phone are."""
_HEIGHT = 170
_CHARACTER = 7
"""About as wide as one is on an axis."""
_FONT = "system-ui, sans-serif"
_VEGA_LITE = "6.4"


@dataclass(frozen=True, slots=True, kw_only=True)
class Chart:
    """One chart in both widths."""

    wide: str
    narrow: str
    label: str
    """What it shows, for those who do not see it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Series:
    """One colour of a chart."""

    field: str
    name: str
    colour: str


def rate_within_run(rows: Sequence[Row], *, end: float, unit: str, label: str) -> Chart:
    """Draw how fast a run was: rows have `start`, `end`, `rate` and `words`, times in units."""
    spec: Spec = {
        "data": {"values": list(rows)},
        "mark": {"type": "bar", "color": "var(--c1)", "strokeWidth": 0},
        "encoding": {
            "x": {
                "field": "start",
                "type": "quantitative",
                "bin": "binned",
                "scale": {"domain": [0, end], "nice": False},
                "axis": {
                    "title": None,
                    "grid": False,
                    "tickCount": 6,
                    "labelExpr": f"datum.label + ' {unit}'",
                },
            },
            "x2": {"field": "end"},
            "y": _y("rate"),
            "description": {"field": "words"},
        },
    }
    return _draw(lambda _: spec, label=label)


def bars_by_run(rows: Sequence[Row], series: Sequence[Series], *, label: str) -> Chart:
    """Draw a bar for each run, the oldest first, its series on top of one another.

    Args:
        rows: Of `when` (such as `2 Jan`), and for each series its value and, under `words_` and
            its field, its words.
        series: From the bottom up.
        label: What it shows.
    """
    drawn = [
        {
            "run": run,
            "name": part.name,
            "order": order,
            "value": row[part.field],
            "words": row[f"words_{part.field}"],
        }
        for run, row in enumerate(rows)
        for order, part in enumerate(series)
        if row[part.field]
    ]
    colour: Spec = {
        "field": "name",
        "type": "nominal",
        "scale": {
            "domain": [part.name for part in series],
            "range": [part.colour for part in series],
        },
        "legend": None,
    }

    def spec(width: int) -> Spec:
        return {
            "data": {"values": drawn},
            "mark": {"type": "bar", "strokeWidth": 0},
            "encoding": {
                "x": _runs_axis([str(row["when"]) for row in rows], width=width),
                "y": _y("value", stack="zero"),
                "order": {"field": "order"},
                "color": colour,
                "description": {"field": "words"},
            },
        }

    return _draw(spec, label=label)


def intervals(rows: Sequence[Row], *, label: str) -> Chart:
    """Draw estimates, the oldest first: rows have `when`, `mean`, `low`, `high` and `words`."""
    numbered = [{**row, "place": place} for place, row in enumerate(rows)]
    names = [str(row["when"]) for row in rows]

    def spec(width: int) -> Spec:
        x = _runs_axis(names, width=width) | {"field": "place"}
        scale = {"scale": {"zero": False, "nice": True}}
        y = _y("mean", **scale)
        y["axis"] |= {"format": ".2f"}
        span = {"y": y | {"field": "low"}, "y2": {"field": "high"}}
        say = {"description": {"field": "words"}}
        return {
            "data": {"values": numbered},
            "layer": [
                {
                    "mark": {
                        "type": "rule",
                        "color": "var(--c1)",
                        "strokeWidth": 3,
                        "opacity": 0.4,
                    },
                    "encoding": {"x": x, **span, **say},
                },
                {
                    "mark": {"type": "circle", "color": "var(--c1)", "size": 90, "opacity": 1},
                    "encoding": {"x": x, "y": y, **say},
                },
            ],
        }

    return _draw(spec, label=label)


def expected_and_taken(rows: Sequence[Row], *, unit: str, label: str) -> Chart:
    """Draw what runs took, and where it was expected: rows have `when`, both, and `words`."""
    numbered = [{**row, "place": place} for place, row in enumerate(rows)]
    names = [str(row["when"]) for row in rows]

    def spec(width: int) -> Spec:
        x = _runs_axis(names, width=width) | {"field": "place"}
        y = _y("taken")
        y["axis"] |= {"labelExpr": f"datum.label + ' {unit}'"}
        say = {"description": {"field": "words"}}
        tick = {"type": "tick", "color": "var(--ink)", "thickness": 2.5}
        return {
            "data": {"values": numbered},
            "layer": [
                {
                    "mark": {"type": "bar", "color": "var(--c1)", "strokeWidth": 0},
                    "encoding": {"x": x, "y": y, **say},
                },
                {
                    "mark": tick | {"bandSize": max(8, width // max(len(rows), 6) * 0.8)},
                    "encoding": {"x": x, "y": y | {"field": "expected"}, **say},
                },
            ],
        }

    return _draw(spec, label=label)


def histogram(rows: Sequence[Row], *, limit: float, label: str) -> Chart:
    """Draw how many there are of each length; rows have `start`, `end`, `num` and `words`."""
    spec: Spec = {
        "data": {"values": list(rows)},
        "mark": {"type": "bar", "color": "var(--c1)", "strokeWidth": 0},
        "encoding": {
            "x": {
                "field": "start",
                "type": "quantitative",
                "bin": "binned",
                "scale": {"domain": [0, limit], "nice": False},
                "axis": {"title": None, "grid": False, "format": ",d", "tickCount": 6},
            },
            "x2": {"field": "end"},
            "y": _y("num"),
            "description": {"field": "words"},
        },
    }
    return _draw(lambda _: spec, label=label)


def _runs_axis(names: Sequence[str], *, width: int) -> Spec:
    """Name as many runs as there is room for, the newest among them."""
    room = _CHARACTER * max(map(len, names), default=1) + 20
    step = max(1, -(-len(names) // (width // room)))
    return {
        "field": "run",
        "type": "ordinal",
        "scale": {"domain": list(range(len(names))), "paddingInner": 0.25, "paddingOuter": 0.1},
        "axis": {
            "title": None,
            "values": list(range(len(names) - 1, -1, -step)),
            "labelExpr": f"{json.dumps(names)}[datum.value]",
            "labelAngle": 0,
            "labelOverlap": False,
            "grid": False,
            "ticks": False,
        },
    }


def _y(field: str, **more: Any) -> Spec:
    return {
        "field": field,
        "type": "quantitative",
        "axis": {"title": None, "format": "~s", "tickCount": 4, "ticks": False},
        **more,
    }


def _draw(spec: Callable[[int], Spec], *, label: str) -> Chart:
    """Draw what a function specifies for a width."""
    wide, narrow = (
        _svg(
            {
                "$schema": f"https://vega.github.io/schema/vega-lite/v{_VEGA_LITE}.json",
                "background": None,
                "padding": {"left": 0, "top": 4, "right": 8, "bottom": 0},
                "autosize": {"type": "fit", "contains": "padding"},
                "width": width,
                "height": _HEIGHT,
                "config": _CONFIG,
                **spec(width),
            }
        )
        for width in (WIDE, NARROW)
    )
    return Chart(wide=wide, narrow=narrow, label=label)


_CONFIG: Spec = {
    "font": _FONT,
    "view": {"stroke": None},
    "axis": {
        "labelColor": "var(--muted)",
        "labelFontSize": 11,
        "gridColor": "var(--line)",
        "domain": False,
        "tickColor": "var(--line)",
        "labelPadding": 6,
    },
}


def _svg(spec: Spec) -> str:
    """Return a drawing for the page.

    Raises:
        ConfigurationError: The extra is not installed, or cannot draw.
    """
    try:
        import vl_convert
    except ImportError as error:
        raise no_extra(error) from error
    try:
        drawn: str = vl_convert.vegalite_to_svg(spec, vl_version=_VEGA_LITE)
    except ValueError as error:
        raise ConfigurationError(
            f"a chart of the report could not be drawn: {error}",
            remedy="Install a newer vl-convert-python: pip install -U 'vl-convert-python<2'.",
        ) from error
    # Its size is the style's business; its own is kept as the shape.
    sized = re.sub(r'(<svg\b[^>]*?) width="[\d.]+" height="[\d.]+"', r"\1", drawn, count=1)
    # What no one can see or hear takes up room.
    return re.sub(r' aria-(hidden|roledescription)="[^"]*"', "", sized)


def no_extra(error: ImportError) -> ConfigurationError:
    """Return what is said where the extra is not installed."""
    return ConfigurationError(
        f"a report needs the package {error.name!r}, which is not installed",
        remedy="Install the extra: pip install '.[report]' in the folder of embed-index.",
    )
