// Runs a fuzzer's entry on every file of a corpus, for builds without libFuzzer: whatever a fuzzer
// once found stays harmless.
//   fuzz_<format> FOLDER
#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <vector>

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size);

int main(int argc, char** argv) {
  if (argc != 2 || !std::filesystem::is_directory(argv[1])) {
    std::fprintf(stderr, "expected a folder of inputs\n");
    return 1;
  }
  int files = 0;
  for (const auto& entry : std::filesystem::directory_iterator(argv[1])) {
    std::ifstream in(entry.path(), std::ios::binary);
    const std::vector<char> bytes{std::istreambuf_iterator<char>(in), {}};
    std::printf("%s, %zu bytes\n", entry.path().filename().c_str(), bytes.size());
    std::fflush(stdout);  // names the file that ends the program
    LLVMFuzzerTestOneInput(reinterpret_cast<const std::uint8_t*>(bytes.data()), bytes.size());
    ++files;
  }
  if (files == 0) std::fprintf(stderr, "the corpus is empty\n");
  return files == 0;
}
