// SPDX-License-Identifier: MIT
#include "stats_object.h"

#include <array>
#include <cstddef>
#include <string>

#include "reason_labels.h"

namespace pg_gateway {

namespace {

using Workers = std::vector<std::unique_ptr<Worker>>;

template <typename Pick>
std::uint64_t sum(const Workers& workers, Pick pick) {
  std::uint64_t total = 0;
  for (const auto& worker : workers) total += pick(worker->counters()).get();
  return total;
}

template <typename Reason, std::size_t N, typename Pick>
Napi::Object by_reason(Napi::Env env, const Workers& workers,
                       const std::array<const char*, N>& labels, Pick pick) {
  Napi::Object out = Napi::Object::New(env);
  for (std::size_t i = 0; i < N; ++i) {
    const auto reason = static_cast<Reason>(i);
    out.Set(labels[i], Napi::BigInt::New(
                           env, sum(workers, [&](const WorkerCounters& counters) -> const Counter& {
                             return pick(counters)[reason];
                           })));
  }
  return out;
}

template <typename Pick>
Napi::Object durations_object(Napi::Env env, const Workers& workers, std::size_t bounds,
                              Pick pick) {
  Napi::Array buckets = Napi::Array::New(env, bounds + 1);
  for (std::uint32_t i = 0; i <= bounds; ++i) {
    buckets.Set(i, Napi::BigInt::New(
                       env, sum(workers, [&](const WorkerCounters& counters) -> const Counter& {
                         return pick(counters).buckets[i];
                       })));
  }
  Napi::Object out = Napi::Object::New(env);
  out.Set("buckets", buckets);
  out.Set("sum", static_cast<double>(sum(workers,
                                         [&](const WorkerCounters& counters) -> const Counter& {
                                           return pick(counters).total_ns;
                                         })) /
                     1e9);
  return out;
}

Napi::Object server_object(Napi::Env env, const Workers& workers, std::size_t slot) {
  const auto total = [&](auto pick) {
    return sum(workers, [&](const WorkerCounters& counters) -> const Counter& {
      return pick(counters.servers[slot]);
    });
  };
  using Server = ServerCounters;
  Napi::Object out = Napi::Object::New(env);
  out.Set("server", static_cast<double>(slot));
  out.Set("sessions", static_cast<double>(total(
                          [](const Server& server) -> const Counter& { return server.sessions; })));
  out.Set("connects", Napi::BigInt::New(env, total([](const Server& server) -> const Counter& {
                                          return server.connects;
                                        })));
  out.Set("connectFailures",
          by_reason<ConnectFailure>(
              env, workers, kConnectFailures, [&](const WorkerCounters& counters) -> const auto& {
                return counters.servers[slot].connect_failures;
              }));
  out.Set(
      "connectSeconds",
      durations_object(
          env, workers, kConnectBuckets.size(), [&](const WorkerCounters& counters) -> const auto& {
            return counters.servers[slot].connect_time;
          }));
  return out;
}

bool was_used(const Workers& workers, std::size_t slot) {
  for (const auto& worker : workers) {
    const ServerCounters& server = worker->counters().servers[slot];
    if (server.connects.get() > 0 || server.sessions.get() > 0) return true;
    for (std::size_t i = 0; i < kConnectFailures.size(); ++i) {
      if (server.connect_failures[static_cast<ConnectFailure>(i)].get() > 0) return true;
    }
  }
  return false;
}

}  // namespace

Napi::Object stats_object(Napi::Env env, const Engine& engine) {
  const Workers& workers = engine.workers();
  const auto big = [&](auto pick) { return Napi::BigInt::New(env, sum(workers, pick)); };
  using Counters = WorkerCounters;

  Napi::Object out = Napi::Object::New(env);
  out.Set("accepted", big([](const Counters& c) -> const Counter& { return c.accepted; }));
  out.Set("active", static_cast<double>(sum(
                        workers, [](const Counters& c) -> const Counter& { return c.active; })));
  out.Set("silent", static_cast<double>(sum(
                        workers, [](const Counters& c) -> const Counter& { return c.silent; })));
  out.Set("held", static_cast<double>(
                      sum(workers, [](const Counters& c) -> const Counter& { return c.held; })));
  out.Set("heldEver", big([](const Counters& c) -> const Counter& { return c.held_ever; }));
  out.Set("holdTimeouts", big([](const Counters& c) -> const Counter& { return c.hold_timeouts; }));
  out.Set("holdSeconds", durations_object(
                             env, workers, kHoldBuckets.size(),
                             [](const Counters& c) -> const auto& { return c.hold_time; }));
  out.Set("bytesClientToBackend",
          big([](const Counters& c) -> const Counter& { return c.bytes_client_to_backend; }));
  out.Set("bytesBackendToClient",
          big([](const Counters& c) -> const Counter& { return c.bytes_backend_to_client; }));
  out.Set("acceptPauses", big([](const Counters& c) -> const Counter& { return c.accept_pauses; }));
  out.Set("rateWaits", big([](const Counters& c) -> const Counter& { return c.rate_waits; }));
  out.Set("pipeWaits", big([](const Counters& c) -> const Counter& { return c.pipe_waits; }));
  out.Set("rejected", by_reason<RejectReason>(
                          env, workers, kRejectReasons,
                          [](const Counters& c) -> const auto& { return c.rejected; }));
  out.Set("cut",
          by_reason<CutReason>(
              env, workers, kCutReasons, [](const Counters& c) -> const auto& { return c.cut; }));
  out.Set("ended",
          by_reason<EndReason>(
              env, workers, kEndReasons, [](const Counters& c) -> const auto& { return c.ended; }));

  const SessionStore::Usage usage = engine.kept();
  Napi::Object kept = Napi::Object::New(env);
  kept.Set("sessions", static_cast<double>(usage.sessions));
  kept.Set("segments", static_cast<double>(usage.segments));
  kept.Set("messages", static_cast<double>(usage.messages));
  kept.Set("failures", Napi::BigInt::New(env, usage.failures));
  out.Set("kept", kept);

  Napi::Array servers = Napi::Array::New(env);
  for (std::size_t slot = 0; slot < kMaxServers; ++slot) {
    if (was_used(workers, slot)) servers.Set(servers.Length(), server_object(env, workers, slot));
  }
  out.Set("servers", servers);

  Napi::Array list = Napi::Array::New(env, workers.size());
  for (std::uint32_t i = 0; i < workers.size(); ++i) {
    const Worker& worker = *workers[i];
    Napi::Object entry = Napi::Object::New(env);
    entry.Set("sessions", static_cast<double>(worker.load()));
    entry.Set("loopLagMs", static_cast<double>(worker.loop_lag_ns()) / 1e6);
    entry.Set("beat", Napi::BigInt::New(env, worker.counters().beats.get()));
    list.Set(i, entry);
  }
  out.Set("workers", list);
  return out;
}

}  // namespace pg_gateway
