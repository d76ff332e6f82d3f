package kube

import (
	"bytes"
	_ "embed" // the profiles
	"fmt"
)

//go:embed profiles/seccomp.json
var seccomp []byte

//go:embed profiles/apparmor
var apparmor []byte

//go:embed profiles/containerd.toml
var containerd []byte

//go:embed profiles/kubelet.yaml
var kubelet []byte

//go:embed profiles/modules.conf
var modules []byte

// AppArmorProfile is what the profile of [NodeSetup] is called.
const AppArmorProfile = "berth-engine"

// NodePart is one of the things that nodes need for [Unprivileged].
type NodePart struct {
	Name string // as `berth kube node-setup` has it
	Path string // where it goes on a node; "" for an object of the cluster
	Then string // what makes it effective
	Text []byte
}

// NodeOptions say which nodes are set up.
type NodeOptions struct {
	RuntimeClass string
	NodeSelector map[string]string // of the nodes that are; none: all
}

// NodeSetup returns what a cluster and its nodes need for pods of the level [Unprivileged].
func NodeSetup(o NodeOptions) ([]NodePart, error) {
	if err := first(checkName("--runtime-class", o.RuntimeClass, 63), checkLabels("--node-selector", o.NodeSelector)); err != nil {
		return nil, err
	}
	class := object{
		APIVersion: "node.k8s.io/v1", Kind: "RuntimeClass", Metadata: meta{Name: o.RuntimeClass}, Handler: o.RuntimeClass,
		comments: map[string]string{"": "Pods with runtimeClassName: " + o.RuntimeClass + " may make control groups below their own."},
	}
	if len(o.NodeSelector) > 0 {
		class.Scheduling = &scheduling{o.NodeSelector}
	}
	text, err := class.yaml()
	if err != nil {
		return nil, err
	}
	return []NodePart{
		{"runtimeclass", "", "kubectl apply -f -", text},
		{"containerd", "/etc/containerd/conf.d/berth.toml", "systemctl restart containerd", bytes.ReplaceAll(containerd, []byte("runtimes.berth"), []byte("runtimes."+o.RuntimeClass))},
		{"kubelet", "/etc/kubernetes/kubelet.conf.d/20-berth.conf", "systemctl restart kubelet", kubelet},
		{"seccomp", "/var/lib/kubelet/seccomp/" + SeccompProfile, "", seccomp},
		{"apparmor", "/etc/apparmor.d/" + AppArmorProfile, "apparmor_parser -r /etc/apparmor.d/" + AppArmorProfile, apparmor},
		{"modules", "/etc/modules-load.d/berth.conf", "systemctl restart systemd-modules-load", modules},
	}, nil
}

// Overview is all parts, for people to read.
func Overview(parts []NodePart) []byte {
	var b bytes.Buffer
	for _, p := range parts {
		where := p.Path
		if where == "" {
			where = "the cluster"
		}
		fmt.Fprintf(&b, "##### %s: %s\n", p.Name, where)
		if p.Then != "" {
			fmt.Fprintf(&b, "##### then: %s\n", p.Then)
		}
		b.Write(bytes.TrimRight(p.Text, "\n"))
		b.WriteString("\n\n")
	}
	return b.Bytes()
}
