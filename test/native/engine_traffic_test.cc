// SPDX-License-Identifier: MIT
// Much traffic: exact bytes, exact counters, and nobody starves.
#include <doctest/doctest.h>
#include <sys/socket.h>

#include <algorithm>
#include <cstdint>
#include <string>
#include <thread>
#include <vector>

#include "gateway.h"
#include "relay.h"
#include "support.h"
#include "traffic.h"

namespace pg_gateway {

namespace {

using test::Endpoint;
using test::eventually;
using test::Gateway;
using test::Link;

// The backend's side of the traffic, on a thread of its own.
class TrafficBackend {
 public:
  TrafficBackend(int listener, std::size_t connections, std::size_t to_send)
      : thread_([=, this] {
          std::vector<Endpoint> endpoints;
          for (std::size_t i = 0; i < connections; ++i) {
            UniqueFd socket = test::accept_one(listener);
            if (!socket.valid()) return;
            endpoints.push_back(Endpoint::backend(std::move(socket), to_send));
          }
          good_ = test::run_traffic(endpoints, 60'000);
          for (const Endpoint& endpoint : endpoints) {
            sent_ += endpoint.sent();
            received_ += endpoint.received();
          }
        }) {}
  ~TrafficBackend() { join(); }
  TrafficBackend(const TrafficBackend&) = delete;
  TrafficBackend& operator=(const TrafficBackend&) = delete;

  void join() {
    if (thread_.joinable()) thread_.join();
  }
  // After join():
  bool good() const { return good_; }
  std::uint64_t sent() const { return sent_; }
  std::uint64_t received() const { return received_; }

 private:
  bool good_ = false;
  std::uint64_t sent_ = 0;
  std::uint64_t received_ = 0;
  std::thread thread_;  // last: it uses the others
};

}  // namespace

TEST_CASE("500 sessions over 4 workers: even, byte for byte, counted exactly") {
  constexpr std::size_t kSessions = 500;
  constexpr std::size_t kUp = 40'000;
  constexpr std::size_t kDown = 60'000;
  const std::size_t fds_before = test::open_fds().size();
  {
    const UniqueFd listener = test::listen_tcp();
    Gateway gateway(4);
    gateway.route(listener.get(), 1, 11);
    TrafficBackend backend(listener.get(), kSessions, kDown);
    std::vector<Endpoint> clients;
    for (std::uint32_t id = 0; id < kSessions; ++id) {
      clients.push_back(Endpoint::client(gateway.connect(), id, kUp + id));
    }
    REQUIRE(eventually([&] { return gateway.sessions(11) == kSessions; }));
    for (const auto& worker : gateway.engine().workers()) {
      CHECK(worker->load() >= kSessions / 4 - 10);
      CHECK(worker->load() <= kSessions / 4 + 10);
    }
    CHECK(test::run_traffic(clients, 60'000));
    backend.join();
    CHECK(backend.good());

    std::uint64_t sent = 0;
    std::uint64_t received = 0;
    for (const Endpoint& client : clients) {
      sent += client.sent();
      received += client.received();
    }
    CHECK(received == kSessions * kDown);
    CHECK(backend.sent() == received);
    CHECK(backend.received() == sent);
    CHECK(eventually([&] { return gateway.all_accounted_for(); }));
    CHECK(gateway.up() == sent);
    CHECK(gateway.down() == received);
    CHECK(gateway.accepted() == kSessions);
    CHECK(gateway.connects(11) == kSessions);
    CHECK(gateway.sessions(11) == 0);
    CHECK(gateway.ended(EndReason::kClientClosed) + gateway.ended(EndReason::kBackendClosed) ==
          kSessions);
    clients.clear();
  }
  CHECK(test::open_fds().size() == fds_before);
}

TEST_CASE("large streams both ways at once") {
  constexpr std::size_t kBytes = 24 << 20;
  const UniqueFd listener = test::listen_tcp();
  Gateway gateway;
  gateway.route(listener.get());
  TrafficBackend backend(listener.get(), 1, kBytes);
  std::vector<Endpoint> clients;
  clients.push_back(Endpoint::client(gateway.connect(), 1, kBytes));
  CHECK(test::run_traffic(clients, 60'000));
  backend.join();
  CHECK(backend.good());
  // The last bytes are there a moment before they are counted.
  CHECK(eventually([&] { return gateway.down() == kBytes && gateway.up() == kBytes + 4; }));
}

TEST_CASE("a client that stops reading: bounded memory, no harm to others, no byte lost") {
  const UniqueFd backend = test::listen_tcp();
  Gateway gateway;
  gateway.route(backend.get());
  const Link lazy = gateway.open(backend.get());
  const Link busy = gateway.open(backend.get());
  REQUIRE(busy.backend.valid());
  const std::string pattern = test::pattern_bytes(65'537);
  const std::size_t sent = test::flood(lazy.backend.get(), pattern, 0, 300);
  CHECK(sent > 0);
  CHECK(test::bytes_in_pipes() > 0);
  CHECK(test::bytes_in_pipes() <= Relay::kMaxTake);

  for (int i = 0; i < 100; ++i) {
    CHECK(test::send_all(busy.client.get(), "query"));
    REQUIRE(test::receive(busy.backend.get(), 5) == "query");
    CHECK(test::send_all(busy.backend.get(), "answer"));
    REQUIRE(test::receive(busy.client.get(), 6) == "answer");
  }
  CHECK(test::send_all(lazy.client.get(), "the other direction is free"));
  CHECK(test::receive(lazy.backend.get(), 27) == "the other direction is free");

  CHECK(test::receive(lazy.client.get(), sent) == test::flooded(pattern, sent));
  CHECK(eventually([&] { return gateway.down() == sent + 600; }));
  CHECK(test::bytes_in_pipes() == 0);
}

TEST_CASE("bulk transfers do not starve the small queries of their worker") {
  constexpr std::size_t kBulkSessions = 3;
  const UniqueFd listener = test::listen_tcp();
  Gateway gateway;
  gateway.route(listener.get());
  const Link small = gateway.open(listener.get());
  REQUIRE(small.backend.valid());
  TrafficBackend backend(listener.get(), kBulkSessions, 16 << 20);
  bool bulk_good = false;
  std::vector<UniqueFd> sockets;
  for (std::size_t i = 0; i < kBulkSessions; ++i) sockets.push_back(gateway.connect());
  std::thread bulk([&] {
    std::vector<Endpoint> clients;
    for (std::uint32_t id = 0; id < kBulkSessions; ++id) {
      clients.push_back(Endpoint::client(std::move(sockets[id]), id, 1000));
    }
    bulk_good = test::run_traffic(clients, 60'000);
  });
  int round_trips = 0;
  while (gateway.sessions(0) > 1 || gateway.down() == 0) {
    if (!test::send_all(small.client.get(), "q") || test::receive(small.backend.get(), 1) != "q")
      break;
    ++round_trips;
  }
  bulk.join();
  backend.join();
  CHECK(bulk_good);
  CHECK(backend.good());
  // How many depends on the machine; what a turn may take is pinned in relay_test.cc.
  CHECK(round_trips >= 10);
}

}  // namespace pg_gateway
