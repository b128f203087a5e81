// SPDX-License-Identifier: MIT
// What is kept and kills each process that takes it up is given up in the end; and nothing is that
// has not killed any.
#include <doctest/doctest.h>
#include <fcntl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <functional>
#include <string>
#include <utility>

#include "gateway.h"
#include "shelf.h"

using namespace pg_gateway;
using test::Gateway;
using test::Shelf;

namespace {

const Ledger::Cut kDecided{3, CutReason::kDemoted};

// A client, its server, and what a gateway has left of the session between them.
struct Left {
  Shelf shelf;
  UniqueFd backend = test::listen_tcp();
  test::Link link;

  Left() {
    Gateway gateway(shelf);
    gateway.route(backend.get(), 4);
    gateway.engine().write_note("the primary is fenced", kDecided);
    link = gateway.open(backend.get());
    gateway.leave();
  }

  // That another process takes up, which then ends as it is told to; how it ended.
  int take_up(const std::function<void(Gateway&)>& end) {
    const pid_t child = ::fork();
    if (child == 0) {
      ::signal(SIGSEGV, SIG_DFL);
      Gateway gateway(shelf);
      if (gateway.started()) end(gateway);
      ::_exit(0);
    }
    int status = 0;
    ::waitpid(child, &status, 0);
    return WIFSIGNALED(status) ? WTERMSIG(status) : 0;
  }
  void crash(std::uint32_t times) {
    for (std::uint32_t i = 0; i < times; ++i) {
      REQUIRE(take_up([](Gateway&) { ::raise(SIGSEGV); }) == SIGSEGV);
    }
  }

  std::uint32_t unfinished() const {
    return Ledger::unfinished_in(shelf.kept().at(StoredFds::kLedgerName).get());
  }
  bool flows() {
    const std::string text = "some bytes";
    return test::send_all(link.client.get(), text) &&
           test::receive(link.backend.get(), text.size()) == text;
  }
};

// One that has not enough descriptors.
bool is_refused(const Shelf& shelf) {
  StoredFds stored = shelf.copies();
  rlimit before{};
  ::getrlimit(RLIMIT_NOFILE, &before);
  const UniqueFd next(::fcntl(0, F_DUPFD_CLOEXEC, 3));
  const rlimit few{static_cast<rlim_t>(next.get()) + 2, before.rlim_max};
  ::setrlimit(RLIMIT_NOFILE, &few);
  Engine engine([](void*) {}, nullptr);
  const bool refused{engine.start({1, {}, false, Shelf().store(), std::move(stored)})};
  ::setrlimit(RLIMIT_NOFILE, &before);
  return refused;
}

}  // namespace

TEST_CASE("what each process crashes of is given up after ten, and what else is known stays") {
  Left left;
  left.crash(kMostUnfinished);
  REQUIRE(left.unfinished() == kMostUnfinished);
  Gateway gateway(left.shelf);
  const RecoveryReport& report = gateway.engine().recovery();
  REQUIRE(report.given_up.has_value());
  CHECK(report.given_up->sessions == 1);
  CHECK(report.given_up->unfinished == kMostUnfinished);
  CHECK(report.recovered == 0);
  CHECK(report.note == "the primary is fenced");
  CHECK(test::receive_to_end(left.link.client.get()).end == test::StreamEnd::kFin);
  CHECK(test::receive_to_end(left.link.backend.get()).end == test::StreamEnd::kFin);
  CHECK_FALSE(left.shelf.kept().contains("lot-0-in"));
  CHECK_FALSE(left.shelf.kept().contains("lot-0-out"));
  CHECK(left.unfinished() == 0);
  Ledger ledger;
  StoredFds stored = left.shelf.copies();
  REQUIRE_FALSE(ledger.attach(stored.ledger));
  CHECK(ledger.cut().below_epoch == kDecided.below_epoch);
  CHECK(ledger.cut().reason == kDecided.reason);
  // It serves, and keeps what comes now for the next.
  gateway.route(left.backend.get(), 5);
  left.link = gateway.open(left.backend.get());
  CHECK(left.flows());
  gateway.leave();
  Gateway next(left.shelf);
  CHECK_FALSE(next.engine().recovery().given_up.has_value());
  CHECK(next.engine().recovery().recovered == 1);
  CHECK(next.engine().recovery().missing == 0);
  CHECK(left.flows());
}

TEST_CASE("after four crashes one that comes through takes the count away") {
  Left left;
  left.crash(kMostUnfinished - 1);
  Gateway gateway(left.shelf);
  CHECK(gateway.engine().recovery().recovered == 1);
  CHECK(left.unfinished() == kMostUnfinished);  // it is on trial
  CHECK(left.flows());
  gateway.engine().confirm_recovery();
  CHECK(test::eventually([&] { return left.unfinished() == 0; }));
  CHECK(left.flows());
}

TEST_CASE("it has not come through before every worker has gone round") {
  Left left;
  Gateway gateway(left.shelf, 2);
  REQUIRE(left.unfinished() == 1);
  // A failed connect is reported by the worker that then stands still.
  gateway.hold_workers();
  gateway.route(test::refusing_address(), 6, 0);
  const UniqueFd client = gateway.connect_and_speak();
  REQUIRE(gateway.wait_for_held_worker());
  gateway.engine().confirm_recovery();
  const std::uint64_t beats = gateway.beats();
  for (int turn = 0; turn < 3; ++turn) {
    gateway.engine().ping();
    REQUIRE(test::eventually([&] { return gateway.beats() > beats + turn; }));
  }
  CHECK(left.unfinished() == 1);
  gateway.release_workers();
  CHECK(test::eventually([&] { return left.unfinished() == 0; }));
}

TEST_CASE("no end that is chosen counts, however often it comes") {
  Left left;
  left.crash(1);
  std::function<bool()> end;
  SUBCASE("a stop before all is up") {
    end = [&] { return left.take_up([](Gateway& gateway) { gateway.leave(); }) == 0; };
  }
  SUBCASE("an exit") {
    end = [&] {
      return left.take_up([](Gateway& gateway) { gateway.engine().excuse_recovery(); }) == 0;
    };
  }
  SUBCASE("a start that is refused") {
    end = [&] { return is_refused(left.shelf); };
  }
  for (std::uint32_t i = 0; i <= kMostUnfinished; ++i) {
    REQUIRE(end());
    REQUIRE(left.unfinished() == 1);
  }
  Gateway gateway(left.shelf);
  CHECK(gateway.engine().recovery().recovered == 1);
  CHECK(left.flows());
}

TEST_CASE("where nothing is kept but the ledger a crash is nobody's fault") {
  Shelf shelf;
  {
    Gateway gateway(shelf);
    gateway.leave();
  }
  for (const auto& [number, ends] : shelf.copies().segments) {
    shelf.lose(ParkingLot::kPrefix + std::to_string(number) + ParkingLot::kInSuffix);
    shelf.lose(ParkingLot::kPrefix + std::to_string(number) + ParkingLot::kOutSuffix);
  }
  const Gateway gateway(shelf);
  CHECK(Ledger::unfinished_in(shelf.kept().at(StoredFds::kLedgerName).get()) == 0);
}

TEST_CASE("the ledger's count of processes that did not come through") {
  Ledger ledger;
  REQUIRE_FALSE(ledger.create());
  CHECK(ledger.unfinished() == 0);
  const std::int64_t longest = 600'000'000'000;
  ledger.note_set_up({2, longest, 20});
  SUBCASE("is kept beside the set-up") {
    ledger.note_unfinished(4);
    CHECK(ledger.set_up().connect_timeout_ns == longest);
    ledger.note_set_up({3, 10, 30});
    CHECK(ledger.unfinished() == 4);
    CHECK(Ledger::unfinished_in(ledger.fd()) == 4);
    CHECK(ledger.set_up().connect_timeout_ns == 10);
    ledger.note_set_up({3, -1, 30});
    CHECK(ledger.unfinished() == 4);
    ledger.note_unfinished(UINT32_MAX);
    CHECK(ledger.unfinished() == UINT16_MAX);
    ledger.note_unfinished(0);
    CHECK(ledger.unfinished() == 0);
  }
  SUBCASE("is none in what an older program has written, nor does one read another timeout") {
    ledger.note_unfinished(4);
    REQUIRE(::pwrite(ledger.fd(), &longest, sizeof longest, 48) == sizeof longest);
    CHECK(ledger.unfinished() == 0);
    ledger.note_unfinished(3);
    ledger.note_unfinished(0);
    std::int64_t read = 0;
    REQUIRE(::pread(ledger.fd(), &read, sizeof read, 48) == sizeof read);
    CHECK(read == longest);
  }
  CHECK(Ledger::unfinished_in(-1) == 0);
}
