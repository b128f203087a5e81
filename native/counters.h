// SPDX-License-Identifier: MIT
// What the data plane counts. Each worker has one WorkerCounters; only its own
// thread writes (so a load and a store do, no locked instruction), any thread reads.
//
// Owns: the numbers. Invariant: all but the gauges only grow.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>

namespace pg_gateway {

// A counter with one writer.
class Counter {
 public:
  void add(std::uint64_t amount = 1) {
    value_.store(value_.load(std::memory_order_relaxed) + amount, std::memory_order_relaxed);
  }
  void sub(std::uint64_t amount = 1) {
    value_.store(value_.load(std::memory_order_relaxed) - amount, std::memory_order_relaxed);
  }
  void set(std::uint64_t value) { value_.store(value, std::memory_order_relaxed); }
  std::uint64_t get() const { return value_.load(std::memory_order_relaxed); }

 private:
  std::atomic<std::uint64_t> value_{0};
};

// Why a client was turned away before it had a session.
enum class RejectReason : std::uint8_t {
  kNoPrimary,
  kConnectFailed,
  kTooManyHeld,
  kTooManyClients,
  kTooManyOfOneHost,
  kGaveUp,  // it left before it had a server
  kStartup,
  kResources,
  kKilled,  // an administrator ended it before it had a server
  kCount
};
// Why an established session was ended by the gateway.
enum class CutReason : std::uint8_t { kDemoted, kSuperseded, kLost, kShutdown, kKilled, kCount };
// Who ended a session in the ordinary way.
enum class EndReason : std::uint8_t {
  kClientClosed,
  kBackendClosed,
  kClientReset,
  kBackendReset,
  kResources,
  kCount
};
enum class ConnectFailure : std::uint8_t { kRefused, kTimeout, kUnreachable, kOther, kCount };

template <typename Reason>
class CountersBy {
 public:
  Counter& operator[](Reason reason) { return counters_[static_cast<std::size_t>(reason)]; }
  const Counter& operator[](Reason reason) const {
    return counters_[static_cast<std::size_t>(reason)];
  }

 private:
  std::array<Counter, static_cast<std::size_t>(Reason::kCount)> counters_;
};

// Servers are known to the data plane by slot; the control plane gives the names.
inline constexpr std::size_t kMaxServers = 128;

// Upper bounds of the connect-time histogram, in nanoseconds; one more bucket holds
// the rest. The same list, in seconds, is CONNECT_BUCKETS_SECONDS in src/.
inline constexpr std::array<std::int64_t, 12> kConnectBuckets = {
    500'000,    1'000'000,   2'500'000,   5'000'000,   10'000'000,    25'000'000,
    50'000'000, 100'000'000, 250'000'000, 500'000'000, 1'000'000'000, 2'500'000'000};

// Likewise of how long clients were held; HOLD_BUCKETS_SECONDS in src/.
inline constexpr std::array<std::int64_t, 12> kHoldBuckets = {
    10'000'000,    25'000'000,    50'000'000,    100'000'000,    250'000'000,    500'000'000,
    1'000'000'000, 2'500'000'000, 5'000'000'000, 10'000'000'000, 15'000'000'000, 30'000'000'000};

// Durations, counted by buckets; the last one is above all bounds.
template <std::size_t N>
struct DurationCounter {
  std::array<Counter, N + 1> buckets;
  Counter total_ns;

  void add(const std::array<std::int64_t, N>& bounds, std::int64_t took_ns) {
    std::size_t bucket = 0;
    while (bucket < N && took_ns > bounds[bucket]) ++bucket;
    buckets[bucket].add();
    total_ns.add(static_cast<std::uint64_t>(took_ns));
  }
};

struct ServerCounters {
  Counter sessions;  // gauge: relaying now
  Counter connects;
  CountersBy<ConnectFailure> connect_failures;
  DurationCounter<kConnectBuckets.size()> connect_time;

  void connected(std::int64_t took_ns) {
    connect_time.add(kConnectBuckets, took_ns);
    connects.add();
  }
};

struct WorkerCounters {
  Counter accepted;  // by this worker's accept4; the session may live on another
  Counter active;    // gauge: connecting or relaying
  Counter silent;    // gauge: have not said yet what they want
  Counter held;      // gauge: waiting for a server
  Counter held_ever;
  Counter hold_timeouts;
  DurationCounter<kHoldBuckets.size()> hold_time;  // of those that got a server
  Counter bytes_client_to_backend;
  Counter bytes_backend_to_client;
  Counter accept_pauses;
  Counter rate_waits;  // accepting waited for its next place
  Counter pipe_waits;  // turns of a session that found no pipe
  CountersBy<RejectReason> rejected;
  CountersBy<CutReason> cut;
  CountersBy<EndReason> ended;
  std::array<ServerCounters, kMaxServers> servers;
  Counter beats;        // heartbeats answered
  Counter loop_lag_ns;  // gauge: how long the last heartbeat waited for its turn
};

}  // namespace pg_gateway
