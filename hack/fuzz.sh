#!/bin/sh
# Runs every fuzz test of the module, one after the other, for FUZZTIME each (default 10s).
# Arguments are packages; without any, all that have fuzz tests are meant. What a test fails
# on is kept below its testdata, and is to be committed with what mends it.
set -eu
go=${GO:-go}
[ $# -gt 0 ] || set -- $(git grep -l '^func Fuzz' -- '*_test.go' ':!test' | xargs -n1 dirname | sort -u | sed 's,^,./,')
status=0
for package; do
	names=$($go test -list '^Fuzz' "$package") # and its last line, which is no name
	for name in $(echo "$names" | grep '^Fuzz'); do
		echo "== $package $name"
		# Without the last flag, a new input is made shorter for a minute, in which nothing runs that counts.
		$go test -run '^$' -fuzz "^$name\$" -fuzztime "${FUZZTIME:-10s}" -fuzzminimizetime 10x "$package" || status=1
	done
done
exit $status
