#!/bin/sh
# Installs what is missing: for building the payload a C compiler, the headers of
# libseccomp and libnftables, and apt's package lists, from which the payload's Debian
# programs come; with the argument "test", also what the integration tests use beside
# berth, and nginx for `make bench`, unpacked in .cache and not installed as a service.
# Run by `make deps` and `make test-deps`; uses sudo when it is not root.
set -eu

needed="gcc libc6-dev pkg-config libseccomp-dev libnftables-dev ca-certificates git make"
if [ "${1-}" = test ]; then
	needed="$needed util-linux iproute2 procps nftables iptables openssl e2fsprogs xfsprogs btrfs-progs"
fi

if ! command -v apt-get >/dev/null; then
	echo "deps: the payload is made from Debian packages, and this machine has no apt-get: build on Debian or Ubuntu" >&2
	exit 1
fi

# bench_peer unpacks what the benchmarks compare with; they go without when it cannot.
bench_peer() {
	if [ "$1" != test ] || [ -x .cache/nginx/usr/sbin/nginx ] || command -v nginx >/dev/null; then
		return 0
	fi
	mkdir -p .cache/nginx
	(cd .cache/nginx && apt-get download -qq nginx && dpkg -x nginx_*.deb . && rm nginx_*.deb) >/dev/null 2>&1 ||
		echo "deps: cannot fetch nginx; make bench leaves the comparison with it out" >&2
}

missing=
for package in $needed; do
	if ! dpkg-query -W -f '${db:Status-Status}\n' "$package" 2>/dev/null | grep -qx installed; then
		missing="$missing $package"
	fi
done

# apt's lists count as fresh for a day; without them apt-get download finds nothing.
lists=/var/lib/apt/lists
if [ -z "$missing" ] && [ -n "$(find "$lists" -maxdepth 1 -name '*Packages*' -mtime -1 -print -quit 2>/dev/null)" ]; then
	bench_peer "${1-}"
	exit 0
fi

sudo=
if [ "$(id -u)" -ne 0 ]; then
	if ! command -v sudo >/dev/null; then
		echo "deps: as root, run: apt-get update && apt-get install$missing" >&2
		exit 1
	fi
	sudo=sudo
fi

echo "deps: bringing apt's lists up to date" >&2
$sudo apt-get update -qq
# apt leaves the time of an unchanged list as it was upstream.
for list in "$lists"/*Packages*; do
	[ -e "$list" ] && $sudo touch -c "$list"
done
if [ -n "$missing" ]; then
	echo "deps: installing$missing" >&2
	# shellcheck disable=SC2086 # a list of words
	DEBIAN_FRONTEND=noninteractive $sudo apt-get install -y -qq --no-install-recommends $missing >/dev/null
fi
bench_peer "${1-}"
