# Shared by the scripts of this folder: the lines of a list, after tools/_common.sh.
# shellcheck shell=bash

# A line of a list: file | sed expression | tests, bars with spaces around them.
mutants_of() {  # mutants_of LIST [WORDS]: the lines that contain WORDS
  grep -v '^ *#' "$1" | grep ' | ' | grep -F -- "${2:-}" || true
}
field() { awk -F ' +[|] +' -v n="$2" '{ print $n }' <<<"$1" | sed 's/^ *//; s/ *$//'; }

# mutate MUTANT FROM TO: the file FROM, changed, as TO.
mutate() {
  sed "$(field "$1" 2)" "$2" >"$3.part"
  if cmp -s "$2" "$3.part"; then
    rm "$3.part"
    fail "the mutant changes nothing: $(field "$1" 1) | $(field "$1" 2)"
  fi
  mv "$3.part" "$3"
}
