#include "interrupt.h"

#include <csignal>
#include <initializer_list>

namespace bm3 {
namespace {

volatile std::sig_atomic_t noted = 0;

void handle_signals(void (*handler)(int)) {
  // A mask would hold for this thread alone.
  for (int signal : {SIGINT, SIGTERM, SIGHUP})
    if (std::signal(signal, handler) == SIG_IGN) std::signal(signal, SIG_IGN);
}

void note(int signal) {
  if (noted) {
    handle_signals(SIG_DFL);
    std::raise(signal);
  }
  noted = signal;
}

}  // namespace

Interruption::Interruption() {
  noted = 0;
  handle_signals(note);
}

Interruption::~Interruption() { handle_signals(SIG_DFL); }

int Interruption::signal() { return noted; }

}  // namespace bm3
