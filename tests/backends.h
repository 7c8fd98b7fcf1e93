#pragma once
// The backends under test. Every test of the operations runs on each of them.
#include <gtest/gtest.h>

#include <array>
#include <limits>
#include <numeric>
#include <string>
#include <tuple>

#include "ops/ops.h"
#ifdef BM3_CUDA
#include "ops/cuda/cuda.h"
#endif

namespace bm3::test {

template <class T>
struct CpuBackend {
  using Real = T;
  static constexpr size_t most_rows = 2000000;
  static std::string name() { return sizeof(T) == 8 ? "cpu64" : "cpu32"; }
  static bool works(std::string&) { return true; }
  static std::unique_ptr<Ops<T>> make(int threads) { return make_cpu_ops<T>(threads); }
};

#ifdef BM3_CUDA
template <class T>
struct CudaBackend {
  using Real = T;
#ifdef BM3_CUDA_ON_CPU
  static constexpr size_t most_rows = 30000;
#else
  static constexpr size_t most_rows = 2000000;
#endif
  static std::string name() { return sizeof(T) == 8 ? "cuda64" : "cuda32"; }
  static bool works(std::string& why) { return cuda_works(why); }
  static std::unique_ptr<Ops<T>> make(int) { return make_cuda_ops<T>(false); }
};
/// The same, but for the graph's products, which are cuSPARSE's.
template <class T>
struct CusparseBackend : CudaBackend<T> {
  static std::string name() { return sizeof(T) == 8 ? "cusparse64" : "cusparse32"; }
  static std::unique_ptr<Ops<T>> make(int) { return make_cuda_ops<T>(false, true); }
};
/// The same, but for products, which are cuBLAS's in TF32: of small whole numbers they are exact.
struct Tf32Backend : CudaBackend<float> {
  static std::string name() { return "cuda32_tf32"; }
  static std::unique_ptr<Ops<float>> make(int) { return make_cuda_ops<float>(true); }
};
using LinearBackends = ::testing::Types<CpuBackend<double>, CpuBackend<float>, CudaBackend<double>,
                                        CudaBackend<float>, Tf32Backend>;
using Backends = ::testing::Types<CpuBackend<double>, CpuBackend<float>, CudaBackend<double>,
                                  CudaBackend<float>>;
using GraphBackends =
    ::testing::Types<CpuBackend<double>, CpuBackend<float>, CudaBackend<double>, CudaBackend<float>,
                     CusparseBackend<double>, CusparseBackend<float>>;
using Backends64 = ::testing::Types<CpuBackend<double>, CudaBackend<double>>;
using Backends32 = ::testing::Types<CpuBackend<float>, CudaBackend<float>>;
#else
using Backends = ::testing::Types<CpuBackend<double>, CpuBackend<float>>;
using GraphBackends = Backends;
using LinearBackends = Backends;
using Backends64 = ::testing::Types<CpuBackend<double>>;
using Backends32 = ::testing::Types<CpuBackend<float>>;
#endif

/// A backend in double precision as a value, for tests that take one as a parameter.
struct Backend64 {
  std::string name;
  bool (*works)(std::string& why);
  std::unique_ptr<Ops<double>> (*make)(int threads);
  size_t most_rows;
};
inline std::vector<Backend64> backends64() {
  return {{CpuBackend<double>::name(), CpuBackend<double>::works, CpuBackend<double>::make,
           CpuBackend<double>::most_rows},
#ifdef BM3_CUDA
          {CudaBackend<double>::name(), CudaBackend<double>::works, CudaBackend<double>::make,
           CudaBackend<double>::most_rows}
#endif
  };
}

/// The value of a loss.
inline std::vector<double> total(const Array<double>& loss) {
  const std::vector<double> parts = loss.host();
  return {std::accumulate(parts.begin(), parts.end(), 0.0)};
}

struct BackendName {
  template <class Backend>
  static std::string GetName(int) {
    return Backend::name();
  }
};

/// A test with `ops` of a backend; skipped, with the reason, where the backend does not work. One
/// thread suits the many small calls of finite differences.
template <class Backend, int threads = 2>
class OnBackend : public ::testing::Test {
 protected:
  using Real = typename Backend::Real;
  void SetUp() override {
    std::string why;
    if (!Backend::works(why)) GTEST_SKIP() << Backend::name() << ": " << why;
    ops = Backend::make(threads);
  }
  /// Calls check(n, ...) for every shape {n, ...} but those of so many rows n that a backend which
  /// is there for correctness alone would take too long.
  template <class Shapes, class Check>
  static void for_each(const Shapes& shapes, const Check& check) {
    for (const auto& shape : shapes) {
      SCOPED_TRACE("shape " + testing::PrintToString(shape));
      if (shape[0] <= Backend::most_rows) std::apply(check, shape);
    }
  }
  template <class E>
  Array<E> device(const std::vector<E>& host) {
    return Array<E>(*ops, host);
  }
  /// A loss that is `value` so far.
  Array<double> loss(double value) {
    std::vector<double> parts(loss_parts);
    parts[0] = value;
    return device(parts);
  }
  /// An output that nobody has written yet.
  Array<Real> garbage(size_t n) {
    return device(std::vector<Real>(n, std::numeric_limits<Real>::quiet_NaN()));
  }
  /// Returns what `work` returns: a tuple of the host's copies of what it computes on `ops`, all
  /// arrays its own. They must have the same bytes in other runs, with 1 and with 4 threads.
  template <class Work>
  auto same_bytes(const Work& work) {
    const auto once = work();
    if (others_.empty())
      for (int other : {1, 4}) others_.push_back(Backend::make(other));
    for (auto& other : others_) {
      std::swap(ops, other);
      EXPECT_TRUE(bytes(work()) == bytes(once)) << "in another run";
      std::swap(ops, other);
    }
    return once;
  }
  /// Returns what op(y) leaves in y [n, d], which holds `before`, or NaN where that is empty; with
  /// the same bytes in other runs.
  template <class Op>
  std::vector<Real> output(size_t n, size_t d, const std::vector<Real>& before, const Op& op) {
    return std::get<0>(same_bytes([&] {
      auto y = before.empty() ? garbage(n * d) : device(before);
      op(y.matrix(n, d));
      return std::tuple(y.host());
    }));
  }
  std::unique_ptr<Ops<Real>> ops;

 private:
  template <class Vectors>
  static std::string bytes(const Vectors& vectors) {
    std::string out;
    const auto append = [&](const auto& each) {
      out.append(reinterpret_cast<const char*>(each.data()), each.size() * sizeof each[0]);
    };
    std::apply([&](const auto&... each) { (append(each), ...); }, vectors);
    return out;
  }
  std::vector<std::unique_ptr<Ops<Real>>> others_;
};

}  // namespace bm3::test
