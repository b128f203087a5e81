// SPDX-License-Identifier: MIT
// The pace of something that several threads do: a sequence of places in time, so many a second.
//
// Owns: when the next place is. Any thread.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>

namespace pg_gateway {

class Pace {
 public:
  // Places that nobody took in the last kBurstNs may be taken later, all at once: a few need not
  // queue up one by one.
  static constexpr std::int64_t kBurstNs = 50'000'000;

  // When the next place is; a time that has passed: at once.
  std::int64_t next_ns() const { return next_ns_.load(std::memory_order_relaxed); }

  // Takes the next place, the one after it is 1/per_second later. When that is.
  std::int64_t claim(std::int64_t now_ns, std::uint32_t per_second) {
    const std::int64_t interval = 1'000'000'000 / per_second;
    std::int64_t next = next_ns();
    std::int64_t at = 0;
    do {
      at = std::max(next, now_ns - kBurstNs);
    } while (!next_ns_.compare_exchange_weak(next, at + interval, std::memory_order_relaxed));
    return at;
  }

 private:
  std::atomic<std::int64_t> next_ns_{0};
};

}  // namespace pg_gateway
