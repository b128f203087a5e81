// SPDX-License-Identifier: MIT
// What the workers answer about their sessions, and how they end those that are named.
#include "inquiry.h"

#include <arpa/inet.h>
#include <doctest/doctest.h>
#include <sys/socket.h>

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <memory>
#include <random>
#include <set>
#include <utility>
#include <vector>

#include "gateway.h"
#include "support.h"

namespace pg_gateway {

namespace {

using test::eventually;
using test::Gateway;
using test::Link;

struct Told {
  std::atomic<int> times{0};
  std::atomic<std::uint32_t> number{0};

  static void tell(void* context, std::uint32_t number) {
    auto* self = static_cast<Told*>(context);
    self->number.store(number);
    self->times.fetch_add(1);
  }
};

std::shared_ptr<SessionListing> list(Gateway& gateway, const SessionFilter& filter = {},
                                     std::uint32_t limit = 10'000) {
  Told told;
  const auto listing = std::make_shared<SessionListing>(filter, limit, 7, &Told::tell, &told);
  gateway.engine().list_sessions(listing);
  CHECK(eventually([&] { return told.times.load() == 1; }));
  CHECK(listing->done());
  CHECK(told.number.load() == 7);
  return listing;
}

std::vector<std::uint64_t> kill(Gateway& gateway, const std::vector<std::uint64_t>& ids) {
  Told told;
  const auto order = std::make_shared<KillOrder>(ids, 8, &Told::tell, &told);
  gateway.engine().kill_sessions(order);
  CHECK(eventually([&] { return told.times.load() == 1; }));
  return order->killed();
}

std::uint16_t port_at(int fd, bool peer) {
  SocketAddress address;
  address.length = sizeof address.storage;
  auto* storage = reinterpret_cast<sockaddr*>(&address.storage);
  if (peer) {
    ::getpeername(fd, storage, &address.length);
  } else {
    ::getsockname(fd, storage, &address.length);
  }
  return ntohs(reinterpret_cast<const sockaddr_in*>(&address.storage)->sin_port);
}

bool hung_up(int fd) {
  return eventually([&] {
    char byte = 0;
    return ::recv(fd, &byte, 1, MSG_DONTWAIT) == 0;
  });
}

}  // namespace

TEST_CASE("a session is told with its addresses, its age and what the kernel has counted") {
  const UniqueFd backend = test::listen_tcp();
  Gateway gateway;
  REQUIRE(gateway.started());
  gateway.route(backend.get(), 1, 3);
  Link link = gateway.open(backend.get());
  REQUIRE(link.backend.valid());
  CHECK(test::send_all(link.client.get(), "select 1"));
  CHECK(test::receive(link.backend.get(), 8) == "select 1");
  CHECK(test::send_all(link.backend.get(), "one row"));
  CHECK(test::receive(link.client.get(), 7) == "one row");

  // What the server's kernel has acknowledged may come a moment later.
  CHECK(eventually([&] { return list(gateway)->found().at(0).bytes_up == 8; }));
  const auto listing = list(gateway);
  REQUIRE(listing->found().size() == 1);
  const SessionFacts facts = listing->found()[0];
  CHECK(facts.id > 0);
  CHECK(facts.state == SessionState::kRelaying);
  CHECK(facts.client.text() == "127.0.0.1");
  CHECK(facts.client.port == port_at(link.client.get(), false));
  CHECK(facts.source_port == port_at(link.backend.get(), true));
  CHECK(facts.server == 3);
  CHECK(facts.age_ns > 0);
  CHECK(facts.age_ns < 60'000'000'000);
  CHECK(facts.idle_ms >= 0);
  CHECK(facts.idle_ms < 60'000);
  CHECK(facts.bytes_down == 7);
}

TEST_CASE("only those are told that are asked for") {
  const UniqueFd backend = test::listen_tcp();
  Gateway gateway(2);
  REQUIRE(gateway.started());
  gateway.route(backend.get(), 1, 3);
  std::vector<Link> links;
  for (int i = 0; i < 5; ++i) links.push_back(gateway.open(backend.get()));
  CHECK(list(gateway)->found().size() == 5);

  SessionFilter by_port;
  by_port.source_port = port_at(links[2].backend.get(), true);
  const auto one = list(gateway, by_port);
  REQUIRE(one->found().size() == 1);
  CHECK(one->found()[0].client.port == port_at(links[2].client.get(), false));

  SessionFilter by_client;
  by_client.client = client_address(parse_address("127.0.0.1", 0).value()).host();
  CHECK(list(gateway, by_client)->found().size() == 5);
  by_client.client_port = port_at(links[4].client.get(), false);
  CHECK(list(gateway, by_client)->found().size() == 1);
  by_client.client = client_address(parse_address("127.0.0.2", 0).value()).host();
  CHECK(list(gateway, by_client)->matching() == 0);

  SessionFilter by_server;
  by_server.server = 3;
  CHECK(list(gateway, by_server)->matching() == 5);
  by_server.server = 4;
  CHECK(list(gateway, by_server)->matching() == 0);

  SessionFilter by_idle;
  by_idle.idle_ms = 3'600'000;
  CHECK(list(gateway, by_idle)->matching() == 0);
  SessionFilter of_unix;
  of_unix.unix_clients = true;
  CHECK(list(gateway, of_unix)->matching() == 0);
}

TEST_CASE("more than are wanted are counted, also over several turns of the loop") {
  constexpr std::size_t kSessions = 300;
  const UniqueFd backend = test::listen_tcp();
  Gateway gateway;
  REQUIRE(gateway.started());
  gateway.route(backend.get());
  std::vector<Link> links;
  for (std::size_t i = 0; i < kSessions; ++i) {
    Link link;
    link.client = gateway.connect();
    link.backend = test::accept_one(backend.get());
    links.push_back(std::move(link));
  }
  CHECK(eventually([&] { return gateway.active() == kSessions; }));
  const auto all = list(gateway);
  CHECK(all->found().size() == kSessions);
  std::set<std::uint64_t> ids;
  for (const SessionFacts& facts : all->found()) ids.insert(facts.id);
  CHECK(ids.size() == kSessions);

  const auto some = list(gateway, {}, 10);
  CHECK(some->found().size() == 10);
  CHECK(some->matching() == kSessions);
  // Where the kernel has to be asked of each.
  SessionFilter idle;
  idle.idle_ms = 1;
  CHECK(eventually([&] { return list(gateway, idle, 10)->matching() == kSessions; }));
  CHECK(list(gateway, idle, 10)->found().size() == 10);
}

TEST_CASE("of more than are wanted the oldest are told, whose slots others had before them too") {
  constexpr std::size_t kClients = 200;
  constexpr std::uint32_t kWanted = 20;
  for (const unsigned workers : {1U, 3U}) {
    CAPTURE(workers);
    const UniqueFd backend = test::listen_tcp();
    Gateway gateway(workers);
    REQUIRE(gateway.started());
    gateway.route(backend.get());
    std::vector<Link> links;
    const auto come = [&] {
      for (std::size_t i = 0; i < kClients; ++i) links.push_back(gateway.open(backend.get()));
    };
    come();
    // The young ones get the slots of the oldest.
    links.erase(links.begin(), links.begin() + std::ptrdiff_t{kClients / 2});
    CHECK(eventually([&] { return gateway.active() == kClients / 2; }));
    come();

    // All of them, to know who the oldest are.
    std::vector<std::uint64_t> ids;
    const auto everybody = list(gateway);
    for (const SessionFacts* facts : everybody->oldest_first()) ids.push_back(facts->id);
    CHECK(ids.size() == kClients / 2 + kClients);
    SessionFilter idle;
    idle.idle_ms = 1;
    CHECK(eventually([&] { return list(gateway, idle)->matching() == ids.size(); }));
    ids.resize(kWanted);
    CHECK(std::is_sorted(ids.begin(), ids.end()));
    for (const SessionFilter& filter : {SessionFilter{}, idle}) {
      const auto listing = list(gateway, filter, kWanted);
      CHECK(listing->matching() == kClients / 2 + kClients);
      std::vector<std::uint64_t> told;
      for (const SessionFacts* facts : listing->oldest_first()) told.push_back(facts->id);
      CHECK(told == ids);
    }
  }
}

TEST_CASE("a listing keeps the oldest in whatever order they are found, of a tie the lower ids") {
  Told told;
  std::minstd_rand random(7);
  for (const std::uint32_t limit : {0U, 1U, 10U, 100U, 1000U}) {
    SessionListing listing({}, limit, 1, &Told::tell, &told);
    std::vector<std::pair<std::int64_t, std::uint64_t>> all;
    for (std::uint64_t id = 1; id <= 500; ++id) {
      SessionFacts facts;
      facts.id = id;
      facts.opened_ns = static_cast<std::int64_t>(random() % 100);
      all.emplace_back(facts.opened_ns, id);
      if (listing.wants(facts.opened_ns)) {
        listing.add(facts);
      } else {
        listing.count();
      }
    }
    CHECK(listing.matching() == all.size());
    std::sort(all.begin(), all.end());
    all.resize(std::min<std::size_t>(limit, all.size()));
    std::vector<std::pair<std::int64_t, std::uint64_t>> kept;
    for (const SessionFacts* facts : listing.oldest_first()) {
      kept.emplace_back(facts->opened_ns, facts->id);
    }
    CHECK(kept == all);
  }
}

TEST_CASE("a session that is killed ends on both sides, and no other does") {
  const UniqueFd backend = test::listen_tcp();
  Gateway gateway(2);
  REQUIRE(gateway.started());
  gateway.route(backend.get());
  std::vector<Link> links;
  for (int i = 0; i < 3; ++i) links.push_back(gateway.open(backend.get()));
  SessionFilter filter;
  filter.source_port = port_at(links[1].backend.get(), true);
  const std::uint64_t id = list(gateway, filter)->found().at(0).id;

  const std::vector<std::uint64_t> killed = kill(gateway, {id, id + 1'000'000});
  REQUIRE(killed.size() == 1);
  CHECK(killed[0] == id);
  CHECK(hung_up(links[1].client.get()));
  CHECK(hung_up(links[1].backend.get()));
  CHECK(gateway.cut(CutReason::kKilled) == 1);
  CHECK(list(gateway)->found().size() == 2);
  for (const int other : {0, 2}) {
    CHECK(test::send_all(links[static_cast<std::size_t>(other)].client.get(), "on"));
    CHECK(test::receive(links[static_cast<std::size_t>(other)].backend.get(), 2) == "on");
  }
  CHECK(kill(gateway, {id}).empty());
  links.clear();
  CHECK(eventually([&] { return gateway.all_accounted_for(); }));
}

TEST_CASE("a client that waits is told too, and its end is counted as one that was turned away") {
  Settings settings;
  settings.hold_timeout_ns = 60'000'000'000;
  Gateway gateway(1, settings);
  REQUIRE(gateway.started());
  gateway.no_route();
  UniqueFd waits = gateway.connect();
  CHECK(eventually([&] { return list(gateway)->found().size() == 1; }));
  const SessionFacts facts = list(gateway)->found().at(0);
  CHECK(facts.state == SessionState::kHeld);
  CHECK(facts.source_port == 0);
  CHECK(facts.idle_ms < 0);
  CHECK(kill(gateway, {facts.id}).size() == 1);
  CHECK(hung_up(waits.get()));
  CHECK(eventually([&] { return gateway.rejected(RejectReason::kKilled) == 1; }));
  CHECK(eventually([&] { return gateway.all_accounted_for(); }));
}

TEST_CASE("what is not kept has an id that no later process gives again") {
  Admission one;
  const std::uint64_t first = one.next_id();
  CHECK(one.next_id() == first + 1);
  CHECK(first > Ledger::kMaxId - 1);
  // Each begins at one of sixteen million places, a million ids apart.
  Admission later;
  const std::uint64_t other = later.next_id();
  CHECK(std::max(first, other) - std::min(first, other) >= 1'000'000);
}

TEST_CASE("an inquiry that the end of the engine leaves behind is never done") {
  Told told;
  const auto listing = std::make_shared<SessionListing>(SessionFilter{}, 10, 1, &Told::tell, &told);
  CHECK_FALSE(listing->done());
  {
    Gateway gateway(2);
    REQUIRE(gateway.started());
    gateway.engine().list_sessions(listing);
  }
  // Either both workers have answered before they ended, or nobody was told.
  CHECK(told.times.load() == (listing->done() ? 1 : 0));
}

}  // namespace pg_gateway
