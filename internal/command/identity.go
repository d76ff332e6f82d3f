package command

import (
	"errors"
	"fmt"
	"math"
	"os"
	"os/user"
	"slices"
	"strconv"
	"strings"
)

// Environment variables by which sudo(8) tells who called it.
const (
	envSudoUID = "SUDO_UID"
	envSudoGID = "SUDO_GID"
)

// Identity is the user a command runs as.
type Identity struct {
	UID, GID int
	Groups   []int // supplementary groups; nil keeps this process's own
	Name     string
	Home     string
	// Same says that this is the user berth itself runs as: nothing needs to change.
	Same bool
}

// Invoking returns the user who called berth: the one sudo names, else the process's own.
// The variables that sudo sets are believed only if they are numbers of a possible user.
func Invoking() (Identity, error) {
	uid, gid := os.Getuid(), os.Getgid()
	sudoUID, sudoGID := os.Getenv(envSudoUID), os.Getenv(envSudoGID)
	if uid != 0 || sudoUID == "" {
		return ofIDs(uid, gid)
	}
	uid, err := parseID(sudoUID)
	if err != nil {
		return Identity{}, fmt.Errorf("%s=%s: %w; unset it, or use --user", envSudoUID, sudoUID, err)
	}
	if gid, err = parseID(sudoGID); err != nil {
		return Identity{}, fmt.Errorf("%s=%s: %w; unset %s, or use --user", envSudoGID, sudoGID, err, envSudoUID)
	}
	return ofIDs(uid, gid)
}

// Lookup returns the user that spec names: USER or UID, optionally with :GROUP or :GID.
// An id without an entry in the user database is accepted; a name without one is an error.
func Lookup(spec string) (Identity, error) {
	name, group, hasGroup := strings.Cut(spec, ":")
	uid, gid, err := lookupUser(name)
	if err != nil {
		return Identity{}, err
	}
	if hasGroup {
		if gid, err = lookupGroup(group); err != nil {
			return Identity{}, err
		}
	}
	return ofIDs(uid, gid)
}

func lookupUser(name string) (uid, gid int, err error) {
	if uid, err = parseID(name); err == nil {
		if u, err := user.LookupId(name); err == nil {
			gid, err = parseID(u.Gid)
			return uid, gid, err
		}
		return uid, uid, nil
	}
	u, err := user.Lookup(name)
	if err != nil {
		return 0, 0, fmt.Errorf("no user %q on this machine; give a name from /etc/passwd or a number", name)
	}
	if uid, err = parseID(u.Uid); err != nil {
		return 0, 0, fmt.Errorf("user %s: %w", name, err)
	}
	gid, err = parseID(u.Gid)
	return uid, gid, err
}

func lookupGroup(name string) (int, error) {
	if gid, err := parseID(name); err == nil {
		return gid, nil
	}
	g, err := user.LookupGroup(name)
	if err != nil {
		return 0, fmt.Errorf("no group %q on this machine; give a name from /etc/group or a number", name)
	}
	return parseID(g.Gid)
}

// ofIDs completes an identity from the user database.
func ofIDs(uid, gid int) (Identity, error) {
	id := Identity{UID: uid, GID: gid, Home: "/", Name: strconv.Itoa(uid), Groups: []int{gid}}
	id.Same = uid == os.Geteuid() && gid == os.Getegid()
	u, err := user.LookupId(strconv.Itoa(uid))
	if errors.As(err, new(user.UnknownUserIdError)) || errors.Is(err, os.ErrNotExist) {
		return id, nil
	}
	if err != nil {
		return Identity{}, fmt.Errorf("look up user %d: %w", uid, err)
	}
	id.Name, id.Home = u.Username, u.HomeDir
	groups, err := u.GroupIds()
	if err != nil {
		return Identity{}, fmt.Errorf("look up the groups of %s: %w", u.Username, err)
	}
	for _, g := range groups {
		if n, err := parseID(g); err == nil && !slices.Contains(id.Groups, n) {
			id.Groups = append(id.Groups, n)
		}
	}
	return id, nil
}

// parseID accepts the number of a user or group. The largest one stands for
// "no change" in setresuid(2), so it is nobody's.
func parseID(s string) (int, error) {
	n, err := strconv.ParseUint(s, 10, 32)
	if err != nil || n == math.MaxUint32 {
		return 0, fmt.Errorf("%q is not the number of a user or group (0 to %d)", s, uint32(math.MaxUint32-1))
	}
	return int(n), nil
}
