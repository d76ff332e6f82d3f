package snapshot

import (
	"testing"

	"golang.org/x/sys/unix"

	"github.com/berth-dev/berth/test/image"
	"github.com/berth-dev/berth/test/leak"
)

// report is what `berth disk --json` prints.
type report struct {
	Uses []struct {
		Kind, Name  string
		Own, Shared int64
	}
	Total int64
}

func disk(t *testing.T) (r report) {
	t.Helper()
	decode(t, must(t, "disk", "--json"), &r)
	return r
}

// of returns what something holds; nothing that is not there.
func (r report) of(kind, name string) (own, shared int64, there bool) {
	for _, u := range r.Uses {
		if u.Kind == kind && u.Name == name {
			return u.Own, u.Shared, true
		}
	}
	return 0, 0, false
}

// The report tells what each holds alone and with others, and counts what is shared once.
func TestDiskReport(t *testing.T) {
	leak.Guard(t, scope)
	const ballast = 24 << 20
	img, err := image.Build(image.Options{Ballast: ballast})
	archive := t.TempDir() + "/large.tar"
	if err == nil {
		err = image.SaveTar(archive, "large:1", img)
	}
	if err != nil {
		t.Fatal(err)
	}
	empty := disk(t)
	must(t, "snapshot", "create", "large", "--load", archive)
	t.Cleanup(func() { must(t, "snapshot", "rm", "-f", "large"); must(t, "gc") })
	docker := up(t, "fork", "--from", "large")
	second := up(t, "second", "--from", "large")
	with := disk(t)
	for _, name := range []string{"fork", "second"} {
		if own, shared, there := with.of("engine", name); !there || own > 4<<20 || shared < 2*ballast {
			t.Errorf("%s holds %d of its own and %d shared", name, own, shared)
		}
	}
	// The layers are the snapshot's own, the compressed blobs are everybody's.
	if own, shared, there := with.of("snapshot", "large@1"); !there || own < ballast || shared < ballast {
		t.Errorf("the snapshot holds %d of its own and %d shared", own, shared)
	}
	if grown := with.Total - empty.Total; grown < 2*ballast || grown > 3*ballast {
		t.Errorf("a snapshot and two forks take %d bytes more", grown)
	}
	ok(t, "more", docker("run", "--rm", "-v", "vol:/v", "large:1", "cp", "/ballast", "/v/ballast"))
	ok(t, "less", second("rmi", "large:1"))
	if own, _, _ := disk(t).of("engine", "fork"); own < ballast {
		t.Errorf("a fork that has written %d bytes holds %d of its own", ballast, own)
	}
	for _, kind := range []string{"mirror", "trash", "payload", "downloads"} {
		if _, _, there := with.of(kind, ""); !there {
			t.Errorf("the report does not mention %s: %+v", kind, with)
		}
	}
	if a, b := owner(t, "fork"), owner(t, "second"); a == b {
		t.Errorf("two engines have the ids from %d on", a)
	}
	must(t, "rm", "fork", "second")
}

// owner is the first of an engine's ids.
func owner(t *testing.T, name string) uint32 {
	t.Helper()
	var info struct{ Data string }
	decode(t, must(t, "inspect", name), &info)
	var st unix.Stat_t
	if err := unix.Stat(info.Data, &st); err != nil {
		t.Fatal(err)
	}
	return st.Uid
}
