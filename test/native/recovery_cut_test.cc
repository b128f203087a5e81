// SPDX-License-Identifier: MIT
// A cut that was decided, and that a process has not made or not everywhere when it ended: the next
// one makes it, before a byte moves.
#include <doctest/doctest.h>
#include <unistd.h>

#include <memory>
#include <string>
#include <utility>

#include "gateway.h"
#include "shelf.h"

namespace pg_gateway {

namespace {

using test::eventually;
using test::Gateway;
using test::kMs;
using test::kStartupMessage;
using test::Link;
using test::Shelf;
using test::StreamEnd;

void check_flows(const Link& link) {
  CHECK(test::send_all(link.client.get(), "question"));
  CHECK(test::receive(link.backend.get(), 8) == "question");
  CHECK(test::send_all(link.backend.get(), "answer"));
  CHECK(test::receive(link.client.get(), 6) == "answer");
}

// A session that its server has answered.
Link open(Gateway& gateway, const UniqueFd& backend) {
  Link link = gateway.open(backend.get());
  check_flows(link);
  return link;
}

void check_ended(const Link& link) {
  CHECK(test::receive_to_end(link.client.get()).end == StreamEnd::kFin);
  CHECK(test::receive_to_end(link.backend.get()).end == StreamEnd::kFin);
}

// Its server has the startup message, and says nothing.
Link open_unanswered(Gateway& gateway, const UniqueFd& backend) {
  Link link{gateway.connect_and_speak(), test::accept_one(backend.get())};
  CHECK(test::receive(link.backend.get(), kStartupMessage.size()) == kStartupMessage);
  return link;
}

Settings holding(std::int64_t hold_timeout_ns) {
  Settings settings = test::patient();
  settings.hold_timeout_ns = hold_timeout_ns;
  return settings;
}

}  // namespace

TEST_CASE("a worker that stands still never cuts: the next process does") {
  Shelf shelf;
  const UniqueFd backend = test::listen_tcp();
  const UniqueFd promoted = test::listen_tcp();
  Gateway hanging(shelf);
  hanging.engine().write_note("note");
  hanging.route(backend.get());
  const Link link = open(hanging, backend);
  hanging.route(test::refusing_address(), 1, 0);
  hanging.hold_workers();
  const UniqueFd in_vain = hanging.connect();
  REQUIRE(hanging.wait_for_held_worker());
  hanging.route(promoted.get(), 2, 1, 2, CutReason::kSuperseded);
  // A write that nobody may get.
  REQUIRE(test::send_all(link.client.get(), "write"));
  CHECK_FALSE(test::is_readable(link.backend.get(), 50));
  CHECK(hanging.cut(CutReason::kSuperseded) == 0);

  // As after its death: another has all that was kept, and the first does nothing any more.
  Gateway next(shelf);
  CHECK(next.engine().recovery().cut == 1);
  CHECK(next.engine().recovery().recovered == 1);  // who has no server yet
  CHECK(next.engine().recovery().not_whole == 0);
  CHECK(next.engine().recovery().missing == 0);
  const test::Received got = test::receive_to_end(link.backend.get());
  CHECK(got.bytes == "");
  CHECK(got.end == StreamEnd::kFin);
  CHECK(test::receive_to_end(link.client.get()).end != StreamEnd::kStillOpen);
  CHECK(eventually([&] { return next.cut(CutReason::kSuperseded) == 1; }));
  CHECK(next.sessions(0) == 0);
  CHECK(next.active() == 0);
}

TEST_CASE("what a note tells of a cut is made by the next process, of older sessions alone") {
  Shelf shelf;
  const UniqueFd backend = test::listen_tcp();
  const UniqueFd promoted = test::listen_tcp();
  auto gateway = std::make_unique<Gateway>(shelf, 2);
  gateway->route(backend.get(), 1, 0);
  const Link old = open(*gateway, backend);
  gateway->route(promoted.get(), 2, 1);
  const Link present = open(*gateway, promoted);
  CHECK(gateway->engine().write_note("note", {2, CutReason::kDemoted}));
  check_flows(old);  // nobody has been told
  gateway->leave();

  gateway = std::make_unique<Gateway>(shelf, 2);
  CHECK(gateway->engine().recovery().cut == 1);
  CHECK(gateway->engine().recovery().recovered == 1);
  CHECK(gateway->engine().recovery().not_whole == 0);
  check_ended(old);
  CHECK(eventually([&] { return gateway->cut(CutReason::kDemoted) == 1; }));
  CHECK(eventually([&] { return gateway->engine().kept().sessions == 1; }));
  check_flows(present);
  gateway->leave();

  gateway = std::make_unique<Gateway>(shelf, 2);
  CHECK(gateway->engine().recovery().cut == 0);
  CHECK(gateway->engine().recovery().recovered == 1);
  CHECK(gateway->engine().recovery().missing == 0);
  check_flows(present);
}

TEST_CASE("bytes in pipes end with a session that is cut") {
  Shelf shelf;
  const UniqueFd backend = test::listen_tcp();
  auto gateway = std::make_unique<Gateway>(shelf);
  gateway->route(backend.get());
  const Link link = open(*gateway, backend);
  const std::string pattern = test::pattern_bytes(1 << 20, 7);
  const std::size_t up = test::flood(link.client.get(), pattern, 0, 200);
  REQUIRE(test::bytes_in_pipes() > 0);
  gateway->engine().write_note("note", {2, CutReason::kSuperseded});
  gateway->leave();

  gateway = std::make_unique<Gateway>(shelf);
  CHECK(gateway->engine().recovery().cut == 1);
  const test::Received got = test::receive_to_end(link.backend.get());
  CHECK(got.end != StreamEnd::kStillOpen);
  CHECK(got.bytes.size() < up);
  CHECK(eventually([&] { return gateway->engine().kept().sessions == 0; }));
  CHECK(eventually([] { return test::bytes_in_pipes() == 0; }));
  gateway->leave();
  gateway = std::make_unique<Gateway>(shelf);
  CHECK(gateway->engine().recovery().not_whole == 0);
  CHECK(gateway->engine().recovery().missing == 0);
}

TEST_CASE("who has got nothing of a server yet waits for the next one") {
  Shelf shelf;
  const UniqueFd silent = test::listen_tcp();
  const test::StalledListener full;
  const UniqueFd promoted = test::listen_tcp();
  auto gateway = std::make_unique<Gateway>(shelf, 1, test::patient());
  gateway->route(silent.get(), 1, 0);
  const Link starting = open_unanswered(*gateway, silent);
  gateway->route(full.get(), 2, 0);
  const UniqueFd connecting = gateway->connect_and_speak();
  REQUIRE(eventually([&] { return gateway->active() == 2; }));
  gateway->engine().write_note("note", {3, CutReason::kSuperseded});
  gateway->leave();

  gateway = std::make_unique<Gateway>(shelf, 1, test::patient());
  CHECK(gateway->engine().recovery().recovered == 2);
  CHECK(gateway->engine().recovery().cut == 0);
  CHECK(eventually([&] { return gateway->held() == 2; }));
  CHECK(gateway->active() == 0);
  CHECK(test::receive_to_end(starting.backend.get()).end == StreamEnd::kFin);
  // Taken up once more, it is the same.
  gateway->leave();
  gateway = std::make_unique<Gateway>(shelf, 1, test::patient());
  CHECK(gateway->engine().recovery().recovered == 2);
  CHECK(eventually([&] { return gateway->held() == 2; }));

  gateway->route(promoted.get(), 3, 1);
  for (int i = 0; i < 2; ++i) {
    const UniqueFd server = test::accept_one(promoted.get());
    CHECK(test::receive(server.get(), kStartupMessage.size()) == kStartupMessage);
  }
}

TEST_CASE("who has lost its server has all the patience of one that begins to wait") {
  constexpr std::int64_t kPatience = 2'000 * kMs;
  Shelf shelf;
  const UniqueFd silent = test::listen_tcp();
  const UniqueFd promoted = test::listen_tcp();
  auto gateway = std::make_unique<Gateway>(shelf, 1, holding(kPatience));
  gateway->route(silent.get());
  const Link starting = open_unanswered(*gateway, silent);
  const std::int64_t opened = monotonic_ns();
  gateway->engine().write_note("note", {2, CutReason::kSuperseded});
  REQUIRE(eventually([&] { return monotonic_ns() - opened > kPatience; }));
  gateway->leave();

  gateway = std::make_unique<Gateway>(shelf, 1, holding(kPatience));
  CHECK(gateway->settle());
  gateway->route(promoted.get(), 2);
  const UniqueFd server = test::accept_one(promoted.get());
  CHECK(test::receive(server.get(), kStartupMessage.size()) == kStartupMessage);
}

TEST_CASE("sessions of an epoch that is routed to again are none that were cut") {
  Shelf shelf;
  const UniqueFd backend = test::listen_tcp();
  auto gateway = std::make_unique<Gateway>(shelf);
  gateway->engine().write_note("note");
  gateway->route(backend.get());
  const Link before = open(*gateway, backend);
  gateway->no_route(2);  // it was lost
  check_ended(before);
  gateway->route(backend.get());  // and was never another
  const Link after = open(*gateway, backend);
  gateway->leave();

  gateway = std::make_unique<Gateway>(shelf);
  CHECK(gateway->engine().recovery().cut == 0);
  CHECK(gateway->engine().recovery().recovered == 1);
  check_flows(after);
}

TEST_CASE("the ledger's cut") {
  Ledger ledger;
  REQUIRE_FALSE(ledger.create());
  const auto is = [&](std::uint32_t below, CutReason reason) {
    return ledger.cut().below_epoch == below && ledger.cut().reason == reason;
  };
  const auto set_up_word = [&](std::uint64_t word) {
    return ::pwrite(ledger.fd(), &word, sizeof word, 40) == sizeof word;
  };
  CHECK(ledger.cut().below_epoch == 0);
  SUBCASE("grows, and of the same sessions keeps the first reason") {
    ledger.note_cut({5, CutReason::kDemoted});
    ledger.note_cut({5, CutReason::kSuperseded});
    ledger.note_cut({3, CutReason::kLost});
    ledger.note_cut({}, 6);
    CHECK(is(5, CutReason::kDemoted));
    ledger.note_cut({7, CutReason::kLost}, 7);
    CHECK(is(7, CutReason::kLost));
  }
  SUBCASE("does not mean who is routed to after it") {
    ledger.note_cut({UINT32_MAX, CutReason::kSuperseded});
    CHECK(is(UINT32_MAX, CutReason::kSuperseded));
    ledger.note_cut({}, 1);
    CHECK(ledger.cut().below_epoch == 1);
  }
  SUBCASE("but does whom the same word means") {
    ledger.note_cut({8, CutReason::kDemoted}, 7);
    CHECK(is(8, CutReason::kDemoted));
  }
  SUBCASE("beside the set-up") {
    ledger.note_cut({9, CutReason::kLost});
    ledger.note_set_up({64, 10, 20});
    CHECK(is(9, CutReason::kLost));
    ledger.note_cut({10, CutReason::kDemoted});
    CHECK(ledger.set_up().workers == 64);
    CHECK(ledger.set_up().connect_timeout_ns == 10);
    CHECK(ledger.set_up().hold_timeout_ns == 20);
  }
  SUBCASE("is none in what an older program has written") {
    REQUIRE(set_up_word(4));
    CHECK(ledger.set_up().workers == 4);
    CHECK(ledger.cut().below_epoch == 0);
  }
  SUBCASE("has a verdict's reason, whatever is there") {
    for (std::uint64_t number = 0; number < 4; ++number) {
      REQUIRE(set_up_word((6 << 2 | number) << 32));
      CHECK(ledger.cut().below_epoch == 6);
      CHECK(ledger.cut().reason <= CutReason::kLost);
    }
  }
}

}  // namespace pg_gateway
