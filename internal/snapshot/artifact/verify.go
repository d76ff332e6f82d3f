package artifact

import (
	"context"
	"fmt"
	"io"

	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"
)

// Verifier passes on what is in a blob, and not a byte more than it should have.
type Verifier struct {
	ctx      context.Context
	in       io.Reader
	want     v1.Descriptor
	verifier digest.Verifier
	left     int64
}

// Verify reads a blob from r. Only after [Verifier.Close] has returned nil is what was read
// what the descriptor says. Both end with ctx.
func Verify(ctx context.Context, r io.Reader, d v1.Descriptor) *Verifier {
	return &Verifier{ctx, r, d, d.Digest.Verifier(), d.Size}
}

func (v *Verifier) Read(p []byte) (int, error) {
	if v.left <= 0 {
		return 0, io.EOF
	}
	if err := v.ctx.Err(); err != nil {
		return 0, err
	}
	n, err := v.in.Read(p[:min(int64(len(p)), v.left)])
	v.left -= int64(n)
	v.verifier.Write(p[:n])
	return n, err
}

// Close reads what is left and judges. It does not close what Verify was given.
func (v *Verifier) Close() error {
	if _, err := io.Copy(io.Discard, v); err != nil {
		return err
	}
	if v.left > 0 {
		return fmt.Errorf("%w: %s ends %d bytes early", ErrDamaged, v.want.Digest, v.left)
	}
	if !v.verifier.Verified() {
		return fmt.Errorf("%w: it is not %s", ErrDamaged, v.want.Digest)
	}
	return nil
}
