#!/usr/bin/env bash
# Every mutant of the lists still changes its file, and names tests.
#   applies.sh REPOSITORY
source "$1/tools/_common.sh"
source tests/mutants/_common.sh
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
count=0 bad=0
for list in tests/mutants/list tests/mutants/list_cuda; do
  while read -r mutant; do
    file=$(field "$mutant" 1)
    count=$((count + 1))
    if [ -z "$(field "$mutant" 3)" ] || ! (mutate "$mutant" "$file" "$work/mutated"); then
      bad=$((bad + 1))
      echo "  in $list: $mutant"
    fi
  done < <(mutants_of "$list")
done
echo "$count mutants, $bad that do not apply"
[ "$bad" -eq 0 ] && [ "$count" -gt 0 ]
