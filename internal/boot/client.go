package boot

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// dockerVerbs are docker's subcommands, so that `docker run IMAGE ps` works, as it does
// with the docker and docker:dind images. The programs of the same names that a shell
// would find (kill, top, wait, …) are not what people want of such an image.
var dockerVerbs = strings.Fields(`attach build builder buildx checkpoint commit compose config container context cp create
	diff events exec export history image images import info inspect kill load login logout logs manifest network node
	pause plugin port ps pull push rename restart rm rmi run save search secret service stack start stats stop swarm
	system tag top trust unpause update version volume wait`)

// runCommand becomes the user's command, with DOCKER_HOST set to the engine that is to be
// found: this container's own, one linked as "docker", or the one that variables name.
func runCommand(command, environ []string, umask int) (int, error) {
	if slices.Contains(dockerVerbs, command[0]) {
		command = append([]string{"docker"}, command...)
	}
	path, err := exec.LookPath(command[0])
	if err != nil {
		if errors.Is(err, exec.ErrNotFound) || errors.Is(err, os.ErrNotExist) {
			return 127, fmt.Errorf("%s: no such program in this image", command[0])
		}
		return 126, err
	}
	unix.Umask(umask)
	err = unix.Exec(path, command, clientEnv(environ, exists))
	return 126, fmt.Errorf("run %s: %w", path, err)
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// clientEnv adds to environ what leads a client to its engine, if nobody has said that.
func clientEnv(list []string, exists func(string) bool) []string {
	env := environ(list)
	if env["DOCKER_HOST"] == "" && !exists(strings.TrimPrefix(defaultSocket, "unix://")) {
		// As docker's own image has it: a service called docker.
		port := plainPort
		if env["DOCKER_TLS_VERIFY"] != "" || clientCertificates(env["DOCKER_TLS_CERTDIR"], exists) {
			port = tlsPort
		}
		env["DOCKER_HOST"] = "tcp://docker:" + port
		list = append(list, "DOCKER_HOST="+env["DOCKER_HOST"])
	}
	if strings.HasPrefix(env["DOCKER_HOST"], "tcp:") && env["DOCKER_TLS_VERIFY"] == "" && env["DOCKER_CERT_PATH"] == "" &&
		clientCertificates(env["DOCKER_TLS_CERTDIR"], exists) {
		list = append(list, "DOCKER_TLS_VERIFY=1", "DOCKER_CERT_PATH="+filepath.Join(env["DOCKER_TLS_CERTDIR"], "client"))
	}
	return list
}

func clientCertificates(dir string, exists func(string) bool) bool {
	if dir == "" {
		return false
	}
	for _, f := range []string{"ca.pem", "cert.pem", "key.pem"} {
		if !exists(filepath.Join(dir, "client", f)) {
			return false
		}
	}
	return true
}
