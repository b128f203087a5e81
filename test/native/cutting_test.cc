// SPDX-License-Identifier: MIT
// Many sessions that are cut at once end on both sides. And how long it takes for 5,000, from the
// one message to the workers until the engine counts none and until every client and every server
// has seen the end. That is a benchmark, with the figure that is promised; not run unless asked
// for:
//   dataplane_test --no-skip -tc='cutting*'
#include <doctest/doctest.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <csignal>
#include <memory>
#include <string>
#include <vector>

#include "gateway.h"
#include "shelf.h"
#include "support.h"

using namespace pg_gateway;
using test::Gateway;

namespace {

constexpr std::size_t kMany = 5000;
// Enough for a worker to tell both sides side by side (worker_end.cc).
constexpr std::size_t kSome = 600;
constexpr int kRounds = 7;
constexpr double kPromisedMs = 100;
constexpr int kLongPatienceMs = 60'000;

// Two for each session, in either process.
bool allow_descriptors(std::size_t sessions) {
  rlimit limit{};
  ::getrlimit(RLIMIT_NOFILE, &limit);
  limit.rlim_cur = limit.rlim_max;
  return ::setrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur >= 2 * sessions + 500;
}

// CLOCK_MONOTONIC, which all processes share.
struct Ends {
  std::int64_t last_client_ns = 0;
  std::int64_t last_server_ns = 0;
};

template <typename Value>
bool tell(int socket, const Value& value) {
  return test::send_all(socket, {reinterpret_cast<const char*>(&value), sizeof value});
}

template <typename Value>
bool hear(int socket, Value& value) {
  const std::string bytes = test::receive(socket, sizeof value, kLongPatienceMs);
  if (bytes.size() < sizeof value) return false;
  std::copy(bytes.begin(), bytes.end(), reinterpret_cast<char*>(&value));
  return true;
}

// The clients and the servers, in a process of their own: opens the sessions, says that they are
// there, and then when they have ended.
bool be_both_ends(int control, int servers, std::size_t sessions) {
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  SocketAddress gateway;
  if (!hear(control, gateway)) return false;
  const UniqueFd epoll = make_epoll().take();
  std::vector<UniqueFd> sockets;
  for (std::size_t i = 0; i < sessions; ++i) {
    UniqueFd client = test::connect_to(gateway);
    UniqueFd server = test::accept_one(servers);
    if (!test::send_all(client.get(), "?") || test::receive(server.get(), 1) != "?") return false;
    for (UniqueFd* end : {&client, &server}) {
      epoll_event event{};
      event.events = EPOLLRDHUP | EPOLLET;
      event.data.u64 = end == &client ? 1 : 0;
      if (::epoll_ctl(epoll.get(), EPOLL_CTL_ADD, end->get(), &event) != 0) return false;
      sockets.push_back(std::move(*end));
    }
  }
  if (!tell(control, sessions)) return false;
  Ends ends;
  std::size_t ended = 0;
  while (ended < sockets.size()) {
    std::array<epoll_event, 512> events{};
    const int count = ::epoll_wait(epoll.get(), events.data(), events.size(), kLongPatienceMs);
    if (count <= 0) return false;
    const std::int64_t now = monotonic_ns();
    for (int i = 0; i < count; ++i) {
      (events[static_cast<std::size_t>(i)].data.u64 != 0 ? ends.last_client_ns
                                                         : ends.last_server_ns) = now;
    }
    ended += static_cast<std::size_t>(count);
  }
  return tell(control, ends);
}

struct Round {
  double none_active_ms = 0;
  double clients_ms = 0;
  double servers_ms = 0;
};

bool cut_once(std::size_t sessions, bool kept, Round& round) {
  const UniqueFd servers = test::listen_tcp();
  const UniqueFd next = test::listen_tcp();
  test::Pair control = test::unix_pair();
  const pid_t child = ::fork();
  if (child == 0) ::_exit(be_both_ends(control.b.get(), servers.get(), sessions) ? 0 : 1);
  control.b.reset();
  test::Shelf shelf;
  const auto gateway = kept ? std::make_unique<Gateway>(shelf) : std::make_unique<Gateway>();
  gateway->route(servers.get());
  std::size_t open = 0;
  Ends ends;
  bool done = tell(control.a.get(), gateway->address()) && hear(control.a.get(), open) &&
              gateway->sessions(0) == sessions;
  if (done) {
    const RouteUpdate update{Route{2, 1, test::address_of(next.get())}, 2, CutReason::kSuperseded};
    const std::int64_t begun = monotonic_ns();
    gateway->engine().update_route(update);
    std::int64_t none_active_ns = 0;
    done = test::eventually([&] {
      none_active_ns = monotonic_ns();
      return gateway->active() == 0;
    });
    done = hear(control.a.get(), ends) && done && gateway->cut(CutReason::kSuperseded) == sessions;
    const auto ms_since = [begun](std::int64_t at) {
      return static_cast<double>(at - begun) / 1e6;
    };
    round = {ms_since(none_active_ns), ms_since(ends.last_client_ns),
             ms_since(ends.last_server_ns)};
  }
  control.a.reset();
  if (!done) ::kill(child, SIGKILL);
  int status = 0;
  ::waitpid(child, &status, 0);
  return done && status == 0;
}

double median(std::vector<double> of) {
  std::sort(of.begin(), of.end());
  return of[of.size() / 2];
}

std::string figures(const std::vector<double>& of) {
  const auto [best, worst] = std::minmax_element(of.begin(), of.end());
  std::array<char, 64> text{};
  std::snprintf(text.data(), text.size(), "%.1f (%.1f to %.1f) ms", median(of), *best, *worst);
  return text.data();
}

}  // namespace

TEST_CASE("hundreds that are cut at once end on both sides") {
  REQUIRE(allow_descriptors(kSome));
  Round round;
  SUBCASE("kept for the next process") {
    CHECK(cut_once(kSome, true, round));
  }
  SUBCASE("not kept") {
    CHECK(cut_once(kSome, false, round));
  }
}

TEST_CASE("cutting 5,000 idle sessions" * doctest::skip()) {
  REQUIRE(allow_descriptors(kMany));
  for (const bool kept : {false, true}) {
    std::vector<double> none_active;
    std::vector<double> clients;
    std::vector<double> servers;
    for (int i = 0; i < kRounds; ++i) {
      Round round;
      REQUIRE(cut_once(kMany, kept, round));
      none_active.push_back(round.none_active_ms);
      clients.push_back(round.clients_ms);
      servers.push_back(round.servers_ms);
    }
    MESSAGE(std::string(kept ? "kept for the next process" : "not kept")
            << ", median (best to worst) of " << kRounds << ": none active " << figures(none_active)
            << ", every client knows " << figures(clients) << ", every server knows "
            << figures(servers));
    CHECK(median(clients) < kPromisedMs);
    CHECK(median(servers) < kPromisedMs);
  }
}
