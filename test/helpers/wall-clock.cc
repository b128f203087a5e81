// SPDX-License-Identifier: MIT
// A wall clock of a process's own, to be loaded ahead of it (LD_PRELOAD): so many seconds from the
// machine's as the file that WALL_CLOCK names says. All other clocks are the kernel's. It counts
// how often it is asked, so that a test can see that it is.
//
// The file: int64 seconds ahead, int64 count.
//
// What waits until a moment of this clock (pthread_cond_timedwait(3), sem_timedwait(3)) still goes
// by the machine's: a process that did would wait for hours, and be found out.

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <unistd.h>

#include <atomic>
#include <cstdint>
#include <cstdlib>
#include <ctime>

namespace {

struct Shared {
  std::atomic<std::int64_t> ahead_s;
  std::atomic<std::int64_t> asked;
};

Shared* shared = nullptr;

__attribute__((constructor)) void open_shared() {
  const char* path = std::getenv("WALL_CLOCK");
  if (path == nullptr) return;
  const int fd = ::open(path, O_RDWR | O_CLOEXEC);
  if (fd < 0) std::abort();
  void* memory = ::mmap(nullptr, sizeof(Shared), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  ::close(fd);
  if (memory == MAP_FAILED) std::abort();
  shared = static_cast<Shared*>(memory);
}

timespec wall_clock(clockid_t id) {
  timespec now{};
  ::syscall(SYS_clock_gettime, id, &now);
  if (shared == nullptr) return now;
  shared->asked.fetch_add(1, std::memory_order_relaxed);
  now.tv_sec += shared->ahead_s.load(std::memory_order_relaxed);
  return now;
}

}  // namespace

extern "C" {

int clock_gettime(clockid_t id, timespec* now) noexcept {
  if (id != CLOCK_REALTIME && id != CLOCK_REALTIME_COARSE) {
    return static_cast<int>(::syscall(SYS_clock_gettime, id, now));
  }
  *now = wall_clock(id);
  return 0;
}

int gettimeofday(timeval* now, void* /*zone*/) noexcept {
  const timespec exact = wall_clock(CLOCK_REALTIME);
  *now = {exact.tv_sec, exact.tv_nsec / 1000};
  return 0;
}

time_t time(time_t* now) noexcept {
  const time_t seconds = wall_clock(CLOCK_REALTIME).tv_sec;
  if (now != nullptr) *now = seconds;
  return seconds;
}

int timespec_get(timespec* now, int base) noexcept {
  if (base != TIME_UTC) return 0;
  *now = wall_clock(CLOCK_REALTIME);
  return base;
}

}  // extern "C"
