package mirror

import (
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"strings"
)

// credential is what a request to a registry is made with. The zero value is nobody's.
type credential struct {
	user, password string
	bearer         string // a token that the client got by itself
	own            bool   // the mirror's, by its configuration
}

func (c credential) anonymous() bool { return c == credential{} }

// key stands for the credential where it must not be kept.
func (c credential) key() string {
	if c.anonymous() {
		return ""
	}
	if c.own {
		return "own"
	}
	sum := sha256.Sum256([]byte(c.user + "\x00" + c.password + "\x00" + c.bearer))
	return hex.EncodeToString(sum[:])
}

// shown is what a client has shown.
func shown(r *http.Request) credential {
	if user, password, ok := r.BasicAuth(); ok {
		return credential{user: user, password: password}
	}
	scheme, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	if strings.EqualFold(scheme, "Bearer") {
		return credential{bearer: strings.TrimSpace(token)}
	}
	return credential{}
}
