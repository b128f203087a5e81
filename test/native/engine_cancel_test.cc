// SPDX-License-Identifier: MIT
// A CancelRequest of a client that is one too many: it is passed on, and is over in time.
#include <doctest/doctest.h>
#include <sys/socket.h>

#include <string>
#include <vector>

#include "gateway.h"
#include "support.h"

namespace pg_gateway {

namespace {

using test::eventually;
using test::Gateway;
using test::has;
using test::kMs;
using test::StreamEnd;
using test::told;

const std::string kCancel("\0\0\0\x10\x04\xd2\x16\x2e\0\0\0\1\0\0\0\2", 16);

}  // namespace

TEST_CASE("at the limit a CancelRequest is passed on, and nothing else") {
  const std::string ssl_request("\0\0\0\x08\x04\xd2\x16\x2f", 8);
  const UniqueFd backend = test::listen_tcp();
  Settings settings;
  settings.limits = {2, 1};
  RejectReason reason = RejectReason::kTooManyOfOneHost;
  SUBCASE("of one address, where clients are held") {
    settings.hold_timeout_ns = 10'000 * kMs;
  }
  SUBCASE("of all clients, where nobody is held") {
    settings.limits = {1, 0};
    reason = RejectReason::kTooManyClients;
  }
  Gateway gateway(1, settings);
  gateway.route(backend.get());
  const UniqueFd first = gateway.connect_and_speak();
  const UniqueFd firsts_server = test::accept_one(backend.get());
  REQUIRE(firsts_server.valid());
  for (const bool asks_for_tls : {false, true}) {
    CAPTURE(asks_for_tls);
    const UniqueFd client = gateway.connect();
    if (asks_for_tls) {
      REQUIRE(test::send_all(client.get(), ssl_request));
      REQUIRE(test::receive(client.get(), 1) == "N");
    }
    REQUIRE(test::send_all(client.get(), kCancel));
    const UniqueFd server = test::accept_one(backend.get());
    REQUIRE(server.valid());
    CHECK(test::receive(server.get(), kCancel.size()) == kCancel);
    CHECK(gateway.active() == 2);
    // The server has nothing to say, and hangs up: so does the gateway.
    ::shutdown(server.get(), SHUT_WR);
    CHECK(test::receive_to_end(client.get()).bytes.empty());
    ::shutdown(client.get(), SHUT_WR);
    CHECK(eventually([&] { return gateway.active() == 1; }));
  }
  CHECK(gateway.rejected(reason) == 0);
  CHECK(gateway.engine().clients() == 1);
  CHECK(has(told(gateway.connect()), "C53300"));
  // Who has hung up already is delivered as well.
  UniqueFd gone = gateway.connect();
  REQUIRE(test::send_all(gone.get(), kCancel));
  ::shutdown(gone.get(), SHUT_WR);
  const UniqueFd server = test::accept_one(backend.get());
  CHECK(test::receive_to_end(server.get()).bytes == kCancel);
  // The beginning of one would keep a server waiting.
  const UniqueFd half = gateway.connect();
  REQUIRE(test::send_all(half.get(), kCancel.substr(0, 8)));
  CHECK(test::receive_to_end(half.get()).bytes.empty());
  CHECK_FALSE(test::accept_one(backend.get(), 0).valid());
  // Without a server there is nothing to cancel.
  gateway.no_route();
  const UniqueFd late = gateway.connect();
  REQUIRE(test::send_all(late.get(), kCancel));
  CHECK(test::receive_to_end(late.get()).bytes.empty());
}

TEST_CASE("a CancelRequest beyond the limit has one deadline for all of it") {
  const UniqueFd backend = test::listen_tcp();
  Settings settings = test::patient();
  settings.limits = {1, 0};
  settings.startup_timeout_ns = 600 * kMs;
  SUBCASE("where clients are held") {}
  SUBCASE("where nobody is held") {
    settings.hold_timeout_ns = 0;
  }
  Gateway gateway(1, settings);
  gateway.route(backend.get());
  const UniqueFd first = gateway.connect_and_speak();
  const UniqueFd firsts_server = test::accept_one(backend.get());
  REQUIRE(firsts_server.valid());
  // So that there is a pipe in the pool.
  REQUIRE(test::send_all(firsts_server.get(), "an answer"));
  REQUIRE(test::receive(first.get(), 9) == "an answer");
  REQUIRE(gateway.settle());
  const std::size_t before = test::open_fds().size();
  {
    // The server has read it, and goes; the client stays.
    const UniqueFd client = gateway.connect();
    const std::int64_t began = monotonic_ns();
    REQUIRE(test::send_all(client.get(), kCancel));
    UniqueFd server = test::accept_one(backend.get());
    CHECK(test::receive(server.get(), kCancel.size()) == kCancel);
    server.reset();
    CHECK(test::receive_to_end(client.get()).end == StreamEnd::kFin);
    CHECK(eventually([&] { return gateway.load() == 1; }));
    CHECK(monotonic_ns() - began >= 550 * kMs);
    CHECK(gateway.active() == 1);
    CHECK(gateway.ended(EndReason::kBackendClosed) == 1);
  }
  {
    // Neither of them ever goes.
    const UniqueFd client = gateway.connect();
    REQUIRE(test::send_all(client.get(), kCancel));
    const UniqueFd server = test::accept_one(backend.get());
    CHECK(test::receive_to_end(server.get()).bytes == kCancel);
    CHECK(test::receive_to_end(client.get()).end != StreamEnd::kStillOpen);
    CHECK(eventually([&] { return gateway.rejected(RejectReason::kTooManyClients) == 1; }));
  }
  {
    // The server never accepts.
    const test::StalledListener stalled;
    gateway.route(stalled.get(), 2);
    const UniqueFd client = gateway.connect();
    REQUIRE(test::send_all(client.get(), kCancel));
    CHECK(test::receive_to_end(client.get()).bytes.empty());
    CHECK(eventually([&] { return gateway.rejected(RejectReason::kTooManyClients) == 2; }));
  }
  {
    // It refuses: who is one too many does not wait for another.
    gateway.route(test::refusing_address(), 3, 0);
    const UniqueFd client = gateway.connect();
    REQUIRE(test::send_all(client.get(), kCancel));
    CHECK(test::receive_to_end(client.get()).bytes.empty());
    CHECK(eventually([&] { return gateway.rejected(RejectReason::kConnectFailed) == 1; }));
    CHECK(gateway.held_ever() == 0);
  }
  CHECK(eventually([&] { return gateway.load() == 1; }));
  CHECK(gateway.active() == 1);
  CHECK(gateway.sessions(0) == 1);
  gateway.route(backend.get(), 4);
  CHECK(eventually([&] { return test::open_fds().size() == before; }));
}

TEST_CASE("those who cancel and do not hang up keep nobody from being told, or from cancelling") {
  const UniqueFd backend = test::listen_tcp();
  Settings settings;
  settings.limits.clients = 1;
  settings.startup_timeout_ns = 1'500 * kMs;
  Gateway gateway(1, settings);
  gateway.route(backend.get());
  const UniqueFd first = gateway.connect_and_speak();
  const UniqueFd firsts_server = test::accept_one(backend.get());
  REQUIRE(firsts_server.valid());
  std::vector<UniqueFd> clients;
  for (std::uint32_t i = 0; i < Admission::kMostTold; ++i) {
    clients.push_back(gateway.connect());
    REQUIRE(test::send_all(clients.back().get(), kCancel));
    const UniqueFd server = test::accept_one(backend.get());
    // Where the machine stands still for longer than its deadline, it has ended already.
    test::receive(server.get(), kCancel.size());
  }
  CHECK(eventually([&] { return gateway.load() == 1; }));
  const UniqueFd next = gateway.connect();
  REQUIRE(test::send_all(next.get(), kCancel));
  const UniqueFd server = test::accept_one(backend.get(), 1000);
  CHECK(server.valid());
  CHECK(test::receive(server.get(), kCancel.size()) == kCancel);
  CHECK(has(told(gateway.connect()), "C53300"));
}

}  // namespace pg_gateway
