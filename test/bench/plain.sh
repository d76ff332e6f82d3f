# Runs plain dockerd and containerd of the payload in fresh namespaces, as root of the host.
# $1 payload, $2 scratch directory, $3 directory with containerd, $4 "iptables", "nftables" or the path of
# docker:dind's entry point. Prints the time when the daemon is started.
set -e
payload=$1 work=$2 containerd=$3 kind=$4
root=$work/root
mount --make-rprivate /
ip link set lo up
echo 1 >/proc/sys/net/ipv4/ip_forward
mount -t tmpfs tmpfs "$root"
cd "$root"
mkdir usr proc sys dev run tmp etc opt certs var var/lib var/lib/docker root
ln -s /run var/run
for dir in bin sbin lib lib64; do ln -s usr/$dir $dir; done
mount --bind "$payload/rootfs/usr" usr
mount --bind "$containerd" opt
mount --bind "$work/run" run
mount --bind "$work/data" var/lib/docker
mount -t proc proc proc
mount -t sysfs sysfs sys
mount --rbind /sys/fs/cgroup sys/fs/cgroup
mount --rbind /dev dev
echo 'root:x:0:0::/root:/bin/sh' >etc/passwd
export PATH=/opt:/usr/sbin:/usr/bin HOME=/root
case $kind in
iptables | nftables)
	date +%s%N
	exec chroot . /usr/bin/dockerd -H unix:///run/docker.sock --firewall-backend "$kind" >"$work/log" 2>&1 ;;
*)
	cp "$kind" entrypoint
	chmod 755 entrypoint
	# The script makes certificates with openssl, which the payload does not have: bring the host's,
	# with its libraries and loader apart from the payload's.
	mkdir -p local/lib
	openssl=$(command -v openssl)
	cp "$openssl" local/openssl.real
	cp $(ldd "$openssl" | grep -o '/[^ ]*') local/lib/
	cp /etc/ssl/openssl.cnf local/
	loader=$(ldd "$openssl" | grep -o '/[^ ]*/ld-[^ ]*' | tail -n 1)
	printf '#!/bin/sh\nOPENSSL_CONF=/local/openssl.cnf exec /local/lib/%s --library-path /local/lib /local/openssl.real "$@"\n' "${loader##*/}" >local/openssl
	chmod 755 local/openssl
	export PATH=/local:$PATH DOCKER_TLS_CERTDIR=/certs # as the image has it
	date +%s%N
	exec chroot . /bin/sh /entrypoint >"$work/log" 2>&1 ;;
esac
