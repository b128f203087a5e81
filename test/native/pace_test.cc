// SPDX-License-Identifier: MIT
#include "pace.h"

#include <doctest/doctest.h>

#include <thread>
#include <vector>

namespace pg_gateway {

namespace {

constexpr std::int64_t kMs = 1'000'000;
constexpr std::int64_t kNow = 1'000'000 * kMs;

}  // namespace

TEST_CASE("places follow each other at their pace, after those of a burst") {
  Pace pace;
  CHECK(pace.next_ns() <= kNow);
  std::vector<std::int64_t> at_ms;
  for (int i = 0; i < 6; ++i) at_ms.push_back((pace.claim(kNow, 50) - kNow) / kMs);
  CHECK(at_ms == std::vector<std::int64_t>{-50, -30, -10, 10, 30, 50});
  CHECK(pace.next_ns() == kNow + 70 * kMs);
}

TEST_CASE("what nobody took for longer than a burst is lost") {
  Pace pace;
  (void)pace.claim(kNow, 50);
  CHECK(pace.claim(kNow + 1000 * kMs, 50) == kNow + 950 * kMs);
  CHECK(pace.next_ns() == kNow + 970 * kMs);
}

TEST_CASE("one a second is one a second, and another pace counts from the next place on") {
  Pace pace;
  CHECK(pace.claim(kNow, 1) == kNow - 50 * kMs);
  CHECK(pace.next_ns() == kNow + 950 * kMs);
  CHECK(pace.claim(kNow + 950 * kMs, 1000) == kNow + 950 * kMs);
  CHECK(pace.next_ns() == kNow + 951 * kMs);
}

TEST_CASE("no place is given to two threads") {
  Pace pace;
  constexpr int kEach = 1000;
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([&] {
      for (int j = 0; j < kEach; ++j) (void)pace.claim(kNow, 1'000'000);
    });
  }
  for (std::thread& thread : threads) thread.join();
  CHECK(pace.next_ns() == kNow - Pace::kBurstNs + 4 * kEach * 1000);
}

}  // namespace pg_gateway
