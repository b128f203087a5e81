// SPDX-License-Identifier: MIT
// Failures of single system calls that once were worse than one session: each by itself, where
// fault_test.cc has them in the midst of others.
#include <doctest/doctest.h>
#include <sys/socket.h>

#include <cerrno>
#include <memory>
#include <string>
#include <utility>

#include "fault_points.h"
#include "gateway.h"
#include "kept_sessions.h"
#include "shelf.h"
#include "support.h"

namespace pg_gateway {

namespace {

using test::AsOwner;
using test::FailingCall;
using test::Gateway;
using test::KeptSessions;
using test::kMs;
using test::Shelf;
using test::StreamEnd;

const std::string kSslRequest{"\0\0\0\x08\x04\xd2\x16\x2f", 8};

}  // namespace

TEST_CASE("a port that the kernel has chosen and does not tell is an error, and is let go" *
          doctest::skip(!test::kCallsCanFail)) {
  Gateway gateway;
  const std::size_t before = test::open_fds().size();
  const FailingCall failing({"owner getsockname/tcp", ENOBUFS, 1});
  const AsOwner scope;
  const Result<std::uint16_t> port = gateway.engine().bind("127.0.0.1", 0);
  REQUIRE_FALSE(port.ok());
  CHECK(port.error().text() == "getsockname: No buffer space available (ENOBUFS)");
  CHECK(test::open_fds().size() == before);
}

TEST_CASE("an error of the network for one client leaves the listening socket as it is" *
          doctest::skip(!test::kCallsCanFail)) {
  const UniqueFd backend = test::listen_tcp();
  Gateway gateway;
  gateway.route(backend.get());
  int error = 0;
  SUBCASE("EOPNOTSUPP") {
    error = EOPNOTSUPP;
  }
  SUBCASE("EHOSTUNREACH") {
    error = EHOSTUNREACH;
  }
  const FailingCall failing({"worker accept4/tcp", error, 1});
  const UniqueFd client = gateway.connect();
  CHECK(test::send_all(client.get(), "served"));
  const UniqueFd served = test::accept_one(backend.get());
  CHECK(test::fault_has_struck());
  CHECK(test::receive(served.get(), 6) == "served");
}

TEST_CASE("where accepting is forbidden it pauses, as the connection would wake it for ever" *
          doctest::skip(!test::kCallsCanFail)) {
  const UniqueFd backend = test::listen_tcp();
  Gateway gateway;
  gateway.route(backend.get());
  const FailingCall failing({"worker accept4/tcp", EPERM, 1});
  const UniqueFd client = gateway.connect();
  CHECK(test::send_all(client.get(), "served"));
  const UniqueFd served = test::accept_one(backend.get());
  CHECK(test::fault_has_struck());
  CHECK(gateway.pauses() == 1);
  CHECK(test::receive(served.get(), 6) == "served");
}

TEST_CASE("a client that cannot be told that there is no encryption is not left to wait" *
          doctest::skip(!test::kCallsCanFail)) {
  Settings settings;
  settings.hold_timeout_ns = 60'000 * kMs;
  const UniqueFd backend = test::listen_tcp();
  Gateway gateway(1, settings);
  gateway.route(backend.get());
  const char* call = nullptr;
  SUBCASE("into the pipe") {
    call = "worker splice.in/tcp";
  }
  SUBCASE("out of it") {
    call = "worker splice.out/tcp";
  }
  const FailingCall failing({call, ENOMEM, 1});
  const UniqueFd client = gateway.connect();
  CHECK(test::send_all(client.get(), kSslRequest));
  const UniqueFd server = test::accept_one(backend.get());
  CHECK(test::receive(server.get(), kSslRequest.size()) == kSslRequest);
  CHECK(test::send_all(server.get(), "N"));
  CHECK(test::receive_to_end(client.get()).end != StreamEnd::kStillOpen);
  CHECK(test::receive_to_end(server.get()).end != StreamEnd::kStillOpen);
  CHECK(test::eventually([&] { return gateway.all_accounted_for(); }));
  CHECK(gateway.ended(EndReason::kResources) == 1);
}

TEST_CASE("what is lost for want of memory is counted so, even if the client had said its last" *
          doctest::skip(!test::kCallsCanFail)) {
  const UniqueFd backend = test::listen_tcp();
  Gateway gateway;
  gateway.route(backend.get());
  const UniqueFd client = gateway.connect();
  CHECK(test::send_all(client.get(), test::kStartupMessage));
  const UniqueFd server = test::accept_one(backend.get());
  CHECK(test::receive(server.get(), test::kStartupMessage.size()) == test::kStartupMessage);
  REQUIRE(::shutdown(client.get(), SHUT_WR) == 0);
  CHECK(test::receive_to_end(server.get()).end == StreamEnd::kFin);
  REQUIRE(gateway.settle());
  const FailingCall failing({"worker splice.in/tcp", ENOMEM, 1});
  CHECK(test::send_all(server.get(), "an answer"));
  CHECK(test::receive_to_end(client.get()).end != StreamEnd::kStillOpen);
  CHECK(test::fault_has_struck());
  CHECK(test::eventually([&] { return gateway.all_accounted_for(); }));
  CHECK(gateway.ended(EndReason::kResources) == 1);
}

TEST_CASE("an answer that cannot be looked at is the client's all the same" *
          doctest::skip(!test::kCallsCanFail)) {
  Settings settings;
  settings.hold_timeout_ns = 60'000 * kMs;
  const UniqueFd backend = test::listen_tcp();
  Gateway gateway(1, settings);
  gateway.route(backend.get());
  const UniqueFd client = gateway.connect();
  CHECK(test::send_all(client.get(), test::kStartupMessage));
  const UniqueFd server = test::accept_one(backend.get());
  CHECK(test::receive(server.get(), test::kStartupMessage.size()) == test::kStartupMessage);
  REQUIRE(gateway.settle());
  const FailingCall failing({"worker recv.MSG_PEEK/tcp", ENOMEM, 1});
  CHECK(test::send_all(server.get(), "an answer"));
  CHECK(test::receive(client.get(), 9) == "an answer");
  CHECK(test::fault_has_struck());
  CHECK(gateway.failures() == 0);
}

TEST_CASE("where the service manager cannot be reached what was kept is left to the next start") {
  Shelf shelf;
  KeptSessions sessions(shelf);
  const std::string refused = "connect: Connection refused (ECONNREFUSED)";
  const auto start = [](Engine& engine, StoredFds stored) {
    EngineOptions options;
    options.stored = std::move(stored);
    options.keep_with(test::kNobodysSocket);
    return engine.start(std::move(options));
  };
  {
    Engine engine([](void*) {}, nullptr);
    CHECK(start(engine, shelf.copies()).text() == refused);
  }
  {
    Engine engine([](void*) {}, nullptr);
    StoredFds ledger = shelf.copies();
    ledger.segments.clear();
    CHECK(start(engine, std::move(ledger)).text() == refused);
  }
  {
    // Nothing was kept: it serves who comes, and says that they end with it.
    Engine engine([](void*) {}, nullptr);
    CHECK_FALSE(start(engine, {}));
    CHECK_FALSE(engine.keeps_sessions());
    CHECK(engine.recovery().problem.text() == refused);
  }
  const Gateway gateway(shelf);
  CHECK(gateway.started());
  bool survived[KeptSessions::kKinds] = {};
  CHECK(sessions.go_on(survived) == "");
  for (const bool each : survived) CHECK(each);
}

TEST_CASE("where peeking at what is parked cannot begin or end, the start is refused" *
          doctest::skip(!test::kCallsCanFail)) {
  Shelf shelf;
  KeptSessions sessions(shelf);
  unsigned nth = 1;
  SUBCASE("begin") {}
  SUBCASE("end") {
    nth = 2;
  }
  {
    const FailingCall failing({"owner setsockopt.SO_PEEK_OFF/seqpacket", ENOMEM, nth});
    const AsOwner scope;
    const Gateway unlucky(shelf);
    CHECK(test::fault_has_struck());
    CHECK_FALSE(unlucky.started());
  }
  const Gateway gateway(shelf);
  CHECK(gateway.started());
  bool survived[KeptSessions::kKinds] = {};
  CHECK(sessions.go_on(survived) == "");
  for (const bool each : survived) CHECK(each);
}

}  // namespace pg_gateway
