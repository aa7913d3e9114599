"""Where settings come from, which one wins, and how a bad one is refused."""

import os
from collections.abc import Mapping
from pathlib import Path

import pytest
from click.testing import CliRunner
from pydantic import SecretStr

from embed_index.jobs.main import cli
from embed_index.jobs.settings.loading import LoadedSettings, load_settings
from embed_index.jobs.settings.show import render_config
from embed_index.schemas.errors import ConfigurationError
from embed_index.schemas.setting import SettingField
from embed_index.schemas.settings import SETTINGS, JobSettings

SECRET = "sk-very-secret-value"
_NOBODY = 65_534


def load(
    folder: Path,
    *,
    toml: str | None = None,
    env: Mapping[str, str] | None = None,
    dotenv: str | None = None,
    flags: Mapping[str, object] | None = None,
    key_file: Path | None = None,
    required: tuple[str, ...] = (),
) -> LoadedSettings:
    """Load from a job file in `folder/jobs`, a working folder `folder/work` and its `.env`."""
    jobs, work = folder / "jobs", folder / "work"
    jobs.mkdir(exist_ok=True)
    work.mkdir(exist_ok=True)
    if toml is not None:
        (jobs / "job.toml").write_text(toml, encoding="utf-8")
    if dotenv is not None:
        (work / ".env").write_text(dotenv, encoding="utf-8")
    return load_settings(
        job_file=None if toml is None else jobs / "job.toml",
        flags=flags or {},
        required=required,
        key_file=key_file,
        environ=env or {},
        folder=work,
    )


def refusal(folder: Path, **sources: object) -> ConfigurationError:
    with pytest.raises(ConfigurationError) as caught:
        load(folder, **sources)  # type: ignore[arg-type]
    assert caught.value.remedy
    return caught.value


TOML = "[model]\ndimension = 32\n"
DOTENV = "EMBED_INDEX_DIMENSION=64\n"
ENV = {"EMBED_INDEX_DIMENSION": "128"}
FLAGS = {"dimension": 256}


@pytest.mark.parametrize(
    ("sources", "dimension", "origin"),
    [
        ({}, None, "default"),
        ({"toml": TOML}, 32, "job.toml [model] dimension"),
        ({"toml": TOML, "dotenv": DOTENV}, 64, ".env EMBED_INDEX_DIMENSION"),
        ({"toml": TOML, "dotenv": DOTENV, "env": ENV}, 128, "environment EMBED_INDEX_DIMENSION"),
        ({"toml": TOML, "dotenv": DOTENV, "env": ENV, "flags": FLAGS}, 256, "flag --dimension"),
        ({"toml": TOML, "flags": FLAGS}, 256, "flag --dimension"),
        ({"env": ENV, "flags": {"dimension": None}}, 128, "environment EMBED_INDEX_DIMENSION"),
        ({"toml": TOML, "env": {"EMBED_INDEX_DIMENSION": ""}}, 32, "job.toml [model] dimension"),
    ],
)
def test_the_nearest_source_wins_and_is_named(
    tmp_path: Path, sources: dict[str, object], dimension: int | None, origin: str
) -> None:
    loaded = load(tmp_path, **sources)  # type: ignore[arg-type]

    assert loaded.settings.dimension == dimension
    assert loaded.sources["dimension"].origin == origin
    assert ("dimension" in loaded.settings.model_fields_set) == (origin != "default")


def test_env_file_beside_the_job_file_wins_over_that_of_the_working_folder(tmp_path: Path) -> None:
    (tmp_path / "jobs").mkdir()
    (tmp_path / "jobs" / ".env").write_text("MILVUS_DB=beside\nEMBEDDING_API_KEY=${HOME}$x\n")

    loaded = load(tmp_path, toml="", dotenv="MILVUS_DB=working\nEMBED_INDEX_REVISION=main\n")

    assert loaded.settings.milvus_db == "beside"
    assert loaded.settings.revision == "main"
    assert loaded.settings.server_key is not None
    assert loaded.settings.server_key.get_secret_value() == "${HOME}$x"


def test_a_working_folder_that_we_may_not_look_into_has_no_env_file(tmp_path: Path) -> None:
    locked = tmp_path / "locked"
    locked.mkdir()
    (locked / ".env").write_text(DOTENV)
    locked.chmod(0o000)
    user = os.geteuid()
    if user == 0:
        os.seteuid(_NOBODY)
    try:
        loaded = load_settings(environ={}, folder=locked)
    finally:
        os.seteuid(user)
        locked.chmod(0o700)

    assert loaded.sources["dimension"].origin == "default"


def test_a_byte_order_mark_begins_a_job_file_or_an_env_file(tmp_path: Path) -> None:
    loaded = load(tmp_path, toml="\ufeff" + TOML, dotenv="\ufeffEMBED_INDEX_COLLECTION=articles\n")

    assert (loaded.settings.dimension, loaded.settings.collection) == (32, "articles")


def test_negated_flag_wins_over_the_job_file(tmp_path: Path) -> None:
    loaded = load(tmp_path, toml="[run]\nquiet = true\n", flags={"quiet": False})

    assert loaded.settings.quiet is False
    assert loaded.sources["quiet"].origin == "flag --no-quiet"


@pytest.mark.parametrize(
    ("sources", "field", "expected"),
    [
        ({"env": {"EMBED_INDEX_CARRY": "product, severity"}}, "carry", ("product", "severity")),
        (
            {"flags": {"carry": ("product,severity", "date")}},
            "carry",
            ("product", "severity", "date"),
        ),
        ({"toml": '[source]\ncarry = "product"\n'}, "carry", ("product",)),
        ({"flags": {"gpus": ("0,1",)}}, "gpus", (0, 1)),
        ({"toml": "[server]\ngpus = [1]\n"}, "gpus", (1,)),
        (
            {"env": {"EMBEDDING_API_BASE": "http://a:1/,https://b"}},
            "server_url",
            ("http://a:1", "https://b"),
        ),
        (
            {"flags": {"server_extra_args": ("--tp 2 --x 'a b'",)}},
            "server_extra_args",
            ("--tp", "2", "--x", "a b"),
        ),
        ({"toml": '[server]\nextra_args = ["a b"]\n'}, "server_extra_args", ("a b",)),
        ({"toml": "[run]\nmax_dead_letters = 10\n"}, "max_dead_letters", "10"),
        ({"env": {"EMBED_INDEX_DELETE_MISSING": "yes"}}, "delete_missing", True),
    ],
)
def test_lists_and_counts_are_read_from_every_source(
    tmp_path: Path, sources: dict[str, object], field: str, expected: object
) -> None:
    assert getattr(load(tmp_path, **sources).settings, field) == expected  # type: ignore[arg-type]


@pytest.mark.parametrize("flags", [("--gpus", "0,1"), ("--gpus", "0", "--gpus", "1")])
def test_numbers_of_a_list_are_taken_from_the_command_line(flags: tuple[str, ...]) -> None:
    shown = CliRunner().invoke(cli, ["run", *flags, "--show-config"])

    assert shown.exit_code == 0, shown.output
    assert "gpus = [0, 1]" in shown.output


def test_relative_paths_belong_to_the_folder_of_the_file_that_holds_them(tmp_path: Path) -> None:
    (tmp_path / "jobs" / "models" / "mine").mkdir(parents=True)
    toml = (
        '[source]\ninput = ["corpus/*.parquet", "s3://bucket/x"]\n'
        '[model]\nmodel = "models/mine"\n[milvus]\nuri = "here.db"\n[run]\nstate_dir = "../state"\n'
    )

    settings = load(tmp_path, toml=toml).settings

    assert settings.input == (f"{tmp_path}/jobs/corpus/*.parquet", "s3://bucket/x")
    assert settings.model == f"{tmp_path}/jobs/models/mine"
    assert settings.milvus_uri == f"{tmp_path}/jobs/here.db"
    assert settings.state_dir == tmp_path / "state"


def test_flags_and_variables_are_relative_to_the_working_folder(tmp_path: Path) -> None:
    settings = load(
        tmp_path,
        toml='[source]\ninput = "a"\n',
        flags={"input": ("b",)},
        env={"MILVUS_URI": "c.db", "EMBED_INDEX_MODEL": "org/name"},
    ).settings

    assert settings.input == (f"{tmp_path}/work/b",)
    assert settings.milvus_uri == f"{tmp_path}/work/c.db"
    assert settings.model == "org/name"


@pytest.mark.parametrize(("toml", "home"), [("", "jobs"), (None, "work")])
def test_state_is_kept_beside_the_job_file(tmp_path: Path, toml: str | None, home: str) -> None:
    settings = load(tmp_path, toml=toml).settings

    assert settings.state_dir == tmp_path / home / ".embed-index"
    assert settings.milvus_uri == str(tmp_path / home / ".embed-index" / "milvus.db")


@pytest.mark.parametrize(
    ("toml", "message", "remedy"),
    [
        ("[modle]\n", "job.toml: there is no section [modle]", "Did you mean model?"),
        ("[zzz]\n", "no section [zzz]", "The sections are source, model"),
        ("[model]\ndimenson = 3\n", "[model] dimenson: there is no", "Did you mean dimension?"),
        ("[chunking]\ndimension = 3\n", "[chunking] dimension", "Write dimension under [model]."),
        ("dimension = 3\n", "dimension stands outside", "Write dimension under [model]."),
        ("model = 3\n", "model must be a section", "Write [model] on a line of its own"),
        ("[run]\nforce = true\n", "[run] force: is decided anew", "pass --force"),
        (
            "[model]\ndimension = 'x'\n",
            "dimension = 'x' (job.toml [model] dimension): must be a whole",
            "--dimension",
        ),
        ("[model]\ndimension = true\n", "must be a whole number", "--dimension"),
        ("[run]\nquiet = 'yes'\n", "must be true or false", "--quiet"),
        ("[source]\ninput = [1]\n", "must be a list, each entry text", "--input"),
        ("[source]\ninput = ''\n", "must not have an empty entry", "--input"),
        ("[run]\nstate_dir = ''\n", "must not be empty", "--state-dir"),
        ("[model]\ndimension = \n", "not TOML: Invalid value (at line 2", "Correct that line"),
        ("[model]\ndimension = 8\n", "must be greater than or equal to 32", "--dimension"),
        ("[model]\ndtype = 'int8'\n", "must be 'auto', 'bfloat16', 'float32' or 'fp8'", "--dtype"),
        (
            "[chunking]\nmax_tokens = 32769\n",
            "= 32769 (job.toml [chunking] max_tokens): must be less than or equal to 32768",
            "--max-tokens",
        ),
        (
            "[chunking]\nmax_tokens = 8\noverlap_tokens = 8\n",
            "smaller than max_tokens (8) (overlap_tokens from job.toml [chunking] overlap_tokens,",
            "--overlap-tokens",
        ),
        (
            "[server]\nbatch_tokens = 1000\n",
            "batch_tokens (1000) must hold a chunk of max_tokens (1024)",
            "--batch-tokens",
        ),
        (
            "[index]\ntext_search = true\ntext_analyzer = 'klingon'\n",
            "must be standard, english, chinese or a JSON object such as",
            "--text-analyzer",
        ),
        (
            "[index]\ntext_analyzer = 'english'\n",
            "text_analyzer says how words are searched for, and text_search is off",
            "--text-search",
        ),
        (
            "[source]\ncarry = ['text_sparse']\n[index]\ntext_search = true\n",
            "carry names 'text_sparse', a field that every collection with text_search has",
            "--carry",
        ),
        (
            "[source]\ncarry = ['words as text_sparse']\n[index]\ntext_search = true\n",
            "carry names 'text_sparse', a field that every collection with text_search has",
            "--carry",
        ),
        (
            "[source]\nid_column = 'text'\n",
            "id_column and text_column are both 'text'",
            "--id-column",
        ),
        ("[source]\ncarry = ['doc_id']\n", "must not name 'doc_id'", "--carry"),
        ("[source]\ncarry = ['a-b']\n", "must not name 'a-b'; Milvus takes letters", "--carry"),
        ("[server]\nextra_args = ['--grpc-port=1']\n", "must not hold --grpc-port", "extra-args"),
        ("[server]\nextra_args = ['--model', 'x']\n", "must not hold --model-path", "extra-args"),
        ("[milvus]\ncollection = 'a-b'\n", "letters, digits and underscores", "--collection"),
        ("[milvus]\ncollection = 'a_v2'\n", "must not end like a version", "--collection"),
        ("[milvus]\nuri = 'x.sqlite'\n", "must be a path ending in .db", "MILVUS_URI"),
        ("[server]\nurl = 'gpu:30000'\n", "must be http://host:port", "EMBEDDING_API_BASE"),
        ("[server]\nurl = 'http://gpu:x'\n", "must be http://host:port", "EMBEDDING_API_BASE"),
        ("[run]\nmax_dead_letters = '101%'\n", "must be at most 100%", "--max-dead-letters"),
        ("[run]\nmax_dead_letters = 'few'\n", "must be a count such as 10", "--max-dead-letters"),
        ("[server]\ngpus = [0, 0]\n", "must not name 0 twice", "--gpus"),
    ],
)
def test_bad_job_file_is_refused_by_name_with_a_remedy(
    tmp_path: Path, toml: str, message: str, remedy: str
) -> None:
    error = refusal(tmp_path, toml=toml)

    assert message in error.message
    assert remedy in error.remedy


def test_all_mistakes_that_can_be_seen_at_once_are_told_each_with_its_place(
    tmp_path: Path,
) -> None:
    error = refusal(
        tmp_path,
        toml=(
            "[modle]\nx = 1\n"
            "[model]\ndimension = 'x'\ndtyp = 'fp8'\n"
            "[chunking]\nmax_tokens = 99999\n"
            f"[milvus]\ntoken = '{SECRET}'\n"
            "[source]\ninput = ['', '']\n"
            # Whether it fits to the dimension is not known.
            "[server]\nbatch_tokens = 1000\n"
        ),
        env={"EMBED_INDEX_QUIET": "perhaps"},
        required=("input", "collection"),
    )
    notes = error.__notes__

    assert error.message == "job.toml: there is no section [modle] (the first of 8 mistakes)"
    assert notes[0] == (
        "also: dimension = 'x' (job.toml [model] dimension): must be a whole number. Set it with"
        " --dimension, EMBED_INDEX_DIMENSION or `dimension` under [model] in the job file."
    )
    assert notes[1].startswith("also: job.toml [model] dtyp: there is no such setting. Did you")
    assert notes[2].startswith("also: job.toml [milvus] token: a secret must not stand in a job")
    assert notes[3].startswith("also: collection is not set")
    told = "\n".join(notes[4:])
    assert len(notes) == 7
    assert "input = ['', ''] (job.toml [source] input): must not have an empty entry" in told
    assert "max_tokens = 99999 (job.toml [chunking] max_tokens): must be less than" in told
    assert "quiet = 'perhaps' (environment EMBED_INDEX_QUIET): must be a valid boolean" in told
    assert SECRET not in f"{error} {notes}"


@pytest.mark.parametrize(
    ("sources", "message"),
    [
        (
            {"env": {"EMBED_INDEX_DIMENSION": "wide"}},
            "dimension = 'wide' (environment EMBED_INDEX_DIMENSION): must be a valid integer",
        ),
        (
            {"dotenv": "EMBED_INDEX_QUIET=perhaps\n"},
            "quiet = 'perhaps' (.env EMBED_INDEX_QUIET): must be a valid boolean",
        ),
        ({"env": {"EMBED_INDEX_GPUS": "0,a"}}, "gpus = ['0', 'a'] (environment EMBED_INDEX_GPUS)"),
        (
            {"env": {"EMBED_INDEX_SERVER_EXTRA_ARGS": "'open"}},
            "server_extra_args: a quotation mark is not closed",
        ),
        ({"flags": {"max_delete_share": 2.0}}, "max_delete_share = 2.0 (flag --max-delete-share)"),
        ({"env": {"EMBED_INDEX_GRACE_SECONDS": "nan"}}, "must be a finite number"),
        ({"required": ("collection",)}, "collection is not set"),
    ],
)
def test_bad_value_is_refused_with_its_source(
    tmp_path: Path, sources: dict[str, object], message: str
) -> None:
    assert message in refusal(tmp_path, **sources).message


@pytest.mark.parametrize(
    ("flags", "remedy"),
    [
        ({"limit": 20, "rebuild": True}, "Leave limit or rebuild out."),
        ({"max_cost": 1.0}, "Set price_per_gpu_hour with --price-per-gpu-hour"),
        ({"overlap_tokens": 8192}, "Set overlap_tokens with --overlap-tokens"),
    ],
)
def test_the_remedy_of_two_settings_that_do_not_go_together_is_one(
    tmp_path: Path, flags: dict[str, object], remedy: str
) -> None:
    assert refusal(tmp_path, flags=flags).remedy.startswith(remedy)


def test_the_help_of_every_list_says_that_its_flag_may_be_repeated() -> None:
    lists = [field for field in SETTINGS if field.many]

    assert len(lists) > 5
    assert not [field.name for field in lists if "may be repeated" not in field.setting.help]


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (lambda path: None, "does not exist"),
        (lambda path: path.mkdir(), "is a folder, not a job file"),
        (lambda path: path.write_bytes(b"PAR1\xff"), "is a Parquet file, not a job file"),
        (lambda path: path.write_bytes(b"\xff"), "not UTF-8"),
    ],
)
def test_unreadable_job_file_is_refused(tmp_path: Path, write: object, message: str) -> None:
    assert callable(write)
    write(tmp_path / "job.toml")

    with pytest.raises(ConfigurationError, match=message):
        load_settings(job_file=Path("job.toml"), environ={}, folder=tmp_path)


def test_a_corpus_in_place_of_a_job_file_is_told_how_to_index_it(
    tmp_path: Path, sample_corpus: Path
) -> None:
    corpus = sample_corpus / "mixed.parquet"
    with pytest.raises(ConfigurationError) as refused:
        load_settings(job_file=corpus, environ={}, folder=tmp_path)

    assert f"`embed-index init {corpus}`" in refused.value.remedy
    assert f"`embed-index run --input {corpus} --collection NAME`" in refused.value.remedy


def test_of_a_job_file_that_is_not_there_one_learns_how_a_corpus_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError) as refused:
        load_settings(job_file=Path("corpus/a.parquet"), environ={}, folder=tmp_path)

    assert "--input" in refused.value.remedy


@pytest.mark.parametrize(
    "sources",
    [
        {"toml": f'[server]\nkey = "{SECRET}"\n'},
        {"toml": f'[server]\nserver_key = "{SECRET}"\n'},
        {"toml": f'[milvus]\ntoken = "{SECRET}"\n'},
        {"toml": f'[milvus]\nuri = "http://root:{SECRET}@host:19530"\n'},
        {"toml": f'[server]\nurl = "http://root:{SECRET}@host"\n'},
        {"toml": f'[server]\nextra_args = ["--api-key={SECRET}"]\n'},
        {"toml": f'[server]\nextra_args = ["--api", "{SECRET}"]\n'},
        {"toml": f'[server]\napi_key = "{SECRET}"\n'},
        {"flags": {"milvus_uri": f"http://root:{SECRET}@host:19530"}},
        {"flags": {"server_extra_args": (f"--admin-api-key={SECRET} '",)}},
        {"env": {"MILVUS_URI": f"ftp://root:{SECRET}@host"}},
        {"env": {"MILVUS_URI": f"http://root:{SECRET}/x@host"}},
        {"env": {"MILVUS_URI": f"http://u:{SECRET}@host", "MILVUS_TOKEN": SECRET}},
        {"env": {"EMBEDDING_API_BASE": f"http://u:{SECRET}@host"}},
        {"env": {"EMBEDDING_API_KEY": f"{SECRET} with spaces"}},
        {"dotenv": f"MILVUS_TOKEN='{SECRET}é'\n"},
    ],
)
def test_misplaced_or_malformed_secret_is_refused_without_showing_it(
    tmp_path: Path, sources: dict[str, object]
) -> None:
    error = refusal(tmp_path, **sources)

    assert SECRET not in f"{error} {error!r} {error.__cause__} {error.remedy}"


def test_the_password_that_every_milvus_begins_with_is_a_word_like_others() -> None:
    settings = JobSettings(milvus_token=SecretStr("root:Milvus"))

    assert settings.secrets() == ("root:Milvus",)


def test_secrets_are_masked_wherever_settings_are_shown(tmp_path: Path) -> None:
    loaded = load(
        tmp_path,
        env={"MILVUS_URI": f"http://root:{SECRET}%21@host:19530"},
        dotenv=f"EMBEDDING_API_KEY={SECRET}\n",
    )
    settings = loaded.settings
    shown = [
        repr(settings),
        str(settings.model_dump()),
        settings.model_dump_json(),
        repr(loaded),
        render_config(loaded),
    ]

    assert SECRET not in "".join(shown)
    assert settings.milvus_uri == "http://host:19530"
    assert set(settings.secrets()) == {f"root:{SECRET}!", f"{SECRET}!", SECRET}
    assert '# token = "***"  # environment MILVUS_URI' in shown[-1]
    assert '# key = "***"  # .env EMBEDDING_API_KEY' in shown[-1]


def test_shown_configuration_names_every_setting_and_is_a_job_file_again(tmp_path: Path) -> None:
    loaded = load(
        tmp_path,
        toml='[source]\ninput = ["a", "ü"]\n[run]\nmax_delete_share = 1\n',
        flags={"dimension": 64, "model": 'quo"ted', "force": True},
        env={"MILVUS_URI": "x.db"},
    )
    shown = render_config(loaded)
    again = load(tmp_path, toml=shown)

    assert "dimension = 64  # flag --dimension" in shown
    assert "# environment MILVUS_URI" in shown
    assert "# job.toml [source] input" in shown
    assert 'dtype = "auto"  # default' in shown
    assert again.settings == loaded.settings.model_copy(update={"force": False})
    for field in SETTINGS:
        assert f"{field.key} =" in shown or f"# {field.key} is not set" in shown


def test_key_file_and_systemd_credential_come_before_the_environment(tmp_path: Path) -> None:
    key_file, credentials = tmp_path / "key", tmp_path / "credentials"
    credentials.mkdir()
    key_file.write_text("from-file\n")
    key_file.chmod(0o600)
    (credentials / "embedding-api-key").write_text("from-systemd\n")
    env = {"EMBEDDING_API_KEY": "from-env", "CREDENTIALS_DIRECTORY": str(credentials)}

    by_file = load(tmp_path, env=env, key_file=key_file)
    by_systemd = load(tmp_path, env=env)

    assert by_file.sources["server_key"].origin == f"key file {key_file}"
    assert by_file.settings.secrets() == ("from-file",)
    assert by_systemd.sources["server_key"].origin == "systemd credential embedding-api-key"
    assert by_systemd.settings.secrets() == ("from-systemd",)


@pytest.mark.parametrize(
    ("content", "mode", "message"),
    [
        (SECRET, 0o644, "open to others (mode 0644)"),
        (f"{SECRET}\n{SECRET}\n", 0o600, "exactly one line"),
        ("\n", 0o600, "exactly one line"),
        (None, 0o600, "cannot be read"),
    ],
)
def test_unsafe_or_unusable_key_file_is_refused(
    tmp_path: Path, content: str | None, mode: int, message: str
) -> None:
    path = tmp_path / "key"
    if content is not None:
        path.write_text(content)
        path.chmod(mode)

    error = refusal(tmp_path, key_file=path)

    assert message in error.message
    assert SECRET not in str(error)


def test_request_budget_never_splits_a_chunk() -> None:
    assert JobSettings(max_tokens=32_768).tokens_per_batch == 32_768
    assert JobSettings(max_tokens=512).tokens_per_batch == 16_384


@pytest.mark.parametrize("field", SETTINGS, ids=lambda field: field.name)
def test_every_setting_is_declared_in_full(field: SettingField) -> None:
    assert field.setting.help.endswith(".")
    assert field.ways
    assert (field.flag is None) == field.secret
    assert sum(other.env == field.env for other in SETTINGS if field.env) <= 1
    assert sum((other.section, other.key) == (field.section, field.key) for other in SETTINGS) == 1


def test_a_column_with_the_name_of_the_words_field_is_carried_under_another(
    tmp_path: Path,
) -> None:
    toml = "[source]\ncarry = ['text_sparse as words']\n[index]\ntext_search = true\n"

    assert load(tmp_path, toml=toml).settings.carry == ("text_sparse as words",)
