// The cosine loss [Eq. 8] in one pass over rows: view, norms, dot product, gradient.
#include "ops/cuda/cuda_ops.h"

namespace bm3 {
namespace {

using namespace cuda;

constexpr unsigned row_lanes = 16;  // share a row of a cosine, four neighbouring columns each
constexpr unsigned rows_of_block = block_threads / row_lanes;

/// Calls body(i, c) for the first number i of each four neighbours that a lane has of a row of d,
/// at the columns c.
template <unsigned columns, class Body>
__device__ void for_fours(size_t d, const Body& body) {
#pragma unroll
  for (unsigned i = 0; i < columns; i += 4)
    if (const size_t c = i * row_lanes + threadIdx.x % row_lanes * 4; c < d) body(i, c);
}
/// The lane's columns of a row of d numbers, in vectors if `width` is more than 1; `to` keeps what
/// lies beyond its end.
template <int width, unsigned columns, class E>
__device__ void load_fours(E (&to)[columns], const E* row, size_t d) {
  for_fours<columns>(d, [&](unsigned i, size_t c) {
    for (unsigned k = 0; k < 4; k += width)
      if (width > 1 || c + k < d) vector_at<width>(to + i + k) = vector_at<width>(row + c + k);
  });
}
template <int width, unsigned columns, class E>
__device__ void store_fours(E* row, const E (&from)[columns], size_t d) {
  for_fours<columns>(d, [&](unsigned i, size_t c) {
    for (unsigned k = 0; k < 4; k += width)
      if (width > 1 || c + k < d) vector_at<width>(row + c + k) = vector_at<width>(from + i + k);
  });
}

/// A call of cosine_loss.
template <class T>
struct Cosine {
  double* loss;  // a warp of the launch adds to the part of its number
  Matrix<T> d_a;
  Matrix<const T> a;
  View<T> b;
  Pairs pairs;
  double mean;
  T scale;
  unsigned lane = 0;  // that adds to the loss
};
static_assert(Calls<Cosine<double>>::most <= row_lanes, "a lane has a call's sum");
constexpr unsigned most_blocks_of_launch = loss_parts / warps_of_block;

/// Adds the gradient of row r's pairs to d_a_r and returns the sum of their 1 + C, the same in the
/// row's lanes: view, norms, dot product. All lanes of a warp take part; those without a row (r =
/// -1) have no pairs.
template <int width, unsigned columns, class T>
__device__ double add_cosines(T (&d_a_r)[columns], const T (&a_r)[columns], const Cosine<T>& call,
                              int64_t r) {
  const size_t d = call.a.cols;
  const int32_t* const target = call.pairs.target;
  const int32_t begin = r < 0 ? 0 : call.pairs.begin[r], all = r < 0 ? 0 : call.pairs.begin[r + 1];
  // Without targets the pairs of a row are all the same one: count it once, that many times.
  const int32_t end = target ? all : min(all, begin + 1);
  const T times = target ? T(1) : static_cast<T>(all - begin);
  T squares[1] = {};
  for (unsigned i = 0; i < columns; ++i) squares[0] += a_r[i] * a_r[i];
  const T aa = group_sums<row_lanes>(squares);
  double sum = 0;
  /// Adds `n` pairs, or up to the end: their rows are loaded at once, their sums cross the lanes at
  /// once, and each one's cosine is a lane's.
  const auto add = [&](auto n, int32_t first) {
    constexpr int32_t at_once = decltype(n)::value;
    T b[at_once][columns] = {}, sums[2 * at_once] = {};  // a.b and b.b of each pair
    uint8_t mask[at_once][columns] = {};
#pragma unroll
    for (int32_t k = 0; k < at_once; ++k) {
      if (first + k >= end) continue;
      const size_t at = d * static_cast<size_t>(target ? target[first + k] : r);
      load_fours<width>(b[k], call.b.h.at + at, d);
      load_fours<width>(mask[k], call.b.mask + at, d);
    }
#pragma unroll
    for (int32_t k = 0; k < at_once; ++k)
      for (unsigned i = 0; i < columns; ++i) {
        b[k][i] = view_entry(b[k][i], mask[k][i], call.b.kept);
        sums[2 * k] += a_r[i] * b[k][i];
        sums[2 * k + 1] += b[k][i] * b[k][i];
      }
    const T own = group_sums<row_lanes>(sums), other = __shfl_xor_sync(full_warp, own, 1);
    const bool has_ab = threadIdx.x % 2 == 0;
    const T ab = has_ab ? own : other, bb = has_ab ? other : own;
    const T cosine = cosine_forward(ab, aa, bb);
    T on_b, on_a;
    cosine_backward(on_b, on_a, ab, aa, bb);
    on_b *= times * call.scale;
    on_a *= times * call.scale;
#pragma unroll
    for (int32_t k = 0; k < at_once; ++k) {
      const auto of_pair = [&](T x) { return __shfl_sync(full_warp, x, 2 * k, row_lanes); };
      const T c = of_pair(cosine), of_b = of_pair(on_b), of_a = of_pair(on_a);
      if (first + k >= end) continue;
      sum += static_cast<double>(times) * (1.0 + static_cast<double>(c));
      for (unsigned i = 0; i < columns; ++i) d_a_r[i] += of_b * b[k][i] + of_a * a_r[i];
    }
  };
  constexpr int32_t many = columns <= 4 ? 4 : 1;  // for a popular row
  int32_t first = begin;
  for (; __any_sync(full_warp, first + 1 < end); first += many)
    add(std::integral_constant<int32_t, many>(), first);
  if (__any_sync(full_warp, first < end)) add(std::integral_constant<int32_t, 1>(), first);
  return sum;
}

/// 16 lanes a row, which take the calls on these rows one after the other; a_r and d_a_r stay in
/// registers.
template <int width, unsigned columns, class T>
__global__ void __launch_bounds__(block_threads, sizeof(T) == 4 && columns <= 4 ? 4 : 1)
    cosine_losses_kernel(Calls<Cosine<T>> all) {
  const unsigned lane = threadIdx.x % row_lanes;
  const unsigned first = all.own();
  const auto [first_block, blocks] = all.blocks[first];
  const Cosine<T>& of = all.at[first];
  const size_t d = of.a.cols, rows = size_t{blocks} * rows_of_block;
  size_t block_row = size_t{blockIdx.x - first_block} * rows_of_block;
  double sum = 0, *part = nullptr;  // of the calls whose lane this is, and where it goes
  for (; block_row < of.pairs.n; block_row += rows) {
    const size_t own = block_row + threadIdx.x / row_lanes;
    const int64_t r = own < of.pairs.n ? static_cast<int64_t>(own) : -1;
    T a_r[columns] = {}, d_a_r[columns] = {};
    if (r >= 0) load_fours<width>(a_r, of.a.row(own), d);
    if (r >= 0) load_fours<width>(d_a_r, of.d_a.row(own), d);
    for (unsigned k = first; k < all.n; ++k) {
      if (all.blocks[k].first != first_block) continue;
      const double more = all.at[k].mean * add_cosines<width, columns>(d_a_r, a_r, all.at[k], r);
      if (lane != all.at[k].lane) continue;
      sum += more;
      part = all.at[k].loss + grid_warp();
    }
    if (r >= 0) store_fours<width>(of.d_a.row(own), d_a_r, d);
  }
  sum += __shfl_xor_sync(full_warp, sum, row_lanes);  // the warp's other row
  if (part && threadIdx.x % warp < row_lanes) *part += sum;
}
static_assert(warp == 2 * row_lanes);

/// Losses that are added up one after another become one launch. What one of them reads, no other
/// may write there: calls on the same rows of d_a and a take turns, others run side by side.
template <class T>
class WaitingCosines final : public Waiting {
 public:
  bool takes(const Cosine<T>& call) const {
    for (unsigned k = 0; k < all_.n; ++k) {
      const Cosine<T>& other = all_.at[k];
      if (writes_for(call, other) || writes_for(other, call) ||
          (!take_turns(call, other) && conflict(spans_of(call.d_a), spans_of(other.d_a))))
        return false;
    }
    return all_.n < all_.most && call.a.cols == all_.at[0].a.cols &&
           all_.n_blocks + blocks_for(call) <= most_blocks_of_launch;
  }
  void add(Cosine<T> call) {
    Blocks blocks{all_.n_blocks, blocks_for(call)};
    call.lane = all_.n;
    for (unsigned k = all_.n; k-- > 0;)
      if (take_turns(call, all_.at[k])) {
        blocks = all_.blocks[k];
        if (call.loss == all_.at[k].loss) call.lane = all_.at[k].lane;
      }
    all_.add(call, blocks);
  }
  void launch(cudaStream_t stream) const override {
    const size_t d = all_.at[0].a.cols;
    bool wide = d % 4 == 0;
    for (unsigned k = 0; k < all_.n; ++k)
      for (const void* at : {static_cast<const void*>(all_.at[k].d_a.at),
                             static_cast<const void*>(all_.at[k].a.at),
                             static_cast<const void*>(all_.at[k].b.h.at),
                             static_cast<const void*>(all_.at[k].b.mask)})
        wide = wide && is_aligned(at);
    by_columns(d, [&](auto columns) {
      constexpr unsigned of_lane = columns * warp / row_lanes;
      cuda::launch(stream, all_.n_blocks, block_threads,
                   wide ? cosine_losses_kernel<widest<T>, of_lane, T>
                        : cosine_losses_kernel<1, of_lane, T>,
                   all_);
    });
  }

 private:
  static unsigned blocks_for(const Cosine<T>& call) {
    return std::clamp(blocks_of(call.pairs.n, rows_of_block), 1u, most_blocks_of_launch);
  }
  static bool take_turns(const Cosine<T>& x, const Cosine<T>& y) {
    return x.d_a.at == y.d_a.at && x.a.at == y.a.at && x.pairs.n == y.pairs.n;
  }
  static bool writes_for(const Cosine<T>& x, const Cosine<T>& y) {
    return conflict(spans_of(x.d_a), spans_of(y.a, y.b.h));
  }
  Calls<Cosine<T>> all_;
};

}  // namespace

// loss = mean * sum over pairs of 1 + C(a, b);  d_a += weight * mean * (on_b b + on_a a)
template <class T>
void CudaOps<T>::cosine_loss(double* loss, Matrix<T> d_a, ConstMatrix<T> a, const View<T>& b,
                             const Pairs& pairs, double mean, double weight) {
  shapes::cosine(d_a, a, b, pairs);
  refuse_wide("cosines", a.cols);
  const Matrix<double> parts{loss, 1, loss_parts};
  const T scale = static_cast<T>(weight * mean);
  this->template put_off<WaitingCosines<T>>(Cosine<T>{loss, d_a, a, b, pairs, mean, scale, 0},
                                            parts, d_a, a, b);
}

template class CudaOps<float>;
template class CudaOps<double>;

}  // namespace bm3
