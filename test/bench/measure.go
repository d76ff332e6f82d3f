package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// starts compares an engine's start with plain dockerd's, in turn.
func (b *bench) starts(ctx context.Context) error {
	containerd, err := b.containerd(ctx)
	if err != nil {
		return err
	}
	var engines, iptables, nftables, ratio []float64
	for range b.runs {
		s, err := b.open(ctx, "")
		if err != nil {
			return err
		}
		if _, err := s.close(); err != nil {
			return err
		}
		engines = append(engines, ms(s.ready))
		one, err := b.plain(ctx, "iptables", containerd)
		if err != nil {
			return err
		}
		two, err := b.plain(ctx, "nftables", containerd)
		if err != nil {
			return err
		}
		iptables, nftables = append(iptables, ms(one)), append(nftables, ms(two))
		ratio = append(ratio, ms(s.ready)/ms(one))
	}
	b.add(summarize("berth run: start until the command runs", "ms", engines).atMost(300))
	b.add(summarize("plain dockerd + containerd, iptables", "ms", iptables))
	b.add(summarize("plain dockerd + containerd, nftables", "ms", nftables))
	b.add(summarize("berth / plain with iptables, pair by pair", "x", ratio).atMost(0.6))
	return nil
}

// dind compares with the official entry point, when there is a copy of it.
func (b *bench) dind(ctx context.Context) error {
	script := os.Getenv("DIND_ENTRYPOINT")
	if script == "" {
		fmt.Fprintln(os.Stderr, "  left out: DIND_ENTRYPOINT names no copy of docker:dind's entry point")
		return nil
	}
	containerd, err := b.containerd(ctx)
	if err != nil {
		return err
	}
	var theirs, ratio []float64
	for range 5 { // making its RSA keys takes very different times
		s, err := b.open(ctx, "")
		if err != nil {
			return err
		}
		if _, err := s.close(); err != nil {
			return err
		}
		took, err := b.entryPoint(ctx, script, containerd)
		if err != nil {
			return err
		}
		theirs, ratio = append(theirs, ms(took)), append(ratio, ms(took)/ms(s.ready))
	}
	b.add(summarize("docker:dind entry point, TLS by default", "ms", theirs))
	b.add(summarize("docker:dind / berth, pair by pair", "x", ratio).atLeast(20))
	return nil
}

// teardowns measures the end with an empty data root, and with a large one.
func (b *bench) teardowns(ctx context.Context) error {
	load := "docker load -q -i " + b.image + " >/dev/null; "
	cases := []struct {
		name, extra string
		runs        int
	}{
		{"teardown, empty data root", "", b.runs},
		{"teardown, a container running", load + "docker run -d " + imageName + " sleep 1000 >/dev/null", b.runs},
	}
	if !b.quick {
		cases = append(cases, struct {
			name, extra string
			runs        int
		}{"teardown, 2 GB in the data root", load + "docker run --rm -v big:/v " + imageName + " sh -c 'for i in $(seq 40); do head -c 50m /dev/zero >/v/$i; done'", 3})
	}
	for _, c := range cases {
		var took []float64
		for range c.runs {
			s, err := b.open(ctx, c.extra)
			if err != nil {
				return err
			}
			d, err := s.close()
			if err != nil {
				return err
			}
			took = append(took, ms(d))
		}
		b.add(summarize(c.name, "ms", took).atMost(50))
	}
	_, err := b.output(ctx, "gc")
	return err
}

// containers measures `docker run --rm` of a tiny image.
func (b *bench) containers(ctx context.Context) error {
	s, err := b.open(ctx, "docker load -q -i "+b.image+" >/dev/null; docker run --rm "+imageName+" true; for i in $(seq "+
		fmt.Sprint(b.runs)+"); do a=$(date +%s%N); docker run --rm "+imageName+" true; echo took $((($(date +%s%N) - a) / 1000)); done >"+b.work+"/took")
	if err != nil {
		return err
	}
	if _, err := s.close(); err != nil {
		return err
	}
	data, err := os.ReadFile(filepath.Join(b.work, "took"))
	if err != nil {
		return err
	}
	var took []float64
	for line := range strings.Lines(string(data)) {
		var us float64
		if _, err := fmt.Sscanf(line, "took %f", &us); err == nil {
			took = append(took, us/1000)
		}
	}
	b.add(summarize("docker run --rm, from the CLI", "ms", took))
	return nil
}

// eight starts eight engines at once, and weighs them when all are idle.
func (b *bench) eight(ctx context.Context) error {
	const count = 8
	var all, private, shared []float64
	for round := range 3 {
		sessions := make([]*session, count)
		errs := make([]error, count)
		done := make(chan int)
		begin := time.Now()
		for i := range count {
			go func() { sessions[i], errs[i] = b.open(ctx, ""); done <- i }()
		}
		for range count {
			<-done
		}
		all = append(all, ms(time.Since(begin)))
		for _, err := range errs {
			if err != nil {
				return err
			}
		}
		if round == 0 {
			settle(ctx)
			for _, s := range sessions {
				w, err := b.weigh(ctx, s)
				if err != nil {
					return err
				}
				private, shared = append(private, w.private), append(shared, w.proportional)
			}
		}
		for _, s := range sessions {
			if _, err := s.close(); err != nil {
				return err
			}
		}
	}
	b.add(summarize("eight engines at once, all ready", "ms", all).atMost(3000))
	b.add(summarize("an idle engine of eight, private", "MiB", private).atMost(16))
	b.add(summarize("an idle engine of eight, proportional", "MiB", shared).atMost(25))
	return nil
}

// idle weighs one engine alone.
func (b *bench) idle(ctx context.Context) error {
	var private, proportional, monitor []float64
	for range 3 {
		s, err := b.open(ctx, "")
		if err != nil {
			return err
		}
		settle(ctx)
		w, err := b.weigh(ctx, s)
		if err != nil {
			return err
		}
		private, proportional, monitor = append(private, w.private), append(proportional, w.proportional), append(monitor, w.monitor)
		if _, err := s.close(); err != nil {
			return err
		}
	}
	b.add(summarize("an idle engine alone, private", "MiB", private).atMost(16))
	b.add(summarize("an idle engine alone, proportional", "MiB", proportional))
	b.add(summarize("its monitor, private", "MiB", monitor))
	return nil
}

// settle gives engines that have just started the time to become idle.
func settle(ctx context.Context) {
	select {
	case <-ctx.Done():
	case <-time.After(2 * time.Second):
	}
}

// ownWork adds up the steps that berth itself takes before the runtime starts.
func (b *bench) ownWork(ctx context.Context) error {
	var took []float64
	for range b.runs {
		s, err := b.open(ctx, "", "BERTH_TRACE=1")
		if err != nil {
			return err
		}
		if _, err := s.close(); err != nil {
			return err
		}
		sum, steps := 0.0, 0
		for line := range bytes.Lines(s.stderr.Bytes()) {
			var step traced
			if json.Unmarshal(line, &step) != nil {
				continue
			}
			if step.Step == "container" {
				steps++
				break
			}
			sum += step.MS
			steps++
		}
		if steps < 2 {
			return fmt.Errorf("BERTH_TRACE=1 printed no steps: %s", s.stderr.String())
		}
		took = append(took, sum)
	}
	b.add(summarize("berth's own work before the runtime", "ms", took).atMost(15))
	return nil
}

// traced is a line that BERTH_TRACE=1 prints.
type traced struct {
	Step string  `json:"step"`
	MS   float64 `json:"ms"`
}

func (b *bench) size(context.Context) error {
	info, err := os.Stat(b.program)
	if err != nil {
		return err
	}
	b.add(summarize("size of the berth program", "MB", []float64{float64(info.Size()) / 1e6}).atMost(120))
	return nil
}

// list measures `berth ls` with fifty engines.
func (b *bench) list(ctx context.Context) error {
	const count, atOnce = 50, 4
	defer func() {
		args := []string{"rm", "-f"}
		for i := range count {
			args = append(args, fmt.Sprintf("bench%d", i))
		}
		b.output(context.WithoutCancel(ctx), args...)
	}()
	slots, errs := make(chan struct{}, atOnce), make(chan error, count)
	for i := range count {
		slots <- struct{}{}
		go func() {
			_, err := b.output(ctx, "up", "--net", "none", fmt.Sprintf("bench%d", i))
			errs <- err
			<-slots
		}()
	}
	for range count {
		if err := <-errs; err != nil {
			return err
		}
	}
	settle(ctx)
	var took []float64
	for range max(b.runs, 10) {
		begin := time.Now()
		if err := exec.CommandContext(ctx, b.program, "ls").Run(); err != nil {
			return err
		}
		took = append(took, ms(time.Since(begin)))
	}
	b.add(summarize("berth ls with 50 engines", "ms", took).atMost(30))
	return nil
}
