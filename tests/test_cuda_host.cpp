// The CUDA backend's host side: the model with copied rows, launch and staging arithmetic, errors
// where there is no GPU; and, on a GPU, what the operations' own tests do not see: uploads in
// pieces, replayed steps, cuSPARSE.
#include <functional>
#include <regex>

#include "backends.h"
#include "model_check.h"
#include "ops/cpu/cpu_ops.h"
#include "rounding.h"
#ifdef BM3_CUDA
#include "ops/cuda/check.h"
#include "ops/cuda/launch.h"
#endif

namespace bm3::test {
namespace {

/// The CPU's operations with the model's side of a GPU: copied rows.
class CopyingOps : public CpuOps<double> {
 public:
  CopyingOps() : CpuOps<double>(1) {}
  bool copies_rows() const override { return true; }
};

TEST(CopiedRows, ChangeNothing) {
  CopyingOps copying;
  const auto plain = make_cpu_ops<double>(1);
  for (uint64_t seed = 1; seed <= 20; ++seed) {
    const ModelCase c = random_case(1, 1 + seed % 3, seed);
    CaseOnDevice<double> a(copying, c), b(*plain, c);
    EXPECT_EQ(a.step().total(), b.step().total()) << seed;
    EXPECT_EQ(a.model.gradients().host(), b.model.gradients().host()) << seed;
    for (size_t m = 0; m < c.modalities.size(); ++m) {
      EXPECT_TRUE(a.model.modalities()[m].copied());
      EXPECT_FALSE(b.model.modalities()[m].copied());
      EXPECT_EQ(a.feature_gradient(m), b.feature_gradient(m)) << seed;
    }
  }
}

#ifdef BM3_CUDA

using namespace cuda;

constexpr size_t sizes[] = {0, 1, 2, 7, 31, 32, 33, 64, 255, 256, 257, 384, 4096, 1000003};

TEST(CudaLaunch, BlocksCoverEachElementOnce) {
  for (size_t n : sizes)
    for (size_t each : {size_t{1}, size_t{8}, size_t{32}, size_t{256}}) {
      const size_t blocks = blocks_of(n, each);
      EXPECT_GE(blocks * each, n);
      EXPECT_LT(blocks * each, n + each);  // the last block has something to do
      EXPECT_EQ(blocks_of_sum(n, each), std::min<size_t>(blocks, sum_blocks));
    }
  static_assert(blocks_of(most_blocks * 256, 256) == most_blocks);
  EXPECT_THROW(blocks_of(most_blocks * 256 + 1, 256), Error);
  EXPECT_THROW(blocks_of(~size_t{0}, 2), Error);
}

TEST(CudaLaunch, MatrixLaunchCoversEachElementOnce) {
  for (size_t rows : sizes)
    for (size_t columns : sizes) {
      if (columns == 0) continue;  // nothing is launched
      const MatrixLaunch at = launch_over(rows, columns);
      EXPECT_EQ(at.threads_x * at.threads_y, block_threads);
      EXPECT_EQ(at.threads_x & (at.threads_x - 1), 0u);
      const size_t down = size_t{at.blocks_x} * at.threads_y;
      const size_t across = size_t{at.blocks_y} * at.threads_x;
      EXPECT_GE(down, rows);
      EXPECT_LT(down, rows + at.threads_y);
      EXPECT_GE(across, columns);
      EXPECT_LT(across, columns + at.threads_x);
      EXPECT_TRUE(at.threads_x == block_threads || at.threads_x < 2 * columns);  // few idle threads
    }
  EXPECT_NO_THROW(launch_over(1, size_t{65535} * 256));
  EXPECT_THROW(launch_over(1, size_t{65535} * 256 + 1), Error);
}

TEST(CudaStaging, PiecesCoverAnUploadAndSlotsTakeTurns) {
  Ring ring{3, 100};
  size_t turn = 0;
  for (size_t bytes : {size_t{0}, size_t{1}, size_t{99}, size_t{100}, size_t{101}, size_t{1000}}) {
    size_t done = 0, pieces = 0;
    for (; done < bytes; ++pieces) {
      EXPECT_EQ(ring.next(), turn++ % 3);
      const size_t piece = ring.piece(bytes - done);
      ASSERT_TRUE(piece > 0 && piece <= 100);
      done += piece;
    }
    EXPECT_EQ(done, bytes);
    EXPECT_EQ(pieces, (bytes + 99) / 100);
  }
}

template <class Status>
std::string error_of(Status status) {
  try {
    check(status, "someCall(with, arguments)", "/a/folder/file.cu", 42);
  } catch (const Error& e) {
    return e.what();
  }
  return "";
}

TEST(CudaErrors, NameLibraryMessageAndPlace) {
  EXPECT_EQ(error_of(cudaSuccess), "");
  EXPECT_EQ(error_of(CUBLAS_STATUS_SUCCESS), "");
  EXPECT_EQ(error_of(CUSPARSE_STATUS_SUCCESS), "");
  EXPECT_EQ(error_of(cudaErrorInvalidValue),
            "CUDA: invalid argument (cudaErrorInvalidValue) at file.cu:42: someCall");
  for (const std::string& words :
       {error_of(cudaErrorMemoryAllocation), error_of(CUBLAS_STATUS_ALLOC_FAILED),
        error_of(CUSPARSE_STATUS_INSUFFICIENT_RESOURCES)}) {
    EXPECT_NE(words.find(" at file.cu:42: someCall; out of memory: "), std::string::npos) << words;
    EXPECT_NE(words.find("--features frozen, fewer --modalities or a smaller --batch"),
              std::string::npos) << words;
  }
  EXPECT_EQ(mebibytes(0), "0 MiB");
  EXPECT_EQ(mebibytes(1), "1 MiB");
  EXPECT_EQ(mebibytes(size_t{5} << 30), "5120 MiB");
  for (const std::string& words : {error_of(CUBLAS_STATUS_NOT_INITIALIZED),
                                   error_of(CUSPARSE_STATUS_NOT_INITIALIZED)}) {
    EXPECT_NE(words.find("_STATUS_NOT_INITIALIZED"), std::string::npos) << words;
    EXPECT_NE(words.find("at file.cu:42: someCall"), std::string::npos) << words;
  }
}

TEST(CudaErrors, WithoutAGpuTheReasonIsGiven) {
  std::string why;
  if (cuda_works(why)) GTEST_SKIP() << "there is a GPU";
  EXPECT_NE(why.find("no GPU works: "), std::string::npos) << why;
  for (bool tf32 : {false, true}) {
    EXPECT_THROW(make_cuda_ops<float>(tf32), Error);
    EXPECT_THROW(make_cuda_ops<double>(tf32), Error);
  }
  try {
    make_cuda_ops<float>(false);
  } catch (const Error& e) {
    EXPECT_EQ(e.what(), why);
  }
}

// ------------------------------------------------------------------------------------- on a GPU

template <class Backend>
class CudaTest : public OnBackend<Backend> {};
using CudaBackends = ::testing::Types<CudaBackend<double>, CudaBackend<float>>;
TYPED_TEST_SUITE(CudaTest, CudaBackends, BackendName);

TYPED_TEST(CudaTest, UploadInPiecesWhileTheSourceChanges) {
  std::vector<uint8_t> bytes((size_t{20} << 20) + 3), expected(bytes.size());
  Array<uint8_t> there(*this->ops, bytes.size());
  for (uint8_t turn = 1; turn <= 3; ++turn) {
    for (size_t k = 0; k < bytes.size(); ++k) bytes[k] = static_cast<uint8_t>(k * 31 / 7 + turn);
    expected = bytes;
    there.upload(bytes);
    std::fill(bytes.begin(), bytes.end(), uint8_t{0});
    EXPECT_EQ(there.host(), expected);
  }
}

/// The first call does the work, the second records it, the later ones replay the record: each
/// counts once, also when memory of the record was released and another model stands under the same
/// key.
TYPED_TEST(CudaTest, ReplayDoesTheWorkOnceACall) {
  using T = typename TypeParam::Real;
  Random random(1);
  for (size_t n : {size_t{5}, size_t{2000}}) {
    const size_t in = 70, out = 33;
    const auto x = this->device(random.numbers<T>(n * in));
    const auto W = this->device(random.numbers<T>(in * out));
    const auto b = this->device(random.numbers<T>(out));
    const auto rows = this->device(random.padded_rows(n, n));
    auto y = this->garbage(n * out);
    Array<uint32_t> step(*this->ops, 1);
    Array<double> loss(*this->ops, 2);
    const auto work = [&] {
      this->ops->advance(step.data());
      this->ops->linear_forward(y.data(), x.data(), rows.data(), W.data(), b.data(), n, in, out);
      this->ops->norm_forward(loss.data(), loss.data() + 1, y.data(), 1.0, n * out);
    };
    for (uint32_t turn = 1; turn <= 5; ++turn) {
      this->ops->zero(y.data(), n * out * sizeof(T));
      this->ops->replay(7, work);
      EXPECT_EQ(step.host(), std::vector<uint32_t>{turn});
      EXPECT_DOUBLE_EQ(loss.host()[0], turn * loss.host()[1]);
      EXPECT_GT(loss.host()[1], 0.0);
    }
  }
}

TYPED_TEST(CudaTest, OutOfMemorySaysWhereAndHowMuchWasAskedFor) {
  const size_t too_much = size_t{1} << 50;
  const auto expect = [](const std::function<void()>& call, const std::string& what) {
    try {
      call();
      ADD_FAILURE() << what;
    } catch (const Error& e) {
      EXPECT_TRUE(std::regex_match(e.what(), std::regex(
          R"(CUDA: out of memory \(cudaErrorMemoryAllocation\) at runtime\.cu:\d+: )" + what +
          "; out of memory: \\d+ MiB of the GPU's \\d+ MiB are free; "
          "--features frozen, fewer --modalities or a smaller --batch needs less"))) << e.what();
    }
  };
  expect([&] { this->ops->allocate(too_much); }, "cudaMalloc of 1073741824 MiB");
  expect([&] { this->ops->allocate_table(too_much); },
         "cudaHostAlloc of 1073741824 MiB for features too large for the GPU");
}

/// A warp keeps a row of 1024 numbers in its registers, no more.
TYPED_TEST(CudaTest, CosinesOfWiderRowsAreRefused) {
  const auto cosines = [&](size_t d) {
    this->ops->cosine_loss(nullptr, nullptr, nullptr, {nullptr, nullptr, 1}, {0, nullptr, nullptr},
                           1.0, d);
  };
  EXPECT_NO_THROW(cosines(1024));
  EXPECT_THROW(cosines(1025), Error);
}

/// TF32 keeps 11 bits of each factor, where it is asked for and there.
TEST(CudaTf32, RoundsTheFactors) {
  std::string why;
  if (!cuda_works(why)) GTEST_SKIP() << why;
  const auto ops = make_cuda_ops<float>(true), exact = make_cuda_ops<float>(false);
  Random random(8);
  constexpr size_t n = 300, in = 700, out = 64;
  const auto x = random.numbers<float>(n * in), W = random.numbers<float>(in * out);
  const auto b = random.numbers<float>(out);
  std::vector<Sum> expected(n * out);
  for (size_t r = 0; r < n; ++r)
    for (size_t k = 0; k < out; ++k) {
      expected[r * out + k] += static_cast<double>(b[k]);
      for (size_t j = 0; j < in; ++j)
        expected[r * out + k] += static_cast<double>(x[r * in + j]) *
                                 static_cast<double>(W[j * out + k]);
    }
  const auto errors_of = [&](Ops<float>& of) {
    const Array<float> on_x(of, x), on_W(of, W), on_b(of, b);
    Array<float> y(of, n * out);
    of.linear_forward(y.data(), on_x.data(), nullptr, on_W.data(), on_b.data(), n, in, out);
    return in_roundings(y.host(), expected, in).error;
  };
  EXPECT_LE(errors_of(*exact), 1);
  const double in_tf32 = std::ldexp(1.0, 24 - 11);  // of TF32's rounding in float32's
  EXPECT_LE(errors_of(*ops), 2 * in_tf32);
}

/// Parts beside a step are branches of its record; a batch that is loaded beside stays out of it.
TYPED_TEST(CudaTest, WorkBesideAStepIsRecordedWithIt) {
  using T = typename TypeParam::Real;
  Random random(4);
  const size_t n = 3000, d = 64;
  const auto x = random.numbers<T>(n * d);
  const auto on_x = this->device(x);
  auto y = this->garbage(n * d), z = this->garbage(n * d), late = this->garbage(n * d);
  Array<double> sums(*this->ops, 4);  // loss and norm of y, of z
  const auto work = [&] {
    this->ops->norm_backward(y.data(), sums.data() + 3, on_x.data(), 1.0, n * d);  // y = x / |x|
    this->ops->beside(part_of_step, [&] {
      this->ops->norm_forward(sums.data(), sums.data() + 1, y.data(), 1.0, n * d);
    });
    this->ops->norm_backward(z.data(), sums.data() + 3, on_x.data(), 2.0, n * d);
    this->ops->join(part_of_step);
    this->ops->norm_backward(y.data(), sums.data() + 1, z.data(), 1.0, n * d);
  };
  for (int turn = 1; turn <= 5; ++turn) {
    const auto loaded = random.numbers<T>(n * d);
    this->ops->norm_forward(sums.data() + 2, sums.data() + 3, on_x.data(), 1.0, n * d);
    this->ops->beside(0, [&] { this->ops->upload(late.data(), loaded.data(), n * d * sizeof(T)); });
    this->ops->replay(1, work);
    this->ops->join(0);
    EXPECT_EQ(late.host(), loaded);
    const auto at = sums.host();
    EXPECT_TRUE(std::abs(at[1] - 1) <= rounding<T>(n * d)) << at[1];
    EXPECT_TRUE(std::abs(at[0] - turn * at[1]) <= 1e-14 * turn) << at[0];
    std::vector<Sum> expected(n * d);  // 2 x / |x|, over |x / |x||
    for (size_t k = 0; k < n * d; ++k)
      expected[k] += 2 * static_cast<double>(x[k]) / at[3] / at[1];
    EXPECT_SUMS(y, expected, 4);
  }
}

TYPED_TEST(CudaTest, ARecordRefusesWhatItCannotRepeat) {
  Array<uint32_t> step(*this->ops, 1);
  int call = 0;
  const auto work = [&] {
    this->ops->advance(step.data());
    if (++call == 2) Array<uint32_t>(*this->ops, 1);
  };
  this->ops->replay(1, work);
  EXPECT_THROW(this->ops->replay(1, work), Error);
  this->ops->replay(1, work);  // the failed record left nothing behind
  EXPECT_EQ(step.host(), std::vector<uint32_t>{2});
}

/// Dozens of keys more than are kept, in turns: none is mixed up; the least recently used make
/// room, so that the key of every second call is recorded once.
TYPED_TEST(CudaTest, ManyKeys) {
  std::vector<Array<uint32_t>> steps;
  for (size_t k = 0; k < 100; ++k) steps.emplace_back(*this->ops, 1);
  int recorded = 0;  // key 0
  for (uint32_t turn = 1; turn <= 4; ++turn)
    for (size_t k = 0; k < steps.size(); ++k) {
      this->ops->replay(k, [&] { this->ops->advance(steps[k].data()); });
      this->ops->replay(0, [&] {
        this->ops->advance(steps[0].data());
        ++recorded;
      });
    }
  EXPECT_EQ(recorded, 1);
  for (size_t k = 1; k < steps.size(); ++k) EXPECT_EQ(steps[k].host()[0], 4u) << k;
  EXPECT_EQ(steps[0].host()[0], 404u);
}

/// Rows of no neighbour, of whole batches (8) and of one more, of 64, and of more, which a block's
/// warps share.
TYPED_TEST(CudaTest, CusparseAgreesWithTheRowKernel) {
  using T = typename TypeParam::Real;
  Random random(2);
  const auto cusparse = make_cuda_ops<T>(false, true);
  constexpr int32_t users = 3000, items = 100, degrees[] = {2900, 257, 65, 64, 9, 8, 0, 1};
  std::vector<Interaction> full;
  for (int32_t i = 0; i < 8; ++i)
    for (int32_t u = 0; u < degrees[i]; ++u) full.push_back({u, i});
  for (size_t k = 0; k < 2000; ++k) full.push_back({random.below(2000), 8 + random.below(80)});
  for (const auto& train : {std::vector<Interaction>(), full})
    for (size_t d : {1, 31, 64, 100, 128, 132}) {
      const auto graph = make_graph<T>(*this->ops, users, items, train);
      const auto there = make_graph<T>(*cusparse, users, items, train);
      const size_t n = (users + items) * d;
      const auto x = random.numbers<T>(n), z = random.numbers<T>(n);
      const auto x1 = this->device(x), z1 = this->device(z);
      const Array<T> x2(*cusparse, x), z2(*cusparse, z);
      auto y1 = this->garbage(n);
      Array<T> y2(*cusparse, std::vector<T>(n, std::numeric_limits<T>::quiet_NaN()));
      for (T a : {T(0), T(0.7)}) {
        this->ops->propagate(y1.data(), x1.data(), z1.data(), a, T(2), T(-3), graph, d);
        cusparse->propagate(y2.data(), x2.data(), z2.data(), a, T(2), T(-3), there, d);
        const Agreement agreement = compare(y1.host(), y2.host(), 0.0);
        EXPECT_TRUE(agreement.within(rounding<T>(3000))) << d << ": " << agreement;
      }
    }
}

#else

TEST(CudaLaunch, NeedsABuildWithCuda) { GTEST_SKIP() << "nvcc was not found when this was built"; }

#endif

}  // namespace
}  // namespace bm3::test
