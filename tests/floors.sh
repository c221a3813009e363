#!/usr/bin/env bash
# Checks the floors of the library and the length of its files.
#   tests/floors.sh REPOSITORY
# A file includes its own folder and the floors below, never above or beside; third-party headers
# stay where they belong; no file is longer than 400 lines.
set -euo pipefail
cd "$1"
bad=0

files=$(find include kernels examples tests bench -type f \
  \( -name '*.hpp' -o -name '*.cpp' -o -name '*.cu' -o -name '*.cuh' \) | sort)

# shellcheck disable=SC2086
awk '
  BEGIN {
    # optim stands on nn: parameter groups and averages need the named parameters of modules.
    split("core:0 version:0 cpu:1 cuda:1 formula:2 graph:3 ops:4 nn:5 optim:6 mixers:7 models:8 " \
          "data:8 flr:9 train:10", pairs, " ")
    for (i in pairs) { split(pairs[i], pair, ":"); floor[pair[1]] = pair[2] }
    # What may be included where, of other libraries: header -> folders of headers that may.
    allowed["Eigen/"] = " cpu "; allowed["omp.h"] = " core cpu "; allowed["cblas.h"] = " cpu "
    allowed["zlib.h"] = allowed["nlohmann/"] = allowed["CLI/"] = allowed["doctest/"] = " "
    allowed["cuda"] = allowed["cublas"] = allowed["nvrtc"] = " "
  }
  # include/flr/ops/sdpa.hpp and flr/ops/sdpa.hpp -> ops; flr/ops.hpp (an umbrella) -> ops.
  function folder_of(path) {
    sub(/^include\//, "", path); sub(/^flr\//, "", path)
    return path ~ /\// ? substr(path, 1, index(path, "/") - 1) : substr(path, 1, index(path, ".") - 1)
  }
  function complain(text) { print FILENAME ":" FNR ": " text; bad = 1 }
  FILENAME !~ /^include\/flr\// { next }
  /^[ \t]*#[ \t]*include/ {
    target = $0; sub(/^[^"<]*["<]/, "", target); sub(/[">].*/, "", target)
    mine = folder_of(FILENAME)
    if (target ~ /^flr\//) {
      theirs = folder_of(target)
      # The umbrella of core brings the CPU table along in the header-only form.
      if (FILENAME == "include/flr/core.hpp" && theirs == "cpu") next
      if (!(theirs in floor)) complain("unknown floor: " target)
      else if (!(mine in floor)) complain("the folder " mine " belongs to no floor")
      else if (theirs != mine && floor[theirs] + 0 >= floor[mine] + 0)
        complain(mine " must not include " target)
    } else if ($0 ~ /include[ \t]*"/) {
      complain("name the file from the include folder: \"flr/...\" instead of " target)
    } else if (FILENAME ~ /\.hpp$/) {
      for (prefix in allowed)
        if (index(target, prefix) == 1 && index(allowed[prefix], " " mine " ") == 0)
          complain("a public header of " mine " must not include " target)
    }
  }
  END { exit bad }
' $files || bad=1

# shellcheck disable=SC2086
wc -l $files | awk '$2 != "total" { print $1, $2 }' | sort -n | awk '
  # Tests are lists of cases, so they may be somewhat longer.
  { lines[NR] = $1; if ($1 > ($2 ~ /tests\// ? 500 : 400)) { print $2 " has " $1 " lines: is it one thing?"; bad = 1 } }
  END {
    printf "%d files, median %d lines, longest %d\n", NR, lines[int((NR + 1) / 2)], lines[NR]
    exit bad
  }' || bad=1
exit $bad
