#include "machine.hpp"

#include "flr/core/parallel.hpp"
#include "flr/core/precision.hpp"
#include "flr/cuda/cuda.hpp"

namespace pdebench {

using namespace flr;

Device device_of(const Options& o) {
  return o.device == "cuda" ? Device::cuda : Device::cpu;
}

void set_up_machine(const Options& o) {
  if (o.threads > 0) set_num_threads(static_cast<int>(o.threads));
  if (o.device == "cuda") {
    check(cuda::linked(),
          "--device cuda: this program was built without CUDA; tools/build cuda builds one with it "
          "(a program of your own links the CMake target flr::cuda)");
    cuda::describe();  // says why where there is no usable GPU
  }
  set_matmul_precision(o.precision == "tf32" ? MatmulPrecision::tf32 : MatmulPrecision::fp32);
}

std::string describe_machine(const Options& o) {
  const char* precision = o.bf16() ? "bf16 (parameters and sums fp32)" : o.precision.c_str();
  if (o.device != "cuda")
    return fmt::format("cpu, precision {}, {} threads", precision, num_threads());
  return fmt::format("{}, precision {}, {}", cuda::describe(), precision,
                     o.no_graph ? "no CUDA graphs" : "steps as CUDA graphs");
}

void place_model(const Options& o, models::Model<float>& model) {
  model.to(device_of(o));
  model.activate_in_bf16(o.bf16());
}

}  // namespace pdebench
