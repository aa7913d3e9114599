"""Which keys a gate takes, and how often each may ask."""

from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from embed_index.pipeline.secrecy.keyring import hash_key
from embed_index.pipeline.secrecy.proof import PROOF_LENGTH, draw_nonce, fingerprint, prove
from embed_index.pipeline.server.admission import Admission

ALICE = hash_key(SecretStr("ei-alice"), name="alice", per_minute=3)
BOB = hash_key(SecretStr("ei-bob"), name="bob", query_only=True)
ENDS = {"client": ("127.0.0.1", 50_000), "server": ("127.0.0.1", 30_000)}


def test_a_key_is_found_by_what_its_holder_presents() -> None:
    admission = Admission([ALICE, BOB])

    found = [admission.find(token) for token in (b"ei-alice", b"ei-bob", b"ei-alic", b"", b"\xff")]

    assert found == [ALICE, BOB, None, None, None]


def test_other_keys_take_the_place_of_all_before() -> None:
    admission = Admission([ALICE])

    admission.take([BOB])

    assert (admission.find(b"ei-alice"), admission.find(b"ei-bob")) == (None, BOB)


def test_each_holder_finds_a_proof_of_his_own() -> None:
    nonce = draw_nonce()

    proofs = Admission([ALICE, BOB]).prove(nonce=nonce, **ENDS)

    of = [prove(fingerprint(key), nonce=nonce, **ENDS) for key in (b"ei-alice", b"ei-bob")]
    assert [proofs[:PROOF_LENGTH], proofs[PROOF_LENGTH:]] == of


def test_a_fingerprint_is_no_key() -> None:
    assert Admission([ALICE]).find(ALICE.fingerprint.encode()) is None


@given(st.lists(st.floats(0, 40), max_size=60))
def test_no_minute_has_more_requests_than_a_key_is_worth(pauses: list[float]) -> None:
    now = 0.0
    passed: list[float] = []
    admission = Admission([ALICE], clock=lambda: now)
    for pause in pauses:
        now += pause
        wait = admission.seconds_to_wait(ALICE)
        within = [then for then in passed if then > now - 60]
        if not wait:
            passed.append(now)
            assert len(within) < 3
        else:
            assert len(within) == 3
            assert wait >= within[0] + 60 - now
            assert 1 <= wait <= 61


def test_whoever_waits_as_long_as_he_is_told_is_let_in() -> None:
    now = 0.0
    admission = Admission([ALICE], clock=lambda: now)
    waits = [admission.seconds_to_wait(ALICE) for _ in range(4)]
    now += waits[-1]

    assert waits == [0, 0, 0, 60]
    assert admission.seconds_to_wait(ALICE) == 0


def test_a_limit_is_a_names_and_outlives_other_keys() -> None:
    admission = Admission([ALICE, BOB], clock=lambda: 0.0)
    for _ in range(3):
        admission.seconds_to_wait(ALICE)
    another = hash_key(SecretStr("ei-other"), name="alice", per_minute=2)
    admission.take([another])

    assert admission.seconds_to_wait(another) == 60
    assert [admission.seconds_to_wait(BOB) for _ in range(100)] == [0] * 100
