# Shared by the tools: where the repository is, what has to be installed, how many jobs to run.
# shellcheck shell=bash
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

fail() {
  echo "$(basename "$0"): $*" >&2
  exit 1
}

# The introduction of a script is its help.
usage() { sed -n '2,/^[^#]/s/^# \{0,1\}//p' "$0"; }

packages=(g++ cmake ninja-build libeigen3-dev libfmt-dev doctest-dev libcli11-dev
  nlohmann-json3-dev zlib1g-dev libbenchmark-dev binutils)

have() { command -v "$1" >/dev/null; }

installed() {
  [ "$(dpkg-query -W -f='${db:Status-Status}' "$1" 2>/dev/null)" = installed ]
}

# What tools/carry_deps gathers, for a machine that can install nothing.
carried=build/deps
configure=()  # further options of cmake

# ensure_packages [MORE…]: installs what is missing on Debian and Ubuntu; with nothing missing, or
# with carried headers and build tools at hand, it touches neither the network nor sudo.
ensure_packages() {
  local missing=() package
  if ! have dpkg-query; then
    [ ! -d "$carried/include" ] || configure+=("-DFLR_DEPS_DIR=$PWD/$carried")
    have cmake && have ninja ||
      fail "this is no Debian or Ubuntu; please install what these packages hold: ${packages[*]} $*"
    return
  fi
  for package in "${packages[@]}" "$@"; do
    installed "$package" || missing+=("$package")
  done
  [ "${#missing[@]}" -gt 0 ] || return 0
  if [ -d "$carried/include" ] && have c++ && have cmake && have ninja; then
    configure+=("-DFLR_DEPS_DIR=$PWD/$carried")
    return
  fi

  local as_root=()
  if [ "$(id -u)" -ne 0 ]; then
    have sudo && as_root=(sudo) ||
      fail "packages are missing; as root: apt-get install -y ${missing[*]}"
  fi
  echo "installing: ${missing[*]}"
  export DEBIAN_FRONTEND=noninteractive
  "${as_root[@]}" apt-get -qq update
  "${as_root[@]}" apt-get -qq install -y --no-install-recommends "${missing[@]}" >/dev/null ||
    fail "apt could not install them; as root: apt-get install -y ${missing[*]}"
}

# One compiler for each core, but not more than memory allows: the largest file takes about 1.5 GB.
job_count() {
  if [ -n "${FLR_JOBS:-}" ]; then
    echo "$FLR_JOBS"
    return
  fi
  local cores memory
  cores=$(nproc)
  memory=$(awk '/MemAvailable/ { print int($2 / 1500000) }' /proc/meminfo)
  [ "$memory" -ge 1 ] || memory=1
  echo $((memory < cores ? memory : cores))
}

# build PRESET [-DNAME=VALUE…] [TARGET…]
build() {
  local preset=$1
  shift
  [[ $preset != cuda* ]] || ensure_nvcc
  while [[ ${1:-} == -D* ]]; do
    [ "$1" != -DFLR_CUDA=ON ] || ensure_nvcc
    configure+=("$1")
    shift
  done
  cmake --preset "$preset" "${configure[@]}" >build/configure.log 2>&1 || {
    cat build/configure.log >&2
    fail "cmake could not configure the preset $preset"
  }
  grep 'flr:' build/configure.log || true
  cmake --build --preset "$preset" --parallel "$(job_count)" ${1:+--target} "$@"
}
mkdir -p build
