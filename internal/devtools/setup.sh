#!/usr/bin/env bash
# Makes .venv: the packages of requirements.lock, then pydaos from this tree.
#
# PYTHON=/path/to/python takes another interpreter; where that one has torch
# already, its torch is used and the big download is left out.
# Nothing is done when .venv is up to date, so make calls it every time.
set -euo pipefail
cd "$(dirname "$0")/../.."

venv=.venv
stamp=$venv/.ready
download="about 2.6 GB to download, 5.3 GB on disk"

die() {
	printf 'setup: %s\n' "$*" >&2
	exit 1
}

python=${PYTHON:-}
if [ -z "$python" ]; then
	for candidate in python3 python3.13 python3.12 python3.11 python3.10; do
		if command -v "$candidate" >/dev/null 2>&1 &&
			"$candidate" -c 'import sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null; then
			python=$candidate
			break
		fi
	done
	[ -n "$python" ] || die "no Python 3.10 to 3.13 found; install one, or name one: make setup PYTHON=/path/to/python3"
fi
command -v "$python" >/dev/null 2>&1 || die "PYTHON=$python cannot be run"
"$python" -c 'import sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null ||
	die "$python is $("$python" --version 2>&1); Python 3.10 to 3.13 is needed: make setup PYTHON=/path/to/python3"

# What .venv was made from. A change of any of it makes it anew or brings it up to date.
base=$("$python" -c 'import os, sys; print(os.path.realpath(sys.executable), sys.prefix, sys.version.split()[0])')
want=$(printf '%s\n' "$base"; cat requirements.lock internal/devtools/setup.sh; [ ! -f pyproject.toml ] || cat pyproject.toml)
want=$(printf '%s' "$want" | sha256sum | cut -d' ' -f1)
if [ -f "$stamp" ] && [ "$(cat "$stamp")" = "$want" ] && "$venv/bin/python" -c '' 2>/dev/null; then
	exit 0
fi
rm -f "$stamp"

has_torch=no
if [ -n "${PYTHON:-}" ] && "$python" -c 'import torch.utils.data' 2>/dev/null; then
	has_torch=yes
fi

# A .venv of another interpreter is of no use.
if [ -d "$venv" ] && [ "$(cat "$venv/.base" 2>/dev/null || true)" != "$base" ]; then
	rm -rf "$venv"
fi
if [ ! -x "$venv/bin/python" ]; then
	printf 'setup: making %s with %s\n' "$venv" "$("$python" --version 2>&1)"
	if ! "$python" -m venv --without-pip "$venv" 2>/dev/null; then
		"$python" -m virtualenv -q --no-pip --no-setuptools --no-wheel "$venv" >/dev/null 2>&1 ||
			die "$python can't make virtual environments; on Debian and Ubuntu: apt-get install python3-venv"
	fi
	printf '%s\n' "$base" >"$venv/.base"
fi
site=$("$venv/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')

# The installer: uv from the PATH, else the one of the lock, put into .venv by pip.
uv=
if command -v uv >/dev/null 2>&1 && uv --version >/dev/null 2>&1; then
	uv=uv
elif [ -x "$venv/bin/uv" ]; then
	uv=$venv/bin/uv
else
	printf 'setup: installing uv (about 25 MB)\n'
	lock_uv=$(mktemp)
	trap 'rm -f "$lock_uv"' EXIT
	awk '/^[a-z]/ { on = /^uv==/ } on' requirements.lock >"$lock_uv"
	if "$venv/bin/python" -m ensurepip -q --default-pip >/dev/null 2>&1; then
		"$venv/bin/python" -m pip install -q --require-hashes -r "$lock_uv"
	elif "$python" -m pip --version >/dev/null 2>&1; then
		"$python" -m pip --python "$venv/bin/python" install -q --require-hashes -r "$lock_uv"
	else
		die "neither pip nor ensurepip is there; on Debian and Ubuntu: apt-get install python3-venv python3-pip"
	fi
	uv=$venv/bin/uv
fi

lock=$(mktemp)
trap 'rm -f "$lock" "${lock_uv:-}"' EXIT
if [ $has_torch = yes ]; then
	# Its site-packages go behind ours on the path, so that torch is found there.
	"$python" -c 'import sys; print("\n".join(p for p in sys.path if p.rstrip("/").endswith(("site-packages", "dist-packages"))))' \
		>"$site/_packages_of_base.pth"
	awk '/^[a-z]/ { on = !/^(torch|triton|nvidia-[a-z0-9-]*|cuda-[a-z]*)==/ } on' requirements.lock >"$lock"
	printf 'setup: torch is that of %s; other packages: about 250 MB to download, 800 MB on disk\n' "$python"
else
	rm -f "$site/_packages_of_base.pth"
	cp requirements.lock "$lock"
	if ! "$venv/bin/python" -c 'import torch' 2>/dev/null; then
		printf 'setup: installing PyTorch and the other packages of requirements.lock: %s\n' "$download"
		printf 'setup: (what uv has cached is not downloaded again; with PYTHON=/path/to/python an environment that has torch is used)\n'
		free=$(df -Pk . | awk 'NR == 2 { print int($4 / 1048576) }')
		[ "$free" -ge 9 ] || die "only $free GiB are free here; 9 GiB are needed, or name an environment that has torch: PYTHON=/path/to/python"
	fi
fi

deps=()
if [ $has_torch = yes ]; then deps+=(--no-deps); fi
UV_HTTP_TIMEOUT=${UV_HTTP_TIMEOUT:-300} "$uv" pip install --python "$venv/bin/python" --require-hashes "${deps[@]}" -r "$lock"
if [ -f pyproject.toml ]; then
	"$uv" pip install -q --python "$venv/bin/python" --no-deps --no-build-isolation -e .
	"$venv/bin/python" -c 'import pydaos' || die "pydaos was installed but can't be imported"
fi
printf '%s' "$want" >"$stamp"
printf 'setup: %s is ready\n' "$venv"
