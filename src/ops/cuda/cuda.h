#pragma once
// What the rest of the program knows of the CUDA backend; no CUDA header is needed to read this
// one.
#include "ops/ops.h"

namespace bm3 {

/// What the module libbm3_cuda.so exports, as `bm3_cuda_backend`. A module, loaded on first use:
/// CUDA's libraries take 240 MB of a process that only links them.
struct CudaBackend {
  bool (*works)(std::string& why);
  Ops<float>* (*make_float)(bool tf32, bool cusparse, size_t reserve);
  Ops<double>* (*make_double)(bool tf32, bool cusparse, size_t reserve);
};

/// The module beside the running program; where it cannot be loaded, null and why.
const CudaBackend* load_cuda_backend(std::string& why);

/// Whether this machine has a GPU that this build has code for; if not, `why` says what is missing.
bool cuda_works(std::string& why);

/// The operations on the first GPU. Products of float matrices are true float32, or TF32 where
/// `tf32` asks for it. `propagate` is a kernel of our own, or cuSPARSE's product where `cusparse`
/// asks for it. Tables (`allocate_table`) that would leave less than `reserve` bytes of the GPU's
/// memory for everything else stay in the host's. Error where no GPU works.
template <class T>
std::unique_ptr<Ops<T>> make_cuda_ops(bool tf32, bool cusparse = false,
                                      size_t reserve = 0);

}  // namespace bm3
