// SPDX-License-Identifier: MIT
// Several workers that keep their sessions in one store at the same time, over several engines:
// what ThreadSanitizer is to see of the store, of recovery and of the hand-over.
#include <doctest/doctest.h>

#include <atomic>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "gateway.h"
#include "shelf.h"
#include "support.h"
#include "traffic.h"

namespace pg_gateway {

namespace {

using test::Endpoint;
using test::Gateway;

constexpr unsigned kWorkers = 3;
constexpr std::uint32_t kLasting = 24;
constexpr std::size_t kBytes = 4 << 20;
constexpr int kEngines = 4;
constexpr int kBrief = 60;

Settings telling() {
  Settings settings;
  settings.log_sessions = true;
  return settings;
}

// Sessions come and go: they are parked, struck, and those that stay have to move.
bool come_and_go(const SocketAddress& gateway, int servers) {
  for (int i = 0; i < kBrief; ++i) {
    const UniqueFd client = test::connect_to(gateway);
    const UniqueFd server = test::accept_one(servers);
    if (!test::send_all(client.get(), "?") || test::receive(server.get(), 1) != "?") return false;
  }
  return true;
}

}  // namespace

TEST_CASE("several workers keep their sessions, and give them to those of the next engine") {
  test::Shelf shelf;
  const UniqueFd servers = test::listen_tcp();
  auto gateway = std::make_unique<Gateway>(shelf, kWorkers, telling());
  gateway->engine().write_note("note");
  gateway->route(servers.get());
  std::vector<Endpoint> endpoints;
  for (std::uint32_t id = 0; id < kLasting; ++id) {
    test::Link link = gateway->open(servers.get());
    endpoints.push_back(Endpoint::client(std::move(link.client), id, kBytes));
    endpoints.push_back(Endpoint::backend(std::move(link.backend), kBytes));
  }
  bool whole = false;
  std::thread traffic([&] { whole = test::run_traffic(endpoints, 60'000); });
  for (int engine = 0; engine < kEngines; ++engine) {
    const UniqueFd brief_servers = test::listen_tcp();
    gateway->route(brief_servers.get());
    std::atomic<bool> over{false};
    bool came_and_went = false;
    std::thread brief([&] {
      came_and_went = come_and_go(gateway->address(), brief_servers.get());
      over = true;
    });
    // What the control plane asks for all the while.
    while (!over) {
      (void)gateway->engine().kept();
      (void)gateway->engine().take_session_events();
      gateway->engine().write_note("another note");
      gateway->engine().configure(telling());
      CHECK(gateway->settle());
    }
    brief.join();
    CHECK(came_and_went);
    gateway->leave();
    gateway = std::make_unique<Gateway>(shelf, kWorkers, telling());
    CHECK(gateway->engine().recovery().not_whole == 0);
    CHECK(gateway->engine().recovery().missing == 0);
  }
  traffic.join();
  CHECK(whole);
  CHECK(test::eventually([&] { return gateway->engine().kept().sessions == 0; }));
  CHECK(gateway->engine().kept().failures == 0);
}

}  // namespace pg_gateway
