#!/bin/sh
# The demonstration: index the sample corpus with a real server, then serve and search it.
# `make demo` sets BIN and SAMPLE_MODEL.
set -eu
PATH="$BIN:$PATH"
state=.embed-index
mkdir -p "$state"

echo '$ embed-index run sample_data/job.toml'
embed-index run sample_data/job.toml --model "$SAMPLE_MODEL"

# A server for the searches, with a key in a file that only we may read.
key_file="$state/demo.key"
port=$(python -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
(umask 077 && python -c 'import secrets; print(secrets.token_urlsafe(32))' > "$key_file")
embed-index serve --model "$SAMPLE_MODEL" --server-port "$port" --key-file "$key_file" \
    --state-dir "$state/demo-server" > "$state/demo-server.out" 2>&1 &
server=$!
trap 'kill "$server" 2> /dev/null; wait "$server" || true; rm -f "$key_file"' EXIT
until grep -q '^ready' "$state/demo-server.out"; do
    kill -0 "$server" 2> /dev/null || { cat "$state/demo-server.out"; exit 4; }
    sleep 0.2
done
EMBEDDING_API_BASE="http://127.0.0.1:$port"
EMBEDDING_API_KEY=$(cat "$key_file")
export EMBEDDING_API_BASE EMBEDDING_API_KEY

search() {
    printf '\n$ embed-index search sample "%s"\n' "$1"
    embed-index search sample "$1" --limit 3 --job sample_data/job.toml --model "$SAMPLE_MODEL"
}
search "the coffee machine asks to be descaled"
search "打印机卡纸怎么办"
search "VPN certificate expired"
