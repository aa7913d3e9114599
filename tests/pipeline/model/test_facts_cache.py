"""What is derived from a tokenizer is derived once, and never believed where it is not sound."""

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from embed_index.pipeline.model import facts_cache
from embed_index.pipeline.model.facts import derive_facts
from embed_index.pipeline.model.files import ModelFiles, find_model
from embed_index.pipeline.model.tokenizer import ModelTokenizer
from embed_index.schemas.errors import ConfigurationError

TEXT = "It's a document, café and 汉语 included.\n"


@pytest.fixture
def model(sample_model: Path, tmp_path: Path) -> ModelFiles:
    folder = tmp_path / "model"
    folder.mkdir()
    for name in ("config.json", "tokenizer.json"):
        (folder / name).write_bytes((sample_model / name).read_bytes())
    return find_model(str(folder))


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "tokenizers"


@pytest.fixture
def kept(model: ModelFiles, cache: Path) -> Path:
    ModelTokenizer.load(model, cache=cache)
    return next(cache.iterdir())


@pytest.fixture
def num_derived(monkeypatch: pytest.MonkeyPatch) -> Callable[[], int]:
    """Count how often facts are derived from now on."""
    derived: list[str] = []

    def derive(definition: str, *, name: str) -> object:
        derived.append(name)
        return original(definition, name=name)

    original = derive_facts
    monkeypatch.setattr("embed_index.pipeline.model.tokenizer.derive_facts", derive)
    return lambda: len(derived)


def test_a_second_load_derives_nothing_and_encodes_the_same(
    model: ModelFiles, cache: Path, kept: Path, num_derived: Callable[[], int]
) -> None:
    again = ModelTokenizer.load(model, cache=cache)
    assert num_derived() == 0
    plain = ModelTokenizer.load(model)

    assert again.fingerprint == plain.fingerprint
    assert again.max_token_id == plain.max_token_id
    assert again.engine == "fastokens"
    assert again.encode_for_model(TEXT).tolist() == plain.encode_for_model(TEXT).tolist()
    ids = plain.encode(TEXT)
    assert again.token_byte_lengths(ids).tolist() == plain.token_byte_lengths(ids).tolist()
    assert kept.stat().st_mode & 0o777 == 0o600


def test_a_loaded_tokenizer_reads_no_vocabulary_before_it_encodes(
    model: ModelFiles, cache: Path, kept: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_: str) -> None:
        raise AssertionError

    monkeypatch.setattr("tokenizers.Tokenizer.from_str", refuse, raising=True)
    monkeypatch.setattr("fastokens.Tokenizer.from_json_str", refuse, raising=True)
    tokenizer = ModelTokenizer.load(model, cache=cache)

    with pytest.raises(AssertionError):
        tokenizer.encode(TEXT)


def flip_a_bit(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[-3] ^= 1
    file.write_bytes(content)


def cut_off(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-100])


def empty(file: Path) -> None:
    file.write_bytes(b"")


def let_others_write(file: Path) -> None:
    file.chmod(0o666)


def put_a_link(file: Path) -> None:
    file.rename(file.parent.parent / "elsewhere")
    file.symlink_to(file.parent.parent / "elsewhere")


def put_a_folder(file: Path) -> None:
    file.unlink()
    file.mkdir()


def put_a_pipe(file: Path) -> None:
    file.unlink()
    os.mkfifo(file)


@pytest.mark.parametrize(
    "damage",
    [flip_a_bit, cut_off, empty, let_others_write, put_a_link, put_a_folder, put_a_pipe],
)
def test_a_damaged_or_foreign_file_is_not_believed(
    model: ModelFiles,
    cache: Path,
    kept: Path,
    num_derived: Callable[[], int],
    damage: Callable[[Path], None],
) -> None:
    damage(kept)

    tokenizer = ModelTokenizer.load(model, cache=cache)

    assert num_derived() == 1
    assert tokenizer.fingerprint == ModelTokenizer.load(model).fingerprint
    if damage is not put_a_folder:
        before = num_derived()
        ModelTokenizer.load(model, cache=cache)
        assert num_derived() == before, "it was not written anew"


def test_the_file_of_another_user_is_not_believed(
    model: ModelFiles,
    cache: Path,
    kept: Path,
    num_derived: Callable[[], int],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("os.geteuid", lambda: kept.stat().st_uid + 1)

    ModelTokenizer.load(model, cache=cache)

    assert num_derived() == 1


def test_the_facts_of_another_definition_are_not_taken_for_its_own(
    model: ModelFiles, cache: Path, kept: Path, num_derived: Callable[[], int]
) -> None:
    definition = json.loads(model.tokenizer_file.read_bytes())
    definition["model"]["merges"] = definition["model"]["merges"][:-1]
    model.tokenizer_file.write_text(json.dumps(definition))
    other = ModelTokenizer.load(model, cache=cache)
    file = next(file for file in cache.iterdir() if file != kept)
    file.write_bytes(kept.read_bytes())

    assert ModelTokenizer.load(model, cache=cache).fingerprint == other.fingerprint
    assert num_derived() == 2


@pytest.mark.parametrize("changed", ["fastokens", "tokenizers", "unicode", "format"])
def test_another_version_of_an_engine_derives_anew(
    model: ModelFiles,
    cache: Path,
    kept: Path,
    num_derived: Callable[[], int],
    monkeypatch: pytest.MonkeyPatch,
    changed: str,
) -> None:
    origin = facts_cache.FactsCache._origin
    monkeypatch.setattr(
        facts_cache.FactsCache, "_origin", lambda self: origin(self) | {changed: "another"}
    )

    ModelTokenizer.load(model, cache=cache)

    assert num_derived() == 1
    assert list(cache.iterdir()) == [kept], "files pile up"


def test_a_folder_that_cannot_be_written_costs_time_and_nothing_else(
    model: ModelFiles, tmp_path: Path, num_derived: Callable[[], int]
) -> None:
    (tmp_path / "file").write_text("in the way")

    for cache in (tmp_path / "file", tmp_path / "no" / "such"):
        assert ModelTokenizer.load(model, cache=cache).encode(TEXT).size

    assert num_derived() == 2
    assert not (tmp_path / "no").exists()


def test_two_processes_that_begin_at_once_leave_one_sound_file(
    model: ModelFiles, cache: Path, num_derived: Callable[[], int]
) -> None:
    program = (
        "import sys; from pathlib import Path\n"
        "from embed_index.pipeline.model.files import find_model\n"
        "from embed_index.pipeline.model.tokenizer import ModelTokenizer\n"
        "model = find_model(sys.argv[1]); sys.stdin.read()\n"
        "print(ModelTokenizer.load(model, cache=Path(sys.argv[2])).fingerprint)\n"
    )
    command = [sys.executable, "-c", program, str(model.location), str(cache)]
    pipe = subprocess.PIPE
    both = [subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) for _ in range(2)]
    said = [process.communicate()[0].strip() for process in both]

    tokenizer = ModelTokenizer.load(model, cache=cache)

    assert said == [tokenizer.fingerprint] * 2
    assert num_derived() == 0
    assert len(list(cache.iterdir())) == 1


def test_a_definition_that_changes_after_the_start_is_refused(
    model: ModelFiles, cache: Path, kept: Path
) -> None:
    tokenizer = ModelTokenizer.load(model, cache=cache)
    model.tokenizer_file.write_text(model.tokenizer_file.read_text() + "\n")

    with pytest.raises(ConfigurationError, match="changed while it was in use"):
        tokenizer.encode(TEXT)


def test_wishes_stay_switched_off_from_the_cache(
    model: ModelFiles, cache: Path, num_derived: Callable[[], int]
) -> None:
    definition = json.loads(model.tokenizer_file.read_bytes())
    wish = {"direction": "Right", "max_length": 8, "strategy": "LongestFirst", "stride": 0}
    model.tokenizer_file.write_text(json.dumps(definition | {"truncation": wish}))
    first = ModelTokenizer.load(model, cache=cache)
    second = ModelTokenizer.load(model, cache=cache)

    assert num_derived() == 1
    assert second.encode(TEXT * 9).tolist() == first.encode(TEXT * 9).tolist()


def test_facts_come_back_as_they_were(model: ModelFiles, cache: Path, kept: Path) -> None:
    text = model.tokenizer_file.read_text()
    facts, _ = derive_facts(text, name="it")
    store = facts_cache.FactsCache(folder=cache, definition_hash=kept.stem)

    found = store.read()

    assert found is not None
    assert np.array_equal(found.byte_lengths, facts.byte_lengths)
    nothing = np.zeros(0, np.int32)
    assert replace(found, byte_lengths=nothing) == replace(facts, byte_lengths=nothing)


def test_the_fingerprint_is_the_one_that_contracts_recorded_before_there_was_a_cache(
    model: ModelFiles, cache: Path, kept: Path
) -> None:
    definition = json.loads(model.tokenizer_file.read_bytes())
    canonical = json.dumps(definition, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    recorded = hashlib.blake2b(canonical.encode(), digest_size=16).hexdigest()

    assert ModelTokenizer.load(model).fingerprint == recorded
    assert ModelTokenizer.load(model, cache=cache).fingerprint == recorded
