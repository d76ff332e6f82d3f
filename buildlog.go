package berth

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os/exec"
	"strings"
	"time"
)

// solve is a line of BuildKit's progress in JSON (its SolveStatus).
type solve struct {
	Vertexes []struct {
		Digest    string     `json:"digest"`
		Name      string     `json:"name"`
		Started   *time.Time `json:"started"`
		Completed *time.Time `json:"completed"`
		Cached    bool       `json:"cached"`
		Error     string     `json:"error"`
	} `json:"vertexes"`
	Statuses []struct {
		ID      string `json:"id"`
		Current int64  `json:"current"`
		Total   int64  `json:"total"`
	} `json:"statuses"`
	Logs []struct {
		Vertex string `json:"vertex"`
		Data   []byte `json:"data"`
	} `json:"logs"`
}

// progress of one build, as BuildKit tells it.
type buildLog struct {
	tell   func(Progress)
	rest   []byte // the beginning of a line
	names  map[string]string
	output map[string][]byte // the end of what each step printed
	failed *BuildError
	plain  string // the last line that was no JSON
}

const keptOutput = 4 << 10 // bytes of a step's output that an error holds

// follow runs a build and tells its progress. It returns a *BuildError when a step failed.
func (t *transfer) follow(cmd *exec.Cmd) error {
	tell, done := t.listener()
	defer done()
	l := &buildLog{tell: tell, names: map[string]string{}, output: map[string][]byte{}}
	cmd.Stderr = l
	err := cmd.Run()
	l.line(l.rest)
	switch {
	case err == nil:
		return nil
	case l.failed == nil:
		return fmt.Errorf("%s (%w)", strings.TrimPrefix(l.plain, "ERROR: "), err)
	}
	return l.failed
}

// Write takes what the build says, line by line.
func (l *buildLog) Write(b []byte) (int, error) {
	l.rest = append(l.rest, b...)
	for {
		line, rest, ok := bytes.Cut(l.rest, []byte("\n"))
		if !ok {
			return len(b), nil
		}
		l.line(bytes.TrimSpace(line))
		l.rest = rest
	}
}

func (l *buildLog) line(line []byte) {
	if len(line) == 0 {
		return
	}
	var s solve
	if err := json.Unmarshal(line, &s); err != nil {
		l.plain = string(line)
		return
	}
	for _, v := range s.Vertexes {
		l.names[v.Digest] = v.Name
		switch {
		case v.Error != "" && !strings.Contains(v.Error, "context canceled"):
			l.failed = &BuildError{Step: v.Name, Reason: v.Error, Output: string(l.output[v.Digest])}
			l.tell(Progress{ID: v.Name, Status: v.Error})
		case v.Cached:
			l.tell(Progress{ID: v.Name, Status: "Cached"})
		case v.Completed != nil:
			l.tell(Progress{ID: v.Name, Status: "Done"})
		case v.Started != nil:
			l.tell(Progress{ID: v.Name, Status: "Running"})
		}
	}
	for _, st := range s.Statuses {
		l.tell(Progress{ID: st.ID, Status: "Transferring", Current: st.Current, Total: st.Total})
	}
	for _, log := range s.Logs {
		kept := append(l.output[log.Vertex], log.Data...)
		l.output[log.Vertex] = kept[max(0, len(kept)-keptOutput):]
		l.tell(Progress{ID: l.names[log.Vertex], Text: string(log.Data)})
	}
}
