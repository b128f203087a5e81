// SPDX-License-Identifier: MIT
// The first exchange of a session: a server that serves nobody now costs the client nothing.
#include <doctest/doctest.h>

#include <string>
#include <utility>

#include "gateway.h"
#include "pg_wire.h"
#include "shelf.h"
#include "support.h"

namespace pg_gateway {

namespace {

using test::eventually;
using test::Gateway;
using test::kMs;
using test::kStartupMessage;
using test::patient;
using test::StreamEnd;

const std::string kSslRequest{"\0\0\0\x08\x04\xd2\x16\x2f", 8};
const std::string kGssRequest{"\0\0\0\x08\x04\xd2\x16\x30", 8};
const std::string kCancelRequest{"\0\0\0\x10\x04\xd2\x16\x2e\0\0\0\1\0\0\0\2", 16};
// AuthenticationOk, ReadyForQuery.
const std::string kWelcome{"R\0\0\0\x08\0\0\0\0Z\0\0\0\5I", 15};

std::string refusal(const char* sqlstate) {
  return fatal_error_response(sqlstate, "the database system is shutting down", {});
}

// The session is an ordinary one now.
void check_served(const UniqueFd& client, const UniqueFd& server) {
  CHECK(test::send_all(server.get(), kWelcome));
  CHECK(test::receive(client.get(), kWelcome.size()) == kWelcome);
  CHECK(test::send_all(client.get(), "question"));
  CHECK(test::receive(server.get(), 8) == "question");
  CHECK(test::send_all(server.get(), "answer"));
  CHECK(test::receive(client.get(), 6) == "answer");
}

}  // namespace

TEST_CASE("a server that serves nobody now is tried again, and the client notices nothing") {
  const UniqueFd backend = test::listen_tcp();
  Gateway gateway(1, patient());
  gateway.route(backend.get());
  const UniqueFd client = gateway.connect();
  CHECK(test::send_all(client.get(), kStartupMessage));
  UniqueFd going = test::accept_one(backend.get());
  CHECK(test::receive(going.get(), kStartupMessage.size()) == kStartupMessage);
  SUBCASE("shutting down") {
    CHECK(test::send_all(going.get(), refusal("57P03")));
  }
  SUBCASE("terminated by an administrator") {
    CHECK(test::send_all(going.get(), refusal("57P01")));
    going.reset();
  }
  SUBCASE("terminated when it had let the client in") {
    CHECK(test::send_all(going.get(), kWelcome.substr(0, 9) + refusal("57P01")));
    going.reset();
  }
  SUBCASE("another process crashed, in pieces") {
    const std::string words = refusal("57P02");
    for (const char each : words) {
      CHECK(test::send_all(going.get(), std::string(1, each)));
      CHECK(gateway.settle());
    }
  }
  SUBCASE("a FIN") {
    going.reset();
  }
  SUBCASE("a reset") {
    test::reset_connection(going);
  }
  const UniqueFd server = test::accept_one(backend.get());
  REQUIRE(server.valid());
  CHECK(gateway.failures() == 1);
  CHECK(test::receive(server.get(), kStartupMessage.size()) == kStartupMessage);
  CHECK(gateway.sessions(0) == 0);
  check_served(client, server);
  CHECK(gateway.sessions(0) == 1);
  CHECK(gateway.active() == 1);
  CHECK(gateway.held() == 0);
}

TEST_CASE("the client that has been told that there is no encryption is told so once") {
  const UniqueFd backend = test::listen_tcp();
  Gateway gateway(1, patient());
  gateway.route(backend.get());
  const UniqueFd client = gateway.connect();
  UniqueFd going;
  for (const std::string& request : {kGssRequest, kSslRequest}) {
    CHECK(test::send_all(client.get(), request));
    if (!going.valid()) going = test::accept_one(backend.get());
    CHECK(test::receive(going.get(), 8) == request);
    CHECK(test::send_all(going.get(), "N"));
    CHECK(test::receive(client.get(), 1) == "N");
  }
  CHECK(test::send_all(client.get(), kStartupMessage));
  CHECK(test::receive(going.get(), kStartupMessage.size()) == kStartupMessage);
  CHECK(test::send_all(going.get(), refusal("57P03")));
  going.reset();
  const UniqueFd server = test::accept_one(backend.get());
  CHECK(test::receive(server.get(), kStartupMessage.size()) == kStartupMessage);
  check_served(client, server);
  // Each byte counts once, whichever server had it, and however often.
  const std::size_t sent = kGssRequest.size() + kSslRequest.size() + kStartupMessage.size() + 8;
  CHECK(eventually([&] { return gateway.up() == sent; }));
  CHECK(eventually([&] { return gateway.down() == 2 + kWelcome.size() + 6; }));
}

TEST_CASE("a server that goes away before it has answered an SSLRequest is tried again") {
  const UniqueFd backend = test::listen_tcp();
  Gateway gateway(1, patient());
  gateway.route(backend.get());
  const UniqueFd client = gateway.connect();
  CHECK(test::send_all(client.get(), kSslRequest));
  UniqueFd going = test::accept_one(backend.get());
  CHECK(test::receive(going.get(), 8) == kSslRequest);
  test::reset_connection(going);
  const UniqueFd server = test::accept_one(backend.get());
  CHECK(test::receive(server.get(), 8) == kSslRequest);
  CHECK(test::send_all(server.get(), "S"));
  CHECK(test::receive(client.get(), 1) == "S");
  CHECK(test::send_all(client.get(), "\x16\x03\x01 whatever"));
  CHECK(test::receive(server.get(), 12) == "\x16\x03\x01 whatever");
}

TEST_CASE("a server that has waited long enough for a client is not connected again") {
  const UniqueFd backend = test::listen_tcp();
  Gateway gateway(1, patient());
  gateway.route(backend.get());
  UniqueFd client = gateway.connect();
  CHECK(test::send_all(client.get(), kSslRequest));
  UniqueFd server = test::accept_one(backend.get());
  CHECK(test::receive(server.get(), 8) == kSslRequest);
  CHECK(test::send_all(server.get(), "N"));
  CHECK(test::receive(client.get(), 1) == "N");
  // The least that authentication_timeout can be.
  CHECK_FALSE(test::is_readable(client.get(), 1000));
  server.reset();
  CHECK(test::receive_to_end(client.get()).bytes.empty());
  client.reset();
  CHECK(eventually([&] { return gateway.ended(EndReason::kBackendClosed) == 1; }));
  CHECK(gateway.held_ever() == 0);
  CHECK_FALSE(test::is_readable(backend.get(), 0));
}

TEST_CASE("any other answer is the client's") {
  const UniqueFd backend = test::listen_tcp();
  Gateway gateway(1, patient());
  gateway.route(backend.get());
  const UniqueFd client = gateway.connect();
  CHECK(test::send_all(client.get(), kStartupMessage));
  UniqueFd server = test::accept_one(backend.get());
  CHECK(test::receive(server.get(), kStartupMessage.size()) == kStartupMessage);
  std::string answer;
  SUBCASE("too many connections") {
    answer = refusal("53300");
  }
  SUBCASE("a wrong password") {
    answer = refusal("28P01");
  }
  SUBCASE("a welcome without an end") {
    answer = kWelcome.substr(0, 9);
  }
  SUBCASE("very much of it") {
    answer = kWelcome.substr(0, 9);
    for (int i = 0; i < 1000; ++i)
      answer += std::string(
          "S\0\0\0\x08"
          "a\0b\0",
          9);
    answer += kWelcome.substr(9);
  }
  SUBCASE("no protocol of ours") {
    answer = "HTTP/1.1 400 Bad Request\r\n\r\n";
  }
  SUBCASE("half an error") {
    answer = refusal("57P03").substr(0, 20);
  }
  SUBCASE("an error without an end") {
    answer = std::string(
        "E\0\0\0\x0a"
        "C57P03",
        11);
  }
  CHECK(test::send_all(server.get(), answer));
  server.reset();
  const test::Received received = test::receive_to_end(client.get());
  CHECK(received.bytes == answer);
  CHECK(received.end == StreamEnd::kFin);
  CHECK(gateway.failures() == 0);
}

TEST_CASE("what a client sends is passed on exactly once") {
  const UniqueFd backend = test::listen_tcp();
  Gateway gateway(1, patient());
  gateway.route(backend.get());
  const UniqueFd client = gateway.connect();
  UniqueFd server;
  SUBCASE("a startup message, byte by byte") {
    for (const char each : kStartupMessage) {
      CHECK(test::send_all(client.get(), std::string(1, each)));
      CHECK(gateway.settle());
    }
    server = test::accept_one(backend.get());
    CHECK(test::receive(server.get(), kStartupMessage.size()) == kStartupMessage);
    check_served(client, server);
  }
  SUBCASE("more than a startup message") {
    CHECK(test::send_all(client.get(), kStartupMessage + "and more"));
    server = test::accept_one(backend.get());
    CHECK(test::receive(server.get(), kStartupMessage.size()) == kStartupMessage);
    CHECK(test::send_all(server.get(), kWelcome));
    CHECK(test::receive(client.get(), kWelcome.size()) == kWelcome);
    CHECK(test::receive(server.get(), 8) == "and more");
  }
  SUBCASE("a longest startup message") {
    std::string longest("\0\0\x27\x14\0\3\0\0", 8);
    longest += test::pattern_bytes(kMaxStartupBytes - 8);
    CHECK(test::send_all(client.get(), longest));
    server = test::accept_one(backend.get());
    CHECK(test::receive(server.get(), longest.size()) == longest);
    check_served(client, server);
  }
  SUBCASE("a CancelRequest, then a FIN") {
    CHECK(test::send_all(client.get(), kCancelRequest));
    test::send_fin(client.get());
    server = test::accept_one(backend.get());
    const test::Received received = test::receive_to_end(server.get());
    CHECK(received.bytes == kCancelRequest);
    CHECK(received.end == StreamEnd::kFin);
  }
  SUBCASE("no protocol of ours") {
    // As TLS begins.
    const std::string words = "\x16" + test::pattern_bytes(100'000);
    CHECK(test::send_all(client.get(), words));
    server = test::accept_one(backend.get());
    CHECK(test::receive(server.get(), words.size()) == words);
    check_served(client, server);
  }
  CHECK(test::receive(server.get(), 1, 20).empty());
}

TEST_CASE("a client that resets while the server thinks is over") {
  const UniqueFd backend = test::listen_tcp();
  Gateway gateway(1, patient());
  gateway.route(backend.get());
  UniqueFd client = gateway.connect();
  CHECK(test::send_all(client.get(), kStartupMessage));
  const UniqueFd server = test::accept_one(backend.get());
  CHECK(test::receive(server.get(), kStartupMessage.size()) == kStartupMessage);
  test::reset_connection(client);
  CHECK(test::receive_to_end(server.get()).end == StreamEnd::kFin);
  CHECK(eventually([&] { return gateway.all_accounted_for(); }));
  CHECK(gateway.ended(EndReason::kClientReset) == 1);
}

TEST_CASE("a client that has no answer yet moves with the route") {
  const UniqueFd old_primary = test::listen_tcp();
  const UniqueFd next = test::listen_tcp();
  Gateway gateway(1, patient());
  gateway.route(old_primary.get(), 1, 0);
  const UniqueFd client = gateway.connect();
  CHECK(test::send_all(client.get(), kStartupMessage));
  const UniqueFd going = test::accept_one(old_primary.get());
  CHECK(test::receive(going.get(), kStartupMessage.size()) == kStartupMessage);
  SUBCASE("at once") {
    gateway.route(next.get(), 2, 1, 2);
  }
  SUBCASE("when there is one") {
    gateway.no_route(2);
    CHECK(eventually([&] { return gateway.held() == 1; }));
    gateway.route(next.get(), 3, 1, 2);
  }
  CHECK(test::receive_to_end(going.get()).end == StreamEnd::kFin);
  const UniqueFd server = test::accept_one(next.get());
  CHECK(test::receive(server.get(), kStartupMessage.size()) == kStartupMessage);
  check_served(client, server);
  CHECK(gateway.cut(CutReason::kSuperseded) == 0);
}

TEST_CASE("the next engine knows what the server has as a copy") {
  test::Shelf shelf;
  const UniqueFd backend = test::listen_tcp();
  auto gateway = std::make_unique<Gateway>(shelf, 1, patient());
  gateway->engine().write_note("note");
  gateway->route(backend.get());
  const UniqueFd client = gateway->connect();
  UniqueFd server;
  SUBCASE("a startup message") {}
  SUBCASE("after an SSLRequest was declined") {
    CHECK(test::send_all(client.get(), kSslRequest));
    server = test::accept_one(backend.get());
    CHECK(test::receive(server.get(), 8) == kSslRequest);
    CHECK(test::send_all(server.get(), "N"));
    CHECK(test::receive(client.get(), 1) == "N");
  }
  CHECK(test::send_all(client.get(), kStartupMessage));
  if (!server.valid()) server = test::accept_one(backend.get());
  CHECK(test::receive(server.get(), kStartupMessage.size()) == kStartupMessage);
  gateway->leave();
  gateway = std::make_unique<Gateway>(shelf, 1, patient());
  CHECK(gateway->engine().recovery().recovered == 1);
  check_served(client, server);
}

TEST_CASE("a server that was given up while it had a copy is not gone back to by the next engine") {
  test::Shelf shelf;
  const UniqueFd old_primary = test::listen_tcp();
  const UniqueFd next = test::listen_tcp();
  auto gateway = std::make_unique<Gateway>(shelf, 1, patient());
  gateway->engine().write_note("note");
  gateway->route(old_primary.get(), 1, 0);
  const UniqueFd client = gateway->connect();
  CHECK(test::send_all(client.get(), kStartupMessage));
  const UniqueFd going = test::accept_one(old_primary.get());
  CHECK(test::receive(going.get(), kStartupMessage.size()) == kStartupMessage);
  gateway->no_route(2);
  CHECK(eventually([&] { return gateway->held() == 1; }));
  gateway->leave();
  gateway = std::make_unique<Gateway>(shelf, 1, patient());
  CHECK(gateway->engine().recovery().recovered == 1);
  gateway->route(next.get(), 3, 1, 2);
  const UniqueFd server = test::accept_one(next.get());
  CHECK(test::receive(server.get(), kStartupMessage.size()) == kStartupMessage);
  check_served(client, server);
}

// A client that `going` has told that there is no encryption, and that waits for its answer to the
// startup message.
UniqueFd told_client(const Gateway& gateway, int backend, UniqueFd& going) {
  UniqueFd client = gateway.connect();
  for (const std::string& request : {kGssRequest, kSslRequest}) {
    CHECK(test::send_all(client.get(), request));
    if (!going.valid()) going = test::accept_one(backend);
    CHECK(test::receive(going.get(), 8) == request);
    CHECK(test::send_all(going.get(), "N"));
    CHECK(test::receive(client.get(), 1) == "N");
  }
  CHECK(test::send_all(client.get(), kStartupMessage));
  CHECK(test::receive(going.get(), kStartupMessage.size()) == kStartupMessage);
  return client;
}

TEST_CASE("what an earlier server has declined is not missed by the next engine") {
  test::Shelf shelf;
  const UniqueFd backend = test::listen_tcp();
  auto gateway = std::make_unique<Gateway>(shelf, 1, patient());
  gateway->engine().write_note("note");
  gateway->route(backend.get());
  UniqueFd going;
  const UniqueFd client = told_client(*gateway, backend.get(), going);
  UniqueFd server;
  SUBCASE("when the client is held") {
    gateway->no_route(2);
    CHECK(eventually([&] { return gateway->held() == 1; }));
    gateway->leave();
    gateway = std::make_unique<Gateway>(shelf, 1, patient());
    CHECK(gateway->engine().recovery().recovered == 1);
    gateway->route(backend.get(), 3, 0, 2);
    server = test::accept_one(backend.get());
    CHECK(test::receive(server.get(), kStartupMessage.size()) == kStartupMessage);
  }
  SUBCASE("when it is with the next server") {
    test::reset_connection(going);
    server = test::accept_one(backend.get());
    CHECK(test::receive(server.get(), kStartupMessage.size()) == kStartupMessage);
    SUBCASE("that has a copy of the startup message") {}
    SUBCASE("that has let it in") {
      check_served(client, server);
    }
    gateway->leave();
    gateway = std::make_unique<Gateway>(shelf, 1, patient());
    CHECK(gateway->engine().recovery().recovered == 1);
  }
  check_served(client, server);
  CHECK(test::receive(server.get(), 1, 20).empty());
  CHECK(test::receive(client.get(), 1, 20).empty());
}

TEST_CASE("the next engine may give the client another server too, if it holds any") {
  test::Shelf shelf;
  const UniqueFd backend = test::listen_tcp();
  auto gateway = std::make_unique<Gateway>(shelf, 1, patient());
  gateway->engine().write_note("note");
  gateway->route(backend.get());
  const UniqueFd client = gateway->connect_and_speak();
  UniqueFd going = test::accept_one(backend.get());
  CHECK(test::receive(going.get(), kStartupMessage.size()) == kStartupMessage);
  gateway->leave();
  SUBCASE("it does") {
    CHECK(test::send_all(going.get(), refusal("57P03")));
    gateway = std::make_unique<Gateway>(shelf, 1, patient());
    gateway->route(backend.get());
    const UniqueFd server = test::accept_one(backend.get());
    CHECK(test::receive(server.get(), kStartupMessage.size()) == kStartupMessage);
    check_served(client, server);
  }
  SUBCASE("it does not") {
    gateway = std::make_unique<Gateway>(shelf);
    gateway->route(backend.get());
    check_served(client, going);
    CHECK(gateway->sessions(0) == 1);
  }
  CHECK(gateway->engine().recovery().recovered == 1);
}

}  // namespace pg_gateway
