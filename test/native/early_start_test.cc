// SPDX-License-Identifier: MIT
// What is started before Node by what the environment says: sessions that were kept, as the
// process before served them; and nothing where the environment speaks of somebody else.
#include <doctest/doctest.h>
#include <fcntl.h>
#include <unistd.h>

#include <cstdlib>
#include <string>
#include <vector>

#include "early_start.h"
#include "forked.h"
#include "ledger.h"
#include "service_manager.h"
#include "shelf.h"
#include "support.h"

using namespace pg_gateway;

namespace {

constexpr int kFirstFd = 3;
constexpr int kOutOfTheWay = 300;
constexpr const char* kForeign = "primary";

int moved_up(int fd) {
  return ::fcntl(fd, F_DUPFD_CLOEXEC, kOutOfTheWay);
}

// One session of an engine that has left it to the service manager.
struct Left {
  test::ServiceManager manager;
  int client = -1;
  int backend = -1;

  std::string leave() {
    auto store = std::make_unique<NotifyFdStore>();
    if (store->open(manager.notify_socket())) return "no store";
    (void)moved_up(manager.fd());  // lives on when its own number is given to another
    Engine engine([](void*) {}, nullptr);
    Settings settings;
    settings.hold_timeout_ns = 0;
    EngineOptions options;
    options.workers = 3;
    options.fd_store = std::move(store);
    if (engine.start(std::move(options))) return "no engine";
    if (!engine.write_note("note")) return "no note";
    const UniqueFd server = test::listen_tcp();
    engine.update_route({Route{1, 0, test::address_of(server.get())}, 0, CutReason::kSuperseded});
    Result<std::uint16_t> port = engine.bind("127.0.0.1", 0);
    if (!port.ok()) return "no port";
    client = moved_up(test::connect_to(parse_address("127.0.0.1", port.value()).take()).get());
    backend = moved_up(test::accept_one(server.get()).get());
    if (!test::eventually([&] {
          return engine.workers()[0]->load() + engine.workers()[1]->load() +
                     engine.workers()[2]->load() ==
                 1;
        })) {
      return "no session";
    }
    engine.stop(0, true);
    manager.handle_notifications();
    return {};
  }

  // As a process that takes it up and dies.
  bool die_on_trial() {
    for (const auto& [name, fd] : manager.stored()) {
      UniqueFd copy(name == StoredFds::kLedgerName ? moved_up(fd.get()) : -1);
      Ledger ledger;
      if (!copy.valid() || ledger.attach(copy)) continue;
      ledger.note_unfinished(1);
      return true;
    }
    return false;
  }

  // As the service manager would: from descriptor 3 on, a listening socket first.
  std::string hand_over(const std::string& pid) {
    std::vector<int> given = {moved_up(test::listen_tcp().get())};
    std::string names = kForeign;
    for (const auto& [name, fd] : manager.stored()) {
      given.push_back(moved_up(fd.get()));
      names += ':' + name;
    }
    for (std::size_t i = 0; i < given.size(); ++i) {
      if (::dup2(given[i], kFirstFd + static_cast<int>(i)) < 0) return "dup2";
    }
    ::setenv("LISTEN_PID", pid.c_str(), 1);
    ::setenv("LISTEN_FDS", std::to_string(given.size()).c_str(), 1);
    ::setenv("LISTEN_FDNAMES", names.c_str(), 1);
    ::setenv("NOTIFY_SOCKET", manager.notify_socket().c_str(), 1);
    return {};
  }
};

std::string flows(int from, int to) {
  const std::string text = "some bytes";
  if (!test::send_all(from, text)) return "cannot send";
  return test::receive(to, text.size()) == text ? "" : "other bytes";
}

std::string goes_on() {
  Left left;
  if (std::string problem = left.leave(); !problem.empty()) return problem;
  if (std::string problem = left.hand_over(std::to_string(::getpid())); !problem.empty()) {
    return problem;
  }
  keep_early_start();
  const EarlyStart early = take_early_start();
  if (early.engine == nullptr || early.error) return "not started";
  if (early.engine->recovery().recovered != 1) return "not recovered";
  if (early.engine->workers().size() != 3) return "other workers";
  if (::fcntl(kFirstFd, F_GETFD) < 0) return "the listening socket is closed";
  if (take_early_start().engine != nullptr) return "taken twice";
  if (std::string problem = flows(left.client, left.backend); !problem.empty()) return problem;
  if (std::string problem = flows(left.backend, left.client); !problem.empty()) return problem;
  // Another engine may go on with it.
  if (!early.engine->stop(0, true)) return "not stopped";
  Engine next([](void*) {}, nullptr);
  EngineOptions options;
  auto store = std::make_unique<NotifyFdStore>();
  if (store->open(left.manager.notify_socket())) return "no second store";
  options.fd_store = std::move(store);
  options.stored = early.engine->release();
  if (next.start(std::move(options))) return "the next does not start";
  if (next.recovery().recovered != 1) return "the next finds nothing";
  return flows(left.client, left.backend);
}

std::string leaves_alone(std::uint64_t which) {
  Left left;
  if (std::string problem = left.leave(); !problem.empty()) return problem;
  if (which == 6 && !left.die_on_trial()) return "no ledger";
  const std::string pid = std::to_string(::getpid());
  if (std::string problem = left.hand_over(which == 0 ? "1" : pid); !problem.empty()) {
    return problem;
  }
  if (which == 1) ::unsetenv("NOTIFY_SOCKET");
  if (which == 2) ::setenv("LISTEN_FDNAMES", "lot-0-in", 1);  // fewer than there are
  if (which == 3) ::setenv("LISTEN_FDS", "3x", 1);
  if (which == 4) ::setenv("LISTEN_FDNAMES", "a:b:c:d", 1);
  if (which == 4) ::setenv("LISTEN_FDS", "4", 1);
  if (which == 5) ::setenv("NOTIFY_SOCKET", test::kNobodysSocket, 1);
  const EarlyStart early = start_early();
  if (early.engine != nullptr || early.error) return "started";
  for (int fd = kFirstFd; fd < kFirstFd + 4; ++fd) {
    if (::fcntl(fd, F_GETFD) < 0) return "a descriptor is closed";
  }
  return {};
}

// How long clients wait in an engine that works as one in which they waited for so long; -1: it
// does not start.
std::int64_t patience_after(std::int64_t hold_timeout_ns) {
  test::Shelf shelf;
  Engine before([](void*) {}, nullptr);
  EngineOptions first;
  first.settings.hold_timeout_ns = hold_timeout_ns;
  first.fd_store = shelf.store();
  if (before.start(std::move(first)) || !before.write_note("note")) return -1;
  before.stop(0, true);
  Engine engine([](void*) {}, nullptr);
  EngineOptions options;
  options.fd_store = shelf.store();
  options.stored = shelf.copies();
  options.as_before = true;
  if (engine.start(std::move(options))) return -1;
  StoredFds stored = shelf.copies();
  Ledger ledger;
  return ledger.attach(stored.ledger) ? -1 : ledger.set_up().hold_timeout_ns;
}

}  // namespace

TEST_CASE("early start: clients wait as long as before, in a hold that was renewed too") {
  constexpr std::int64_t kSecondNs = 1'000'000'000;
  constexpr std::int64_t kWeekNs = 604'800 * kSecondNs;
  CHECK(patience_after(15 * kSecondNs) == 15 * kSecondNs);
  CHECK(patience_after(1155 * kSecondNs) == 1155 * kSecondNs);
  CHECK(patience_after(kWeekNs) == kWeekNs);
  // No gateway has said that.
  CHECK(patience_after(kWeekNs + 1) == 0);
  CHECK(patience_after(-1) == 0);
}

TEST_CASE("early start: a session goes on as it was, and then in another engine") {
  const std::string problem = test::run_forked(0, 1, 1, [](std::uint64_t) { return goes_on(); });
  CHECK_MESSAGE(problem.empty(), problem);
}

TEST_CASE("early start: an environment of somebody else's is left alone") {
  const std::string problem = test::run_forked(0, 5, 1, leaves_alone);
  CHECK_MESSAGE(problem.empty(), problem);
}

TEST_CASE("early start: where the service manager does not listen the engine after it has to say") {
  const std::string problem = test::run_forked(5, 1, 1, leaves_alone);
  CHECK_MESSAGE(problem.empty(), problem);
}

TEST_CASE("early start: what has killed a process before is left to Node") {
  const std::string problem = test::run_forked(6, 1, 1, leaves_alone);
  CHECK_MESSAGE(problem.empty(), problem);
}
