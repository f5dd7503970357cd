#!/usr/bin/env bash
# Makes .venv/peers: the loaders of peers.lock, in front of what .venv has.
#
# PyTorch and pydaos are .venv's own, found behind the packages installed here,
# so that both sides of a row run the same torch. Only make bench needs this.
# Nothing is done when it is up to date.
set -euo pipefail
cd "$(dirname "$0")/../.."

venv=${VENV:-.venv/bin}
peers=${PEERS_VENV:-.venv/peers}
stamp=$peers/.ready
lock=torch/bench/peers.lock

base=$("$venv/python" -c 'import sys; print(sys.prefix, sys.version)')
want=$(printf '%s\n' "$base"; cat "$lock" torch/bench/peers.sh)
want=$(printf '%s' "$want" | sha256sum | cut -d' ' -f1)
if [ -f "$stamp" ] && [ "$(cat "$stamp")" = "$want" ] && "$peers/bin/python" -c '' 2>/dev/null; then
	exit 0
fi

if command -v uv >/dev/null 2>&1 && uv --version >/dev/null 2>&1; then
	uv=uv
else
	uv=$venv/uv
fi
printf 'peers: making %s: about 300 MB to download, 1.1 GB on disk\n' "$peers"
rm -rf "$peers"
"$uv" venv -q --no-project --python "$venv/python" "$peers"
site=$("$peers/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
# Behind ours on the path, with the .pth files that lie there (pydaos is one).
"$venv/python" -c 'import sys
for p in sys.path:
    if p.rstrip("/").endswith(("site-packages", "dist-packages")):
        print(f"import site; site.addsitedir({p!r})")' >"$site/_packages_of_base.pth"

part=$(mktemp)
trap 'rm -f "$part"' EXIT
awk '/^[a-z]/ { on = !/^(torch|triton|nvidia-[a-z0-9-]*|cuda-[a-z]*)==/ } on' "$lock" >"$part"
UV_HTTP_TIMEOUT=${UV_HTTP_TIMEOUT:-300} "$uv" pip install -q --python "$peers/bin/python" --require-hashes --no-deps -r "$part"
"$peers/bin/python" -c 'import torch, pydaos' || {
	printf 'peers: %s was made but lacks torch or pydaos\n' "$peers" >&2
	exit 1
}
printf '%s' "$want" >"$stamp"
