#pragma once
#include <stdexcept>
#include <string>

namespace bm3 {

/// A failure that a person can act on: one sentence that says what, where and what was expected.
/// Thrown everywhere, caught once in `main`, which prints it and exits with status 1.
struct Error : std::runtime_error {
  using std::runtime_error::runtime_error;
};

}  // namespace bm3
