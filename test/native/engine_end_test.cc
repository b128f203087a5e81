// SPDX-License-Identifier: MIT
// Sessions that end because a side resets or dies: what is still delivered, and that no session
// waits for ever for a side that waits for it.
#include <doctest/doctest.h>

#include <cerrno>
#include <string>

#include "gateway.h"
#include "support.h"

namespace pg_gateway {

namespace {

using test::eventually;
using test::Gateway;
using test::Link;
using test::Received;
using test::StreamEnd;

// Each side sends until nothing more goes: both relays of the session are blocked then.
struct Stalled {
  std::size_t up = 0;
  std::size_t down = 0;
};
Stalled stall_both_ways(const Link& link, std::string_view pattern) {
  Stalled sent;
  for (std::size_t more = 1; more > 0;) {
    const std::size_t up = test::flood(link.client.get(), pattern, sent.up, 100);
    const std::size_t down = test::flood(link.backend.get(), pattern, sent.down, 100);
    sent.up += up;
    sent.down += down;
    more = up + down;
  }
  return sent;
}

}  // namespace

TEST_CASE("a client that resets ends its session") {
  const UniqueFd backend = test::listen_tcp();
  Gateway gateway;
  gateway.route(backend.get());
  Link link = gateway.open(backend.get());
  CHECK(test::send_all(link.client.get(), "x"));
  CHECK(test::receive(link.backend.get(), 1) == "x");
  EndReason why = EndReason::kClientReset;
  SUBCASE("idle") {}
  SUBCASE("with bytes under way") {
    CHECK(test::send_all(link.client.get(), "y"));
    CHECK(test::receive(link.backend.get(), 1) == "y");
  }
  SUBCASE("after its FIN, while the backend works in silence") {
    test::send_fin(link.client.get());
    CHECK(test::receive_to_end(link.backend.get()).end == StreamEnd::kFin);
    why = EndReason::kClientClosed;
  }
  SUBCASE("while both directions are blocked: the backend neither reads nor is it read") {
    const std::string pattern = test::pattern_bytes(65'537);
    const Stalled sent = stall_both_ways(link, pattern);
    CHECK(sent.up > 0);
    CHECK(sent.down > 0);
  }
  SUBCASE("while the backend does not read") {
    CHECK(test::flood(link.client.get(), test::pattern_bytes(65'537), 0, 200) > 0);
  }
  test::reset_connection(link.client);
  CHECK(eventually([&] { return gateway.all_accounted_for(); }, 3'000));
  CHECK(gateway.ended(why) == 1);
  CHECK(test::receive_to_end(link.backend.get()).end != StreamEnd::kStillOpen);
  CHECK(gateway.failures() == 0);
}

TEST_CASE("a backend that resets: what it said is delivered, then the client's session ends") {
  const UniqueFd backend = test::listen_tcp();
  Gateway gateway;
  gateway.route(backend.get(), 9, 4);
  Link link = gateway.open(backend.get());
  SUBCASE("idle") {
    test::reset_connection(link.backend);
    CHECK(test::receive_to_end(link.client.get()).end != StreamEnd::kStillOpen);
  }
  SUBCASE("the client reads at leisure") {
    const std::string pattern = test::pattern_bytes(65'537);
    const std::size_t sent = test::flood(link.backend.get(), pattern, 0, 200);
    test::reset_connection(link.backend);
    REQUIRE(gateway.settle());
    // An RST destroys what the resetting side had not sent yet; the rest arrives.
    const Received received = test::receive_to_end(link.client.get());
    CHECK(received.end == StreamEnd::kFin);
    CHECK(received.bytes.size() > 100'000);
    CHECK(received.bytes == test::flooded(pattern, received.bytes.size()));
    CHECK(received.bytes.size() <= sent);
    CHECK(gateway.down() == received.bytes.size());
  }
  CHECK(eventually([&] { return gateway.all_accounted_for(); }));
  CHECK(gateway.ended(EndReason::kBackendReset) == 1);
  CHECK(gateway.failures() == 1);
  BackendFailure failure;
  CHECK(gateway.engine().take_failure(failure));
  CHECK(failure.epoch == 9);
  CHECK(failure.server == 4);
  CHECK(failure.error == ECONNRESET);
  CHECK(failure.relayed);
  CHECK_FALSE(gateway.engine().take_failure(failure));
}

TEST_CASE("a backend dies under a client that writes: the farewell is read before the end") {
  const UniqueFd backend = test::listen_tcp();
  Gateway gateway;
  gateway.route(backend.get());
  Link link = gateway.open(backend.get());
  CHECK(test::send_all(link.backend.get(), "FATAL: shutting down"));
  link.backend.reset();  // closed: the client's next bytes are answered by an RST
  CHECK(test::is_readable(link.client.get()));
  for (int i = 0; i < 100 && gateway.active() == 1; ++i) {
    if (!test::send_all(link.client.get(), "more work")) break;
    REQUIRE(gateway.settle());
  }
  const Received received = test::receive_to_end(link.client.get());
  CHECK(received.bytes == "FATAL: shutting down");
  CHECK(received.end != StreamEnd::kStillOpen);
  CHECK(eventually([&] { return gateway.all_accounted_for(); }));
}

TEST_CASE("a backend dies and its client does not read what it left") {
  Settings settings;
  settings.farewell_timeout_ns = 300'000'000;
  Gateway gateway(1, settings);
  const UniqueFd backend = test::listen_tcp();
  gateway.route(backend.get());
  Link link = gateway.open(backend.get());
  // The client waits for the gateway to read, and the gateway for the client.
  const std::string pattern = test::pattern_bytes(65'537);
  CHECK(stall_both_ways(link, pattern).up > 0);
  test::reset_connection(link.backend);
  CHECK(eventually([&] { return gateway.all_accounted_for(); }));
  CHECK(gateway.ended(EndReason::kBackendReset) == 1);
  CHECK(gateway.failures() == 1);
  CHECK(test::flood(link.client.get(), pattern, 0, 0) == 0);
}

TEST_CASE("a backend dies and its client reads what it left, slowly") {
  constexpr std::int64_t kTimeoutNs = 800'000'000;
  constexpr std::size_t kPiece = 700'000;
  Settings settings;
  settings.farewell_timeout_ns = kTimeoutNs;
  Gateway gateway(1, settings);
  const UniqueFd backend = test::listen_tcp();
  gateway.route(backend.get());
  Link link = gateway.open(backend.get());
  const std::string pattern = test::pattern_bytes(65'537);
  CHECK(test::flood(link.backend.get(), pattern, 0, 200) > 0);
  test::reset_connection(link.backend);
  std::string got;
  std::int64_t next_ns = monotonic_ns();
  for (bool ended = false; !ended;) {
    const std::string piece = test::receive(link.client.get(), kPiece);
    got += piece;
    ended = piece.size() < kPiece;
    next_ns += kTimeoutNs / 4;
    eventually([&] { return ended || monotonic_ns() >= next_ns; });
  }
  // All that the gateway had taken from the backend; the RST destroyed the rest.
  CHECK(got.size() > 1'000'000);
  CHECK(got.size() == gateway.down());
  CHECK(got == test::flooded(pattern, got.size()));
  CHECK(eventually([&] { return gateway.all_accounted_for(); }));
  CHECK(gateway.ended(EndReason::kBackendReset) == 1);
}

}  // namespace pg_gateway
