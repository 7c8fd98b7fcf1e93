#pragma once
// What the rest of the program knows of the CUDA backend, without a CUDA header.
#include "ops/ops.h"

namespace bm3 {

/// What the module libbm3_cuda.so exports, as `bm3_cuda_backend`. It is loaded on first use: CUDA's
/// libraries take 240 MB of a process that only links them.
struct CudaBackend {
  bool (*works)(std::string& why);
  Ops<float>* (*make_float)(bool tf32, bool cusparse);
  Ops<double>* (*make_double)(bool tf32, bool cusparse);
};

/// Returns the module in the running program's folder; null, and why, where it cannot be loaded.
const CudaBackend* load_cuda_backend(std::string& why);

/// Returns whether this machine has a GPU that this build has code for; if not, `why` says what is
/// missing.
bool cuda_works(std::string& why);

/// Returns the operations on the first GPU. Products of float matrices are true float32, or TF32
/// where `tf32` asks for it; `propagate` is one kernel, or cuSPARSE's product where `cusparse` asks
/// for it. Throws where no GPU works.
template <class T>
std::unique_ptr<Ops<T>> make_cuda_ops(bool tf32, bool cusparse = false);

}  // namespace bm3
