// What the operations' own tests do not see of the CUDA backend: replayed steps, work on two
// streams, refused sizes and TF32.
#include <regex>

#include "backends.h"
#include "compare.h"
#include "random_inputs.h"
#include "scratch.h"

namespace bm3::test {
namespace {

#ifdef BM3_CUDA

template <class Backend>
class CudaTest : public OnBackend<Backend> {};
using CudaBackends = ::testing::Types<CudaBackend<double>, CudaBackend<float>>;
TYPED_TEST_SUITE(CudaTest, CudaBackends, BackendName);

/// A suite of its own, which `make sanitize-gpu` leaves out: it reports a refused allocation.
template <class Backend>
class CudaOutOfMemoryTest : public OnBackend<Backend> {};
TYPED_TEST_SUITE(CudaOutOfMemoryTest, CudaBackends, BackendName);

TYPED_TEST(CudaOutOfMemoryTest, SaysWhereAndHowMuchWasAskedFor) {
  const size_t before = this->ops->allocated();
  const std::string words = error_of([&] { this->ops->allocate(size_t{1} << 50); });
  EXPECT_TRUE(std::regex_match(words, std::regex(
      R"(CUDA: out of memory \(cudaErrorMemoryAllocation\) at runtime\.cu:\d+: )"
      "cudaMalloc of 1073741824 MiB; out of memory: \\d+ MiB of the GPU's \\d+ MiB are free; "
      "a smaller data set, --batch or --dim needs less"))) << words;
  EXPECT_EQ(this->ops->allocated(), before);
}

/// A warp keeps a row of 1024 numbers, which the losses' own tests take, in its registers, no more.
TYPED_TEST(CudaTest, LossesOfWiderRowsAreRefused) {
  using T = typename TypeParam::Real;
  const auto begin = this->device(std::vector<int32_t>{0});
  Array<double> loss(*this->ops, loss_parts);
  const Matrix<T> none{nullptr, 0, 1025}, one{nullptr, 0, 1};
  const Pairs pairs{0, begin.data(), begin.data()};
  EXPECT_THROW(
      this->ops->cosine_loss(loss.data(), none, none, {none, nullptr, 1}, pairs, 1.0, 1.0), Error);
  EXPECT_THROW(this->ops->pair_loss(loss.data(), one, one, none, none, none,
                                    {pairs, begin.data()}, PairForm::plain, 1.0, 1.0), Error);
}

/// With the exact `ops` beside those by TF32.
using CudaTf32 = OnBackend<CudaBackend<float>>;

/// TF32 keeps 11 bits of each factor, where it is asked for and there.
TEST_F(CudaTf32, RoundsTheFactors) {
  const auto tf32 = make_cuda_ops<float>(true);
  Random random(8);
  constexpr size_t n = 300, in = 700, out = 64;
  const auto x = random.numbers<float>(n * in), W = random.numbers<float>(in * out);
  const auto b = random.numbers<float>(out);
  std::vector<Sum> expected(n * out);
  for (size_t r = 0; r < n; ++r)
    for (size_t k = 0; k < out; ++k) {
      expected[r * out + k] += b[k];
      for (size_t j = 0; j < in; ++j)
        expected[r * out + k] += double{x[r * in + j]} * W[j * out + k];
    }
  const auto errors_of = [&](Ops<float>& of) {
    const Array<float> on_x(of, x), on_W(of, W), on_b(of, b);
    Array<float> y(of, n * out);
    of.linear_forward(y.matrix(n, out), on_x.matrix(n, in), {nullptr, n}, on_W.matrix(in, out),
                      on_b.matrix(1, out));
    return in_roundings(y.host(), expected, in).error;
  };
  EXPECT_LE(errors_of(*ops), 1);
  const double in_tf32 = std::ldexp(1.0, 24 - 11);  // of TF32's rounding in float32's
  EXPECT_LE(errors_of(*tf32), 2 * in_tf32);
}

/// cuBLAS has the stream from its handle: its product comes after the cosine that waits there.
TEST_F(CudaTf32, ProductsComeAfterWhatWaits) {
  const auto tf32 = make_cuda_ops<float>(true);
  const Array<float> a(*tf32, {1, 0}), h(*tf32, {0, 1}), W(*tf32, {1, 1});
  const Array<uint8_t> mask(*tf32, {1, 1});
  const Array<int32_t> begin(*tf32, {0, 1});
  Array<float> d_a(*tf32, 2), y(*tf32, 1);
  Array<double> loss(*tf32, loss_parts);
  tf32->cosine_loss(loss.data(), d_a.matrix(1, 2), a.matrix(1, 2),
                   View<float>{h.matrix(1, 2), mask.data(), 1}, {1, begin.data()}, 1, 1);
  tf32->linear_forward(y.matrix(1, 1), d_a.matrix(1, 2), {nullptr, 1}, W.matrix(2, 1), {});
  EXPECT_EQ(y.host(), std::vector<float>{-1});  // -h W: a and h are at right angles
}

/// Numbers that go up by 1.
template <class T>
class Counters {
 public:
  Counters(Ops<T>& ops, size_t n) : ops_(ops), one_(ops, std::vector<T>{1}), values_(ops, n) {}
  void advance(size_t k) {
    ops_.add(Matrix<T>{values_.data() + k, 1, 1}, 1, one_.matrix(1, 1), 1);
  }
  std::vector<T> host() const { return values_.host(); }

 private:
  Ops<T>& ops_;
  const Array<T> one_;
  Array<T> values_;
};

TYPED_TEST(CudaTest, MoreRunsSideBySideThanThereAreStreams) {
  using T = typename TypeParam::Real;
  constexpr size_t n = 20;
  Counters<T> counters(*this->ops, n);
  for (int turn = 1; turn <= 4; ++turn) {
    this->ops->replay(1, [&] {
      for (size_t k = 0; k < 3 * n; ++k) counters.advance(7 * k % n);
    });
    EXPECT_EQ(counters.host(), std::vector<T>(n, T(3 * turn)));
  }
}

TYPED_TEST(CudaTest, ARecordRefusesWhatItCannotRepeat) {
  Counters<typename TypeParam::Real> counters(*this->ops, 3);
  int call = 0;
  const auto work = [&] {
    counters.advance(0);
    counters.advance(1);
    if (++call == 2) Array<uint32_t>(*this->ops, 1);
    counters.advance(2);
  };
  this->ops->replay(1, work);
  EXPECT_THROW(this->ops->replay(1, work), Error);
  this->ops->replay(1, work);  // the failed record left nothing behind
  EXPECT_EQ(counters.host(), std::vector<typename TypeParam::Real>(3, 2));
}

/// A replay begins with what the last upload brings, wherever that belongs and whatever else is
/// done: no upload, two, an operation between, more than a slot holds, a record that fails.
TYPED_TEST(CudaTest, ReplaysReadTheLastUpload) {
  using T = typename TypeParam::Real;
  constexpr size_t n = 1001, most = 300000;
  Array<T> from(*this->ops, 1 + most), sum(*this->ops, n);
  const auto to = sum.matrix(1, n), last = Matrix<T>{from.data() + 1, 1, n};
  const auto add = [&] { this->ops->add(to, 1, last, 1); };
  T expected = 0, arrived = 0;
  const auto bring = [&](T value, size_t size) {
    arrived = value;
    this->ops->upload(last.at, std::vector<T>(size, value).data(), size * sizeof(T));
  };
  for (int turn = 0; turn < 30; ++turn) {
    const T value = T(turn);
    if (turn % 6 != 1) bring(value, turn % 6 == 5 ? most : n);
    if (turn % 6 == 2) bring(value + 100, n);
    if (turn % 6 == 3) {
      add();
      expected += arrived;
    }
    if (turn == 10) {
      this->ops->replay(2, add);
      expected += arrived;
      bring(value + 1, n);
      EXPECT_THROW(this->ops->replay(2, [] { throw Error("not now"); }), Error);
    }
    this->ops->replay(1, add);
    expected += arrived;
    if (turn < 12) {  // later more uploads are under way than there are slots
      EXPECT_EQ(sum.host(), std::vector<T>(n, expected)) << turn;
    }
  }
  EXPECT_EQ(sum.host(), std::vector<T>(n, expected));
}

/// Masks that wait read it, too, when a cosine that waits needs them.
TYPED_TEST(CudaTest, MasksThatWaitReadTheLastUpload) {
  using T = typename TypeParam::Real;
  constexpr size_t n = 64;
  const Array<T> h(*this->ops, std::vector<T>(n, 1));
  const Array<int32_t> begin(*this->ops, {0, 1});
  Array<T> d_a(*this->ops, n);
  Array<uint8_t> mask(*this->ops, n);
  Array<uint32_t> step(*this->ops, 1);
  Array<double> loss(*this->ops, loss_parts);
  const auto mask_of = [&](uint32_t t, bool with_cosine) {
    this->ops->upload(step.data(), &t, sizeof t);
    this->ops->draw_mask(mask.matrix(1, n), {nullptr, 1}, 0.5, {1, 2, step.data()});
    if (with_cosine)
      this->ops->cosine_loss(loss.data(), d_a.matrix(1, n), h.matrix(1, n),
                             View<T>{h.matrix(1, n), mask.data(), 1}, {1, begin.data()}, 1, 1);
    return mask.host();
  };
  const auto first = mask_of(1, false), second = mask_of(2, false);
  EXPECT_NE(first, second);
  EXPECT_EQ(mask_of(1, true), first);
  EXPECT_EQ(mask_of(2, true), second);
}

/// Dozens of keys more than are kept, in turns: none is mixed up; the least recently used make
/// room, so that the key of every second call is recorded once.
TYPED_TEST(CudaTest, ManyKeys) {
  constexpr size_t n = 100;
  Counters<typename TypeParam::Real> counters(*this->ops, n);
  int recorded = 0;  // key 0
  for (int turn = 1; turn <= 4; ++turn)
    for (size_t k = 0; k < n; ++k) {
      this->ops->replay(k, [&] { counters.advance(k); });
      this->ops->replay(0, [&] {
        counters.advance(0);
        ++recorded;
      });
    }
  EXPECT_EQ(recorded, 1);
  const auto values = counters.host();
  for (size_t k = 1; k < n; ++k) EXPECT_EQ(values[k], 4) << k;
  EXPECT_EQ(values[0], 404);
}

#endif

}  // namespace
}  // namespace bm3::test
