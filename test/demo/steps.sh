# Runs beside the engine. $1 is the image in the private registry, $2 the archive to save.
set -e
log=$(mktemp) context=$(mktemp -d)
export DOCKER_CONFIG=$context/config # so that nothing is left in the user's home
trap 'rm -rf "$log" "$context"' EXIT

# step WHAT NOTE COMMAND... runs the command and tells how long it took.
step() {
	what=$1 note=$2
	shift 2
	begin=$(date +%s%N)
	"$@" >"$log" 2>&1 || { echo "$what: $*" >&2; cat "$log" >&2; exit 1; }
	printf 'step\t%s\t%s\t%s\n' "$what" $((($(date +%s%N) - begin) / 1000000)) "$note"
}

# says TEXT COMMAND... runs the command, whose output has to contain the text.
says() {
	text=$1
	shift
	out=$("$@") || return
	case $out in *"$text"*) ;; *) echo "expected \"$text\", got: $out"; return 1 ;; esac
}

mkdir "$context/files"
printf 'FROM %s\nCOPY note /note\nRUN cat /note >/both && cat /greeting >>/both && chown 1000:1000 /both\nCMD ["cat", "/both"]\n' "$1" >"$context/files/Dockerfile"
echo "built in the engine" >"$context/files/note"

echo started
step "docker version" "" docker version
step "docker pull" "over TLS, through the registry's own name" docker pull "$1"
step "docker run" "" says "hello from five layers" docker run --rm "$1"
step "docker build" "" docker build -q -t demo/built:1 "$context/files"
step "docker run (what was built)" "" says "built in the engine" docker run --rm demo/built:1
step "docker run -v \$PWD" "the command's directory, same path" says "$2" docker run --rm -v "$PWD:$PWD" "$1" sh -c "echo x >'$PWD/$2' && ls '$PWD'"
step "docker save" "to $2" docker save -o "$2" demo/built:1
step "docker rmi" "" docker rmi -f demo/built:1 "$1"
step "docker system prune" "" docker system prune -af
