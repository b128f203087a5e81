// SPDX-License-Identifier: MIT
// A client that has not said what it wants costs the servers nothing.
#include <doctest/doctest.h>
#include <sys/socket.h>

#include <string>

#include "gateway.h"
#include "shelf.h"
#include "support.h"

namespace pg_gateway {

namespace {

using test::eventually;
using test::Gateway;
using test::kMs;
using test::kStartupMessage;
using test::patient;

// A client that the gateway listens to.
UniqueFd connect_silently(const Gateway& gateway) {
  const std::uint64_t before = gateway.silent();
  UniqueFd client = gateway.connect();
  CHECK(eventually([&] { return gateway.silent() == before + 1; }));
  return client;
}

void check_served(const UniqueFd& client, int listener, const std::string& first_words) {
  const UniqueFd server = test::accept_one(listener);
  CHECK(test::receive(server.get(), first_words.size()) == first_words);
  CHECK(test::send_all(server.get(), "answer"));
  CHECK(test::receive(client.get(), 6) == "answer");
}

// Nobody has come to the listener.
bool nobody_came(int listener) {
  return !test::is_readable(listener, 0);
}

}  // namespace

TEST_CASE("a client gets a server when it has said what it wants") {
  const UniqueFd backend = test::listen_tcp();
  Gateway gateway(1, patient());
  gateway.route(backend.get());
  const UniqueFd client = connect_silently(gateway);
  CHECK(gateway.active() == 0);
  std::string words = kStartupMessage;
  SUBCASE("at once") {
    CHECK(test::send_all(client.get(), words));
  }
  SUBCASE("byte by byte") {
    for (const char byte : words) {
      CHECK(nobody_came(backend.get()));
      CHECK(test::send_all(client.get(), std::string(1, byte)));
      CHECK(gateway.settle());
    }
  }
  SUBCASE("with TLS at once, which is the server's to understand") {
    words = std::string("\x16\3\1\2\0\1\0\1", 8);
    CHECK(test::send_all(client.get(), words));
  }
  SUBCASE("of a protocol that only the server may know") {
    words = std::string("\0\0\0\x09\0\4\0\0\0", 9);
    CHECK(test::send_all(client.get(), words));
  }
  check_served(client, backend.get(), words);
  CHECK(gateway.silent() == 0);
  CHECK(gateway.sessions(0) == 1);
  // Its startup deadline is none of the session's.
  CHECK(gateway.rejected(RejectReason::kStartup) == 0);
}

TEST_CASE("who never says what it wants is closed, and no server notices") {
  const UniqueFd backend = test::listen_tcp();
  Settings settings = patient();
  RejectReason reason = RejectReason::kStartup;
  SUBCASE("in time") {
    settings.startup_timeout_ns = 50 * kMs;
  }
  Gateway gateway(1, settings);
  gateway.route(backend.get());
  UniqueFd client = connect_silently(gateway);
  SUBCASE("a length that PostgreSQL refuses") {
    CHECK(test::send_all(client.get(), std::string("\0\1\0\0\0\3\0\0", 8)));
  }
  SUBCASE("a length of less than itself") {
    CHECK(test::send_all(client.get(), std::string("\0\0\0\1\0\3\0\0", 8)));
  }
  SUBCASE("it hangs up") {
    client.reset();
    reason = RejectReason::kGaveUp;
  }
  SUBCASE("it hangs up in the midst of it") {
    CHECK(test::send_all(client.get(), kStartupMessage.substr(0, 10)));
    CHECK(::shutdown(client.get(), SHUT_WR) == 0);
    reason = RejectReason::kGaveUp;
  }
  SUBCASE("it resets") {
    test::reset_connection(client);
    reason = RejectReason::kGaveUp;
  }
  CHECK(eventually([&] { return gateway.all_accounted_for(); }));
  CHECK(gateway.rejected(reason) == 1);
  CHECK(gateway.silent() == 0);
  CHECK(nobody_came(backend.get()));
}

TEST_CASE("a client that speaks when the route has gone waits for the next one") {
  const UniqueFd backend = test::listen_tcp();
  const UniqueFd next = test::listen_tcp();
  Gateway gateway(1, patient());
  gateway.route(backend.get());
  const UniqueFd client = connect_silently(gateway);
  gateway.no_route(2);
  CHECK(gateway.settle());
  CHECK(gateway.silent() == 1);
  CHECK(test::send_all(client.get(), kStartupMessage));
  REQUIRE(eventually([&] { return gateway.held() == 1 && gateway.silent() == 0; }));
  gateway.route(next.get(), 3, 1, 2);
  check_served(client, next.get(), kStartupMessage);
  CHECK(nobody_came(backend.get()));
}

TEST_CASE("a held client that says nothing holds nobody up") {
  const UniqueFd backend = test::listen_tcp();
  Gateway gateway(1, patient());
  gateway.no_route();
  const UniqueFd mute = gateway.connect();
  REQUIRE(eventually([&] { return gateway.held() == 1; }));
  const UniqueFd client = gateway.connect();
  CHECK(test::send_all(client.get(), kStartupMessage));
  REQUIRE(eventually([&] { return gateway.held() == 2; }));
  gateway.route(backend.get());
  check_served(client, backend.get(), kStartupMessage);
  CHECK(gateway.silent() == 1);
  CHECK(nobody_came(backend.get()));
  CHECK(test::send_all(mute.get(), kStartupMessage));
  check_served(mute, backend.get(), kStartupMessage);
}

TEST_CASE(
    "what a held client has said that is no startup message is found out when there is a route") {
  const UniqueFd backend = test::listen_tcp();
  Gateway gateway(1, patient());
  gateway.no_route();
  const UniqueFd client = gateway.connect();
  REQUIRE(eventually([&] { return gateway.held() == 1; }));
  CHECK(test::send_all(client.get(), "GET / HTTP/1.1\r\n"));
  CHECK(gateway.settle());
  gateway.route(backend.get());
  CHECK(eventually([&] { return gateway.rejected(RejectReason::kStartup) == 1; }));
  CHECK(gateway.all_accounted_for());
  CHECK(nobody_came(backend.get()));
}

TEST_CASE("a silent client of one engine is served by the next") {
  test::Shelf shelf;
  const UniqueFd backend = test::listen_tcp();
  UniqueFd client;
  {
    Gateway gateway(shelf, 1, patient());
    gateway.route(backend.get());
    client = connect_silently(gateway);
    gateway.leave();
  }
  CHECK(nobody_came(backend.get()));
  Gateway gateway(shelf, 1, patient());
  CHECK(gateway.engine().recovery().recovered == 1);
  gateway.route(backend.get());
  REQUIRE(eventually([&] { return gateway.silent() == 1; }));
  CHECK(test::send_all(client.get(), kStartupMessage));
  check_served(client, backend.get(), kStartupMessage);
}

TEST_CASE("a silent client is closed at the end") {
  const UniqueFd backend = test::listen_tcp();
  Gateway gateway(1, patient());
  gateway.route(backend.get());
  const UniqueFd client = connect_silently(gateway);
  gateway.engine().stop(0);
  CHECK(test::receive(client.get(), 1).empty());
}

}  // namespace pg_gateway
