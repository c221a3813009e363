#include "formula_cache.hpp"

#include <nvrtc.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <mutex>
#include <unordered_map>
#include <vector>

#include "common/stream.hpp"
#include "formula_source.hpp"

#if CUDART_VERSION < 12080
#error \
    "flr loads formulas' kernels with cudaLibraryLoadData: the CUDA toolkit must be 12.8 or later"
#endif

namespace flr::cuda {

namespace {

namespace fs = std::filesystem;

void check_nvrtc(nvrtcResult status, const char* what) {
  check(status == NVRTC_SUCCESS, "[map] NVRTC, {}: {}", what, nvrtcGetErrorString(status));
}

struct Program {
  nvrtcProgram handle = nullptr;
  ~Program() { nvrtcDestroyProgram(&handle); }
};

/// The log's first lines: those that say what is wrong.
std::string first_lines(const std::string& log) {
  std::size_t end = 0;
  for (int line = 0; line < 4 && end != std::string::npos; ++line)
    end = log.find('\n', end == 0 ? 0 : end + 1);
  return log.substr(0, end);
}

/// The newest architecture that NVRTC knows and that runs on `architecture`.
int known_architecture(int architecture) {
  int count = 0;
  check_nvrtc(nvrtcGetNumSupportedArchs(&count), "asking for architectures");
  std::vector<int> known(static_cast<std::size_t>(count));
  check_nvrtc(nvrtcGetSupportedArchs(known.data()), "asking for architectures");
  int best = 0;
  for (int a : known)
    if (a <= architecture && a > best) best = a;
  check(best > 0, "[map] NVRTC makes no code for compute capability {}.{}", architecture / 10,
        architecture % 10);
  return best;
}

std::uint64_t hash(const std::string& text, std::uint64_t seed) {
  std::uint64_t h = 0xcbf29ce484222325u ^ seed;  // FNV-1a
  for (char c : text) h = (h ^ static_cast<unsigned char>(c)) * 0x100000001b3u;
  return h ^ (h >> 29);
}

/// Empty for none.
fs::path cache_folder() {
  const auto variable = [](const char* name) {
    const char* text = std::getenv(name);
    return std::string(text ? text : "");
  };
  const std::string chosen = variable("FLR_CACHE");
  if (chosen == "off") return {};
  if (!chosen.empty()) return chosen;
  if (const std::string xdg = variable("XDG_CACHE_HOME"); !xdg.empty())
    return fs::path(xdg) / "flr";
  if (const std::string home = variable("HOME"); !home.empty())
    return fs::path(home) / ".cache/flr";
  return {};
}

std::string header_of(const std::string& code) {
  return fmt::format("flr formula 1 {} {:016x}\n", code.size(), hash(code, 0));
}

/// Empty if there is no such file or it is not what was written.
std::string read_code(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  const std::string content{std::istreambuf_iterator<char>(file), {}};
  const std::size_t line = content.find('\n');
  if (line == std::string::npos) return {};
  std::string code = content.substr(line + 1);
  return content.compare(0, line + 1, header_of(code)) == 0 ? code : std::string();
}

/// Under a name of its own first: another process may be reading or writing the same formula.
void write_code(const fs::path& path, const std::string& code) {
  std::error_code ignored;
  fs::create_directories(path.parent_path(), ignored);
  const fs::path temporary = path.string() + "." + std::to_string(getpid()) + ".tmp";
  std::ofstream file(temporary, std::ios::binary);
  file << header_of(code) << code;
  file.close();
  if (file) fs::rename(temporary, path, ignored);
  if (!file || ignored) fs::remove(temporary, ignored);
}

/// Loading code is refused during a capture unless the thread says that it knows what it does.
class RelaxedCapture {
 public:
  RelaxedCapture() { cudaThreadExchangeStreamCaptureMode(&mode_); }
  ~RelaxedCapture() { cudaThreadExchangeStreamCaptureMode(&mode_); }

 private:
  cudaStreamCaptureMode mode_ = cudaStreamCaptureModeRelaxed;
};

}  // namespace

std::string compile_formula_for(const std::string& source, int architecture,
                                const std::string& formula) {
  // Code runs on later minor versions of its architecture only; PTX on everything later.
  const int known = known_architecture(architecture);
  const bool native = known / 10 == architecture / 10;
  const std::string target =
      fmt::format("--gpu-architecture={}_{}", native ? "sm" : "compute", known);
  Program program;
  check_nvrtc(
      nvrtcCreateProgram(&program.handle, source.c_str(), "formula.cu", 0, nullptr, nullptr),
      "creating a program");
  const char* options[] = {target.c_str(), "--std=c++17"};
  const nvrtcResult status = nvrtcCompileProgram(program.handle, 2, options);
  if (status == NVRTC_ERROR_COMPILATION) {
    std::size_t size = 0;
    check_nvrtc(nvrtcGetProgramLogSize(program.handle, &size), "reading the log");
    std::string log(size, '\0');
    check_nvrtc(nvrtcGetProgramLog(program.handle, log.data()), "reading the log");
    fail("[map] the formula {} does not compile: {}", formula, first_lines(log.c_str()));
  }
  check_nvrtc(status, "compiling a formula");
  std::size_t size = 0;
  check_nvrtc(
      native ? nvrtcGetCUBINSize(program.handle, &size) : nvrtcGetPTXSize(program.handle, &size),
      "asking for code");
  std::string code(size, '\0');
  check_nvrtc(native ? nvrtcGetCUBIN(program.handle, code.data())
                     : nvrtcGetPTX(program.handle, code.data()),
              "reading code");
  return code;
}

std::string cached_formula_for(const std::string& source, int architecture,
                               const std::string& formula) {
  const fs::path folder = cache_folder();
  if (folder.empty()) return compile_formula_for(source, architecture, formula);
  int major = 0, minor = 0;
  check_nvrtc(nvrtcVersion(&major, &minor), "asking for the version");
  const std::string key = fmt::format("sm_{} nvrtc {}.{}\n", architecture, major, minor) + source;
  const fs::path path =
      folder / fmt::format("map-{:016x}{:016x}.bin", hash(key, 1), hash(key, 0x9e3779b97f4a7c15u));
  std::string code = read_code(path);
  if (code.empty()) {
    code = compile_formula_for(source, architecture, formula);
    write_code(path, code);
  }
  return code;
}

cudaKernel_t formula_kernel(const std::string& source, const std::string& formula) {
  static std::mutex mutex;
  static auto* kernels = new std::unordered_map<std::string, cudaKernel_t>;
  std::lock_guard lock(mutex);
  if (const auto found = kernels->find(source); found != kernels->end()) return found->second;
  const std::string code = cached_formula_for(source, compute_capability(), formula);
  RelaxedCapture relaxed;
  cudaLibrary_t library = nullptr;
  check_cuda(cudaLibraryLoadData(&library, code.data(), nullptr, nullptr, 0, nullptr, nullptr, 0),
             "loading a formula's kernel");
  cudaKernel_t kernel = nullptr;
  check_cuda(cudaLibraryGetKernel(&kernel, library, formula_kernel_name),
             "finding a formula's kernel");
  kernels->emplace(source, kernel);
  return kernel;
}

}  // namespace flr::cuda
