// SPDX-License-Identifier: MIT
#include "interleavings.h"

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <list>
#include <memory>
#include <optional>
#include <thread>
#include <utility>
#include <vector>

#include "engine.h"
#include "interleaving.h"
#include "session_ends.h"
#include "shelf.h"
#include "support.h"

namespace pg_gateway::test {

namespace {

constexpr std::uint32_t kMostAtOnce = 48;
constexpr std::uint32_t kMostEpochs = 12;
constexpr std::int64_t kPatienceNs = 20'000'000'000;
// Nothing moved: the gateway's threads have their turn.
constexpr auto kPause = std::chrono::microseconds(30);

bool connect_local(const sockaddr_un& address, socklen_t length, UniqueFd& client) {
  client.reset(::socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  return ::connect(client.get(), reinterpret_cast<const sockaddr*>(&address), length) == 0;
}

// One engine after the other, on listening sockets that stay.
class Stage {
 public:
  Stage(std::uint64_t seed, std::uint32_t sessions, InterleavingCounts& counts)
      : dice_(seed), left_(sessions), counts_(counts) {
    keeps_ = dice_.one_in(2);
    told_.holds = !dice_.one_in(3);
    refusals_ = dice_.one_in(6);
    settings_.hold_timeout_ns = told_.holds ? 60'000'000'000 : 0;
    settings_.max_held = sessions + 1;
    settings_.release_rate = 1'000'000;
    settings_.connect_timeout_ns = kPatienceNs;
    settings_.farewell_timeout_ns = kPatienceNs;
    tcp_ = listen_tcp();
    tcp_address_ = address_of(tcp_.get());
    local_.reset(::socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
    const sockaddr nameless{AF_UNIX, {}};
    ::bind(local_.get(), &nameless, sizeof nameless.sa_family);
    ::listen(local_.get(), SOMAXCONN);
    local_length_ = sizeof local_address_;
    ::getsockname(local_.get(), reinterpret_cast<sockaddr*>(&local_address_), &local_length_);
  }

  std::string play() {
    if (!start_engine()) return "the engine does not start";
    decide(true);
    std::int64_t moved_ns = monotonic_ns();
    while (fault_.empty() && (left_ > 0 || !sessions_.empty() || !servers_.empty())) {
      ++turn_;
      if (!has_route_) told_.routeless_at = turn_;
      if (dice_.one_in(40)) direct();
      if (left_ > 0 && sessions_.size() < kMostAtOnce && dice_.one_in(3)) admit();
      const bool came = accept_all();
      const bool moved = let_them_act() || came;
      bury();
      const std::int64_t now = monotonic_ns();
      if (moved) moved_ns = now;
      if (fault_.empty() && now - moved_ns > kPatienceNs) fault_ = "nothing moves: " + left_over();
      if (!moved) std::this_thread::sleep_for(kPause);
    }
    if (fault_.empty()) settle_accounts();
    engine_->stop(0);
    return fault_.empty() ? "" : fault_ + circumstances();
  }

 private:
  bool start_engine() {
    engine_ = std::make_unique<Engine>([](void*) {}, nullptr);
    EngineOptions options;
    options.workers = 1 + dice_.upto(2);
    options.settings = settings_;
    options.accepting = false;
    if (keeps_) {
      options.fd_store = shelf_.store();
      options.stored = shelf_.copies();
    }
    if (engine_->start(std::move(options))) return false;
    ++counts_.engines;
    // Without it no session with a server goes on in the next one.
    if (keeps_ && !engine_->write_note("note")) return false;
    for (const UniqueFd* listener : {&tcp_, &local_}) {
      UniqueFd copy(::fcntl(listener->get(), F_DUPFD_CLOEXEC, 3));
      if (engine_->adopt(copy.get())) return false;
      (void)copy.release();
    }
    return true;
  }

  // What a control plane may do.
  void direct() {
    switch (dice_.upto(10)) {
      case 0:
      case 1:
        cut();
        return decide(true);  // a failover
      case 2:
        cut();
        return withdraw();
      case 3:
        return withdraw();  // a doubt
      case 4:
      case 5:
        return has_route_ ? tell() : decide(false);
      case 6:
        settings_.log_sessions = !settings_.log_sessions;
        return engine_->configure(settings_);
      case 7:
        (void)engine_->take_session_events();
        return engine_->ping();
      case 8:
        if (keeps_) replace_engine();
        return;
      default:
        return decide(true);  // another primary; the old one's sessions go on
    }
  }
  // Those that there are, with the next word that is sent.
  void cut() {
    told_.cut_below = epoch_ + 1;
    ++counts_.cuts;
  }
  // A route, to another server or to the last one again.
  void decide(bool another) {
    // Once its sessions are cut, a server is none that a route leads to.
    if (told_.has_cut(epoch_) || epoch_ == 0 || (another && epoch_ < kMostEpochs)) {
      listeners_.push_back(listen_tcp());
      epoch_ = static_cast<std::uint32_t>(listeners_.size());
    }
    has_route_ = true;
    tell();
  }
  void withdraw() {
    has_route_ = false;
    tell();
  }
  void tell() {
    std::optional<Route> route;
    if (has_route_) {
      route = Route{epoch_, static_cast<std::uint16_t>(epoch_ % kMaxServers),
                    address_of(listeners_.back().get())};
    }
    engine_->update_route({route, told_.cut_below, CutReason::kSuperseded});
    engine_->start_accepting();
    settle();
    // Who came until now may have found the last word.
    if (had_no_route_ || !has_route_) told_.routeless_at = turn_;
    if (told_.cut_below > cut_told_) told_.cut_at = turn_;
    had_no_route_ = !has_route_;
    cut_told_ = told_.cut_below;
  }
  // A worker may take a client that waits before it reads its mail: whoever comes after this finds
  // the word that was sent.
  void settle() {
    const auto beats = [&] {
      std::uint64_t all = 0;
      for (const auto& worker : engine_->workers()) all += worker->counters().beats.get();
      return all;
    };
    for (int turn = 0; turn < 2; ++turn) {
      const std::uint64_t wanted = beats() + engine_->workers().size();
      engine_->ping();
      const std::int64_t deadline = monotonic_ns() + kPatienceNs;
      while (beats() < wanted && monotonic_ns() < deadline) std::this_thread::sleep_for(kPause);
      if (beats() < wanted) fault_ = "a worker does not answer";
    }
  }
  void replace_engine() {
    told_.replaced_at = turn_;
    if (!engine_->stop(0, true)) {
      fault_ = "the engine does not stop";
      return;
    }
    if (!start_engine()) {
      fault_ = "the next engine does not start";
      return;
    }
    const RecoveryReport& found = engine_->recovery();
    not_whole_ += found.not_whole;
    missing_ += found.missing;
    if (found.problem) fault_ = "the next engine finds nothing it can use";
    tell();
  }

  void admit() {
    --left_;
    ++counts_.sessions;
    UniqueFd client;
    const bool local = dice_.one_in(5);
    if (!local) {
      client = connect_to(tcp_address_);
    } else if (!connect_local(local_address_, local_length_, client)) {
      client.reset();
    }
    if (!client.valid()) {
      fault_ = "cannot connect to the gateway";
      return;
    }
    sessions_.emplace_back(++last_id_, dice_.next(), std::move(client), local,
                           refusals_ && dice_.one_in(12), turn_);
  }

  bool accept_all() {
    bool any = false;
    for (std::size_t i = 0; i < listeners_.size(); ++i) {
      for (;;) {
        UniqueFd socket(
            ::accept4(listeners_[i].get(), nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC));
        if (!socket.valid()) break;
        any = true;
        if (dice_.one_in(3)) set_small_buffers(socket.get());
        servers_.emplace_back(std::move(socket), static_cast<std::uint32_t>(i + 1));
      }
    }
    return any;
  }

  bool let_them_act() {
    bool moved = false;
    for (Interleaving& session : sessions_) {
      if (dice_.one_in(2)) continue;
      moved = session.client_turn(streams_, told_) || moved;
    }
    for (ServerEnd& server : servers_) {
      if (server.end.over() || dice_.one_in(2)) continue;
      moved = (server.session == nullptr ? receive(server)
                                         : server.session->server_turn(server, streams_, told_)) ||
              moved;
    }
    for (const Interleaving& session : sessions_) {
      if (fault_.empty()) fault_ = session.fault();
    }
    return moved;
  }

  // A server reads what a client says before its session begins.
  bool receive(ServerEnd& server) {
    switch (server.hear(dice_)) {
      case ServerEnd::Heard::kNothing:
        return false;
      case ServerEnd::Heard::kSomething:
        return true;
      case ServerEnd::Heard::kNonsense:
        fault_ = "a server got no startup message";
        return false;
      case ServerEnd::Heard::kStartup:
        break;
    }
    const std::uint32_t id = server.client_id();
    if (id == 0 || id > last_id_ ||
        server.heard != Interleaving::startup(id, server.heard.size())) {
      fault_ = "a server got another startup message than was sent";
      return false;
    }
    const auto found = std::find_if(sessions_.begin(), sessions_.end(),
                                    [&](const Interleaving& one) { return one.id() == id; });
    if (found != sessions_.end()) {
      found->reach(server);
    } else {
      // Its client has broken off, and was buried, before this connection was taken.
      server.end.abort();
    }
    return true;
  }

  // Sessions whose client has ended and whose servers all have. A server that has read nothing yet
  // may be anybody's: while there is one, nobody leaves.
  void bury() {
    for (ServerEnd& server : servers_) {
      if (server.end.over()) server.end.socket.reset();
    }
    for (Interleaving& session : sessions_) session.close_when_over();
    const bool unknown = std::any_of(servers_.begin(), servers_.end(), [](const ServerEnd& server) {
      return server.session == nullptr && !server.end.over();
    });
    if (unknown) return;
    sessions_.remove_if([&](const Interleaving& session) {
      if (!session.client_over()) return false;
      const bool lives =
          std::any_of(servers_.begin(), servers_.end(), [&](const ServerEnd& server) {
            return server.session == &session && !server.end.over();
          });
      if (lives) return false;
      counts_.welcomed += session.welcomed() ? 1 : 0;
      counts_.resets += session.reset() ? 1 : 0;
      counts_.bytes += session.bytes();
      servers_.remove_if([&](const ServerEnd& server) { return server.session == &session; });
      return true;
    });
    servers_.remove_if(
        [](const ServerEnd& server) { return server.session == nullptr && server.end.over(); });
  }

  // Nobody is left: the engine knows that too.
  void settle_accounts() {
    const bool empty = eventually([&] {
      std::uint64_t load = 0;
      for (const auto& worker : engine_->workers()) {
        load += worker->load() + worker->counters().active.get() + worker->counters().held.get();
      }
      return load == 0;
    });
    if (!empty) fault_ = "the engine still has sessions";
    if (empty && keeps_ && engine_->kept().sessions != 0) fault_ = "dead sessions are kept";
    if (engine_->kept().failures != 0) fault_ = "sessions could not be kept";
  }

  std::string left_over() const {
    std::string all;
    for (const Interleaving& session : sessions_) {
      all += "\n  " + session.text();
      if (!session.client_over()) all += "\n  " + kernels_view(session.client_socket());
    }
    for (const ServerEnd& server : servers_) {
      if (!server.end.over()) all += "\n  " + kernels_view(server.end.socket.get());
    }
    for (const ServerEnd& server : servers_) {
      if (server.session == nullptr) {
        all += "\n  a server of epoch " + std::to_string(server.epoch) + " has heard " +
               std::to_string(server.heard.size());
      }
    }
    return all;
  }
  std::string circumstances() const {
    return "\n  turn " + std::to_string(turn_) + ", epoch " + std::to_string(epoch_) +
           ", cut below " + std::to_string(told_.cut_below) + " in turn " +
           std::to_string(told_.cut_at) + (told_.holds ? ", holding" : "") +
           (has_route_ ? "" : ", no route") +
           (keeps_ ? ", " + std::to_string(counts_.engines) + " engines, not whole: " +
                         std::to_string(not_whole_) + ", missing: " + std::to_string(missing_)
                   : "");
  }

  Dice dice_;
  std::uint32_t left_;
  InterleavingCounts& counts_;
  bool keeps_ = false;
  bool refusals_ = false;
  Settings settings_;
  Told told_;
  Streams streams_;
  Shelf shelf_;
  UniqueFd tcp_;
  SocketAddress tcp_address_;
  UniqueFd local_;
  sockaddr_un local_address_{};
  socklen_t local_length_ = 0;
  std::unique_ptr<Engine> engine_;
  std::vector<UniqueFd> listeners_;  // of epoch n: n - 1
  std::uint64_t not_whole_ = 0;      // sessions that an engine has not gone on with
  std::uint64_t missing_ = 0;
  std::uint32_t epoch_ = 0;
  bool has_route_ = false;
  bool had_no_route_ = true;  // as the engine was told last
  std::uint32_t cut_told_ = 0;
  std::uint64_t turn_ = 0;
  std::uint32_t last_id_ = 0;
  std::list<Interleaving> sessions_;
  std::list<ServerEnd> servers_;
  std::string fault_;
};

}  // namespace

void InterleavingCounts::add(const InterleavingCounts& other) {
  sessions += other.sessions;
  welcomed += other.welcomed;
  resets += other.resets;
  cuts += other.cuts;
  engines += other.engines;
  bytes += other.bytes;
}

std::string run_interleavings(std::uint64_t seed, std::uint32_t sessions,
                              InterleavingCounts& counts) {
  return Stage(seed, sessions, counts).play();
}

}  // namespace pg_gateway::test
