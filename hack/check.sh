#!/bin/sh
# Checks every module of the repository that holds berth's own code: formatting, go
# vet, staticcheck, and known vulnerabilities where the database can be reached.
# Run by `make check` in the repository's root directory.
set -eu

modules=". test examples"
status=0

unformatted=$(git ls-files '*.go' | xargs gofmt -l)
if [ -n "$unformatted" ]; then
	echo "check: not formatted as gofmt does:" >&2
	echo "$unformatted" >&2
	status=1
fi

tools=$(mktemp -d)
trap 'rm -rf "$tools"' EXIT
(cd tools && go build -o "$tools/" honnef.co/go/tools/cmd/staticcheck golang.org/x/vuln/cmd/govulncheck)

for module in $modules; do
	[ -e "$module/go.mod" ] || continue
	echo "check: go vet, staticcheck in $module"
	(cd "$module" && go vet ./...) || status=1
	(cd "$module" && "$tools/staticcheck" ./...) || status=1
done

# Exit status 3 means that it found something; others that it could not look.
for module in $modules; do
	[ -e "$module/go.mod" ] || continue
	echo "check: govulncheck in $module"
	set +e
	(cd "$module" && "$tools/govulncheck" ./...) >"$tools/vulnerabilities" 2>&1
	found=$?
	set -e
	case $found in
	0) ;;
	3)
		cat "$tools/vulnerabilities" >&2
		status=1
		;;
	*)
		echo "check: NOT checked for known vulnerabilities in $module: $(tail -n 1 "$tools/vulnerabilities")" >&2
		;;
	esac
done

exit $status
