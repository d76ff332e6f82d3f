package registry

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/distribution/distribution/v3/configuration"
	"github.com/distribution/distribution/v3/registry/auth/token"
	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
)

const (
	tokenPath   = "/token"
	tokenIssuer = "berth's tests"
	tokenFor    = "the registry"
	tokenLife   = 5 * time.Minute
)

// tokens is a token server (https://distribution.github.io/distribution/spec/auth/token/): it
// gives who has the password the right to whatever is asked for.
type tokens struct {
	user, password string
	signer         jose.Signer
}

// newTokens makes a key, of which the registry gets the public part in a file of dir.
func newTokens(dir, user, password string) (*tokens, configuration.Auth, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	const id = "1"
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: jose.JSONWebKey{Key: key, KeyID: id}}, nil)
	if err != nil {
		return nil, nil, err
	}
	set, err := json.Marshal(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: key.Public(), KeyID: id, Algorithm: string(jose.ES256), Use: "sig"}}})
	if err != nil {
		return nil, nil, err
	}
	file := filepath.Join(dir, "jwks.json")
	if err := os.WriteFile(file, set, 0o600); err != nil {
		return nil, nil, err
	}
	return &tokens{user, password, signer}, configuration.Auth{"token": configuration.Parameters{
		"realm": "unused", "autoredirect": true, "autoredirectpath": tokenPath, // at the name by which the registry was asked
		"issuer": tokenIssuer, "service": tokenFor, "jwks": file,
	}}, nil
}

func (s *tokens) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if user, password, _ := r.BasicAuth(); user != s.user || password != s.password || r.FormValue("service") != tokenFor {
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	now := time.Now()
	claims := token.ClaimSet{
		Issuer: tokenIssuer, Subject: s.user, Audience: token.AudienceList{tokenFor},
		Expiration: now.Add(tokenLife).Unix(), NotBefore: now.Unix(), IssuedAt: now.Unix(),
	}
	for _, scope := range r.Form["scope"] {
		kind, rest, _ := strings.Cut(scope, ":")
		if i := strings.LastIndexByte(rest, ':'); i > 0 {
			claims.Access = append(claims.Access, &token.ResourceActions{Type: kind, Name: rest[:i], Actions: strings.Split(rest[i+1:], ",")})
		}
	}
	text, err := jwt.Signed(s.signer).Claims(claims).Serialize()
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(map[string]any{"token": text, "expires_in": int(tokenLife.Seconds())})
}
