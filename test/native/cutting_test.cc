// SPDX-License-Identifier: MIT
// Many sessions that are cut at once end on both sides. And how long it takes for 5,000, from the
// one message to the workers until every client and every server has seen the end: a benchmark,
// not run unless asked for:
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

// The process that is both ends, as the test sees it.
class BothEnds {
 public:
  explicit BothEnds(std::size_t sessions) {
    test::Pair control = test::unix_pair();
    child_ = ::fork();
    if (child_ == 0) {
      ::_exit(be_both_ends(control.b.get(), servers_.get(), sessions) ? 0 : 1);
    }
    control_ = std::move(control.a);
  }
  ~BothEnds() {
    control_.reset();
    ::kill(child_, SIGKILL);
    ::waitpid(child_, nullptr, 0);
  }
  BothEnds(const BothEnds&) = delete;
  BothEnds& operator=(const BothEnds&) = delete;

  int servers() const { return servers_.get(); }
  bool connect_to(const SocketAddress& gateway) { return tell(control_.get(), gateway); }
  bool are_open() {
    std::size_t open = 0;
    return hear(control_.get(), open);
  }
  bool have_ended(Ends& ends) { return hear(control_.get(), ends); }

 private:
  UniqueFd servers_ = test::listen_tcp();
  UniqueFd control_;
  pid_t child_ = -1;
};

struct Round {
  double clients_ms = 0;
  double servers_ms = 0;
};

Round since(std::int64_t begun, const Ends& ends) {
  return {static_cast<double>(ends.last_client_ns - begun) / 1e6,
          static_cast<double>(ends.last_server_ns - begun) / 1e6};
}

bool cut_once(std::size_t sessions, bool kept, Round& round) {
  BothEnds both(sessions);
  const UniqueFd next = test::listen_tcp();
  test::Shelf shelf;
  const auto gateway = kept ? std::make_unique<Gateway>(shelf) : std::make_unique<Gateway>();
  gateway->route(both.servers());
  if (!both.connect_to(gateway->address()) || !both.are_open()) return false;
  if (gateway->sessions(0) != sessions) return false;
  const RouteUpdate update{Route{2, 1, test::address_of(next.get())}, 2, CutReason::kSuperseded};
  const std::int64_t begun = monotonic_ns();
  gateway->engine().update_route(update);
  Ends ends;
  if (!both.have_ended(ends)) return false;
  round = since(begun, ends);
  return gateway->active() == 0 && gateway->cut(CutReason::kSuperseded) == sessions;
}

// What cutting is measured against: a loop that ends as many sockets, and does nothing else.
bool end_once(std::size_t sessions, Round& round) {
  BothEnds both(sessions);
  const UniqueFd listener = test::listen_tcp();
  const SocketAddress servers = test::address_of(both.servers());
  if (!both.connect_to(test::address_of(listener.get()))) return false;
  std::vector<UniqueFd> sockets;
  for (std::size_t i = 0; i < sessions; ++i) {
    UniqueFd client = test::accept_one(listener.get());
    UniqueFd server = test::connect_to(servers);
    const std::string said = test::receive(client.get(), 1);
    if (!test::send_all(server.get(), said)) return false;
    sockets.push_back(std::move(client));
    sockets.push_back(std::move(server));
  }
  if (!both.are_open()) return false;
  const std::int64_t begun = monotonic_ns();
  for (const UniqueFd& socket : sockets) ::shutdown(socket.get(), SHUT_RDWR);
  Ends ends;
  if (!both.have_ended(ends)) return false;
  round = since(begun, ends);
  return true;
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

struct Times {
  std::vector<double> clients;
  std::vector<double> servers;

  void add(const Round& round) {
    clients.push_back(round.clients_ms);
    servers.push_back(round.servers_ms);
  }
  // Until everybody knows.
  double all() const { return std::max(median(clients), median(servers)); }
  std::string text() const {
    return "every client knows " + figures(clients) + ", every server " + figures(servers);
  }
};

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

// As a ratio: what a FIN costs is the kernel's and the machine's affair.
TEST_CASE("cutting 5,000 idle sessions" * doctest::skip()) {
  REQUIRE(allow_descriptors(kMany));
  std::array<Times, 3> times;
  auto& [bare, plain, kept] = times;
  for (int i = 0; i < kRounds; ++i) {
    Round round;
    REQUIRE(end_once(kMany, round));
    bare.add(round);
    REQUIRE(cut_once(kMany, false, round));
    plain.add(round);
    REQUIRE(cut_once(kMany, true, round));
    kept.add(round);
  }
  MESSAGE("median (best to worst) of " << kRounds);
  MESSAGE("only shutdown(2): " << bare.text());
  MESSAGE("not kept for the next process: " << plain.text());
  MESSAGE("kept: " << kept.text());
  CHECK(plain.all() < bare.all());
  CHECK(kept.all() < bare.all());
}
