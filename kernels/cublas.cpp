#include "cublas.hpp"

#include <cublasLt.h>

#include <cstring>
#include <memory>
#include <mutex>
#include <string>
#include <unordered_map>

#include "flr/core/precision.hpp"
#include "runtime.hpp"

namespace flr::cuda {

namespace {

void check_cublas(cublasStatus_t status, const char* what) {
  check(status == CUBLAS_STATUS_SUCCESS, "[gemm] cuBLASLt, {}: {}", what,
        cublasLtGetStatusName(status));
}

/// cuBLASLt's own workspace would be allocated within a capture, or be too small for its best
/// algorithms. One is enough: all products run one after the other on stream().
class Library {
 public:
  static constexpr std::size_t workspace_bytes = std::size_t{32} << 20;

  Library() {
    check_cublas(cublasLtCreate(&handle_), "creating a handle");
    // From the common pool, also when a capture's pool is in force: that one ends with its graph.
    Pool* const in_force = pool_of(0);
    use_pool(nullptr);
    Pool* const common = pool_of(0);
    workspace_ = common->take(index_t{workspace_bytes}, MemoryUse::other);
    if (in_force != common) use_pool(in_force);
  }
  cublasLtHandle_t handle() const { return handle_; }
  void* workspace() const { return workspace_; }

 private:
  cublasLtHandle_t handle_ = nullptr;
  void* workspace_ = nullptr;
};

Library& library() {
  static Library* made = new Library;  // for the process's life
  return *made;
}

/// The largest power of two, at most 256, that divides the address.
int alignment(const void* pointer) {
  const auto address = reinterpret_cast<std::uintptr_t>(pointer) | 256u;
  return static_cast<int>(address & (~address + 1));
}

/// All that a plan depends on; compared as bytes.
struct PlanKey {
  index_t m, n, k, lda, ldb, ldc, batch, stride_a, stride_b, stride_c;
  int type_in, type_out, compute, trans, align_a, align_b, align_c, align_bias;
};
static_assert(sizeof(PlanKey) == 10 * sizeof(index_t) + 8 * sizeof(int));

struct Plan {
  cublasLtMatmulDesc_t operation = nullptr;
  cublasLtMatrixLayout_t left = nullptr, right = nullptr, result = nullptr;
  cublasLtMatmulAlgo_t algorithm{};
  bool usable = false;
};

cublasComputeType_t compute_type(const Product& p) {
  if (p.type_out == CUDA_R_64F) return CUBLAS_COMPUTE_64F;
  const bool tf32 = p.type_in == CUDA_R_32F && matmul_precision() == MatmulPrecision::tf32;
  return tf32 ? CUBLAS_COMPUTE_32F_FAST_TF32 : CUBLAS_COMPUTE_32F;
}

cublasLtMatrixLayout_t layout(cudaDataType_t type, index_t rows, index_t cols, index_t ld,
                              index_t batch, index_t stride) {
  cublasLtMatrixLayout_t made = nullptr;
  check_cublas(cublasLtMatrixLayoutCreate(&made, type, static_cast<std::uint64_t>(rows),
                                          static_cast<std::uint64_t>(cols), ld),
               "describing a matrix");
  const auto count = static_cast<std::int32_t>(batch);
  check_cublas(cublasLtMatrixLayoutSetAttribute(made, CUBLASLT_MATRIX_LAYOUT_BATCH_COUNT, &count,
                                                sizeof count),
               "setting a batch");
  check_cublas(cublasLtMatrixLayoutSetAttribute(made, CUBLASLT_MATRIX_LAYOUT_STRIDED_BATCH_OFFSET,
                                                &stride, sizeof stride),
               "setting a batch");
  return made;
}

template <class Value>
void set(cublasLtMatmulDesc_t operation, cublasLtMatmulDescAttributes_t what, Value value) {
  check_cublas(cublasLtMatmulDescSetAttribute(operation, what, &value, sizeof value),
               "describing a product");
}

template <class Value>
void set(cublasLtMatmulPreference_t preference, cublasLtMatmulPreferenceAttributes_t what,
         Value value) {
  check_cublas(cublasLtMatmulPreferenceSetAttribute(preference, what, &value, sizeof value),
               "setting a preference");
}

/// cuBLASLt is column-major, where a row-major matrix is its transpose: Cᵀ = op(B)ᵀ op(A)ᵀ, with B
/// as the left operand.
Plan make_plan(const Product& p, const PlanKey& key) {
  Plan plan;
  const auto compute = static_cast<cublasComputeType_t>(key.compute);
  check_cublas(cublasLtMatmulDescCreate(&plan.operation, compute,
                                        p.type_out == CUDA_R_64F ? CUDA_R_64F : CUDA_R_32F),
               "describing a product");
  set(plan.operation, CUBLASLT_MATMUL_DESC_TRANSA, p.trans_b ? CUBLAS_OP_T : CUBLAS_OP_N);
  set(plan.operation, CUBLASLT_MATMUL_DESC_TRANSB, p.trans_a ? CUBLAS_OP_T : CUBLAS_OP_N);
  if (p.bias) {
    set(plan.operation, CUBLASLT_MATMUL_DESC_EPILOGUE, CUBLASLT_EPILOGUE_BIAS);
    set(plan.operation, CUBLASLT_MATMUL_DESC_BIAS_DATA_TYPE, p.type_out);
    set(plan.operation, CUBLASLT_MATMUL_DESC_BIAS_POINTER, p.bias);
  }
  plan.left = p.trans_b ? layout(p.type_in, p.k, p.n, p.ldb, p.batch, p.stride_b)
                        : layout(p.type_in, p.n, p.k, p.ldb, p.batch, p.stride_b);
  plan.right = p.trans_a ? layout(p.type_in, p.m, p.k, p.lda, p.batch, p.stride_a)
                         : layout(p.type_in, p.k, p.m, p.lda, p.batch, p.stride_a);
  plan.result = layout(p.type_out, p.n, p.m, p.ldc, p.batch, p.stride_c);

  cublasLtMatmulPreference_t preference = nullptr;
  check_cublas(cublasLtMatmulPreferenceCreate(&preference), "making a preference");
  set(preference, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, Library::workspace_bytes);
  // Parts of a sum are added in a step of their own, in an order that does not depend on timing.
  set(preference, CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK,
      std::uint32_t{CUBLASLT_REDUCTION_SCHEME_NONE | CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE});
  set(preference, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES,
      static_cast<std::uint32_t>(key.align_b));
  set(preference, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES,
      static_cast<std::uint32_t>(key.align_a));
  set(preference, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES,
      static_cast<std::uint32_t>(key.align_c));
  set(preference, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES,
      static_cast<std::uint32_t>(key.align_c));

  cublasLtMatmulHeuristicResult_t found{};
  int count = 0;
  const cublasStatus_t status =
      cublasLtMatmulAlgoGetHeuristic(library().handle(), plan.operation, plan.left, plan.right,
                                     plan.result, plan.result, preference, 1, &found, &count);
  cublasLtMatmulPreferenceDestroy(preference);
  plan.usable =
      status == CUBLAS_STATUS_SUCCESS && count > 0 && found.state == CUBLAS_STATUS_SUCCESS;
  plan.algorithm = found.algo;
  return plan;
}

/// Plans are few (one a layer and shape) and are kept for the process's life.
Plan& plan_of(const Product& p) {
  static auto* plans = new std::unordered_map<std::string, Plan>;
  const PlanKey key{p.m,
                    p.n,
                    p.k,
                    p.lda,
                    p.ldb,
                    p.ldc,
                    p.batch,
                    p.stride_a,
                    p.stride_b,
                    p.stride_c,
                    p.type_in,
                    p.type_out,
                    compute_type(p),
                    p.trans_a + 2 * p.trans_b,
                    alignment(p.a),
                    alignment(p.b),
                    alignment(p.c),
                    p.bias ? alignment(p.bias) : 0};
  const std::string bytes(reinterpret_cast<const char*>(&key), sizeof key);
  const auto found = plans->find(bytes);
  return found != plans->end() ? found->second
                               : plans->emplace(bytes, make_plan(p, key)).first->second;
}

}  // namespace

bool multiply(const Product& p) {
  static std::mutex mutex;
  std::lock_guard lock(mutex);
  Plan& plan = plan_of(p);
  if (!plan.usable) return false;
  if (p.bias) set(plan.operation, CUBLASLT_MATMUL_DESC_BIAS_POINTER, p.bias);
  const float alpha32 = static_cast<float>(p.alpha), beta32 = static_cast<float>(p.beta);
  const bool f64 = p.type_out == CUDA_R_64F;
  const void* alpha = f64 ? static_cast<const void*>(&p.alpha) : &alpha32;
  const void* beta = f64 ? static_cast<const void*>(&p.beta) : &beta32;
  check_cublas(cublasLtMatmul(library().handle(), plan.operation, alpha, p.b, plan.left, p.a,
                              plan.right, beta, p.c, plan.result, p.c, plan.result, &plan.algorithm,
                              library().workspace(), Library::workspace_bytes, stream()),
               "multiplying");
  check_launch("gemm");
  return true;
}

}  // namespace flr::cuda
