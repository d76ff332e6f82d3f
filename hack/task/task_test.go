package task

import (
	"strings"
	"testing"
)

func TestOutputSaysWhatAProgramSaid(t *testing.T) {
	out, err := Output(t.Context(), "/", []string{"WORD=here"}, "sh", "-c", "pwd; echo $WORD")
	if err != nil || string(out) != "/\nhere\n" {
		t.Errorf("got %q, %v", out, err)
	}
	_, err = Output(t.Context(), "/", nil, "sh", "-c", "echo no such thing >&2; exit 3")
	if err == nil || !strings.Contains(err.Error(), "sh -c: exit status 3") || !strings.Contains(err.Error(), "no such thing") {
		t.Errorf("a failure is %v", err)
	}
	if _, err := Output(t.Context(), "/", nil, "no-such-program"); err == nil {
		t.Error("a program that is not there is no error")
	}
}
