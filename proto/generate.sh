#!/bin/sh
# Generates Go (proto/gen) and Python (pydaos/src/pydaos/_proto) from the protos.
# PYTHON names an interpreter with grpcio-tools; the Go plugins are pinned in go.mod.
set -eu
cd "$(dirname "$0")/.."
PYTHON=${PYTHON:-.venv/bin/python}
bin=$(mktemp -d)
trap 'rm -rf "$bin"' EXIT
go build -o "$bin/" google.golang.org/protobuf/cmd/protoc-gen-go google.golang.org/grpc/cmd/protoc-gen-go-grpc
out=pydaos/src/pydaos/_proto
rm -rf proto/gen "$out"
mkdir -p proto/gen "$out"
files=$(cd proto && find daos -name '*.proto' | sort)
# shellcheck disable=SC2086
PATH="$bin:$PATH" "$PYTHON" -m grpc_tools.protoc -I proto \
	--go_out=. --go_opt=module=daos \
	--go-grpc_out=. --go-grpc_opt=module=daos \
	--python_out="$out" --pyi_out="$out" $files
find "$out" \( -name '*.py' -o -name '*.pyi' \) -exec sed -i \
	-e 's/^from daos\./from pydaos._proto.daos./' -e 's/^import daos\./import pydaos._proto.daos./' {} +
find "$out" -type d -exec touch {}/__init__.py \;
printf '"""Generated from proto/; run make generate."""\n' >"$out/__init__.py"
