"""The settings of the section [quality]: what a version is judged by."""

from pathlib import Path
from typing import Annotated

from pydantic import Field

from embed_index.schemas.setting import Section, Setting


class QualitySettings(Section):
    """What a version is judged by before it goes live."""

    quality_queries: Annotated[
        Path | None,
        Setting(
            section="quality",
            key="queries",
            help="Queries that a version is judged by, as eval reads them; none for no judging.",
            location="path",
        ),
    ] = None
    quality_qrels: Annotated[
        Path | None,
        Setting(
            section="quality",
            key="qrels",
            help="Which documents answer them; none where the queries say so themselves.",
            location="path",
        ),
    ] = None
    min_ndcg: Annotated[
        float | None,
        Setting(
            section="quality",
            help="Smallest nDCG@10 with which a new version goes live, 0 to 1; none for any.",
        ),
        Field(ge=0, le=1),
    ] = None
    max_drop: Annotated[
        float | None,
        Setting(
            section="quality",
            help="How far nDCG@10 may be below the live version's, such as 0.02; none for any.",
        ),
        Field(ge=0, le=1),
    ] = None
    ungated: Annotated[
        bool,
        Setting(
            section="quality",
            help="Let a new version go live whatever its quality, once.",
            flag_only=True,
        ),
    ] = False
