package kube

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/berth-dev/berth/test/deadline"
)

// The guide's commands work as they stand there: every block after <!-- test: kube -->.
// registry.example is the private registry; ca.crt is its authority.
func TestTheGuidesCommands(t *testing.T) {
	pages, err := filepath.Glob("../../docs/guide/kubernetes*.md")
	if err != nil || len(pages) < 4 {
		t.Fatalf("the guide's pages are not there: %v %v", pages, err)
	}
	if _, err := node.Ctr(t.Context(), "images", "tag", "--force", berthImage, registryHost()+"/berth:1"); err != nil {
		t.Fatal(err)
	}
	ran := 0
	for _, page := range pages {
		text, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		for _, part := range strings.Split(string(text), "<!-- test: kube -->\n```sh\n")[1:] {
			block, _, _ := strings.Cut(part, "\n```")
			ran++
			t.Run(filepath.Base(page), func(t *testing.T) { play(t, block) })
		}
	}
	if ran < 3 {
		t.Errorf("only %d blocks found; are they still marked?", ran)
	}
}

func play(t *testing.T, block string) {
	dir := t.TempDir()
	bin := filepath.Join(dir, "bin")
	ca, err := os.ReadFile(companyStore.CAFile)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(bin, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "ca.crt"), ca, 0o644); err != nil {
		t.Fatal(err)
	}
	// The registry's own name and image stand in for the guide's.
	block = strings.NewReplacer("registry.example/busybox", busyRef, "registry.example", registryHost()).Replace(block)
	if err := os.Symlink(berthProgram, filepath.Join(bin, "berth")); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), deadline.Scaled(4*time.Minute))
	defer cancel()
	kubectl := node.Command(ctx)
	cmd := exec.CommandContext(ctx, "bash", "-euo", "pipefail", "-c", block)
	cmd.Dir, cmd.Env = dir, append(kubectl.Env, "PATH="+bin+":"+filepath.Dir(kubectl.Path)+":"+os.Getenv("PATH"))
	cmd.WaitDelay = 5 * time.Second
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s\n-- said --\n%s", err, block, out)
	}
}
