package main

import (
	"archive/tar"
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"slices"

	"github.com/klauspost/compress/zstd"

	"github.com/berth-dev/berth/internal/payload"
)

// window is how far back the compressor looks, bytes. Larger gains nothing that is
// worth the memory at extraction.
const window = 32 << 20

// writeArchive writes a zstd-compressed tar of entries to name: sorted, without
// times or owners, so that equal content gives equal bytes.
func writeArchive(name string, entries []entry) ([]payload.File, error) {
	entries = slices.SortedFunc(slices.Values(entries), func(a, b entry) int { return cmp.Compare(a.path, b.path) })
	// The old archive may be linked into the published files: never write into it.
	f, err := os.Create(name + ".new")
	if err != nil {
		return nil, err
	}
	defer f.Close()
	// One goroutine: how blocks are cut must not depend on the machine.
	z, err := zstd.NewWriter(f, zstd.WithEncoderLevel(zstd.SpeedBestCompression),
		zstd.WithWindowSize(window), zstd.WithEncoderConcurrency(1))
	if err != nil {
		return nil, err
	}
	defer z.Close()
	archive := tar.NewWriter(z)
	var files []payload.File
	for _, e := range entries {
		file, err := e.write(archive)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", e.path, err)
		}
		files = append(files, file)
	}
	if err := archive.Close(); err != nil {
		return nil, err
	}
	if err := z.Close(); err != nil {
		return nil, err
	}
	if err := f.Close(); err != nil {
		return nil, err
	}
	return files, os.Rename(f.Name(), name)
}

func (e entry) write(archive *tar.Writer) (payload.File, error) {
	if e.link != "" {
		header := &tar.Header{Typeflag: tar.TypeSymlink, Name: e.path, Linkname: e.link, Format: tar.FormatPAX}
		return payload.File{Path: e.path, Link: e.link}, archive.WriteHeader(header)
	}
	data := e.data
	if e.source != "" {
		var err error
		if data, err = os.ReadFile(e.source); err != nil {
			return payload.File{}, err
		}
	}
	header := &tar.Header{Typeflag: tar.TypeReg, Name: e.path, Mode: int64(e.mode), Size: int64(len(data)), Format: tar.FormatPAX}
	if err := archive.WriteHeader(header); err != nil {
		return payload.File{}, err
	}
	if _, err := archive.Write(data); err != nil {
		return payload.File{}, err
	}
	sum := sha256.Sum256(data)
	return payload.File{
		Path: e.path, Mode: payload.Mode(e.mode), Size: int64(len(data)), SHA256: hex.EncodeToString(sum[:]),
	}, nil
}

// hashFile writes a file's content to w, for a component's inputs.
func hashFile(w io.Writer, name string) error {
	data, err := os.ReadFile(name)
	if err != nil {
		return err
	}
	fmt.Fprintf(w, "%s %x\n", name, sha256.Sum256(data))
	return nil
}
