package distrust

import "testing"

func TestSuspect(t *testing.T) {
	for line, want := range map[string]string{
		`level=error msg="Handler" error-response="failed to do request: Head \"https://registry.corp.test:35351/v2/team/app/manifests/1\": tls: failed to verify certificate: x509: certificate signed by unknown authority"`: "registry.corp.test:35351",
		`level=error error="unexpected status from HEAD request to http://127.0.0.1:19519/v2/team/app/manifests/1?ns=registry.corp.test%3A35351: 502 Bad Gateway"`:                                                             "registry.corp.test:35351",
		`level=error error="unexpected status from HEAD request to http://127.0.0.1:19519/v2/team/app/manifests/1?ns=ghcr.io: 404 Not Found"`:                                                                                  "",
		`level=info msg="trying next host" error="Head \"https://a/v2/x\": tls: bad"`:                                                                                                                                          "",
		`level=error msg="something else"`: "",
	} {
		if got := suspect([]byte(line)); got != want {
			t.Errorf("%s: %q, want %q", line, got, want)
		}
	}
}
