package mirror

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"
)

const (
	maxToken = 256 << 10 // bytes of a token server's answer
	// tokenLife is how long a token is good when its server does not say (the distribution
	// project's token specification), tokenMargin how much earlier it is no longer used.
	tokenLife   = time.Minute
	tokenMargin = 10 * time.Second
)

// challenge is a WWW-Authenticate header (RFC 9110, 11.6.1).
type challenge struct {
	scheme string // in small letters
	params map[string]string
}

// parseChallenge reads the first challenge of a kind that can be met.
func parseChallenge(headers []string) (challenge, bool) {
	for _, h := range headers {
		scheme, rest, _ := strings.Cut(strings.TrimSpace(h), " ")
		c := challenge{strings.ToLower(scheme), map[string]string{}}
		if c.scheme != "basic" && c.scheme != "bearer" {
			continue
		}
		for rest = strings.TrimSpace(rest); rest != ""; {
			name, after, ok := strings.Cut(rest, "=")
			if !ok {
				break
			}
			var value string
			value, rest = parseValue(after)
			c.params[strings.ToLower(strings.TrimSpace(name))] = value
			rest = strings.TrimLeft(rest, " \t,")
		}
		return c, true
	}
	return challenge{}, false
}

// parseValue reads a token or a quoted string, and returns what follows.
func parseValue(s string) (value, rest string) {
	if !strings.HasPrefix(s, `"`) {
		end := strings.IndexAny(s, ", \t")
		if end < 0 {
			return s, ""
		}
		return s[:end], s[end:]
	}
	var b strings.Builder
	for i := 1; i < len(s); i++ {
		switch {
		case s[i] == '\\' && i+1 < len(s):
			i++
			b.WriteByte(s[i])
		case s[i] == '"':
			return b.String(), s[i+1:]
		default:
			b.WriteByte(s[i])
		}
	}
	return b.String(), ""
}

// token asks a registry's token server for the right to pull from a repository.
func (u *upstream) token(ctx context.Context, c challenge, repo string, cred credential) (string, error) {
	key := cred.key() + " " + repo
	if t, ok := u.tokens.get(key); ok {
		return t, nil
	}
	realm, err := url.Parse(c.params["realm"])
	if err != nil || realm.Host == "" {
		return "", errors.New("it names no token server")
	}
	if realm.Scheme != "https" && !(realm.Scheme == "http" && u.base.Scheme == "http") {
		return "", fmt.Errorf("its token server %s is not on https", realm.Host)
	}
	q := realm.Query()
	if s := c.params["service"]; s != "" {
		q.Set("service", s)
	}
	q.Set("scope", "repository:"+repo+":pull")
	realm.RawQuery = q.Encode()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, realm.String(), nil)
	if err != nil {
		return "", err
	}
	req.Header.Set("User-Agent", userAgent)
	if cred.user != "" {
		req.SetBasicAuth(cred.user, cred.password)
	}
	resp, err := u.client.Do(req)
	if err != nil {
		return "", fmt.Errorf("ask its token server: %w", err)
	}
	defer resp.Body.Close()
	return u.readToken(resp, key)
}

func (u *upstream) readToken(resp *http.Response, key string) (string, error) {
	switch {
	case resp.StatusCode == http.StatusUnauthorized || resp.StatusCode == http.StatusForbidden:
		return "", errUnauthorized(u.registry)
	case resp.StatusCode != http.StatusOK:
		return "", fmt.Errorf("its token server answered %s", resp.Status)
	}
	var body struct {
		Token       string `json:"token"`
		AccessToken string `json:"access_token"`
		ExpiresIn   int64  `json:"expires_in"` // seconds
	}
	if err := json.NewDecoder(io.LimitReader(resp.Body, maxToken)).Decode(&body); err != nil {
		return "", fmt.Errorf("its token server's answer: %w", err)
	}
	token := body.Token
	if token == "" {
		token = body.AccessToken
	}
	if token == "" {
		return "", errors.New("its token server gave no token")
	}
	life := tokenLife
	if body.ExpiresIn > 0 {
		life = time.Duration(min(body.ExpiresIn, 24*3600)) * time.Second
	}
	u.tokens.put(key, token, life-tokenMargin)
	return token, nil
}
