// SPDX-License-Identifier: MIT
// Clients that wait: for a primary, and for a connect that works.
#include <doctest/doctest.h>
#include <sys/socket.h>

#include <cerrno>
#include <string>
#include <utility>
#include <vector>

#include "gateway.h"
#include "shelf.h"
#include "support.h"
#include "waiting.h"

namespace pg_gateway {

namespace {

using test::eventually;
using test::Gateway;
using test::hold_clients;
using test::kMs;
using test::kStartupMessage;
using test::patient;
using test::Received;
using test::refusing_address;
using test::startup_of;
using test::StreamEnd;
using test::who_is;

bool has_field(const Received& received, const std::string& field) {
  return received.bytes.substr(0, 1) == "E" &&
         received.bytes.find('\0' + field) != std::string::npos;
}

}  // namespace

TEST_CASE("without a primary a client waits, and finds the one that comes") {
  const UniqueFd backend = test::listen_tcp();
  Gateway gateway(2, patient());
  gateway.no_route();
  const UniqueFd client = gateway.connect_and_speak();
  REQUIRE(eventually([&] { return gateway.held() == 1; }));
  CHECK_FALSE(test::is_readable(client.get(), 50));
  CHECK(gateway.active() == 0);

  gateway.route(backend.get());
  const UniqueFd served = test::accept_one(backend.get());
  CHECK(test::receive(served.get(), kStartupMessage.size()) == kStartupMessage);
  CHECK(test::send_all(served.get(), "answer"));
  CHECK(test::receive(client.get(), 6) == "answer");
  CHECK(gateway.held() == 0);
  CHECK(gateway.held_ever() == 1);
  CHECK(gateway.active() == 1);
  CHECK(gateway.sum([](auto& c) -> auto& { return c.hold_time.total_ns; }) > 0);
}

TEST_CASE("who has waited long enough is told so, and why") {
  Settings settings;
  settings.hold_timeout_ns = 100 * kMs;
  Gateway gateway(1, settings);
  SUBCASE("there was no primary") {
    gateway.no_route();
    UniqueFd client = gateway.connect();
    CHECK(test::send_all(client.get(), kStartupMessage));
    const Received received = test::receive_to_end(client.get());
    CHECK(has_field(received, "C57P03"));
    CHECK(has_field(received, "DWaited 1"));
    CHECK_FALSE(has_field(received, "DWaited 1 "));
    CHECK(eventually([&] { return gateway.rejected(RejectReason::kNoPrimary) == 1; }));
  }
  SUBCASE("the primary refused") {
    gateway.route(refusing_address(), 1, 0);
    UniqueFd client = gateway.connect();
    CHECK(test::send_all(client.get(), kStartupMessage));
    const Received received = test::receive_to_end(client.get());
    CHECK(has_field(received, "C57P03"));
    CHECK(received.bytes.find("Connection refused") != std::string::npos);
    CHECK(eventually([&] { return gateway.rejected(RejectReason::kConnectFailed) == 1; }));
    // 25 ms, then 50, then 100.
    CHECK(gateway.connect_failures(0, ConnectFailure::kRefused) >= 2);
    CHECK(gateway.connect_failures(0, ConnectFailure::kRefused) <= 4);
  }
  CHECK(gateway.sum([](auto& c) -> auto& { return c.hold_timeouts; }) == 1);
  CHECK(gateway.held() == 0);
}

TEST_CASE("a held client that hangs up is forgotten at once") {
  Gateway gateway(2, patient());
  gateway.no_route();
  const std::size_t before = test::open_fds().size();
  std::vector<UniqueFd> clients;
  for (int i = 0; i < 10; ++i) clients.push_back(gateway.connect());
  REQUIRE(eventually([&] { return gateway.held() == 10; }));
  test::send_fin(clients[3].get());
  test::reset_connection(clients[6]);
  REQUIRE(eventually([&] { return gateway.held() == 8; }));
  clients.clear();
  CHECK(eventually([&] { return gateway.held() == 0 && gateway.all_accounted_for(); }));
  CHECK(gateway.rejected(RejectReason::kGaveUp) == 10);
  CHECK(test::open_fds().size() == before);
}

TEST_CASE("no more wait than may: the next one is told 53300") {
  const UniqueFd backend = test::listen_tcp();
  Settings settings = patient();
  settings.max_held = 3;
  Gateway gateway(2, settings);
  gateway.no_route();
  std::vector<UniqueFd> clients;
  for (int i = 0; i < 3; ++i) clients.push_back(gateway.connect_and_speak());
  REQUIRE(eventually([&] { return gateway.held() == 3; }));
  const UniqueFd fourth = gateway.connect();
  CHECK(test::send_all(fourth.get(), kStartupMessage));
  const Received received = test::receive_to_end(fourth.get());
  CHECK(has_field(received, "C53300"));
  CHECK(has_field(received, "Mtoo many clients wait for a PostgreSQL primary"));
  CHECK(eventually([&] { return gateway.rejected(RejectReason::kTooManyHeld) == 1; }));
  clients.pop_back();
  REQUIRE(eventually([&] { return gateway.held() == 2; }));
  clients.push_back(gateway.connect_and_speak());
  CHECK(eventually([&] { return gateway.held() == 3; }));
  gateway.route(backend.get());
  std::vector<UniqueFd> served;
  for (int i = 0; i < 3; ++i) served.push_back(test::accept_one(backend.get()));
  CHECK(served.back().valid());
}

TEST_CASE("when the client that tries the route for all has left the next one does") {
  const SocketAddress any = parse_address("127.0.0.1", 0).take();
  const UniqueFd backend(::socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  REQUIRE(::bind(backend.get(), any.get(), any.length) == 0);
  Gateway gateway(1, patient());
  gateway.route(backend.get());  // refuses, as it does not listen
  std::vector<UniqueFd> clients;
  for (const char who : {'a', 'b'}) {
    clients.push_back(gateway.connect());
    CHECK(test::send_all(clients.back().get(), startup_of(who)));
    REQUIRE(eventually([&] { return gateway.held_ever() == clients.size(); }));
  }
  REQUIRE(::listen(backend.get(), 8) == 0);
  // It does not answer: the other one waits to see what becomes of this one.
  const UniqueFd first = test::accept_one(backend.get());
  CHECK(who_is(first) == 'a');
  CHECK(gateway.held() == 1);
  test::reset_connection(clients.front());
  const UniqueFd second = test::accept_one(backend.get());
  CHECK(who_is(second) == 'b');
}

TEST_CASE("a connect to an earlier route that fails makes nobody wait for the present one") {
  const test::StalledListener frozen;
  const UniqueFd backend = test::listen_tcp();
  Settings settings = patient();
  settings.connect_timeout_ns = 300 * kMs;
  Gateway gateway(1, settings);
  gateway.route(frozen.get(), 1, 0);
  const UniqueFd early = gateway.connect_and_speak();
  REQUIRE(eventually([&] { return gateway.active() == 1; }));
  // Not cut: nothing is proven against the server that it is being connected to.
  gateway.route(backend.get(), 2, 1);
  REQUIRE(eventually([&] { return gateway.connect_failures(0, ConnectFailure::kTimeout) == 1; }));
  const UniqueFd served = test::accept_one(backend.get());
  CHECK(test::receive(served.get(), kStartupMessage.size()) == kStartupMessage);
  const UniqueFd late = gateway.connect_and_speak();
  const UniqueFd served_too = test::accept_one(backend.get());
  CHECK(test::receive(served_too.get(), kStartupMessage.size()) == kStartupMessage);
  CHECK(gateway.held_ever() == 1);
}

TEST_CASE("those that lose their route go first again, in their order") {
  const UniqueFd silent = test::listen_tcp();
  const UniqueFd backend = test::listen_tcp();
  Gateway gateway(1, patient());
  gateway.route(silent.get());
  std::vector<UniqueFd> clients;
  std::vector<UniqueFd> unanswered;
  for (const char who : {'a', 'b', 'c'}) {
    clients.push_back(gateway.connect());
    CHECK(test::send_all(clients.back().get(), startup_of(who)));
    unanswered.push_back(test::accept_one(silent.get()));
    CHECK(who_is(unanswered.back()) == who);
  }
  gateway.no_route(2);
  CHECK(eventually([&] { return gateway.held() == 3; }));
  clients.push_back(gateway.connect());
  CHECK(test::send_all(clients.back().get(), startup_of('d')));
  CHECK(eventually([&] { return gateway.held() == 4; }));
  gateway.route(backend.get(), 2);
  for (const char who : {'a', 'b', 'c', 'd'}) {
    CHECK(who_is(test::accept_one(backend.get())) == who);
  }
}

TEST_CASE("a connect that fails is tried again, by one client at a time") {
  UniqueFd backend = test::listen_tcp();
  const SocketAddress address = test::address_of(backend.get());
  backend.reset();
  Gateway gateway(1, patient());
  gateway.route(address, 1, 0);
  std::vector<UniqueFd> clients;
  const std::int64_t before = monotonic_ns();
  clients.push_back(gateway.connect_and_speak());
  REQUIRE(eventually([&] { return gateway.failures() > 0 && gateway.held() == 1; }));
  for (int i = 0; i < 9; ++i) clients.push_back(gateway.connect_and_speak());
  REQUIRE(eventually([&] { return gateway.held() >= 9; }));
  // At 0, 25, 75, 175, 375, 775 and 1,575 ms, then one in 800 ms; nine would have tried already.
  const auto attempts = gateway.connect_failures(0, ConnectFailure::kRefused);
  CHECK(attempts <= 7 + static_cast<std::uint64_t>((monotonic_ns() - before) / (800 * kMs)));
  backend = bind_listener("127.0.0.1",
                          ntohs(reinterpret_cast<const sockaddr_in*>(&address.storage)->sin_port))
                .take();
  REQUIRE(backend.valid());
  std::vector<UniqueFd> served;
  for (int i = 0; i < 10; ++i) {
    served.push_back(test::accept_one(backend.get()));
    CHECK(test::send_all(served.back().get(), "Z"));  // it serves: the next one may try
  }
  CHECK(eventually([&] { return gateway.connects(0) == 10 && gateway.held() == 0; }));
  CHECK(gateway.rejected(RejectReason::kConnectFailed) == 0);
}

TEST_CASE("another route ends the rest after a failed connect at once") {
  const UniqueFd next = test::listen_tcp();
  const test::StalledListener silent;
  SUBCASE("the old one refused") {
    Gateway gateway(1, patient());
    gateway.route(refusing_address(), 1, 0);
    const UniqueFd client = gateway.connect_and_speak();
    REQUIRE(eventually([&] {
      return gateway.connect_failures(0, ConnectFailure::kRefused) >= 5;  // resting for 800 ms
    }));
    const std::int64_t before = monotonic_ns();
    gateway.route(next.get(), 2, 1, 2);
    CHECK(test::accept_one(next.get()).valid());
    CHECK(monotonic_ns() - before < 400 * kMs);
  }
  SUBCASE("the old one did not answer, and was proven wrong meanwhile") {
    Gateway gateway(1, patient());
    gateway.route(silent.get(), 1, 0);
    const UniqueFd client = gateway.connect_and_speak();
    REQUIRE(eventually([&] { return gateway.active() == 1; }));
    gateway.no_route(2);
    REQUIRE(eventually([&] { return gateway.held() == 1 && gateway.active() == 0; }));
    gateway.route(next.get(), 3, 1, 2);
    CHECK(test::accept_one(next.get()).valid());
  }
  SUBCASE("the old one never answered") {
    Settings settings = patient();
    settings.connect_timeout_ns = 50 * kMs;
    Gateway gateway(1, settings);
    gateway.route(silent.get(), 1, 0);
    const UniqueFd client = gateway.connect_and_speak();
    REQUIRE(eventually([&] { return gateway.connect_failures(0, ConnectFailure::kTimeout) >= 1; }));
    gateway.route(next.get(), 2, 1);
    CHECK(test::accept_one(next.get()).valid());
  }
}

TEST_CASE("a client that left while it was being connected does not wait for another server") {
  const test::StalledListener silent;
  Gateway gateway(1, patient());
  gateway.route(silent.get(), 1, 0);
  UniqueFd client = gateway.connect_and_speak();
  REQUIRE(eventually([&] { return gateway.active() == 1; }));
  client.reset();  // a FIN: what it has said, a CancelRequest perhaps, is still to be delivered
  REQUIRE(gateway.settle());
  CHECK(gateway.active() == 1);
  gateway.no_route(2);
  CHECK(eventually([&] { return gateway.all_accounted_for(); }));
  CHECK(gateway.rejected(RejectReason::kGaveUp) == 1);
}

TEST_CASE("where nobody is to wait, a client is told at once, and tried at once") {
  Gateway gateway;
  gateway.route(refusing_address(), 1, 0);
  for (int i = 0; i < 3; ++i) {
    UniqueFd client = gateway.connect();
    CHECK(test::send_all(client.get(), kStartupMessage));
    CHECK(has_field(test::receive_to_end(client.get()), "C57P03"));
  }
  CHECK(gateway.connect_failures(0, ConnectFailure::kRefused) == 3);
  CHECK(gateway.held_ever() == 0);
}

TEST_CASE("a held client waits on in the next engine, in its turn and for no longer") {
  test::Shelf shelf;
  const UniqueFd backend = test::listen_tcp();
  std::vector<UniqueFd> clients;
  {
    Gateway gateway(shelf, 1, patient());
    gateway.engine().write_note("note");
    gateway.no_route();
    clients = hold_clients(gateway, 5);
    gateway.leave();
  }
  {
    // It ends before it has decided anything.
    Gateway gateway(shelf, 1, patient());
    CHECK(gateway.engine().recovery().recovered == 5);
    REQUIRE(eventually([&] { return gateway.held() == 5; }));
    gateway.leave();
  }
  Gateway gateway(shelf, 1, patient());
  REQUIRE(eventually([&] { return gateway.held() == 5; }));
  clients[2].reset();
  gateway.no_route();
  REQUIRE(eventually([&] { return gateway.held() == 4; }));
  gateway.route(backend.get());
  std::string order;
  std::vector<UniqueFd> served;
  for (int i = 0; i < 4; ++i) {
    served.push_back(test::accept_one(backend.get()));
    order += who_is(served.back());
  }
  CHECK(order == "abde");
}

TEST_CASE(
    "a connect given up for another route leaves a client that waits, to the next engine too") {
  test::Shelf shelf;
  const UniqueFd old_primary = test::listen_tcp();
  const UniqueFd next = test::listen_tcp();
  UniqueFd client;
  {
    Gateway gateway(shelf, 1, patient());
    gateway.engine().write_note("note");
    const test::StalledListener silent;
    gateway.route(silent.get(), 1, 0);
    client = gateway.connect();
    CHECK(test::send_all(client.get(), startup_of('a')));
    REQUIRE(eventually([&] { return gateway.active() == 1; }));
    gateway.no_route(2);
    REQUIRE(eventually([&] { return gateway.held() == 1; }));
    gateway.leave();
  }
  Gateway gateway(shelf, 1, patient());
  CHECK(gateway.engine().recovery().recovered == 1);
  gateway.route(next.get(), 3, 1, 2);
  const UniqueFd served = test::accept_one(next.get());
  CHECK(who_is(served) == 'a');
}

TEST_CASE("waiting costs less than 1 KiB of memory a client") {
  CHECK(sizeof(Session) + sizeof(SessionRef) <= 512);
}

}  // namespace pg_gateway
