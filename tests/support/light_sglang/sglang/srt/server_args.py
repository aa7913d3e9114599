"""The flags that the launcher gives, read as leniently as a stand-in may."""

import argparse
from collections.abc import Sequence


def prepare_server_args(flags: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("--model-path", required=True)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--api-key")
    parser.add_argument("--admin-api-key")
    parser.add_argument("--context-length", type=int)
    parser.add_argument("--max-total-tokens", type=int)
    known, _ = parser.parse_known_args(flags)
    return known
