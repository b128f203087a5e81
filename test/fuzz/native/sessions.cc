// SPDX-License-Identifier: MIT
// Interleavings of whole sessions against the engine (../../native/interleavings.h), as many
// side by side as keep the machine busy. Not a libFuzzer target: chance decides, not an input; but
// it takes the options that the others are given too, and says what they say.
//
//   sessions -max_total_time=60      a minute of them
//   sessions -seed=7 -runs=1         the batch of that seed
#include <algorithm>
#include <atomic>
#include <chrono>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <mutex>
#include <random>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include "interleavings.h"

using pg_gateway::test::InterleavingCounts;

namespace {

constexpr std::uint32_t kInABatch = 256;
// Sessions wait for each other, and for deadlines of the gateway: more batches than processors.
constexpr unsigned kAtOnce = 8;

std::vector<std::pair<const std::uint8_t*, const std::uint8_t*>>& all_counters() {
  static std::vector<std::pair<const std::uint8_t*, const std::uint8_t*>> counters;
  return counters;
}

// Edges that were ever taken. (One may be 0 again just now, after 256 times.)
std::size_t edges() {
  std::size_t taken = 0;
  for (const auto& [start, stop] : all_counters()) {
    taken += static_cast<std::size_t>(stop - start - std::count(start, stop, 0));
  }
  return taken;
}

std::uint64_t option(int count, char** values, std::string_view name, std::uint64_t otherwise) {
  for (int i = 1; i < count; ++i) {
    const std::string_view value = values[i];
    if (value.starts_with(name)) return std::strtoull(values[i] + name.size(), nullptr, 10);
  }
  return otherwise;
}

// Batches are taken by their seeds, one after the other.
struct Work {
  std::uint64_t first = 0;
  std::uint64_t most = 0;
  std::chrono::steady_clock::time_point until;
  std::atomic<std::uint64_t> taken{0};
  std::atomic<bool> failed{false};
  std::mutex mutex;
  InterleavingCounts counts;  // guarded by the mutex
  unsigned running = 0;       // guarded by the mutex

  void run() {
    while (!failed && std::chrono::steady_clock::now() < until) {
      const std::uint64_t number = taken++;
      if (number >= most) break;
      InterleavingCounts own;
      const std::string problem =
          pg_gateway::test::run_interleavings(first + number, kInABatch, own);
      const std::lock_guard lock(mutex);
      counts.add(own);
      if (problem.empty() || failed.exchange(true)) continue;
      std::fprintf(stderr, "seed %llu: %s\n", static_cast<unsigned long long>(first + number),
                   problem.c_str());
    }
    const std::lock_guard lock(mutex);
    --running;
  }
};

void say(Work& work, const char* what, double seconds) {
  const std::lock_guard lock(work.mutex);
  const auto count = [](std::uint64_t number) { return static_cast<unsigned long long>(number); };
  std::fprintf(stderr,
               "#%llu %s cov: %zu exec/s: %.0f (%llu welcomed, %llu reset, %llu cuts, "
               "%llu engines, %llu MB)\n",
               count(work.counts.sessions), what, edges(),
               static_cast<double>(work.counts.sessions) / std::max(seconds, 0.001),
               count(work.counts.welcomed), count(work.counts.resets), count(work.counts.cuts),
               count(work.counts.engines), count(work.counts.bytes >> 20));
}

}  // namespace

// clang's SanitizerCoverage: a byte for each edge, once for each object that is linked in.
extern "C" void __sanitizer_cov_8bit_counters_init(const std::uint8_t* start,
                                                   const std::uint8_t* stop) {
  all_counters().emplace_back(start, stop);
}

int main(int count, char** values) {
  std::signal(SIGPIPE, SIG_IGN);
  Work work;
  const std::uint64_t seconds = option(count, values, "-max_total_time=", 60);
  work.most = option(count, values, "-runs=", UINT64_MAX);
  work.first = option(count, values, "-seed=", std::random_device()());
  const auto begun = std::chrono::steady_clock::now();
  work.until = begun + std::chrono::seconds(seconds);
  const auto since = [&] {
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - begun).count();
  };
  std::fprintf(stderr, "Seed: %llu\n", static_cast<unsigned long long>(work.first));
  work.running = static_cast<unsigned>(std::min<std::uint64_t>(kAtOnce, work.most));
  std::vector<std::thread> threads;
  for (unsigned i = work.running; i > 0; --i) threads.emplace_back([&] { work.run(); });
  for (double next = 2;;) {
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
    const bool over = [&] {
      const std::lock_guard lock(work.mutex);
      return work.running == 0;
    }();
    if (over) break;
    if (since() < next) continue;
    next = since() + 2;
    say(work, "pulse", since());
  }
  for (std::thread& thread : threads) thread.join();
  say(work, "DONE", since());
  return work.failed ? 77 : 0;
}
