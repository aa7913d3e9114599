from collections.abc import Iterator
from pathlib import Path

import pytest

from embed_index.pipeline.ledger.ledger import Ledger


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    with Ledger(tmp_path / "docs.sqlite") as opened:
        yield opened


def test_the_newest_figures_of_a_run_and_of_a_version_are_found(ledger: Ledger) -> None:
    run = ledger.runs.start("docs_v1")
    ledger.figures.record("prediction", version="docs_v1", run_id=run.id, content='{"tokens": 1}')
    ledger.figures.record("prediction", version="docs_v1", run_id=run.id, content='{"tokens": 2}')
    ledger.figures.record("quality", version="docs_v2", content='{"ndcg": 0.5}')

    prediction = ledger.figures.of_run(run.id, kind="prediction")
    quality = ledger.figures.of_version("docs_v2", kind="quality")

    assert prediction is not None
    assert (prediction.version, prediction.content) == ("docs_v1", '{"tokens": 2}')
    assert prediction.recorded_at >= run.started_at
    assert quality is not None
    assert (quality.run_id, quality.content) == (None, '{"ndcg": 0.5}')
    assert ledger.figures.of_run(run.id, kind="quality") is None
    assert ledger.figures.of_version("docs_v1", kind="quality") is None


def test_figures_come_newest_first_and_outlive_their_version(ledger: Ledger) -> None:
    ledger.documents("docs_v1", collection_id="7")
    for step in range(3):
        ledger.figures.record("quality", version="docs_v1", content=str(step))

    ledger.drop_version("docs_v1")

    assert [found.content for found in ledger.figures.latest(kind="quality")] == ["2", "1", "0"]
    newest = ledger.figures.latest(kind="quality", max_sets=1)
    assert [found.content for found in newest] == ["2"]
