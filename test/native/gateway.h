// SPDX-License-Identifier: MIT
// An engine with a listening socket of its own, for the tests: whom it serves, where it
// sends them, and what it counted.
//
// Owns the engine. The failure callback may be made to hold the worker that calls it.
#pragma once

#include <atomic>
#include <cstdint>
#include <string>

#include "engine.h"
#include "shelf.h"
#include "support.h"

namespace pg_gateway::test {

// A whole StartupMessage.
inline const std::string kStartupMessage{"\0\0\0\x17\0\3\0\0user\0somebody\0\0", 23};

// What is said to one that comes now. Empty: nothing, or it could not speak.
inline std::string told(const UniqueFd& client) {
  if (!send_all(client.get(), kStartupMessage)) return {};
  return receive_to_end(client.get()).bytes;
}

inline bool has(const std::string& bytes, const std::string& words) {
  return bytes.find(words) != std::string::npos;
}

constexpr std::int64_t kMs = 1'000'000;

// Clients wait for a minute, and connects for as long.
inline Settings patient() {
  Settings settings;
  settings.connect_timeout_ns = 60'000 * kMs;
  settings.hold_timeout_ns = 60'000 * kMs;
  return settings;
}

// A port of this machine where nobody listens.
inline SocketAddress refusing_address() {
  return address_of(listen_tcp().get());
}

struct Link {
  UniqueFd client;
  UniqueFd backend;
};

class Gateway {
 public:
  explicit Gateway(unsigned workers = 1, Settings settings = {},
                   const std::string& host = "127.0.0.1")
      : engine_(&Gateway::on_failure, this) {
    started_ = !engine_.start({workers, settings, true, nullptr, {}});
    Result<std::uint16_t> port = engine_.bind(host, 0);
    if (port.ok()) address_ = parse_address(host, port.value()).take();
  }
  // Keeps its sessions on the shelf, and begins with those that are there.
  explicit Gateway(Shelf& shelf, unsigned workers = 1, Settings settings = {})
      : engine_(&Gateway::on_failure, this) {
    started_ = !engine_.start({workers, settings, true, shelf.store(), shelf.copies()});
    Result<std::uint16_t> port = engine_.bind("127.0.0.1", 0);
    if (port.ok()) address_ = parse_address("127.0.0.1", port.value()).take();
  }
  // Ends, and leaves the sessions to the next.
  void leave() { engine_.stop(0, true); }
  ~Gateway() {
    release_workers();
    engine_.stop(0);
  }
  Gateway(const Gateway&) = delete;
  Gateway& operator=(const Gateway&) = delete;

  Engine& engine() { return engine_; }
  const SocketAddress& address() const { return address_; }
  bool started() const { return started_; }
  UniqueFd connect() const { return connect_to(address_); }
  // A client that has said what it wants.
  UniqueFd connect_and_speak() const {
    UniqueFd client = connect();
    if (!send_all(client.get(), kStartupMessage)) client.reset();
    return client;
  }
  // A client through the gateway to the listener of a backend. The gateway knows that they are
  // connected: what the backend does next is not a failure to connect.
  Link open(int backend_listener) {
    Link link;
    link.client = connect();
    link.backend = accept_one(backend_listener);
    (void)settle();
    return link;
  }

  void route(int backend_listener, std::uint32_t epoch = 1, std::uint16_t server = 0,
             std::uint32_t cut_below = 0, CutReason reason = CutReason::kSuperseded) {
    route(address_of(backend_listener), epoch, server, cut_below, reason);
  }
  void route(const SocketAddress& address, std::uint32_t epoch, std::uint16_t server,
             std::uint32_t cut_below = 0, CutReason reason = CutReason::kSuperseded) {
    update({Route{epoch, server, address}, cut_below, reason});
  }
  void no_route(std::uint32_t cut_below = 0) {
    update({std::nullopt, cut_below, CutReason::kDemoted});
  }

  // Over all workers.
  template <typename Pick>
  std::uint64_t sum(Pick pick) const {
    std::uint64_t total = 0;
    for (const auto& worker : engine_.workers()) total += pick(worker->counters()).get();
    return total;
  }
  std::uint64_t accepted() const {
    return sum([](auto& c) -> auto& { return c.accepted; });
  }
  std::uint64_t active() const {
    return sum([](auto& c) -> auto& { return c.active; });
  }
  std::uint64_t silent() const {
    return sum([](auto& c) -> auto& { return c.silent; });
  }
  std::uint64_t held() const {
    return sum([](auto& c) -> auto& { return c.held; });
  }
  std::uint64_t held_ever() const {
    return sum([](auto& c) -> auto& { return c.held_ever; });
  }
  std::uint64_t up() const {
    return sum([](auto& c) -> auto& { return c.bytes_client_to_backend; });
  }
  std::uint64_t down() const {
    return sum([](auto& c) -> auto& { return c.bytes_backend_to_client; });
  }
  std::uint64_t pauses() const {
    return sum([](auto& c) -> auto& { return c.accept_pauses; });
  }
  std::uint64_t rate_waits() const {
    return sum([](auto& c) -> auto& { return c.rate_waits; });
  }
  std::uint64_t pipe_waits() const {
    return sum([](auto& c) -> auto& { return c.pipe_waits; });
  }
  std::uint64_t ended(EndReason why) const {
    return sum([=](auto& c) -> auto& { return c.ended[why]; });
  }
  std::uint64_t cut(CutReason why) const {
    return sum([=](auto& c) -> auto& { return c.cut[why]; });
  }
  std::uint64_t rejected(RejectReason why) const {
    return sum([=](auto& c) -> auto& { return c.rejected[why]; });
  }
  std::uint64_t connects(std::size_t server) const {
    return sum([=](auto& c) -> auto& { return c.servers[server].connects; });
  }
  std::uint64_t connect_failures(std::size_t server, ConnectFailure why) const {
    return sum([=](auto& c) -> auto& { return c.servers[server].connect_failures[why]; });
  }
  std::uint64_t sessions(std::size_t server) const {
    return sum([=](auto& c) -> auto& { return c.servers[server].sessions; });
  }
  // Clients that are on some worker, those that are being told to leave too.
  std::uint32_t load() const {
    std::uint32_t total = 0;
    for (const auto& worker : engine_.workers()) total += worker->load();
    return total;
  }
  // Every client there ever was has been counted under one reason, and is gone.
  bool all_accounted_for() const {
    std::uint64_t total = 0;
    for (int i = 0; i < static_cast<int>(EndReason::kCount); ++i)
      total += ended(EndReason{static_cast<std::uint8_t>(i)});
    for (int i = 0; i < static_cast<int>(CutReason::kCount); ++i)
      total += cut(CutReason{static_cast<std::uint8_t>(i)});
    for (int i = 0; i < static_cast<int>(RejectReason::kCount); ++i)
      total += rejected(RejectReason{static_cast<std::uint8_t>(i)});
    return load() == 0 && active() == 0 && total == accepted();
  }
  // All messages posted so far have been handled, and the events that were ready then.
  bool settle() {
    for (int turn = 0; turn < 2; ++turn) {
      std::uint64_t before = beats();
      engine_.ping();
      if (!eventually([&] { return beats() >= before + engine_.workers().size(); })) return false;
    }
    return true;
  }
  std::uint64_t beats() const {
    return sum([](auto& c) -> auto& { return c.beats; });
  }

  int failures() const { return failures_.load(); }
  // From now on a worker that reports a failure stands still until release_workers().
  void hold_workers() { hold_.store(true); }
  bool wait_for_held_worker() const {
    return eventually([&] { return held_.load(); });
  }
  void release_workers() { hold_.store(false); }

 private:
  // A worker may take a client that is waiting before it reads its mail: tests want to know where
  // the next one goes. A held worker is not waited for.
  void update(const RouteUpdate& update) {
    engine_.update_route(update);
    if (!held_.load()) (void)settle();
  }
  static void on_failure(void* context) {
    auto* self = static_cast<Gateway*>(context);
    self->failures_.fetch_add(1);
    self->held_.store(true);
    (void)eventually([&] { return !self->hold_.load(); });
    self->held_.store(false);
  }

  Engine engine_;
  bool started_ = false;
  SocketAddress address_;
  std::atomic<int> failures_{0};
  std::atomic<bool> hold_{false};
  std::atomic<bool> held_{false};
};

// A listening socket whose queue is full: a connection to it is neither accepted nor refused
// until take() empties the queue (and the kernel of the connecting side tries again, in 1 s).
class StalledListener {
 public:
  StalledListener() : listener_(listen_tcp("127.0.0.1", 0)) {
    fillers_.push_back(connect_to(address_of(listener_.get())));
  }
  int get() const { return listener_.get(); }
  // The queue has a place again.
  void unstall() { (void)accept_one(listener_.get()); }

 private:
  UniqueFd listener_;
  std::vector<UniqueFd> fillers_;
};

}  // namespace pg_gateway::test
