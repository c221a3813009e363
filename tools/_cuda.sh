# Shared by the tools, after _common.sh: where nvcc is, and whether there is a GPU.
# shellcheck shell=bash

# The compiler, its headers and the libraries that flr links, as NVIDIA publishes them on PyPI.
cuda_wheels=(nvidia-cuda-nvcc==13.0.* nvidia-cuda-crt==13.0.* nvidia-nvvm==13.0.*
  nvidia-cuda-runtime==13.0.* nvidia-cuda-nvrtc==13.0.* nvidia-cuda-cccl==13.0.*
  'nvidia-cublas>=13.0,<13.2')

has_gpu() { [ -e /dev/nvidia0 ] || nvidia-smi -L 2>/dev/null | grep -q '^GPU'; }

# The folder of a toolkit: of the nvcc on PATH, an installed one, or what install_nvcc made.
find_toolkit() {
  local root
  if have nvcc; then  # perhaps a script that calls the real one, so it is asked
    root=$(nvcc -v no_such_file 2>&1 | sed -n 's/^#\$ TOP=//p')
    [ -z "$root" ] || { realpath "$root"; return; }
  fi
  for root in "${CUDA_HOME:-/usr/local/cuda}" "$PWD/build/cuda-toolkit"; do
    [ ! -x "$root/bin/nvcc" ] || { echo "$root"; return; }
  done
}

# The wheels hold a toolkit in nvidia/cu13 that lacks what a linker looks for: lib64, and libraries
# without a version in their names.
install_nvcc() {
  local to=build/cuda-toolkit library
  local advice="install the CUDA toolkit 12.8 or later (nvcc on PATH or in /usr/local/cuda)"
  python3 -m pip --version >/dev/null 2>&1 || ensure_packages python3-pip
  rm -rf "$to" "$to.part"
  echo "no nvcc here: taking CUDA 13.0's from PyPI (600 MB)"
  # --target asks for no virtual environment, not even where Debian guards its own packages.
  PIP_ROOT_USER_ACTION=ignore python3 -m pip install --quiet --disable-pip-version-check \
    --no-deps --no-compile --only-binary=:all: --target "$to.part" "${cuda_wheels[@]}" \
    >build/cuda-toolkit.log 2>&1 ||
    fail "nvcc is missing and PyPI did not give it (build/cuda-toolkit.log says why); $advice"
  [ -x "$to.part/nvidia/cu13/bin/nvcc" ] ||
    fail "nvcc is missing and PyPI's packages no longer hold it where it was; $advice"
  mv "$to.part/nvidia/cu13" "$to"
  rm -rf "$to.part"
  ln -s lib "$to/lib64"
  for library in cudart nvrtc cublas cublasLt; do
    ln -s "lib$library.so.13" "$to/lib/lib$library.so"
  done
}

# Makes sure of nvcc and tells CMake of it.
ensure_nvcc() {
  local root
  root=$(find_toolkit)
  if [ -z "$root" ]; then
    install_nvcc
    root=$(find_toolkit)
  fi
  export CUDACXX=${CUDACXX:-$root/bin/nvcc}
  configure+=("-DCUDAToolkit_ROOT=$root")
}
