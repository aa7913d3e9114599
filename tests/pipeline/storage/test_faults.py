"""What failures of stores mean, in the words in which pyarrow hands them on."""

import pyarrow as pa
import pytest

from embed_index.pipeline.storage.faults import Fault, explain, judge
from embed_index.schemas.errors import ConfigurationError, EmbedIndexError, UnavailableError

_HEAD = "When reading information for key 'c' in bucket 'b': AWS Error {} operation: No response."


def aws(words: str) -> OSError:
    return OSError(_HEAD.format(f"{words} during HeadObject"))


@pytest.mark.parametrize(
    ("error", "fault", "kind"),
    [
        (aws("NETWORK_CONNECTION"), Fault.PASSING, UnavailableError),
        (aws("UNKNOWN (HTTP status 503)"), Fault.PASSING, UnavailableError),
        (aws("SLOW_DOWN"), Fault.PASSING, UnavailableError),
        (aws("UNKNOWN (HTTP status 429)"), Fault.PASSING, UnavailableError),
        (aws("UNKNOWN (HTTP status 416)"), Fault.PASSING, UnavailableError),
        (aws("INTERNAL_FAILURE"), Fault.PASSING, UnavailableError),
        (TimeoutError("no answer in 60 s"), Fault.PASSING, UnavailableError),
        (OSError("google::cloud::Status(UNAVAILABLE: no)"), Fault.PASSING, UnavailableError),
        (aws("ACCESS_DENIED"), Fault.DENIED, ConfigurationError),
        (aws("UNKNOWN (HTTP status 403)"), Fault.DENIED, ConfigurationError),
        (PermissionError(13, "Permission denied"), Fault.DENIED, ConfigurationError),
        (OSError("google::cloud::Status(PERMISSION_DENIED: no)"), Fault.DENIED, ConfigurationError),
        (aws("NO_SUCH_BUCKET"), Fault.NO_BUCKET, ConfigurationError),
        (aws("UNKNOWN (HTTP status 301)"), Fault.WRONG_REGION, ConfigurationError),
        (aws("INVALID_ACCESS_KEY_ID"), Fault.UNKNOWN_CREDENTIALS, UnavailableError),
        (aws("SIGNATURE_DOES_NOT_MATCH"), Fault.UNKNOWN_CREDENTIALS, UnavailableError),
        (aws("REQUEST_TIME_TOO_SKEWED"), Fault.WRONG_CLOCK, UnavailableError),
        (aws("UNKNOWN (HTTP status 400)"), Fault.REFUSED, UnavailableError),
        (pa.ArrowInvalid("Empty path component in path a//b"), Fault.REFUSED, UnavailableError),
    ],
)
def test_each_failure_has_a_meaning_and_a_sentence_with_a_remedy(
    error: Exception, fault: Fault, kind: type[EmbedIndexError]
) -> None:
    told = explain(error, subject="s3://b/c", seconds=3.0)

    assert judge(error) is fault
    assert type(told) is kind
    assert told.message.startswith("input: s3://b/c ")
    assert told.remedy


def test_a_signature_in_an_address_is_not_repeated() -> None:
    error = OSError("GET https://account.blob/c?sig=hunter2&se=1 failed: HTTP status code: 500")

    assert "hunter2" not in str(explain(error, subject="abfs://box@account/c"))
