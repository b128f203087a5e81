// SPDX-License-Identifier: MIT
// Clients that wait when it changes how long they may.
#include <doctest/doctest.h>

#include <string>

#include "gateway.h"
#include "support.h"

namespace pg_gateway {

namespace {

using test::eventually;
using test::Gateway;
using test::kMs;

Settings patience(std::int64_t hold_timeout_ns) {
  Settings settings;
  settings.hold_timeout_ns = hold_timeout_ns;
  return settings;
}

constexpr std::int64_t kMinute = 60'000 * kMs;

UniqueFd waiting_client(Gateway& gateway) {
  UniqueFd client = gateway.connect();
  CHECK(test::send_all(client.get(), test::kStartupMessage));
  CHECK(eventually([&] { return gateway.held() == 1; }));
  return client;
}

}  // namespace

TEST_CASE("without a primary less patience counts for those who wait, and none ends it") {
  for (const std::int64_t less : {1 * kMs, std::int64_t{0}}) {
    Gateway gateway(1, patience(kMinute));
    REQUIRE(gateway.started());
    gateway.no_route();
    UniqueFd client = waiting_client(gateway);
    gateway.engine().configure(patience(less));
    CHECK(test::receive(client.get(), 1) == "E");
    // It is counted when it has been told.
    CHECK(eventually([&] { return gateway.rejected(RejectReason::kNoPrimary) == 1; }));
    CHECK(gateway.held() == 0);
  }
}

TEST_CASE("more patience counts too") {
  Gateway gateway(1, patience(200 * kMs));
  REQUIRE(gateway.started());
  gateway.no_route();
  UniqueFd client = waiting_client(gateway);
  gateway.engine().configure(patience(kMinute));
  CHECK(gateway.settle());
  CHECK_FALSE(eventually([&] { return gateway.held() == 0; }, 500));
  const UniqueFd backend = test::listen_tcp();
  gateway.route(backend.get());
  CHECK(test::accept_one(backend.get()).valid());
}

TEST_CASE("who is on the way to a primary is not turned away by less patience") {
  Settings slow = patience(kMinute);
  slow.release_rate = 1;
  Gateway gateway(1, slow);
  REQUIRE(gateway.started());
  gateway.no_route();
  UniqueFd first = waiting_client(gateway);
  UniqueFd second = gateway.connect();
  CHECK(test::send_all(second.get(), test::kStartupMessage));
  CHECK(eventually([&] { return gateway.held() == 2; }));
  const UniqueFd backend = test::listen_tcp();
  gateway.route(backend.get());
  slow.hold_timeout_ns = 1 * kMs;
  gateway.engine().configure(slow);
  CHECK(test::accept_one(backend.get()).valid());
  CHECK(test::accept_one(backend.get()).valid());
  CHECK(gateway.rejected(RejectReason::kNoPrimary) == 0);
}

}  // namespace pg_gateway
