// SPDX-License-Identifier: MIT
// Clients that wait for their turn: how fast they are let go, and who goes first.
#include <doctest/doctest.h>

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "gateway.h"
#include "support.h"
#include "waiting.h"

namespace pg_gateway {

namespace {

using test::eventually;
using test::Gateway;
using test::hold_clients;
using test::kMs;
using test::patient;
using test::startup_of;
using test::who_is;

Settings at_pace(std::uint32_t release_rate) {
  Settings settings = patient();
  settings.release_rate = release_rate;
  return settings;
}

// Everybody so far waits, or has a server.
bool all_seen(const Gateway& gateway, std::uint64_t count) {
  return eventually([&] { return gateway.connects(0) + gateway.held() == count; });
}

// The names of the next who are given a server; it has not answered them yet.
std::string next_served(const UniqueFd& backend, std::size_t count, std::vector<UniqueFd>& served) {
  std::string names;
  for (std::size_t i = 0; i < count; ++i) {
    served.push_back(test::accept_one(backend.get()));
    names += who_is(served.back());
  }
  return names;
}

// How many may have gone since then at one a second, the first of them at once.
std::uint64_t gone_by_pace(std::int64_t since_ns) {
  return 2 + static_cast<std::uint64_t>((monotonic_ns() - since_ns) / (1000 * kMs));
}

// The n-th of very many.
char name_of(std::uint64_t number) {
  return static_cast<char>('a' + number % 26);
}

}  // namespace

TEST_CASE("those that came first go first, at the pace") {
  const UniqueFd backend = test::listen_tcp();
  Settings settings = patient();
  settings.release_rate = 50;  // one in 20 ms, and 50 ms may be made up for at the beginning
  Gateway gateway(1, settings);
  gateway.no_route();
  const std::vector<UniqueFd> clients = hold_clients(gateway, 12);
  const std::int64_t before = monotonic_ns();
  gateway.engine().update_route({Route{1, 0, test::address_of(backend.get())}, 0, {}});
  // One that comes now is the last.
  const UniqueFd late = gateway.connect();
  CHECK(test::send_all(late.get(), startup_of('z')));
  std::string order;
  std::vector<UniqueFd> served;
  for (int i = 0; i < 13; ++i) {
    served.push_back(test::accept_one(backend.get()));
    order += who_is(served.back());
  }
  CHECK(order == "abcdefghijklz");
  // Three at once, one for the late one, then nine at 20 ms.
  CHECK(monotonic_ns() - before >= 160 * kMs);
}

TEST_CASE("all workers share one pace") {
  const UniqueFd backend = test::listen_tcp();
  Settings settings = patient();
  settings.release_rate = 50;
  Gateway gateway(4, settings);
  gateway.no_route();
  const std::vector<UniqueFd> clients = hold_clients(gateway, 12);
  const std::int64_t before = monotonic_ns();
  gateway.engine().update_route({Route{1, 0, test::address_of(backend.get())}, 0, {}});
  std::vector<UniqueFd> served;
  for (int i = 0; i < 12; ++i) served.push_back(test::accept_one(backend.get()));
  CHECK(monotonic_ns() - before >= 160 * kMs);
  CHECK(eventually([&] { return gateway.connects(0) == 12; }));
}

TEST_CASE("with a primary nobody is turned away for want of a place to wait") {
  const UniqueFd backend = test::listen_tcp();
  Settings settings = patient();
  settings.max_held = 2;
  settings.release_rate = 1;  // the second one waits for a second
  Gateway gateway(1, settings);
  gateway.no_route();
  std::vector<UniqueFd> clients = hold_clients(gateway, 2);
  gateway.route(backend.get());
  for (int i = 0; i < 5; ++i) clients.push_back(gateway.connect_and_speak());
  std::vector<UniqueFd> served;
  for (int i = 0; i < 7; ++i) served.push_back(test::accept_one(backend.get()));
  CHECK(served.back().valid());
  CHECK(gateway.rejected(RejectReason::kTooManyHeld) == 0);
}

TEST_CASE("who finds others waiting has the first of them go at once, and goes in its turn") {
  constexpr unsigned kHeld = 20;
  constexpr unsigned kNew = 30;
  const UniqueFd backend = test::listen_tcp();
  Settings settings = at_pace(1);
  SUBCASE("where there is a place to wait") {}
  SUBCASE("where all places are taken") {
    settings.max_held = kHeld;
  }
  Gateway gateway(1, settings);
  gateway.no_route();
  std::vector<UniqueFd> clients = hold_clients(gateway, kHeld);
  REQUIRE(clients.size() == kHeld);
  const std::int64_t before = monotonic_ns();
  gateway.route(backend.get());
  for (unsigned i = 0; i < kNew; ++i) {
    clients.push_back(gateway.connect());
    CHECK(test::send_all(clients.back().get(), startup_of(name_of(clients.size() - 1))));
    REQUIRE(all_seen(gateway, clients.size()));
    CHECK(gateway.connects(0) >= i + 1);
  }
  // One for each that came, and one a second.
  CHECK(gateway.connects(0) <= kNew + gone_by_pace(before));
  CHECK(gateway.held_ever() == kHeld + kNew);
  CHECK(gateway.rejected(RejectReason::kTooManyHeld) == 0);
  std::vector<UniqueFd> served;
  std::string in_turn;
  for (unsigned i = 0; i < kNew; ++i) in_turn += name_of(i);
  CHECK(next_served(backend, kNew, served) == in_turn);
}

TEST_CASE("the queue ends while as many come as go, each in its turn") {
  const UniqueFd backend = test::listen_tcp();
  Gateway gateway(1, at_pace(50));
  gateway.no_route();
  std::vector<UniqueFd> clients = hold_clients(gateway, 20);
  REQUIRE(clients.size() == 20);
  gateway.route(backend.get());
  std::uint64_t came = clients.size();
  std::uint64_t served = 0;
  // One comes for each that the server gets; at the pace alone it would be the same queue for ever.
  const bool ended = eventually([&] {
    clients.push_back(gateway.connect());
    if (!test::send_all(clients.back().get(), startup_of(name_of(came++)))) return false;
    if (!all_seen(gateway, came)) return false;
    const UniqueFd server = test::accept_one(backend.get());
    CHECK(who_is(server) == name_of(served));
    CHECK(test::send_all(server.get(), "Z"));
    clients[served++].reset();
    return gateway.held() == 0;
  });
  CHECK(ended);
  // Who comes now waits for nobody.
  const std::uint64_t held_ever = gateway.held_ever();
  const UniqueFd late = gateway.connect_and_speak();
  CHECK(eventually([&] { return gateway.connects(0) == came + 1; }));
  CHECK(gateway.held_ever() == held_ever);
}

TEST_CASE("who has said nothing has nobody go for it, and no place in the queue") {
  const UniqueFd backend = test::listen_tcp();
  Gateway gateway(1, at_pace(1));
  gateway.no_route();
  const std::vector<UniqueFd> clients = hold_clients(gateway, 4);
  REQUIRE(clients.size() == 4);
  const std::int64_t before = monotonic_ns();
  gateway.route(backend.get());
  std::vector<UniqueFd> silent;
  for (std::uint64_t i = 0; i < 4; ++i) {
    silent.push_back(gateway.connect());
    REQUIRE(eventually([&] { return gateway.silent() == i + 1; }));
  }
  CHECK(gateway.connects(0) <= gone_by_pace(before));
  CHECK(gateway.held_ever() == 4);
  // The last one first: that is when it comes.
  for (std::uint64_t i = 4; i > 0; --i) {
    CHECK(test::send_all(silent[i - 1].get(), startup_of(static_cast<char>('w' + i - 1))));
    REQUIRE(all_seen(gateway, 4 + (5 - i)));
  }
  std::vector<UniqueFd> served;
  CHECK(next_served(backend, 5, served) == "abcdz");
}

}  // namespace pg_gateway
