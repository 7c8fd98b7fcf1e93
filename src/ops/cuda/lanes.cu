#include "ops/cuda/lanes.h"

#include <algorithm>

namespace bm3::cuda {
namespace {

constexpr size_t most_roots = 3;  // lanes that begin with a record: each starts some 2 us later

}  // namespace

Event new_event(unsigned flags) {
  Event event;
  BM3_CHECK(cudaEventCreateWithFlags(Into(event), flags));
  return event;
}

bool conflict(const Spans& a, const Spans& b) {
  for (const Span& x : a)
    for (const Span& y : b)
      if ((x.written || y.written) && x.first < y.end && y.first < x.end) return true;
  return false;
}

void Lanes::create() {
  for (auto& each : streams_)
    BM3_CHECK(cudaStreamCreateWithFlags(Into(each), cudaStreamNonBlocking));
}

void Lanes::begin() {
  side_by_side_ = true;
  now_ = marked_ = 0;
  issued_.clear();
  last_ = {};
  for (Clock& known : known_) known = {};
  mark();
}

void Lanes::mark() {
  for (; marked_ <= issued_.size(); ++marked_) {
    if (marked_ == done_.size()) done_.push_back(new_event());
    BM3_CHECK(cudaEventRecord(done_[marked_].get(),
                              stream(marked_ > 0 ? issued_[marked_ - 1].lane : 0)));
  }
}

void Lanes::wait(size_t lane, size_t operation) {
  BM3_CHECK(cudaStreamWaitEvent(stream(lane), done_[operation].get(), 0));
}

void Lanes::turn_to(const Spans& spans) {
  mark();
  const auto learn = [](Clock& known, const Clock& more) {
    for (size_t k = 0; k < count; ++k) known[k] = std::max(known[k], more[k]);
  };
  std::vector<size_t> needed;  // operations that must be done first, the newest ahead
  Clock before{};              // with what they follow themselves
  for (size_t k = issued_.size(); k > 0; --k)
    if (const Issued& other = issued_[k - 1];
        before[other.lane] < k && conflict(other.spans, spans)) {
      needed.push_back(k);
      learn(before, other.before);
      before[other.lane] = k;
    }
  // The newest one's lane, where it is the last; else a lane that is done by then, if there is one.
  size_t to = needed.empty() ? 0 : issued_[needed[0] - 1].lane;
  if (last_[to] != (needed.empty() ? 0 : needed[0]))
    for (size_t k = count; k-- > 0;)
      if (last_[k] <= before[k]) to = k;
  if (needed.empty() && to >= most_roots)  // behind the oldest of those that there are
    to = static_cast<size_t>(std::min_element(last_.begin(), last_.begin() + most_roots) -
                             last_.begin());
  now_ = to;
  if (to > 0 && last_[to] == 0) wait(to, 0);
  for (const size_t k : needed)
    if (known_[to][issued_[k - 1].lane] < k) wait(to, k);
  learn(known_[to], before);
  issued_.push_back({to, spans, known_[to]});
  last_[to] = known_[to][to] = issued_.size();
}

void Lanes::end() {
  side_by_side_ = false;
  now_ = 0;
  mark();
  for (size_t k = 1; k < count; ++k)
    if (last_[k] > 0) wait(0, last_[k]);
}

void Lanes::synchronize() const {
  for (const auto& each : streams_) BM3_CHECK(cudaStreamSynchronize(each.get()));
}

}  // namespace bm3::cuda
