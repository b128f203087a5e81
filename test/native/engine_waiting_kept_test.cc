// SPDX-License-Identifier: MIT
// Clients that came to an earlier process, and longer ago than clients wait.
#include <doctest/doctest.h>

#include <string>
#include <utility>
#include <vector>

#include "gateway.h"
#include "session_store.h"
#include "shelf.h"
#include "support.h"

namespace pg_gateway {

namespace {

using test::eventually;
using test::Gateway;
using test::kMs;
using test::kStartupMessage;
using test::patient;
using test::Shelf;

constexpr std::int64_t kAgeNs = 70'000 * kMs;

// What a process has left that could give its client no server, and has come to its end now.
UniqueFd leave_client(Shelf& shelf, const std::string& words) {
  SessionStore store(shelf.store());
  std::vector<Survivor> none;
  RecoveryReport report;
  (void)store.open({}, none, report);
  store.write_note("note");
  test::Pair client = test::tcp_pair();
  (void)test::send_all(client.a.get(), words);
  Kept kept;
  store.admit(kept, client.b.get(), true, {});
  kept.opened_ns -= kAgeNs;
  store.update(kept, client.b.get(), true, {});
  store.freeze();
  return std::move(client.a);
}

// The next process has it, and has looked at its deadline.
void check_waits(Gateway& gateway) {
  REQUIRE(gateway.engine().recovery().recovered == 1);
  REQUIRE(
      eventually([&] { return gateway.held() + gateway.rejected(RejectReason::kNoPrimary) == 1; }));
  CHECK(gateway.settle());
  CHECK(gateway.held() == 1);
}

void check_served(const UniqueFd& client, const UniqueFd& backend) {
  const UniqueFd server = test::accept_one(backend.get());
  CHECK(test::receive(server.get(), kStartupMessage.size()) == kStartupMessage);
  CHECK(test::send_all(server.get(), "answer"));
  CHECK(test::receive(client.get(), 6) == "answer");
}

}  // namespace

TEST_CASE("who has waited long enough in an earlier process waits for the next one's decision") {
  Shelf shelf;
  const UniqueFd client = leave_client(shelf, kStartupMessage);
  Gateway gateway(shelf, 1, patient());
  check_waits(gateway);
  SUBCASE("there is a primary") {
    const UniqueFd backend = test::listen_tcp();
    gateway.route(backend.get());
    check_served(client, backend);
  }
  SUBCASE("how long clients wait is told first") {
    gateway.engine().configure(patient());
    CHECK(gateway.settle());
    CHECK(gateway.held() == 1);
  }
  SUBCASE("there is none: it has waited all the time") {
    gateway.no_route();
    CHECK(test::receive_to_end(client.get()).bytes.find("DWaited 7") != std::string::npos);
    CHECK(eventually([&] { return gateway.rejected(RejectReason::kNoPrimary) == 1; }));
    CHECK(gateway.sum([](auto& c) -> auto& { return c.hold_timeouts; }) == 1);
  }
}

TEST_CASE("a process that never decides has nobody of an earlier one wait for ever") {
  Shelf shelf;
  const UniqueFd client = leave_client(shelf, kStartupMessage);
  Settings settings = patient();
  std::int64_t least_ns = 0;
  const std::int64_t before = monotonic_ns();
  SUBCASE("it goes by its own settings") {
    settings.hold_timeout_ns = least_ns = 300 * kMs;
  }
  SUBCASE("it is told less") {}
  Gateway gateway(shelf, 1, settings);
  if (least_ns == 0) {
    check_waits(gateway);
    settings.hold_timeout_ns = 1 * kMs;
    gateway.engine().configure(settings);
  }
  CHECK(test::receive_to_end(client.get()).bytes.find("C57P03") != std::string::npos);
  CHECK(monotonic_ns() - before >= least_ns);
  CHECK(eventually([&] { return gateway.rejected(RejectReason::kNoPrimary) == 1; }));
}

TEST_CASE("who was silent in an earlier process has not waited for a primary") {
  Shelf shelf;
  const UniqueFd client = leave_client(shelf, "");
  Settings settings = patient();
  // As one that is younger than this, and older than clients wait.
  settings.startup_timeout_ns = 10 * kAgeNs;
  Gateway gateway(shelf, 1, settings);
  check_waits(gateway);
  gateway.no_route();
  CHECK(gateway.held() == 1);
  CHECK(test::send_all(client.get(), kStartupMessage));
  const UniqueFd backend = test::listen_tcp();
  gateway.route(backend.get());
  check_served(client, backend);
}

TEST_CASE("who has been silent for too long is closed by the next process, whatever it decides") {
  Shelf shelf;
  const UniqueFd client = leave_client(shelf, "");
  Gateway gateway(shelf, 1, patient());
  CHECK(test::receive_to_end(client.get()).bytes.empty());
  CHECK(eventually([&] { return gateway.rejected(RejectReason::kStartup) == 1; }));
}

}  // namespace pg_gateway
