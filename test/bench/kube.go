package main

import (
	"bufio"
	"bytes"
	"context"
	_ "embed"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"text/template"
	"time"

	"github.com/berth-dev/berth/test/kube/cluster"
)

//go:embed pod.yaml
var podManifest string

// kubeRuns is how often a Deployment is started each way: one with docker:dind's entry point
// takes 20 s.
const kubeRuns = 5

// kube measures in a cluster of its own, for which this program starts itself again: a sandbox
// has to be entered before anything else.
func (b *bench) kube(ctx context.Context) error {
	programs, err := filepath.Abs("../.cache/kube/bin")
	if err != nil {
		return err
	}
	if _, err := os.Stat(filepath.Join(programs, "kubelet")); err != nil {
		fmt.Fprintln(os.Stderr, "  left out: the cluster's programs are not there; `go run ./hack/kube` builds them")
		return nil
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, self, "-cluster", programs, "-berth", b.program, "-n", fmt.Sprint(min(b.runs, kubeRuns)))
	cmd.Stderr, cmd.Env = os.Stderr, os.Environ()
	if script := os.Getenv("DIND_ENTRYPOINT"); script == "" {
		fmt.Fprintln(os.Stderr, "  left out: DIND_ENTRYPOINT names no copy of docker:dind's entry point")
	} else {
		data, err := os.ReadFile(script)
		if err != nil {
			return err
		}
		seen := filepath.Join(b.work, "entrypoint") // in the sandbox as well
		if err := os.WriteFile(seen, data, 0o755); err != nil {
			return err
		}
		cmd.Env = append(cmd.Env, "DIND_ENTRYPOINT="+seen)
	}
	out, err := cmd.Output()
	if err != nil {
		return err
	}
	for in := json.NewDecoder(bytes.NewReader(out)); ; {
		var f figure
		switch err := in.Decode(&f); err {
		case nil:
			b.add(f)
		case io.EOF:
			return nil
		default:
			return err
		}
	}
}

// inCluster is the sandboxed part of kube: it starts the same Deployment with berth's image and
// with docker:dind's entry point in turn.
func (b *bench) inCluster(ctx context.Context, programs string) error {
	archive := "/tmp/berth.tar"
	if _, err := b.output(ctx, "image", "build", "--name", podImage, "-o", archive); err != nil {
		return err
	}
	c, err := cluster.Start(ctx, cluster.Options{Bin: programs, Dir: "/tmp/kube", Images: []string{archive}})
	if err != nil {
		return err
	}
	defer c.Stop()
	script := os.Getenv("DIND_ENTRYPOINT")
	if _, err := podStart(ctx, c, engineOf{}); err != nil { // the first pod makes the bridge and warms caches
		return err
	}
	var ours, theirs, ratio, memory, bare, overhead []float64
	for range b.runs {
		one, err := podStart(ctx, c, engineOf{})
		if err != nil {
			return err
		}
		plain, err := podStart(ctx, c, engineOf{bare: true})
		if err != nil {
			return fmt.Errorf("dockerd alone: %w", err)
		}
		ours, memory = append(ours, ms(one.took)), append(memory, one.mib)
		bare, overhead = append(bare, plain.mib), append(overhead, one.mib-plain.mib)
		if script == "" {
			continue
		}
		two, err := podStart(ctx, c, engineOf{script: script})
		if err != nil {
			return fmt.Errorf("docker:dind's entry point: %w", err)
		}
		theirs, ratio = append(theirs, ms(two.took)), append(ratio, ms(two.took)/ms(one.took))
	}
	b.add(summarize("pod: scheduled until the engine is usable", "ms", ours).atMost(1500))
	b.add(summarize("  memory of its idle engine, proportional", "MiB", memory))
	b.add(summarize("  the same of dockerd alone in such a pod", "MiB", bare))
	b.add(summarize("  more than that, pair by pair", "MiB", overhead).atMost(9.5)) // 10 MB
	if script != "" {
		b.add(summarize("the same with docker:dind's entry point", "ms", theirs))
		b.add(summarize("that / berth, pair by pair", "x", ratio).atLeast(5))
	}
	return nil
}

const podImage = "localhost/berth:1"

// engineOf says how a pod's engine is started: by berth's entry point, by another's, or without.
type engineOf struct {
	script string // the other entry point
	bare   bool
}

// podRun is one start of a pod.
type podRun struct {
	took time.Duration // from its scheduling until its client has an answer of the engine's
	mib  float64       // of all processes of the engine's container, proportional
}

// podStart starts the Deployment, measures its pod, and removes it.
func podStart(ctx context.Context, c *cluster.Cluster, e engineOf) (podRun, error) {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	var manifest bytes.Buffer
	err := template.Must(template.New("pod").Parse(podManifest)).Execute(&manifest,
		map[string]any{"Image": podImage, "Busy": cluster.BusyImage, "Script": e.script, "Bare": e.bare})
	if err != nil {
		return podRun{}, err
	}
	watch := c.Command(ctx, "get", "pods", "--watch", "--no-headers", "-o", "custom-columns=NODE:.spec.nodeName")
	lines, err := watch.StdoutPipe()
	if err != nil {
		return podRun{}, err
	}
	if err := watch.Start(); err != nil {
		return podRun{}, err
	}
	defer func() {
		_ = watch.Process.Kill()
		_ = watch.Wait()
	}()
	if _, err := c.Kubectl(ctx, manifest.String(), "apply", "-f", "-"); err != nil {
		return podRun{}, err
	}
	defer c.Kubectl(context.WithoutCancel(ctx), manifest.String(), "delete", "--cascade=foreground", "--wait", "-f", "-")
	var scheduled time.Time
	for in := bufio.NewScanner(lines); scheduled.IsZero() && in.Scan(); {
		if strings.TrimSpace(in.Text()) == cluster.NodeName {
			scheduled = time.Now()
		}
	}
	if _, err := c.Kubectl(ctx, "", "wait", "--for=condition=Available", "deployment/bench", "--timeout=2m"); err != nil {
		return podRun{}, err
	}
	// The runtime stamps what a container writes with the time.
	line, err := firstLine(c.Command(ctx, "logs", "-f", "deployment/bench", "-c", "client", "--timestamps"))
	if err != nil {
		return podRun{}, err
	}
	usable, err := time.Parse(time.RFC3339Nano, strings.TrimSuffix(line, " usable"))
	if err != nil {
		return podRun{}, fmt.Errorf("the client wrote %q: %w", line, err)
	}
	// The shell and cat that look are in both figures that are compared.
	text, err := c.Kubectl(ctx, "", "exec", "deployment/bench", "-c", "dockerd", "--", "sh", "-c", "cat /proc/[0-9]*/smaps_rollup 2>/dev/null; true")
	return podRun{usable.Sub(scheduled), proportional(text)}, err
}

// firstLine returns the first line that a command writes, and ends it.
func firstLine(cmd *exec.Cmd) (string, error) {
	out, err := cmd.StdoutPipe()
	if err != nil {
		return "", err
	}
	if err := cmd.Start(); err != nil {
		return "", err
	}
	in := bufio.NewScanner(out)
	in.Scan()
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
	return in.Text(), in.Err()
}
