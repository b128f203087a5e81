// SPDX-License-Identifier: MIT
// What GCC 12's ThreadSanitizer does not know. Nothing without it. Hidden, so that it also holds in
// a library that is loaded into a program which has the C library's own.
#ifdef __SANITIZE_THREAD__
#include <pthread.h>

#include <cerrno>
#include <ctime>

// It believes that a thread which was joined by this function still runs. It knows
// pthread_tryjoin_np(3).
extern "C" __attribute__((visibility("hidden"))) int pthread_clockjoin_np(
    pthread_t thread, void** result, clockid_t clock, const timespec* deadline) {
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
