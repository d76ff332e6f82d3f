package resolvconf

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"testing"
)

func TestParse(t *testing.T) {
	for text, want := range map[string]string{
		"":                          "[127.0.0.1]",
		"search example.com\n":      "[127.0.0.1]",
		"nameserver 192.0.2.1":      "[192.0.2.1]",
		"nameserver\t192.0.2.1  \n": "[192.0.2.1]",
		"# nameserver 192.0.2.9\n; nameserver 192.0.2.8\nnameserver 192.0.2.1\n":          "[192.0.2.1]",
		"nameserver 192.0.2.1 # first\r\nnameserver ::1\r\n":                              "[192.0.2.1 ::1]",
		"nameserver fe80::1%eth0\nnameserver ::ffff:192.0.2.2\n":                          "[fe80::1%eth0 192.0.2.2]",
		"nameserver 192.0.2.1\nnameserver nonsense\nnameserver\nnameserver 192.0.2.1\n":   "[192.0.2.1]",
		"nameservers 192.0.2.1\noptions timeout:1\nnameserver 127.0.0.53\nsortlist 1.1.1": "[127.0.0.53]",
	} {
		if got := fmt.Sprint(Parse([]byte(text))); got != want {
			t.Errorf("%q: got %s, want %s", text, got, want)
		}
	}
}

func TestRead(t *testing.T) {
	dir := t.TempDir()
	if got, err := Read(filepath.Join(dir, "none")); err != nil || fmt.Sprint(got) != "[127.0.0.1]" {
		t.Errorf("no file: %v, %v", got, err)
	}
	big := filepath.Join(dir, "big")
	if err := os.WriteFile(big, make([]byte, maxSize+1), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Read(big); err != ErrTooBig {
		t.Errorf("big file: %v", err)
	}
	if _, err := Read(dir); err == nil {
		t.Error("a directory was read")
	}
}

func TestKinds(t *testing.T) {
	all := Parse([]byte("nameserver 127.0.0.53\nnameserver 192.0.2.1\nnameserver ::1\n"))
	if got := fmt.Sprint(Loopback(all), Remote(all)); got != "[127.0.0.53 ::1] [192.0.2.1]" {
		t.Error(got)
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte("nameserver 192.0.2.1\noptions edns0\nnameserver ::1%lo # x"))
	f.Fuzz(func(t *testing.T, data []byte) {
		servers := Parse(data)
		if len(servers) == 0 {
			t.Error("no server")
		}
		seen := map[netip.Addr]bool{}
		for _, s := range servers {
			if !s.IsValid() || seen[s] || s.Is4In6() {
				t.Errorf("server %v in %v", s, servers)
			}
			seen[s] = true
		}
	})
}

func TestRest(t *testing.T) {
	path := filepath.Join(t.TempDir(), "resolv.conf")
	if err := os.WriteFile(path, []byte("nameserver 10.96.0.10\nsearch  ci.svc.cluster.local\tsvc.cluster.local\n# search x\noptions ndots:5\nsearch\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	got, err := Rest(path)
	if want := "search ci.svc.cluster.local svc.cluster.local\noptions ndots:5\n"; got != want || err != nil {
		t.Errorf("got %q, %v; want %q", got, err, want)
	}
	if got, err := Rest(path + ".none"); got != "" || err != nil {
		t.Errorf("a file that is not there: %q, %v", got, err)
	}
}
