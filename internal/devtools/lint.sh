#!/usr/bin/env bash
# Every linter: Go, proto, Python, generated files. Says all that is wrong, then fails.
#
# golangci-lint is built from source once (about 4 minutes on two cores) and
# kept in bin/tools by version; buf comes as a ready binary in an npm package.
set -euo pipefail
cd "$(dirname "$0")/../.."

golangci=v2.12.2
buf=1.75.0
venv=${VENV:-.venv/bin}
tools=$PWD/bin/tools
failed=()

run() {
	printf 'lint: %s\n' "$1"
	shift
	"$@" || failed+=("$1")
}

unformatted() {
	local files
	files=$(git ls-files -co --exclude-standard '*.go' | grep -v '^proto/gen/' | xargs -r gofmt -l)
	[ -z "$files" ] || { printf 'not formatted (make fmt):\n%s\n' "$files"; return 1; }
}

golangci_lint() {
	local bin=$tools/golangci-lint-$golangci
	if [ ! -x "$bin" ]; then
		printf 'lint: building golangci-lint %s (some minutes, once)\n' "$golangci"
		mkdir -p "$tools/build"
		(cd / && GOBIN=$tools/build GOFLAGS= go install "github.com/golangci/golangci-lint/v2/cmd/golangci-lint@$golangci")
		mv "$tools/build/golangci-lint" "$bin"
		rmdir "$tools/build"
	fi
	# A cache of this checkout alone: a shared one answers with the paths of another.
	GOLANGCI_LINT_CACHE=$tools/golangci-cache "$bin" run ./...
}

buf_lint() {
	if ! command -v npm >/dev/null 2>&1; then
		printf 'lint: npm is not there, so the protos are not linted\n'
		return 0
	fi
	local dir=$tools/buf-$buf
	if [ ! -x "$dir/node_modules/.bin/buf" ]; then
		mkdir -p "$dir"
		npm install --prefix "$dir" --no-audit --no-fund --silent "@bufbuild/buf@$buf"
	fi
	(cd proto && "$dir/node_modules/.bin/buf" lint)
}

# The generated stubs and docs/cli.md are what the sources make of themselves.
fresh() {
	local tmp status=0
	tmp=$(mktemp -d)
	cp -r go.mod go.sum proto "$tmp/"
	mkdir -p "$tmp/pydaos/src/pydaos"
	(cd "$tmp" && PYTHON=$OLDPWD/$venv/python sh proto/generate.sh)
	diff -r -q "$tmp/proto/gen" proto/gen || status=1
	diff -r -q -x __pycache__ "$tmp/pydaos/src/pydaos/_proto" pydaos/src/pydaos/_proto || status=1
	go run ./cmd/daos docs | diff -q - docs/cli.md || status=1
	rm -rf "$tmp"
	[ $status = 0 ] || printf 'generated files are not what their sources make: make generate\n'
	return $status
}

run "gofmt" unformatted
run "golangci-lint $golangci" golangci_lint
run "buf $buf" buf_lint
run "generated files" fresh
run "ruff check" "$venv/ruff" check .
run "ruff format" "$venv/ruff" format --check .
run "mypy --strict" "$venv/mypy" --strict pydaos/src torch/src

if [ ${#failed[@]} -gt 0 ]; then
	printf 'lint: failed: %s\n' "${failed[*]}" >&2
	exit 1
fi
printf 'lint: clean\n'
