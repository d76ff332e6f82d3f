# Makes a machine into a node. Its work disk has settings (node), programs (bin), images, and
# what goes to the root directory first (root): an administrator's settings for containerd and
# the kubelet, kernel modules and AppArmor profiles among it.
set -eux
here=$(dirname "$0")
modprobe virtio_net
ip address add "$ADDRESS/24" dev eth0
ip link set eth0 up
ip route add default via "$GATEWAY"
echo 1 > /proc/sys/net/ipv4/ip_forward
cp -r "$here"/root/. /
for list in /etc/modules-load.d/*.conf; do
	[ -f "$list" ] && modprobe -a $(grep -v '^#' "$list")
done
modprobe -a overlay bridge br_netfilter
for profile in "$here"/root/etc/apparmor.d/*; do
	[ -f "$profile" ] && apparmor_parser -r "/etc/apparmor.d/${profile##*/}"
done

service() { # NAME TYPE COMMAND...; one of type notify has started when it says so
	name=$1 type=$2
	shift 2
	systemd-run --unit="$name" -p Type="$type" --setenv=PATH="$PATH" -p Delegate=yes -p KillMode=process -p OOMScoreAdjust=-999 \
		-p "StandardOutput=append:/var/log/$name.log" -p "StandardError=append:/var/log/$name.log" "$@"
}
service containerd notify "$here/bin/containerd" --config "$here/node/containerd.toml"
for image in "$here"/images/*.tar; do
	ctr -n k8s.io images import --snapshotter overlayfs "$image"
done
service kubelet exec "$here/bin/kubelet" --config="$here/node/kubelet.yaml" --config-dir=/etc/kubernetes/kubelet.conf.d \
	--kubeconfig="$here/node/pki/kubelet.kubeconfig" --hostname-override="$NODE" --node-ip="$ADDRESS" --v=2
exec tail -n +1 -F /var/log/containerd.log /var/log/kubelet.log
