package snapshot

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/berth-dev/berth/test/image"
	"github.com/berth-dev/berth/test/leak"
	"github.com/berth-dev/berth/test/registry"
)

// operation is something a fork may be used for; %d is a number that no other has. What it
// says fails when it cannot be done is the engine's business: only the template is judged.
var operations = []string{
	"docker run --rm built:1 sh -c 'rm -rf /opaque /log; mkdir /opaque; echo %d >/opaque/x; chmod 700 /bin'",
	"docker run --name c%d " + imageName + " sh -c 'echo %[1]d >/bin/new; rm /greeting'; docker commit c%[1]d made:%[1]d",
	"docker run --rm --privileged built:1 sh -c 'chown -R %d /opaque; touch -d 1999-01-01 /log'",
	"docker run --rm -v keep:/v " + imageName + " sh -c 'echo %d >>/v/f'",
	"docker build -q --build-arg round=%d -t again:%[1]d " + "$BUILD",
	"docker tag built:1 tagged:%d; docker rmi tagged:%[1]d",
	"docker save built:1 | docker load; : %d",
	"docker rmi -f built:1; : %d",
	"docker load -q -i $IMAGE; docker tag " + imageName + " built:1; : %d",
	"docker image prune -af; : %d",
	"docker builder prune -af; : %d",
	"docker volume prune -af; : %d",
	"docker system prune -af --volumes; : %d",
	"docker create --name k%d built:1 && docker cp k%[1]d:/log /tmp/log-$$ && docker cp /tmp/log-$$ k%[1]d:/bin/sh; rm -f /tmp/log-$$; docker export k%[1]d >/dev/null",
	"docker run --rm --privileged -v /var/lib/docker:/d " + imageName + " sh -c 'find /d -name %d* -delete; for f in /d/containerd/daemon/*/blobs/sha256/*; do echo >>$f; done'",
}

// Whatever forks do, and in whatever order, the template does not change by a bit.
func TestRandomOperations(t *testing.T) {
	leak.Guard(t, scope)
	create(t, "tmpl")
	before := hash(t, store)
	seed := uint64(time.Now().UnixNano())
	if s := os.Getenv("BERTH_TEST_SEED"); s != "" {
		n, err := strconv.ParseUint(s, 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		seed = n
	}
	t.Logf("to repeat this: BERTH_TEST_SEED=%d", seed)
	t.Setenv("BUILD", buildDir)
	t.Setenv("IMAGE", imageTar)
	random := rand.New(rand.NewPCG(seed, 0))
	done := make(chan string)
	const forks, length = 6, 8
	var scripts []string
	for fork := range forks {
		var script []string
		for i := range length {
			script = append(script, "{ "+fmt.Sprintf(operations[random.IntN(len(operations))], fork*length+i)+"; } || true")
		}
		scripts = append(scripts, strings.Join(script, "\n"))
	}
	for i, script := range scripts {
		driver := []string{"link", "copy"}[i%2]
		go func() {
			r := berthWith(t, []string{"BERTH_SNAPSHOT_DRIVER=" + driver}, "run", "--from", "tmpl", "--", "sh", "-c", script+"\necho done")
			if r.code != 0 || !strings.HasSuffix(r.out, "done") {
				done <- fmt.Sprintf("%s\n%s", script, r)
			} else {
				done <- ""
			}
		}()
	}
	for range scripts {
		if failed := <-done; failed != "" {
			t.Error(failed)
		}
	}
	must(t, "gc")
	same(t, before, hash(t, store))
	must(t, "snapshot", "verify", "tmpl")
	exercise(t, "link")
}

// sameScript does all that there is to do with images, and prints what must not depend on
// where they came from.
const sameScript = `
say() { echo "== $*"; "$@" 2>&1 || echo "status $?"; }
{
say docker images --format '{{.Repository}}:{{.Tag}} {{.ID}}'
say docker inspect -f '{{.Id}} {{.RepoTags}} {{.RootFS}} {{.Config.Cmd}}' built:1 $IMAGENAME
say docker pull -q $REGISTRY/pulled:1
say docker inspect -f '{{.Id}} {{.RootFS}}' $REGISTRY/pulled:1
say docker run --rm $REGISTRY/pulled:1
say docker tag built:1 two:2
say docker build -q --build-arg round=7 -t seven $BUILD
say docker run --rm seven cat /log
say docker save -o $DIR/saved.tar built:1 two:2
say docker rmi built:1
say docker rmi two:2
say docker load -i $DIR/saved.tar
say docker inspect -f '{{.Id}}' built:1 two:2
say docker create --name box built:1 true
say docker cp box:/log $DIR/log
say cat $DIR/log
say docker cp $DIR/log box:/opaque/copied
say docker diff box
say docker commit -m text box boxed:1
say docker run --rm boxed:1 ls /opaque
say docker history --format '{{.CreatedBy}}' boxed:1
say docker rmi boxed:none
say docker rmi built:1
say docker rm box
say docker image prune -f
say docker tag boxed:1 $REGISTRY/pushed:1
say docker push -q $REGISTRY/pushed:1
say docker images -q
say docker rmi -f boxed:1 seven two:2 built:1 $IMAGENAME $REGISTRY/pulled:1 $REGISTRY/pushed:1
say docker image prune -af
say docker images -aq
say docker volume ls -q
docker builder prune -af >/dev/null; echo "== prune $?"
say docker system df --format '{{.Type}} {{.TotalCount}} {{.Active}} {{.Size}}'
} | sed -E 's/[0-9a-f]{64}/ID/g; s/[0-9a-f]{12}/ID/g; s/[0-9.]+[kM]?B/SIZE/g'
`

// A fork and an engine that was filled by hand cannot be told apart by what they do.
func TestSameResults(t *testing.T) {
	leak.Guard(t, scope)
	create(t, "tmpl")
	reg, err := registry.Start(t.Context(), registry.Options{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	defer reg.Close()
	img, err := image.Build(image.Options{Label: "pulled"})
	if err == nil {
		err = image.Push(reg.Address()+"/pulled:1", img, reg.Transport(), nil)
	}
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	t.Setenv("BUILD", buildDir)
	t.Setenv("DIR", dir)
	t.Setenv("IMAGENAME", imageName)
	t.Setenv("REGISTRY", reg.Address())
	fill := "docker load -q -i " + imageTar + " >/dev/null; docker build -q -t built:1 " + buildDir + " >/dev/null; docker volume create keep >/dev/null;"
	flags := []string{"--registry-ca", reg.Address() + "=" + reg.CAFile, "--add-host", reg.Host + ":host-gateway"}
	run := func(script string, more ...string) string {
		t.Helper()
		os.Remove(filepath.Join(dir, "log"))
		r := berth(t, append(append(append([]string{"run", "--share", dir}, flags...), more...), "--", "sh", "-c", script)...)
		if r.code != 0 {
			t.Fatalf("%s", r)
		}
		return r.out
	}
	fork := strings.Split(run(sameScript, "--from", "tmpl"), "\n")
	fresh := strings.Split(run(fill+sameScript), "\n")
	for i := range max(len(fork), len(fresh)) {
		a, b := line(fork, i), line(fresh, i)
		if a != b {
			t.Errorf("line %d in a fork:\n%s\nand in a fresh engine:\n%s", i, a, b)
		}
	}
	if len(fork) < 60 {
		t.Errorf("only %d lines were compared: %s", len(fork), strings.Join(fork, "\n"))
	}
}

func line(lines []string, i int) string {
	if i < len(lines) {
		return lines[i]
	}
	return "(nothing)"
}
