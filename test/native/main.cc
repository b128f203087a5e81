// SPDX-License-Identifier: MIT
#define DOCTEST_CONFIG_IMPLEMENT
#include <doctest/doctest.h>

#include <csignal>

#ifdef __SANITIZE_THREAD__
#include <pthread.h>

#include <cerrno>
#include <ctime>

// GCC 12's ThreadSanitizer does not know this function and so believes that a joined thread still
// runs. It knows pthread_tryjoin_np(3).
extern "C" int pthread_clockjoin_np(pthread_t thread, void** result, clockid_t clock,
                                    const timespec* deadline) {
  for (;;) {
    const int error = ::pthread_tryjoin_np(thread, result);
    timespec now{};
    ::clock_gettime(clock, &now);
    if (error != EBUSY) return error;
    if (now.tv_sec > deadline->tv_sec ||
        (now.tv_sec == deadline->tv_sec && now.tv_nsec >= deadline->tv_nsec)) {
      return ETIMEDOUT;
    }
    const timespec pause{0, 1'000'000};
    ::nanosleep(&pause, nullptr);
  }
}
#endif

int main(int argc, char** argv) {
  // splice(2) has no MSG_NOSIGNAL: a thread that pumps must not have the signal's default action
  // (workers block every signal; some tests pump on this thread).
  std::signal(SIGPIPE, SIG_IGN);
  return doctest::Context(argc, argv).run();
}
