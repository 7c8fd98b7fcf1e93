#pragma once
// Signals that ask the program to end: SIGINT, SIGTERM and SIGHUP.
#include <csignal>

namespace bm3 {

/// Notes the first of the three signals while it exists; a second one ends the program at once.
/// What is ignored, as under nohup, stays so. One object at a time.
class Interruption {
 public:
  Interruption() {
    noted_ = 0;
    handle_signals(note);
  }
  Interruption(const Interruption&) = delete;
  Interruption& operator=(const Interruption&) = delete;
  ~Interruption() { handle_signals(SIG_DFL); }
  /// Returns the signal that the last such object has noted, or 0.
  static int signal() { return noted_; }

 private:
  static void handle_signals(void (*handler)(int)) {
    // A mask would hold for this thread alone.
    for (int signal : {SIGINT, SIGTERM, SIGHUP})
      if (std::signal(signal, handler) == SIG_IGN) std::signal(signal, SIG_IGN);
  }
  static void note(int signal) {
    if (noted_) {
      handle_signals(SIG_DFL);
      std::raise(signal);
    }
    noted_ = signal;
  }
  static inline volatile std::sig_atomic_t noted_ = 0;
};

}  // namespace bm3
