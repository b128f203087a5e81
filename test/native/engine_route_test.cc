// SPDX-License-Identifier: MIT
// Where clients go, what moves and what is cut when the route changes, and what a client
// is told that cannot be served.
#include <doctest/doctest.h>

#include <cerrno>
#include <string>
#include <vector>

#include "gateway.h"
#include "support.h"

namespace pg_gateway {

namespace {

using test::eventually;
using test::Gateway;
using test::kMs;
using test::Link;
using test::Received;
using test::refusing_address;
using test::StreamEnd;

// For connections that shall neither succeed nor fail.
constexpr Settings kPatient{60'000 * kMs, {}};

// The answer to a client that sends its startup message, then its hanging up.
Received ask(UniqueFd& client) {
  (void)test::send_all(client.get(), test::kStartupMessage);
  Received received = test::receive_to_end(client.get());
  client.reset();
  return received;
}

bool has_field(const Received& received, const std::string& field) {
  return received.end == StreamEnd::kFin && received.bytes.substr(0, 1) == "E" &&
         received.bytes.find('\0' + field) != std::string::npos;
}

}  // namespace

TEST_CASE("no route: the client is told 57P03, politely") {
  Gateway gateway(2);
  gateway.no_route();
  for (int i = 0; i < 8; ++i) {
    UniqueFd client = gateway.connect();
    const Received received = ask(client);
    CHECK(has_field(received, "C57P03"));
    CHECK(has_field(received, "Mno PostgreSQL primary is available"));
    CHECK_FALSE(has_field(received, "D"));
  }
  UniqueFd scanner = gateway.connect();
  scanner.reset();
  CHECK(eventually([&] { return gateway.accepted() == 9 && gateway.all_accounted_for(); }));
  CHECK(gateway.rejected(RejectReason::kNoPrimary) == 8);
  CHECK(gateway.rejected(RejectReason::kStartup) == 1);
  CHECK(gateway.accepted() == 9);
  CHECK(gateway.failures() == 0);
}

TEST_CASE("a client that was told and does not hang up is closed before long") {
  Gateway gateway;
  gateway.no_route();
  const UniqueFd client = gateway.connect();
  CHECK(test::send_all(client.get(), test::kStartupMessage));
  CHECK(test::receive_to_end(client.get()).end == StreamEnd::kFin);
  CHECK(gateway.load() == 1);
  CHECK(eventually([&] { return gateway.all_accounted_for(); }));
}

TEST_CASE("the backend refuses: the client is told, the failure is news and is counted") {
  Gateway gateway;
  gateway.route(refusing_address(), 5, 7);
  UniqueFd client = gateway.connect();
  const Received received = ask(client);
  CHECK(has_field(received, "C57P03"));
  CHECK(has_field(received, "DConnecting to the primary failed: Connection refused."));
  CHECK(eventually([&] { return gateway.all_accounted_for(); }));
  CHECK(gateway.rejected(RejectReason::kConnectFailed) == 1);
  CHECK(gateway.connect_failures(7, ConnectFailure::kRefused) == 1);
  CHECK(gateway.connects(7) == 0);
  BackendFailure failure;
  REQUIRE(gateway.engine().take_failure(failure));
  CHECK(failure.epoch == 5);
  CHECK(failure.server == 7);
  CHECK(failure.error == ECONNREFUSED);
}

TEST_CASE("a storm of failures is one notification until it is taken") {
  Gateway gateway;
  gateway.route(refusing_address(), 1, 0);
  for (int i = 0; i < 5; ++i) {
    UniqueFd client = gateway.connect();
    CHECK(has_field(ask(client), "C57P03"));
  }
  CHECK(gateway.failures() == 1);
  BackendFailure failure;
  CHECK(gateway.engine().take_failure(failure));
  UniqueFd client = gateway.connect();
  CHECK(has_field(ask(client), "C57P03"));
  CHECK(gateway.failures() == 2);
}

TEST_CASE("a backend that does not answer: the client is told when the time is over") {
  const test::StalledListener stalled;
  Gateway gateway(1, {300 * kMs, {}});
  gateway.route(stalled.get(), 1, 2);
  const std::int64_t before = monotonic_ns();
  UniqueFd client = gateway.connect();
  const Received received = ask(client);
  const std::int64_t took = monotonic_ns() - before;
  CHECK(has_field(received, "DConnecting to the primary failed: Connection timed out."));
  CHECK(took >= 300 * kMs);
  CHECK(took < 3'000 * kMs);
  CHECK(eventually([&] { return gateway.all_accounted_for(); }));
  CHECK(gateway.connect_failures(2, ConnectFailure::kTimeout) == 1);
  CHECK(gateway.failures() == 1);
}

TEST_CASE("a shorter timeout holds for new clients whatever older ones still wait for") {
  const test::StalledListener stalled;
  Gateway gateway(1, kPatient);
  gateway.route(stalled.get());
  const UniqueFd patient = gateway.connect();
  REQUIRE(eventually([&] { return gateway.active() == 1; }));
  gateway.engine().configure({200 * kMs, true});
  REQUIRE(gateway.settle());
  UniqueFd client = gateway.connect();
  (void)test::send_all(client.get(), test::kStartupMessage);
  CHECK(test::receive_to_end(client.get(), 3'000).end == StreamEnd::kFin);
  CHECK(gateway.active() == 1);
}

TEST_CASE("a client that goes away while its backend is being connected") {
  const test::StalledListener stalled;
  Gateway gateway(1, kPatient);
  gateway.route(stalled.get());
  UniqueFd client = gateway.connect();
  REQUIRE(eventually([&] { return gateway.active() == 1; }));
  test::reset_connection(client);
  CHECK(eventually([&] { return gateway.all_accounted_for(); }));
  CHECK(gateway.ended(EndReason::kClientReset) == 1);
}

TEST_CASE("sessions of an older epoch are cut at once, idle ones too; the others stay") {
  const UniqueFd old_primary = test::listen_tcp();
  const UniqueFd new_primary = test::listen_tcp();
  Gateway gateway(2);
  gateway.route(old_primary.get(), 1, 0);
  std::vector<Link> links;
  for (int i = 0; i < 20; ++i) links.push_back(gateway.open(old_primary.get()));
  REQUIRE(eventually([&] { return gateway.sessions(0) == 20; }));

  gateway.route(new_primary.get(), 2, 1);  // on suspicion: nothing is cut
  Link fresh = gateway.open(new_primary.get());
  REQUIRE(fresh.backend.valid());
  REQUIRE(eventually([&] { return gateway.sessions(1) == 1; }));
  CHECK(gateway.sessions(0) == 20);

  const std::int64_t before = monotonic_ns();
  gateway.route(new_primary.get(), 2, 1, 2, CutReason::kDemoted);
  for (const Link& link : links) {
    CHECK(test::receive_to_end(link.client.get(), 1'000).end == StreamEnd::kFin);
    CHECK(test::receive_to_end(link.backend.get(), 1'000).end == StreamEnd::kFin);
  }
  CHECK(monotonic_ns() - before < 1'000 * kMs);
  CHECK(gateway.cut(CutReason::kDemoted) == 20);
  CHECK(gateway.sessions(0) == 0);
  CHECK(gateway.sessions(1) == 1);
  CHECK(test::send_all(fresh.client.get(), "alive"));
  CHECK(test::receive(fresh.backend.get(), 5) == "alive");
}

TEST_CASE("without a route a cut still cuts, for the reason given") {
  const UniqueFd primary = test::listen_tcp();
  Gateway gateway;
  gateway.route(primary.get(), 4);
  const Link link = gateway.open(primary.get());
  REQUIRE(eventually([&] { return gateway.sessions(0) == 1; }));
  gateway.no_route();
  REQUIRE(gateway.settle());
  CHECK(gateway.sessions(0) == 1);  // suspicion
  gateway.no_route(5);
  CHECK(test::receive_to_end(link.client.get()).end == StreamEnd::kFin);
  CHECK(eventually([&] { return gateway.all_accounted_for(); }));
  CHECK(gateway.cut(CutReason::kDemoted) == 1);
}

TEST_CASE("clients that are being connected move to the new primary") {
  const test::StalledListener frozen;
  const UniqueFd primary = test::listen_tcp();
  Gateway gateway(1, kPatient);
  gateway.route(frozen.get(), 1, 0);
  std::vector<UniqueFd> clients;
  for (int i = 0; i < 5; ++i) {
    clients.push_back(gateway.connect());
    CHECK(test::send_all(clients.back().get(), "hello"));
  }
  REQUIRE(eventually([&] { return gateway.active() == 5; }));
  gateway.route(primary.get(), 2, 1, 2);
  for (int i = 0; i < 5; ++i) {
    const UniqueFd accepted = test::accept_one(primary.get(), 2'000);
    REQUIRE(accepted.valid());
    CHECK(test::receive(accepted.get(), 5) == "hello");
  }
  CHECK(gateway.connects(0) == 0);
  CHECK(gateway.connects(1) == 5);
  CHECK(gateway.cut(CutReason::kSuperseded) == 0);
}

TEST_CASE("clients that are being connected are told when the route is withdrawn on proof") {
  const test::StalledListener frozen;
  Gateway gateway(1, kPatient);
  gateway.route(frozen.get(), 1, 0);
  UniqueFd client = gateway.connect();
  REQUIRE(eventually([&] { return gateway.active() == 1; }));
  gateway.no_route(2);
  CHECK(has_field(ask(client), "C57P03"));
  CHECK(eventually([&] { return gateway.all_accounted_for(); }));
  CHECK(gateway.rejected(RejectReason::kNoPrimary) == 1);
}

TEST_CASE("an event of the connection a client was moved away from is not the new one's") {
  // The worker stands still while the old connection succeeds after the order to move: the
  // order and the event are then in one batch, in this order.
  test::StalledListener slow;
  test::StalledListener next;
  Gateway gateway(1, kPatient);
  gateway.route(slow.get(), 1, 0);
  const UniqueFd client = gateway.connect();
  REQUIRE(eventually([&] { return gateway.active() == 1; }));

  gateway.hold_workers();
  gateway.route(refusing_address(), 2, 1);
  const UniqueFd refused = gateway.connect();
  REQUIRE(gateway.wait_for_held_worker());
  gateway.route(next.get(), 3, 2, 3);
  slow.unstall();
  const UniqueFd late = test::accept_one(slow.get());
  REQUIRE(late.valid());
  gateway.release_workers();

  REQUIRE(gateway.settle());
  CHECK(test::receive_to_end(late.get()).bytes.empty());
  CHECK(gateway.connects(0) == 0);
  CHECK(gateway.connects(2) == 0);  // still waiting for it
  CHECK(gateway.sessions(2) == 0);
  CHECK(gateway.active() == 1);
  next.unstall();
  CHECK(test::accept_one(next.get()).valid());
  CHECK(eventually([&] { return gateway.connects(2) == 1; }));
}

}  // namespace pg_gateway
