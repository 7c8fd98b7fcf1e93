// The host's side of the module with the CUDA backend.
#include <dlfcn.h>

#include <filesystem>

#include "error.h"
#include "ops/cuda/cuda.h"

namespace bm3 {

const CudaBackend* load_cuda_backend(std::string& why) {
  static void* const module = [] {
    const auto program = std::filesystem::read_symlink("/proc/self/exe");
    return dlopen((program.parent_path() / "libbm3_cuda.so").c_str(), RTLD_NOW | RTLD_LOCAL);
  }();
  const void* const backend = module ? dlsym(module, "bm3_cuda_backend") : nullptr;
  if (!backend) {
    const char* const reason = dlerror();
    why = std::string("the CUDA backend cannot be loaded: ") + (reason ? reason : "not there");
  }
  return static_cast<const CudaBackend*>(backend);
}

bool cuda_works(std::string& why) {
  if (!dlopen("libcuda.so.1", RTLD_LAZY)) {  // before the libraries above it are loaded
    why = std::string("no GPU works: no NVIDIA driver: ") + dlerror();
    return false;
  }
  const CudaBackend* const backend = load_cuda_backend(why);
  return backend && backend->works(why);
}

template <class T>
std::unique_ptr<Ops<T>> make_cuda_ops(bool tf32, bool cusparse) {
  std::string why;
  if (!cuda_works(why)) throw Error(why);
  const CudaBackend& backend = *load_cuda_backend(why);
  if constexpr (std::is_same_v<T, float>)
    return std::unique_ptr<Ops<T>>(backend.make_float(tf32, cusparse));
  else
    return std::unique_ptr<Ops<T>>(backend.make_double(tf32, cusparse));
}

template std::unique_ptr<Ops<float>> make_cuda_ops<float>(bool, bool);
template std::unique_ptr<Ops<double>> make_cuda_ops<double>(bool, bool);

}  // namespace bm3
