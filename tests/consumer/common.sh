# Shared by the two consumer tests: a folder that goes away, and a quiet command that shows its
# output when it fails.
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

quietly() {
  if ! "$@" >"$work/log" 2>&1; then
    cat "$work/log"
    echo "failed: $*"
    exit 1
  fi
}
