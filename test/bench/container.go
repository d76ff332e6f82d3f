package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// host is the engine that plays the machine's Docker for berth's container image.
const host = "bench-host"

// containerImage measures the container image, and docker:dind's own entry point with
// upstream's dockerd in a container of the same image on the same outer engine, in turn.
// The entry point is what DIND_ENTRYPOINT names; without it there is no comparison.
func (b *bench) containerImage(ctx context.Context) (err error) {
	// Below /tmp, which an engine can be given a part of.
	shared, err := os.MkdirTemp("", "berth-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(shared)
	tar := filepath.Join(shared, "berth.tar")
	if _, err := b.output(ctx, "image", "build", "-o", tar); err != nil {
		return err
	}
	info, err := os.Stat(tar)
	if err != nil {
		return err
	}
	b.add(summarize("container image, compressed", "MB", []float64{float64(info.Size()) / 1e6}).atMost(110))
	if _, err := b.output(ctx, "up", "--no-share-cwd", "--share", shared, host); err != nil {
		return err
	}
	defer func() {
		_, rmErr := b.output(context.WithoutCancel(ctx), "rm", "-f", host)
		err = errors.Join(err, rmErr)
	}()
	if _, err := b.outer(ctx, "load", "-q", "-i", tar); err != nil {
		return err
	}
	peer := []string{}
	if script := os.Getenv("DIND_ENTRYPOINT"); script != "" {
		if peer, err = b.peerOptions(ctx, shared, script); err != nil {
			return err
		}
	} else {
		fmt.Fprintln(os.Stderr, "  DIND_ENTRYPOINT is not set: no comparison with docker:dind")
	}
	return b.compareImages(ctx, shared, peer)
}

func (b *bench) compareImages(ctx context.Context, shared string, peer []string) error {
	var own, other, ownMiB, otherMiB []float64
	for i := range b.runs {
		took, mib, err := b.startImage(ctx, shared, nil)
		if err != nil {
			return err
		}
		own, ownMiB = append(own, ms(took)), append(ownMiB, mib)
		if len(peer) == 0 || i >= max(3, b.runs/3) {
			continue
		}
		if took, mib, err = b.startImage(ctx, shared, peer); err != nil {
			return fmt.Errorf("docker:dind's entry point: %w", err)
		}
		other, otherMiB = append(other, ms(took)), append(otherMiB, mib)
	}
	start, memory := summarize("docker run of the image until ready, TLS, new keys", "ms", own).atMost(800), summarize("  memory of the idle container, proportional", "MiB", ownMiB)
	b.add(start)
	if len(peer) == 0 {
		b.add(memory)
		return nil
	}
	slow, theirs := summarize("  the same with docker:dind's entry point", "ms", other), summarize("  the same with docker:dind's entry point", "MiB", otherMiB)
	b.add(slow)
	b.add(summarize("  docker:dind's start in ours", "x", []float64{slow.Median / start.Median}).atLeast(10))
	b.add(memory.atMost(theirs.Median))
	b.add(theirs)
	return nil
}

// outer runs the docker CLI against the outer engine.
func (b *bench) outer(ctx context.Context, args ...string) (string, error) {
	out, err := b.output(ctx, append([]string{"docker", "--engine", host}, args...)...)
	return strings.TrimSpace(string(out)), err
}

// startImage starts a container of the image and returns how long it took from the beginning
// of `docker run` until the engine inside answers, and the memory of all its processes (MiB,
// proportional). Its socket is in a directory of this machine, where it is asked.
func (b *bench) startImage(ctx context.Context, shared string, options []string) (took time.Duration, mib float64, err error) {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	dir, err := os.MkdirTemp(shared, "sock-")
	if err != nil {
		return 0, 0, err
	}
	args := append([]string{"run", "-d", "--privileged", "--name", "measured", "-v", dir + ":/sock", "-e", "DOCKER_HOST=unix:///sock/docker.sock"}, options...)
	if len(options) == 0 {
		args = append(args, "berth:latest")
	}
	defer func() {
		if err != nil {
			text, _ := b.outer(context.WithoutCancel(ctx), "logs", "--tail", "10", "measured")
			err = fmt.Errorf("%w: %s", err, text)
		}
		_, rmErr := b.outer(context.WithoutCancel(ctx), "rm", "-f", "-v", "measured")
		err = errors.Join(err, rmErr)
	}()
	begin := time.Now()
	if _, err := b.outer(ctx, args...); err != nil {
		return 0, 0, err
	}
	if err := ping(ctx, filepath.Join(dir, "docker.sock")); err != nil {
		return 0, 0, err
	}
	took = time.Since(begin)
	text, err := b.outer(ctx, "exec", "measured", "sh", "-c", "cat /proc/[0-9]*/smaps_rollup 2>/dev/null; true")
	return took, proportional(text), err
}

var pss = regexp.MustCompile(`(?m)^Pss: +(\d+) kB$`)

// proportional sums the proportional set sizes in smaps_rollup files, in MiB.
func proportional(text string) (mib float64) {
	for _, m := range pss.FindAllStringSubmatch(text, -1) {
		kib, _ := strconv.ParseFloat(m[1], 64)
		mib += kib / 1024
	}
	return mib
}

// peerOptions prepare docker:dind's entry point for a container of berth's image: with the
// containerd and the openssl that docker:dind has and the image has not.
func (b *bench) peerOptions(ctx context.Context, shared, script string) ([]string, error) {
	containerd, err := b.containerd(ctx)
	if err != nil {
		return nil, err
	}
	dir := filepath.Join(shared, "peer")
	text := `set -e; mkdir -p "$1/lib" "$1/bin"; cp "$2" "$1/entrypoint"; cp "$3/containerd" "$1/bin/"
		openssl=$(command -v openssl); cp "$openssl" "$1/openssl.real"; cp $(ldd "$openssl" | grep -o '/[^ ]*') "$1/lib/"; cp /etc/ssl/openssl.cnf "$1/"
		loader=$(ldd "$openssl" | grep -o '/[^ ]*/ld-[^ ]*' | tail -n 1)
		printf '#!/bin/sh\nOPENSSL_CONF=/peer/openssl.cnf exec /peer/lib/%s --library-path /peer/lib /peer/openssl.real "$@"\n' "${loader##*/}" >"$1/bin/openssl"
		chmod 755 "$1" "$1/bin/openssl" "$1/entrypoint"`
	if out, err := exec.CommandContext(ctx, "sh", "-c", text, "sh", dir, script, containerd).CombinedOutput(); err != nil {
		return nil, fmt.Errorf("prepare docker:dind's entry point: %w: %s", err, out)
	}
	return []string{
		"-v", dir + ":/peer:ro", "-e", "PATH=/peer/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
		"--entrypoint", "/bin/sh", "berth:latest", "/peer/entrypoint",
	}, nil
}
