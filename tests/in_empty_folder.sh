#!/usr/bin/env bash
# Runs a command-line test in an empty folder, which is removed afterwards.
#   in_empty_folder.sh SCRIPT
# The script finds programs in $FLR_BIN_DIR, test files in $FLR_TEST_DIR, and may exit with 77 after
# a sentence that says what it lacks, which CTest reports as skipped.
set -euo pipefail
script=$1
folder=$(mktemp -d)
trap 'chmod -R u+rwX "$folder"; rm -rf "$folder"' EXIT
cd "$folder"
bash "$script"
