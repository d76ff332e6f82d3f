package snapshot

import (
	"path"
	"slices"
	"strings"
)

// Where things are in a data root (dockerd with the containerd image store, and containerd
// embedded in it).
const (
	containerdRoot  = "containerd/daemon"
	contentDir      = containerdRoot + "/io.containerd.content.v1.content"
	blobsDir        = contentDir + "/blobs/sha256"
	metadataFile    = containerdRoot + "/io.containerd.metadata.v1.bolt/meta.db"
	snapshotterDir  = containerdRoot + "/io.containerd.snapshotter.v1.overlayfs"
	snapshotterFile = snapshotterDir + "/metadata.db"
	layersDir       = snapshotterDir + "/snapshots"
	volumesDir      = "volumes"
	containersDir   = "containers"
	// backingDevice is the device that volumesDir is on; a rootful dockerd makes it anew.
	backingDevice = volumesDir + "/backingFsBlockDev"
)

// travels are the parts of a data root that are in a snapshot. What is not listed belongs
// to one engine: containers and their networks, its identity, sockets, what runs, swarms
// and their keys.
var travels = []string{
	"buildkit/cache.db", "buildkit/history_c8d.db", "buildkit/containerd-overlayfs",
	contentDir + "/blobs", contentDir + "/ingest", metadataFile, snapshotterDir, "image", volumesDir,
}

// containersTravel are the parts that travel as well where containers do: what dockerd knows
// of them, and the networks that they are in.
var containersTravel = []string{containersDir, "network/files"}

// leftOut reports whether the part of a data root at rel stays behind.
func leftOut(rel string, containers bool) bool {
	if path.Dir(rel) == contentDir+"/ingest" || rel == backingDevice { // the former: unfinished downloads
		return true
	}
	parts := travels
	if containers {
		parts = slices.Concat(travels, containersTravel)
	}
	for _, t := range parts {
		// On the way to, or within, what travels.
		if rel == "." || rel == t || strings.HasPrefix(t, rel+"/") || strings.HasPrefix(rel, t+"/") {
			return false
		}
	}
	return true
}

// isBlob reports whether rel is in the content store: immutable, and named by its digest.
func isBlob(rel string) bool { return path.Dir(rel) == blobsDir }
