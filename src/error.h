#pragma once
#include <stdexcept>

#include "text.h"

namespace bm3 {

/// A failure that a person can act on: one sentence that says what, where and what was expected, in
/// the parts that `concat` takes. Thrown everywhere, caught once in `main`, which prints it and
/// exits with status 1.
struct Error : std::runtime_error {
  template <class... Parts>
  explicit Error(const Parts&... parts) : std::runtime_error(concat(parts...)) {}
};

}  // namespace bm3
