#!/usr/bin/env bash
# The joined object of a CPU table defines its three entry points for the linker and nothing else,
# runs nothing when a program starts (a static initialiser would use this level's instructions on
# any processor), and holds no second copy of a variable that the rest of flr shares.
#   table_symbols.sh OBJECT LEVEL
set -euo pipefail
object=$1
level=$2
bad=0

wanted=$(printf 'flr_cpu_table_%s_%s\n' "$level" bf16 "$level" f32 "$level" f64)
found=$(nm --extern-only --defined-only "$object" | awk '{ print $NF }' | sort)
if [ "$found" != "$wanted" ]; then
  printf 'expected the global symbols\n%s\nfound\n%s\n' "$wanted" "$found"
  bad=1
fi

if readelf --wide --section-headers "$object" | grep -E '\.(init_array|ctors)'; then
  echo "the table of $level runs code when a program starts"
  bad=1
fi

# b and d: local variables in writable memory. Their namesakes in flr itself would be others.
shared=$(nm --demangle "$object" |
  grep -E '^[0-9a-f]+ [bdBD] (guard variable for )?flr::' | grep -v -E ' [bdBD] (guard variable for )?flr::cpu::' || true)
if [ -n "$shared" ]; then
  printf 'the table of %s has a copy of its own of\n%s\n' "$level" "$shared"
  bad=1
fi
exit $bad
