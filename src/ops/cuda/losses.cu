// The losses' one pass over rows: cosine [Eq. 8], pair loss (BPR) and regulariser [Eq. 12].
#include "ops/cuda/cuda_ops.h"

namespace bm3 {
namespace {

using namespace cuda;

constexpr unsigned widest_row = 1024;  // that a warp's registers hold

/// The lane's columns of a row of d numbers, 0 beyond its end.
template <unsigned columns, class E>
__device__ void load_columns(E (&to)[columns], const E* row, size_t d) {
  for (unsigned i = 0; i < columns; ++i) {
    const size_t c = threadIdx.x % warp + i * warp;
    to[i] = c < d ? row[c] : E(0);
  }
}
template <unsigned columns, class E>
__device__ void store_columns(E* row, const E (&from)[columns], size_t d) {
  for (unsigned i = 0; i < columns; ++i) {
    const size_t c = threadIdx.x % warp + i * warp;
    if (c < d) row[c] = from[i];
  }
}

constexpr unsigned row_lanes = 16;  // share a row of a cosine, four neighbouring columns each
constexpr unsigned rows_of_block = block_threads / row_lanes;

/// Returns the sum over the lanes that share a row, to the same bits in each of them.
template <class T>
__device__ T row_sum(T x) {
  for (unsigned other = row_lanes / 2; other > 0; other /= 2)
    x += __shfl_xor_sync(full_warp, x, other);
  return x;
}
/// Calls body(i, c) for the first number i of each four neighbours that a lane has of a row of d,
/// at the columns c.
template <unsigned columns, class Body>
__device__ void for_fours(size_t d, const Body& body) {
#pragma unroll
  for (unsigned i = 0; i < columns; i += 4)
    if (const size_t c = i * row_lanes + threadIdx.x % row_lanes * 4; c < d) body(i, c);
}
/// The lane's columns of a row of d numbers, in vectors if `width` is 4; as they are beyond its end.
template <int width, unsigned columns, class E>
__device__ void load_fours(E (&to)[columns], const E* row, size_t d) {
  for_fours<columns>(d, [&](unsigned i, size_t c) {
    for (unsigned k = 0; k < 4; k += width)
      if (width == 4 || c + k < d) vector_at<width>(to + i + k) = vector_at<width>(row + c + k);
  });
}
template <int width, unsigned columns, class E>
__device__ void store_fours(E* row, const E (&from)[columns], size_t d) {
  for_fours<columns>(d, [&](unsigned i, size_t c) {
    for (unsigned k = 0; k < 4; k += width)
      if (width == 4 || c + k < d) vector_at<width>(row + c + k) = vector_at<width>(from + i + k);
  });
}

/// A call of cosine_loss.
template <class T>
struct Cosine {
  double* loss;
  Matrix<T> d_a;
  Matrix<const T> a;
  View<T> b;
  Pairs pairs;
  double mean;
  T scale;
  double* partial;
  Blocks blocks;  // calls on the same rows have the same
};
static_assert(Calls<Cosine<double>>::most == warps_of_block, "a warp adds up a call's sums");
static_assert(Calls<Cosine<double>>::most <= row_lanes, "a lane has a call's sum");
static_assert(warps_of_block * sum_blocks <= most_partial_sums);

/// Adds the gradient of row r's pairs to d_a_r and returns the sum of their 1 + C, the same in the
/// row's lanes: view, norms, dot product. `at_once` pairs are loaded together, since a popular row
/// has many. All lanes of a warp take part; those without a row (r = -1) have no pairs.
template <int width, unsigned columns, class T>
__device__ double add_cosines(T (&d_a_r)[columns], const T (&a_r)[columns], const Cosine<T>& call,
                              int64_t r) {
  constexpr int32_t at_once = columns <= 4 ? 4 : 1;
  const size_t d = call.a.cols;
  const int32_t* const target = call.pairs.target;
  const int32_t begin = r < 0 ? 0 : call.pairs.begin[r], all = r < 0 ? 0 : call.pairs.begin[r + 1];
  // Without targets the pairs of a row are all the same one: count it once, that many times.
  const int32_t end = target ? all : min(all, begin + 1);
  const T times = target ? T(1) : static_cast<T>(all - begin);
  T aa = 0;
  for (unsigned i = 0; i < columns; ++i) aa += a_r[i] * a_r[i];
  aa = row_sum(aa);
  double sum = 0;
  for (int32_t first = begin; __any_sync(full_warp, first < end); first += at_once) {
    T b[at_once][columns] = {};
    uint8_t mask[at_once][columns] = {};
#pragma unroll
    for (int32_t k = 0; k < at_once; ++k) {
      if (first + k >= end) continue;
      const size_t at = d * static_cast<size_t>(target ? target[first + k] : r);
      load_fours<width>(b[k], call.b.h.at + at, d);
      load_fours<width>(mask[k], call.b.mask + at, d);
    }
#pragma unroll
    for (int32_t k = 0; k < at_once; ++k) {
      if (!__any_sync(full_warp, first + k < end)) break;
      T ab = 0, bb = 0, on_b, on_a;
      for (unsigned i = 0; i < columns; ++i) {
        b[k][i] = view_entry(b[k][i], mask[k][i], call.b.kept);
        ab += a_r[i] * b[k][i];
        bb += b[k][i] * b[k][i];
      }
      ab = row_sum(ab);
      bb = row_sum(bb);
      if (first + k >= end) continue;
      sum += static_cast<double>(times) * (1.0 + static_cast<double>(cosine_forward(ab, aa, bb)));
      cosine_backward(on_b, on_a, ab, aa, bb);
      on_b *= times * call.scale;
      on_a *= times * call.scale;
      for (unsigned i = 0; i < columns; ++i) d_a_r[i] += on_b * b[k][i] + on_a * a_r[i];
    }
  }
  return sum;
}

/// Adds mean times each call's sum over its blocks to its loss, in the order of the calls: one
/// thread a loss. Lanes that read parameters at different places would take turns.
template <class T>
__device__ void add_losses(const Calls<Cosine<T>>& all, const double* partial) {
  __shared__ double sums[warps_of_block];
  __shared__ double* losses[warps_of_block];
  const unsigned own = threadIdx.x / warp, mine = threadIdx.x;
  if (own < all.n) {
    const Cosine<T>& call = all.at[own];
    const double sum =
        warp_sum(sum_of_parts(partial + own * sum_blocks, threadIdx.x % warp, call.blocks.n, warp));
    if (threadIdx.x % warp == 0) sums[own] = call.mean * sum;
    if (threadIdx.x % warp == 0) losses[own] = call.loss;
  }
  __syncthreads();
  if (mine >= all.n) return;
  for (unsigned k = 0; k < mine; ++k)
    if (losses[k] == losses[mine]) return;
  double total = *losses[mine];
  for (unsigned k = mine; k < all.n; ++k)
    if (losses[k] == losses[mine]) total += sums[k];
  *losses[mine] = total;
}

/// 16 lanes a row, which take the calls on these rows one after the other; a_r and d_a_r stay in
/// registers.
template <int width, unsigned columns, class T>
__global__ void __launch_bounds__(block_threads) cosine_losses_kernel(Calls<Cosine<T>> all) {
  const unsigned lane = threadIdx.x % row_lanes;
  unsigned first = 0;
  while (!all.at[first].blocks.has(blockIdx.x)) ++first;
  const Cosine<T> of = all.at[first];
  const size_t d = of.a.cols, rows = size_t{of.blocks.n} * rows_of_block;
  size_t block_row = size_t{blockIdx.x - of.blocks.first} * rows_of_block;
  double sum = 0;  // in lane k: of call k
  for (; block_row < of.pairs.n; block_row += rows) {
    const size_t own = block_row + threadIdx.x / row_lanes;
    const int64_t r = own < of.pairs.n ? static_cast<int64_t>(own) : -1;
    T a_r[columns] = {}, d_a_r[columns] = {};
    if (r >= 0) load_fours<width>(a_r, of.a.row(own), d);
    if (r >= 0) load_fours<width>(d_a_r, of.d_a.row(own), d);
    for (unsigned k = first; k < all.n; ++k) {
      if (all.at[k].blocks.first != of.blocks.first) continue;
      const double more = add_cosines<width, columns>(d_a_r, a_r, all.at[k], r);
      if (lane == k) sum += more;
    }
    if (r >= 0) store_fours<width>(of.d_a.row(own), d_a_r, d);
  }
  sum = sum_of_block(sum, row_lanes);
  for (unsigned k = first; k < all.n && threadIdx.x < warp; ++k) {
    const double of_call = __shfl_sync(full_warp, sum, k);
    if (threadIdx.x == 0 && all.at[k].blocks.first == of.blocks.first)
      of.partial[k * sum_blocks + blockIdx.x - of.blocks.first] = of_call;
  }
  if (last_block(of.partial)) add_losses(all, of.partial);
}

/// A warp a user's row, in registers likewise, with the items of the triple at hand.
template <unsigned columns, class T>
__global__ void pair_loss_kernel(double* loss, T* x, T* c, T* d_u, Matrix<const T> u,
                                 Matrix<const T> i, Triples triples, PairForm form, double mean,
                                 T factor, double* partial) {
  const size_t d = u.cols;
  const Pairs& pairs = triples.by_user;
  const bool first_lane = threadIdx.x % warp == 0;
  double sum = 0;
  for (size_t r = grid_warp(); r < pairs.n; r += grid_warps()) {
    const int32_t begin = pairs.begin[r], end = pairs.begin[r + 1];
    if (begin == end) continue;
    T u_r[columns], d_u_r[columns], i_p[columns], i_n[columns];  // items: of the next triple
    const auto load_items = [&](int32_t e) {
      load_columns(i_p, i.row(static_cast<size_t>(pairs.target[e])), d);
      load_columns(i_n, i.row(static_cast<size_t>(triples.negative[e])), d);
    };
    load_columns(u_r, u.row(r), d);
    load_columns(d_u_r, d_u + r * d, d);
    load_items(begin);
    for (int32_t e = begin; e < end; ++e) {
      T difference[columns], x_e = 0;
      for (unsigned k = 0; k < columns; ++k) {
        difference[k] = i_p[k] - i_n[k];
        x_e += u_r[k] * difference[k];
      }
      if (e + 1 < end) load_items(e + 1);  // under way while this triple is finished
      x_e = warp_sum(x_e);
      const T c_e = factor * pair_backward(x_e, form);
      for (unsigned k = 0; k < columns; ++k) d_u_r[k] += c_e * difference[k];
      if (!first_lane) continue;
      sum += static_cast<double>(pair_forward(x_e, form));
      x[e] = x_e;
      c[e] = c_e;
    }
    store_columns(d_u + r * d, d_u_r, d);
  }
  sum_over_grid(sum, 1, partial, [&](double total) { *loss += mean * total; });
}

/// *norm = |x|_F, and its loss, from the sum of squares.
__device__ void add_penalty(double* loss, double* norm, RegForm form, double mean, double squares) {
  *norm = sqrt(squares);
  *loss += mean * (form == RegForm::norm ? *norm : squares);
}

/// A warp a row; each lane sums its columns.
template <class T>
__global__ void penalty_of_pairs_kernel(double* loss, double* norm, Matrix<const T> x, Pairs pairs,
                                        RegForm form, double mean, double* partial) {
  double sum = 0;
  for (size_t r = grid_warp(); r < pairs.n; r += grid_warps()) {
    const int32_t times = pairs.begin[r + 1] - pairs.begin[r];
    if (times == 0) continue;
    T squares = 0;
    for (size_t c = threadIdx.x % warp; c < x.cols; c += warp) squares += x.row(r)[c] * x.row(r)[c];
    sum += times * static_cast<double>(squares);
  }
  sum_over_grid(sum, 1, partial,
                [&](double total) { add_penalty(loss, norm, form, mean, total); });
}

constexpr unsigned at_once = 4;  // a thread's vectors under way together

/// Every row once: n vectors.
template <int width, class T>
__global__ void penalty_kernel(double* loss, double* norm, const T* x, size_t n, RegForm form,
                               double mean, double* partial) {
  const size_t threads = size_t{gridDim.x} * block_threads;
  double sum = 0;
  for (size_t i = grid_thread(); i < n; i += at_once * threads) {
    Vector<T, width> v[at_once];
#pragma unroll
    for (unsigned k = 0; k < at_once; ++k) {
      const size_t at = i + k * threads;
      v[k] = at < n ? vector_at<width>(x + at * width) : Vector<T, width>{};
    }
#pragma unroll
    for (unsigned k = 0; k < at_once; ++k) {
      T squares = 0;
      for (int j = 0; j < width; ++j) squares += v[k].x[j] * v[k].x[j];
      sum += static_cast<double>(squares);
    }
  }
  sum_over_grid(sum, 1, partial,
                [&](double total) { add_penalty(loss, norm, form, mean, total); });
}

/// d_x += factor x for each of a row's pairs, or d_x = factor x; a thread `width` columns.
template <int width, class T>
__global__ void penalty_backward_kernel(Matrix<T> d_x, const double* norm, Matrix<const T> x,
                                        Pairs pairs, RegForm form, double scale, bool adds) {
  __shared__ T factor;  // a division in double is slow on many GPUs: one a block
  const size_t r = matrix_row(), c = matrix_column() * width;
  const bool within = r < x.rows && c < x.cols;
  Vector<T, width> gradient{}, sum{};
  if (within) gradient = vector_at<width>(x.row(r) + c);  // under way meanwhile
  if (within && adds) sum = vector_at<width>(d_x.row(r) + c);
  if (threadIdx.x == 0 && threadIdx.y == 0)
    factor = static_cast<T>(penalty_factor(form, scale, *norm));
  __syncthreads();
  if (!within) return;
  const int32_t times = pairs.begin ? pairs.begin[r + 1] - pairs.begin[r] : 1;
  const T of_row = factor * static_cast<T>(times);
  for (int k = 0; k < width; ++k) sum.x[k] += of_row * gradient.x[k];
  vector_at<width>(d_x.row(r) + c) = sum;
}

template <class T>
void launch_penalty_backward(cudaStream_t stream, Matrix<T> d_x, const double* norm,
                             Matrix<const T> x, const Pairs& pairs, RegForm form, double scale,
                             bool adds) {
  by_width<T>(x.cols, 1, {d_x.at, x.at}, [&](auto width) {
    launch_matrix(stream, x.rows, x.cols / width, penalty_backward_kernel<width, T>, d_x, norm, x,
                  pairs, form, scale, adds);
  });
}

/// Throws where rows of d numbers are wider than a warp's registers.
void refuse_wide(const char* what, size_t d) {
  if (d > widest_row)
    throw Error(std::string(what) + " of rows of " + std::to_string(d) +
                " numbers: a GPU takes up to " + std::to_string(widest_row) +
                "; take a smaller --dim or --device cpu");
}

/// Calls launch(columns) with the number of a lane's columns for rows of d numbers.
template <class Launch>
void by_columns(size_t d, const Launch& launch) {
  if (d <= 2 * warp) return launch(std::integral_constant<unsigned, 2>());
  if (d <= 8 * warp) return launch(std::integral_constant<unsigned, 8>());
  launch(std::integral_constant<unsigned, widest_row / warp>());
}

/// Losses that are added up one after another become one launch. What one of them reads, no other
/// may write there: calls on the same rows of d_a and a take turns, others run side by side.
template <class T>
class WaitingCosines final : public Waiting {
 public:
  bool takes(const Cosine<T>& call) const {
    for (unsigned k = 0; k < all_.n; ++k) {
      const Cosine<T>& other = all_.at[k];
      if (writes_for(call, other) || writes_for(other, call) ||
          (!take_turns(call, other) && overlap(call.d_a, other.d_a)))
        return false;
    }
    return all_.n < all_.most && call.a.cols == all_.at[0].a.cols;
  }
  void add(Cosine<T> call) {
    call.blocks = {all_.blocks,
                   std::clamp(blocks_of(call.pairs.n, rows_of_block), 1u, sum_blocks)};
    for (unsigned k = 0; k < all_.n; ++k)
      if (take_turns(call, all_.at[k])) call.blocks = all_.at[k].blocks;
    all_.blocks = std::max(all_.blocks, call.blocks.first + call.blocks.n);
    all_.at[all_.n++] = call;
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
      cuda::launch(stream, all_.blocks, block_threads,
                   wide ? cosine_losses_kernel<4, of_lane, T> : cosine_losses_kernel<1, of_lane, T>,
                   all_);
    });
  }

 private:
  static bool take_turns(const Cosine<T>& x, const Cosine<T>& y) {
    return x.d_a.at == y.d_a.at && x.a.at == y.a.at && x.pairs.n == y.pairs.n;
  }
  static bool writes_for(const Cosine<T>& x, const Cosine<T>& y) {
    return overlap(x.d_a, y.a) || overlap(x.d_a, y.b.h);
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
  this->template put_off<WaitingCosines<T>>(Cosine<T>{
      loss, d_a, a, b, pairs, mean, static_cast<T>(weight * mean), partial_sums(), {}});
}

// x = u . (i_p - i_n);  loss = mean * sum of l(x);  c = weight mean l'(x);  d_u += c (i_p - i_n)
template <class T>
void CudaOps<T>::pair_loss(double* loss, Matrix<T> x, Matrix<T> c, Matrix<T> d_u, ConstMatrix<T> u,
                           ConstMatrix<T> i, const Triples& triples, PairForm form, double mean,
                           double weight) {
  shapes::pair_loss(x, c, d_u, u, i, triples);
  refuse_wide("pair losses", u.cols);
  by_columns(u.cols, [&](auto columns) {
    launch(stream(), blocks_of_sum(u.rows), block_threads, pair_loss_kernel<columns, T>, loss, x.at,
           c.at, d_u.at, u, i, triples, form, mean, static_cast<T>(weight * mean), partial_sums());
  });
}

// norm = |x|_F, each row as often as it has pairs;  loss = mean |x|_F or mean |x|_F^2
template <class T>
void CudaOps<T>::penalty_forward(double* loss, double* norm, ConstMatrix<T> x, const Pairs& pairs,
                                 RegForm form, double mean) {
  shapes::penalty(x, pairs);
  if (pairs.begin)
    return launch(stream(), blocks_of_sum(pairs.n), block_threads, penalty_of_pairs_kernel<T>, loss,
                  norm, x, pairs, form, mean, partial_sums());
  by_width<T>(x.size(), 1, {x.at}, [&](auto width) {
    const size_t n = x.size() / width;
    const unsigned blocks = std::clamp(blocks_of(n, at_once * block_threads), 1u, sum_blocks);
    launch(stream(), blocks, block_threads, penalty_kernel<width, T>, loss, norm, x.at, n, form,
           mean, partial_sums());
  });
}

// d_x += (number of pairs) scale x / |x|_F, or * 2 x
template <class T>
void CudaOps<T>::penalty_backward(Matrix<T> d_x, const double* norm, ConstMatrix<T> x,
                                  const Pairs& pairs, RegForm form, double scale) {
  shapes::penalty(x, pairs);
  BM3_SHAPE(shapes::same(d_x, x));
  launch_penalty_backward<T>(stream(), d_x, norm, x, pairs, form, scale, true);
}

// loss = mean |x|_F
template <class T>
void CudaOps<T>::norm_forward(double* loss, double* norm, ConstMatrix<T> x, double mean) {
  penalty_forward(loss, norm, x, Pairs{x.rows}, RegForm::norm, mean);
}

// loss = scale |x|_F:  d_x = scale x / |x|_F
template <class T>
void CudaOps<T>::norm_backward(Matrix<T> d_x, const double* norm, ConstMatrix<T> x, double scale) {
  BM3_SHAPE(shapes::same(d_x, x));
  launch_penalty_backward<T>(stream(), d_x, norm, x, Pairs{}, RegForm::norm, scale, false);
}

template class CudaOps<float>;
template class CudaOps<double>;

}  // namespace bm3
