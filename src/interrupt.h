#pragma once
// Signals that ask the program to end: SIGINT, SIGTERM and SIGHUP.

namespace bm3 {

/// Notes the first of the three signals while it exists; a second one ends the program at once.
/// What is ignored, as under nohup, stays so. One object at a time.
class Interruption {
 public:
  Interruption();
  Interruption(const Interruption&) = delete;
  Interruption& operator=(const Interruption&) = delete;
  ~Interruption();
  /// Returns the signal that the last such object has noted, or 0.
  static int signal();
};

}  // namespace bm3
