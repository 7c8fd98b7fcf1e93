// Masks and cosines one after another: a GPU lets them wait for each other, to be one launch. They
// give the bytes of calls that are done one by one, whatever depends on what and whatever follows.
#include "backends.h"
#include "compare.h"
#include "error.h"
#include "random_pairs.h"

namespace bm3::test {
namespace {

/// Calls each of which depends on earlier ones in a way of its own, and what they read and write.
template <class T>
class Calls {
 public:
  Calls(Ops<T>& on, uint64_t key_) : ops(on), key(key_) {
    for (auto* each : {&x, &y, &d_x, &d_y}) *each = Array<T>(ops, random_.numbers<T>(n * d));
  }
  void draw(Array<uint8_t>& to, size_t first, double p) {
    ops.draw_mask({to.data() + first * d, n - first, d}, {nullptr, n - first}, p,
                  {7, 1, step_.data()});
  }
  /// The last rows of d_a.
  void cosine(size_t loss, Array<T>& d_a, Array<T>& a, Array<T>& h, Array<uint8_t>& of,
              bool own = false, size_t rows = n) {
    const int32_t* const target = own ? nullptr : on_.target.data();
    ops.cosine_loss(losses.data() + loss, {d_a.data() + (n - rows) * d, rows, d},
                    {a.data(), rows, d}, View<T>{h.matrix(n, d), of.data(), T(2)},
                    {rows, on_.begin.data(), target}, 0.5, 1.5);
  }
  /// Calls then() after every `pace` calls.
  void run(size_t pace, const std::function<void()>& then) {
    const std::function<void()> calls[] = {
        [&] { draw(mask, 0, 0.3); },
        [&] { draw(other, 0, 0.6); },
        [&] { draw(mask, 5, 0.5); },  // over part of the first
        [&] { cosine(0, d_x, x, x, mask); },
        [&] { cosine(0, d_x, x, y, other, true); },  // the same rows, the same loss
        [&] { cosine(1, d_y, y, x, other); },
        [&] { cosine(0, d_y, y, x, mask); },
        [&] { cosine(1, d_y, d_x, x, mask); },  // reads what others write
        [&] { cosine(1, d_x, x, d_y, other); },
        [&] { cosine(0, y, d_x, x, mask); },
        [&] { cosine(0, x, d_y, y, mask); },
        [&] { cosine(1, d_x, y, y, mask); },                // the same d_a, another a
        [&] { cosine(1, d_x, y, y, mask, false, n - 7); },  // part of d_a
        [&] { draw(mask, 0, 0.2); },                        // what the last one read
        [&] { cosine(0, d_x, x, x, mask); },
        [&] { cosine(1, x, d_y, y, mask); }};  // writes what the last one read
    size_t called = 0;
    for (const auto& call : calls) {
      call();
      if (++called % pace == 0) then();
    }
    for (size_t k = 0; k < 10; ++k) cosine(k % 2, k % 3 ? d_x : d_y, x, y, mask, k % 5 == 0);
  }
  auto result() const {
    return std::tuple(x.host(), y.host(), d_x.host(), d_y.host(), mask.host(), other.host(),
                      losses.host());
  }
  static constexpr size_t n = 60, d = 18;
  Ops<T>& ops;
  const uint64_t key;  // of records
  Array<T> x, y, d_x, d_y;
  Array<uint8_t> mask{ops, n * d}, other{ops, n * d};
  Array<double> losses{ops, 2};
  int failures = 0;  // of works that shall fail now and then

 private:
  Random random_{6};
  const RandomPairs pairs_{random_, n, n};
  const PairsOnDevice on_{ops, pairs_};
  const Array<uint32_t> step_{ops, 1};
};

/// What may follow calls that wait, and changes or shows what they do.
template <class T>
std::vector<std::function<void(Calls<T>&)>> events() {
  using C = Calls<T>;
  const auto loss = [](C& c) { c.cosine(0, c.d_x, c.x, c.y, c.mask); };
  const auto other = [](C& c) { c.cosine(1, c.d_y, c.y, c.y, c.other, true); };
  const auto fail_if = [](bool now) {
    if (now) throw Error("on purpose");
  };
  return {
      [](C&) {},
      [](C& c) { c.ops.zero(c.d_x.data(), C::n * sizeof(T)); },
      [](C& c) { c.losses.upload({1, 2}); },
      [](C& c) { c.losses.upload(std::vector<double>(2, c.losses.host()[0])); },
      [](C& c) { c.ops.add(c.d_y.matrix(1, 500), 1, c.d_x.matrix(1, 500), 1); },
      [](C& c) {  // a library's work
        c.ops.linear_forward(c.y.matrix(C::n, 1), c.d_x.matrix(C::n, C::d), {nullptr, C::n},
                             c.x.matrix(C::d, 1), {});
      },
      [=](C& c) { c.ops.seconds_of([&] { loss(c); }); },
      [=](C& c) { c.ops.both([&] { loss(c); }, [&] { other(c); }); },
      [=](C& c) {  // either work fails, or none
        const int turn = c.failures++ % 3;
        try {
          c.ops.both([&] { loss(c), fail_if(turn == 0); },
                     [&] { other(c), fail_if(turn == 1); });
        } catch (const Error&) {
        }
      },
      [=](C& c) { c.ops.replay(c.key, [&] { loss(c), other(c); }); },
      [=](C& c) {
        c.ops.replay(c.key, [&] { c.ops.both([&] { loss(c); }, [&] { other(c); }); });
      },
      [=](C& c) {  // the record of the second call fails
        try {
          c.ops.replay(c.key, [&] { loss(c), fail_if(++c.failures == 2); });
        } catch (const Error&) {
        }
      },
      [](C& c) {  // memory goes that the last call reads
        Array<T> gone(c.ops, std::vector<T>(C::n * C::d, T(0.5)));
        c.cosine(0, c.d_x, c.x, gone, c.mask);
      }};
}

template <class Backend>
class WaitingTest : public OnBackend<Backend> {};
TYPED_TEST_SUITE(WaitingTest, Backends, BackendName);

TYPED_TEST(WaitingTest, ChangesNoByte) {
  using T = typename TypeParam::Real;
  const auto all = events<T>();
  for (size_t event = 0; event < all.size(); ++event)
    for (size_t pace : {2, 5}) {
      Calls<T> waiting(*this->ops, 1), alone(*this->ops, 2);
      waiting.run(pace, [&] { all[event](waiting); });
      size_t called = 0;
      alone.run(1, [&] {
        this->ops->synchronize();
        if (++called % pace == 0) all[event](alone);
        this->ops->synchronize();
      });
      EXPECT_TRUE(waiting.result() == alone.result()) << event << ", " << pace;
    }
}

}  // namespace
}  // namespace bm3::test
