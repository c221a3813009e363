#!/usr/bin/env bash
# The examples keep what their first comment says about their last line.
set -euo pipefail
folder=$FLR_TEST_DIR/../examples
bad=0
for name in quickstart fit_function custom_op stream; do
  [ -x "$FLR_BIN_DIR/$name" ] || { echo "$name is not built"; exit 77; }
  promise=$(sed -n 's|^// The last line it prints[^:]*: ||p' "$folder/$name.cpp")
  printed=$("$FLR_BIN_DIR/$name" | tail -n 1)
  case $printed in
    "$promise"*) echo "$name: $printed" ;;
    *)
      echo "$name promises '$promise' and prints '$printed'" >&2
      bad=1
      ;;
  esac
done
exit $bad
