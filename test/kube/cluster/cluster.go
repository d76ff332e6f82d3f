// Package cluster is a real Kubernetes cluster of one node for tests: etcd, kube-apiserver,
// controller manager, scheduler, kubelet, kube-proxy, containerd with runc, bridge networking
// and CoreDNS, as `go run ./hack/kube` builds them into .cache/kube/bin.
//
// It runs in the namespaces that test/sandbox makes, so everything that a node changes (mounts,
// /var/lib, /run, firewall, forwarding, control groups) is the sandbox's and goes with it;
// settings of the whole machine are covered by files. With a [Machine], containerd and the kubelet
// run in that and the rest in the sandbox. Nothing is downloaded: images are in [Options], or come
// from [Cluster.Load].
//
// A test is written on a [Namespace], which the end of the test removes with all that ran in it:
//
//	func TestSomething(t *testing.T) {
//		ns := node.Namespace(t)             // node is the cluster that TestMain started
//		ns.Apply(manifest)                  // kubectl apply
//		ns.Wait("pod/job", "condition=Ready")
//		if got := ns.Exec("job", "client", "docker", "version"); got == "" { … }
//	}
//
// Every name below [Domain] is the node's address in every pod: a registry that a test starts on
// that address is reached by a name, as a company's is. The package knows nothing of engines.
package cluster

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"github.com/berth-dev/berth/internal/pid1"
	"github.com/berth-dev/berth/test/deadline"
	"github.com/berth-dev/berth/test/sandbox"
)

const (
	Address    = sandbox.HostAddress // of the API (port 6443), and of the node unless that is a machine
	NodeName   = "node1"
	Domain     = "berth.test"    // every name below it is Address
	PodRange   = "10.244.0.0/24" // the pods' addresses
	services   = "10.96.0.0/16"  // the Services'
	apiService = "10.96.0.1"     // of the API, the first of them
)

const runtimeSocket = "/run/containerd/containerd.sock"

// startLimit is how long the cluster may take until its node is ready.
var startLimit = deadline.Scaled(3 * time.Minute)

// Options say what to start.
type Options struct {
	Bin string // directory of the programs
	Dir string // empty directory for settings, keys and logs
	// Images are archives that the node has from the start, beside BusyImage.
	Images []string
	// Machine, unless nil, is the node. The settings below /etc/containerd/conf.d and
	// /etc/kubernetes/kubelet.conf.d hold there; NodeFiles is a directory whose files go to its root
	// directory first.
	Machine   *Machine
	NodeFiles string
}

// Cluster is a running cluster. End it with Stop.
type Cluster struct {
	bin       string // programs
	dir       string // settings, keys, logs
	images    []string
	machine   *Machine
	nodeFiles string
	daemons   []*daemon
}

// Start starts a cluster in the calling sandbox and returns when its node is ready.
//
// Errors name the daemon that ended, with the end of its log; nothing runs any more then.
func Start(ctx context.Context, o Options) (c *Cluster, err error) {
	if !sandbox.Active() {
		return nil, errors.New("a test cluster runs in a sandbox only: call sandbox.Run first")
	}
	if _, err := os.Stat(filepath.Join(o.Bin, "kubelet")); err != nil {
		return nil, fmt.Errorf("%w: build the cluster's programs with `go run ./hack/kube`", err)
	}
	ctx, cancel := context.WithTimeout(ctx, startLimit)
	defer cancel()
	c = &Cluster{bin: o.Bin, dir: o.Dir, images: o.Images, machine: o.Machine, nodeFiles: o.NodeFiles}
	defer func() {
		if err != nil {
			err = fmt.Errorf("start the test cluster: %w\n%s", err, c.dead())
			c.Stop()
		}
	}()
	here := []func() error{
		c.prepareHost,
		c.startAPI,
		func() error { return c.startRuntime(ctx) },
		func() error { return c.awaitAPI(ctx) },
		c.startControllers,
		c.startNode,
		func() error { return c.loadImages(ctx) },
	}
	apart := []func() error{
		linkMachine,
		c.startAPI,
		func() error { return c.startMachine(ctx) },
		func() error { return c.awaitAPI(ctx) },
		c.startControllers,
	}
	steps := []func() error{
		func() error { return os.MkdirAll(filepath.Join(o.Dir, "log"), 0o755) },
		func() error { return makeCertificates(filepath.Join(o.Dir, "pki")) },
		c.writeSettings,
		c.makeImages,
	}
	if c.machine == nil {
		steps = append(steps, here...)
	} else {
		steps = append(steps, apart...)
	}
	for _, step := range append(steps, func() error { return c.AwaitReady(ctx) }) {
		if err := step(); err != nil {
			return nil, err
		}
	}
	return c, nil
}

// Stop ends every daemon, and with them the pods' shims. What it leaves in the sandbox ends
// with the sandbox.
func (c *Cluster) Stop() { c.end(unix.SIGKILL) }

func (c *Cluster) pki(name string) string { return filepath.Join(c.dir, "pki", name) }

func (c *Cluster) startAPI() error {
	const etcd, peers = "http://127.0.0.1:2379", "http://127.0.0.1:2380"
	return errors.Join(
		c.start("etcd", "etcd", "--data-dir", "/var/lib/etcd", "--unsafe-no-fsync",
			"--listen-client-urls", etcd, "--advertise-client-urls", etcd,
			"--listen-peer-urls", peers, "--initial-advertise-peer-urls", peers, "--initial-cluster", "default="+peers),
		c.start("apiserver", "kube-apiserver", "--etcd-servers="+etcd, "--advertise-address="+Address,
			"--tls-cert-file="+c.pki("apiserver.crt"), "--tls-private-key-file="+c.pki("apiserver.key"), "--client-ca-file="+c.pki("ca.crt"),
			"--service-account-issuer=https://kubernetes.default.svc", "--service-account-key-file="+c.pki("tokens.pub"),
			"--service-account-signing-key-file="+c.pki("tokens.key"), "--service-cluster-ip-range="+services,
			"--authorization-mode=Node,RBAC", "--enable-admission-plugins=NodeRestriction", "--allow-privileged=true",
			"--kubelet-client-certificate="+c.pki("apiserver.crt"), "--kubelet-client-key="+c.pki("apiserver.key"),
			"--kubelet-certificate-authority="+c.pki("ca.crt"), "--kubelet-preferred-address-types=InternalIP"),
	)
}

// startRuntime starts containerd and returns when it says that it listens (sd_notify(3)): the
// kubelet ends at once when there is nobody.
func (c *Cluster) startRuntime(ctx context.Context) error {
	notify := filepath.Join(c.dir, "containerd.notify")
	if err := os.Remove(notify); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	ready := make(chan struct{})
	if err := pid1.OnReady(notify, func() { close(ready) }); err != nil {
		return err
	}
	containerd := exec.Command(filepath.Join(c.bin, "containerd"), "--config", filepath.Join(c.dir, "containerd.toml"))
	containerd.Env = []string{"NOTIFY_SOCKET=" + notify}
	d, err := c.run("containerd", containerd)
	if err != nil {
		return err
	}
	select {
	case <-ready:
		return nil
	case <-d.done:
		return errors.New("containerd ended")
	case <-ctx.Done():
		return fmt.Errorf("containerd is not ready: %w", context.Cause(ctx))
	}
}

// startControllers starts what acts on the API's objects. Its own limits on requests are
// for large clusters: with them a namespace's first account comes seconds late.
func (c *Cluster) startControllers() error {
	quick := []string{"--leader-elect=false", "--bind-address=127.0.0.1", "--kube-api-qps=1000", "--kube-api-burst=2000"}
	as := func(name string) []string {
		file := c.pki(name + ".kubeconfig")
		return append(quick, "--kubeconfig="+file, "--authentication-kubeconfig="+file, "--authorization-kubeconfig="+file)
	}
	return errors.Join(
		c.start("manager", "kube-controller-manager", append(as("manager"), "--service-account-private-key-file="+c.pki("tokens.key"),
			"--root-ca-file="+c.pki("ca.crt"), "--use-service-account-credentials=true", "--flex-volume-plugin-dir=/run/flexvolume")...),
		c.start("scheduler", "kube-scheduler", as("scheduler")...),
		c.start("dns", "coredns", "-conf", filepath.Join(c.dir, "corefile")),
	)
}

func (c *Cluster) startNode() error {
	return errors.Join(
		c.start("kubelet", "kubelet", "--config="+filepath.Join(c.dir, "kubelet.yaml"), "--kubeconfig="+c.pki("kubelet.kubeconfig"),
			"--hostname-override="+NodeName, "--node-ip="+Address, "--v=2"),
		c.start("proxy", "kube-proxy", "--config="+filepath.Join(c.dir, "kubeproxy.yaml"), "--hostname-override="+NodeName),
	)
}

// awaitAPI asks the API whether it is ready until it is.
func (c *Cluster) awaitAPI(ctx context.Context) error {
	pair, err := tls.LoadX509KeyPair(c.pki("admin.crt"), c.pki("admin.key"))
	if err != nil {
		return err
	}
	ca, err := os.ReadFile(c.pki("ca.crt"))
	if err != nil {
		return err
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(ca)
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots, Certificates: []tls.Certificate{pair}}}
	defer transport.CloseIdleConnections()
	client := &http.Client{Transport: transport, Timeout: 5 * time.Second}
	for ctx.Err() == nil && c.dead() == "" {
		if answer, err := client.Get("https://" + Address + ":6443/readyz"); err == nil {
			answer.Body.Close()
			if answer.StatusCode == http.StatusOK {
				return nil
			}
		}
		time.Sleep(50 * time.Millisecond)
	}
	return fmt.Errorf("the API did not become ready: %w", context.Cause(ctx))
}

// AwaitReady returns when the node is ready for pods, or a daemon has ended.
func (c *Cluster) AwaitReady(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	for _, d := range c.daemons {
		go func() {
			select {
			case <-d.done:
				cancel()
			case <-ctx.Done():
			}
		}()
	}
	for _, what := range [][]string{
		{"wait", "--for=create", "node/" + NodeName}, {"wait", "--for=condition=Ready", "node/" + NodeName},
	} {
		if _, err := c.Kubectl(ctx, "", append(what, "--timeout="+startLimit.String())...); err != nil {
			return err
		}
	}
	return nil
}
