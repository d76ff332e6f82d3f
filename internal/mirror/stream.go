package mirror

import (
	"context"
	"net/http"
)

// wanted is a blob that a client wants, and by what right.
type wanted struct {
	u       *upstream
	t       target
	cred    credential
	checked bool // the registry has said that the client may have it
}

// stream serves a blob while it is being fetched.
func (m *Mirror) stream(w *answer, r *http.Request, want *wanted) (string, error) {
	key := flightKey("blob", want.t, want.cred)
	if err, ok := m.failures.get(key); ok {
		return "", err
	}
	d, result, err := m.follow(r.Context(), want)
	if err != nil {
		if r.Context().Err() == nil {
			m.failures.put(key, err, m.conf.FailureTTL)
		}
		return "", err
	}
	defer d.leave()
	m.granted(want.t, want.cred)
	if err := m.content(w, r, want.t.digest, &reader{ctx: r.Context(), d: d}); err != nil {
		return "", err
	}
	return result, nil
}

// follow returns a download that has begun to bring the blob; the caller leaves it. One that
// was begun for another repository, or with other credentials, proves nothing of this one,
// and its failure is not this client's: then it has a download of its own.
func (m *Mirror) follow(ctx context.Context, want *wanted) (*download, string, error) {
	for {
		d, joined := m.join(want.u, want.t, want.cred)
		foreign := joined && (d.t.registry != want.t.registry || d.t.repo != want.t.repo || d.cred != want.cred)
		var err error
		if foreign && !want.checked {
			err = m.check(ctx, want.u, want.t, want.cred)
			want.checked = err == nil
		}
		refused := err != nil
		if err == nil {
			_, err = d.await(ctx)
		}
		switch {
		case err == nil && joined:
			return d, "joined", nil
		case err == nil:
			return d, "miss", nil
		}
		d.leave()
		if !foreign || refused || ctx.Err() != nil {
			return nil, "", err
		}
	}
}
