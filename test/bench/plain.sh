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
	mkdir local
	cp "$(command -v openssl)" local/ # the script makes certificates with it; its libraries are git's
	export PATH=/local:$PATH
	date +%s%N
	exec chroot . /bin/sh /entrypoint dockerd >"$work/log" 2>&1 ;;
esac
