// SPDX-License-Identifier: MIT
#include "fault_rig.h"

#include <fcntl.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <thread>
#include <utility>
#include <vector>

#include "fault_points.h"
#include "support.h"

namespace pg_gateway::test {

namespace {

constexpr std::int64_t kNsPerMs = 1'000'000;
// Well above the longest pause of a worker, and the farewell of a session.
#ifdef __SANITIZE_ADDRESS__
constexpr std::int64_t kPatienceNs = 60'000 * kNsPerMs;
#else
constexpr std::int64_t kPatienceNs = 10'000 * kNsPerMs;
#endif
// Conditions are looked at so often even if nothing happens.
constexpr int kTurnMs = 2;
// Nothing moves for so long: nobody can send any more.
constexpr std::int64_t kStuckNs = 8 * kNsPerMs;
// Inherited by the clients' sockets, so that little fills them.
constexpr int kClientBytes = 64 * 1024;
// A worker with nothing to do makes no more calls than that meanwhile.
constexpr std::uint64_t kIdleCalls = 20;

Settings impatient() {
  Settings settings;
  settings.connect_timeout_ns = 60 * kNsPerMs;
  settings.hold_timeout_ns = 8000 * kNsPerMs;
  settings.startup_timeout_ns = 8000 * kNsPerMs;
  settings.farewell_timeout_ns = 1000 * kNsPerMs;
  settings.log_sessions = true;
  // Near enough that the next descriptor is looked at before each client.
  settings.bounds = {1000, 1100};
  return settings;
}

UniqueFd listen_anywhere() {
  UniqueFd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  // Without a name the kernel finds an abstract one (unix(7), autobind).
  const sockaddr nameless{AF_UNIX, {}};
  ::bind(fd.get(), &nameless, sizeof nameless.sa_family);
  ::listen(fd.get(), SOMAXCONN);
  return fd;
}

// Bound, so that nobody else is there, and not listening.
UniqueFd refuse_anywhere() {
  const SocketAddress where = parse_address("127.0.0.1", 0).take();
  UniqueFd fd(::socket(where.family(), SOCK_STREAM | SOCK_CLOEXEC, 0));
  ::bind(fd.get(), where.get(), where.length);
  return fd;
}

UniqueFd copy_of(const UniqueFd& fd) {
  return UniqueFd(::fcntl(fd.get(), F_DUPFD_CLOEXEC, 3));
}

}  // namespace

FaultRig::FaultRig()
    : settings_(impatient()),
      listener_(listen_tcp()),
      local_listener_(listen_anywhere()),
      refusing_(refuse_anywhere()),
      parties_(true, true) {
  ::setsockopt(listener_.get(), SOL_SOCKET, SO_SNDBUF, &kClientBytes, sizeof kClientBytes);
  start();
}

void FaultRig::fail(const std::string& what) {
  if (fault_.empty()) fault_ = what + parties_.text();
}

StoredFds FaultRig::copies() {
  manager_.handle_notifications();
  StoredFds stored;
  for (const auto& [name, fd] : manager_.stored()) {
    UniqueFd copy = copy_of(fd);
    (void)stored.take(name, copy);
  }
  return stored;
}

// An engine that works as the one before did, and gives way to the next.
SysError FaultRig::start_early(StoredFds& stored) {
  EngineOptions options;
  options.keep_with(manager_.notify_socket());
  // As early_start.cc has it: the next one tries again.
  if (options.no_fd_store) return {};
  options.stored = std::move(stored);
  options.accepting = false;
  options.as_before = true;
  Engine early([](void*) {}, nullptr);
  if (SysError error = early.start(std::move(options))) return error;
  // What it was given has been taken up, or has ended.
  early.ping();
  (void)eventually([&] { return early.workers().front()->counters().beats.get() > 0; });
  earlier_ends_ += accounts(early).ended_early;
  if (!early.stop(0, true)) return {"pthread_join", ETIMEDOUT};
  stored = early.release();
  return {};
}

// What the daemon does with the engine, in the same order.
SysError FaultRig::try_to_start() {
  StoredFds stored = copies();
  UniqueFd listener = copy_of(listener_);
  UniqueFd local = copy_of(local_listener_);
  const AsOwner scope;
  if (engines_ > 0) {
    if (SysError error = start_early(stored)) return error;
  }
  const bool has_kept = !stored.empty();
  EngineOptions options{1, settings_, false, nullptr, std::move(stored)};
  options.keep_with(manager_.notify_socket());
  auto engine = std::make_unique<Engine>([](void*) {}, nullptr);
  if (SysError error = engine->start(std::move(options))) return error;
  const auto refuse = [&](SysError error) {
    engine->stop(0, true);
    return error;
  };
  // The daemon would go on without; here it is a start like any other that came to nothing. But it
  // would have lost what was kept.
  if (!engine->keeps_sessions()) {
    const SysError problem = engine->recovery().problem;
    if (has_kept) fail("what was kept was given up: " + problem.text());
    return refuse(problem);
  }
  engine->write_note("route");
  if (SysError error = engine->adopt(listener.get())) return refuse(error);
  (void)listener.release();
  if (SysError error = engine->adopt(local.get())) return refuse(error);
  (void)local.release();
  Result<std::uint16_t> port = engine->bind("127.0.0.1", 0);
  if (!port.ok()) return refuse(port.error());
  if (port.value() == 0) return refuse({"a port that nobody knows", EINVAL});
  engine->update_route({route_, 0, CutReason::kSuperseded});
  engine->start_accepting();
  engine_ = std::move(engine);
  return {};
}

void FaultRig::start() {
  SysError error = try_to_start();
  // The next attempt is that of another process, to which nothing happens.
  if (error && struck_call() == error.call && !std::exchange(refused_, true)) {
    error = try_to_start();
  }
  if (error) fail("the start was refused: " + error.text());
  ++engines_;
}

void FaultRig::stop(bool keep_sessions) {
  const AsOwner scope;
  if (engine_ == nullptr) return;
  (void)engine_->take_session_events();
  if (!engine_->stop(0, keep_sessions)) fail("a worker does not end");
  engine_.reset();
}

Conversation& FaultRig::open(Introduction introduction) {
  return parties_.add(connect_to(address_of(listener_.get())), std::move(introduction));
}

Conversation& FaultRig::open_local() {
  return parties_.add(connect_to(address_of(local_listener_.get())), Introduction{});
}

void FaultRig::leave(Conversation& conversation) {
  if (conversation.lost()) return;
  conversation.reset();
  ++expected_ends_;
}

void FaultRig::send_route(bool cut) {
  if (engine_ == nullptr) return;
  const AsOwner scope;
  engine_->update_route({route_, cut ? epoch_ : 0, CutReason::kSuperseded});
}

void FaultRig::set_route(const SocketAddress& address, bool cut) {
  route_ = Route{++epoch_, 0, address};
  send_route(cut);
}

void FaultRig::withdraw_route() {
  route_.reset();
  send_route(false);
}

void FaultRig::limit_clients(std::uint32_t clients) {
  settings_.limits.clients = clients;
  if (engine_ == nullptr) return;
  {
    const AsOwner scope;
    engine_->configure(settings_);
  }
  settle();
}

std::uint64_t FaultRig::connect_failures() const {
  std::uint64_t total = 0;
  if (engine_ == nullptr) return total;
  for (const auto& worker : engine_->workers()) {
    for (int i = 0; i < static_cast<int>(ConnectFailure::kCount); ++i) {
      const auto why = ConnectFailure{static_cast<std::uint8_t>(i)};
      total += worker->counters().servers[0].connect_failures[why].get();
    }
  }
  return total;
}

// The worker has handled what was posted so far.
bool FaultRig::settle() {
  if (engine_ == nullptr) return false;
  const auto beats = [&] { return engine_->workers().front()->counters().beats.get(); };
  const std::uint64_t before = beats();
  {
    const AsOwner scope;
    engine_->ping();
  }
  return run("a heartbeat", [&] { return beats() > before; });
}

void FaultRig::turn(int timeout_ms) {
  std::vector<pollfd> waiting = {{manager_.fd(), POLLIN, 0}};
  parties_.turn(waiting, timeout_ms);
  if (waiting[0].revents != 0) manager_.handle_notifications();
  if (!parties_.fault().empty()) fail(parties_.fault());
  if (lost() > 1) fail(std::to_string(lost()) + " sessions lost");
}

std::size_t FaultRig::lost() const {
  const std::size_t all = parties_.lost();
  return all > expected_losses_ ? all - expected_losses_ : 0;
}

bool FaultRig::run(const char* what, const std::function<bool()>& condition) {
  const std::int64_t deadline = monotonic_ns() + kPatienceNs;
  while (fault_.empty() && !condition()) {
    if (monotonic_ns() > deadline) fail(std::string("never: ") + what);
    turn(kTurnMs);
  }
  return fault_.empty();
}

bool FaultRig::run_until_stuck() {
  std::uint64_t before = 0;
  std::int64_t since = 0;
  return run("stuck", [&] {
    const std::int64_t now = monotonic_ns();
    if (parties_.progress() != before || since == 0) {
      before = parties_.progress();
      since = now;
    }
    return now - since > kStuckNs;
  });
}

FaultRig::Accounts FaultRig::accounts(const Engine& engine) {
  Accounts sums;
  const RecoveryReport& report = engine.recovery();
  sums.came = report.recovered + report.cut;
  sums.ended_early = report.not_whole + report.missing + engine.kept().failures;
  for (const auto& worker : engine.workers()) {
    const WorkerCounters& counters = worker->counters();
    sums.came += counters.accepted.get();
    sums.known += worker->load();
    for (int i = 0; i < static_cast<int>(EndReason::kCount); ++i) {
      const auto why = EndReason{static_cast<std::uint8_t>(i)};
      const std::uint64_t count = counters.ended[why].get();
      sums.known += count;
      if (why != EndReason::kClientClosed && why != EndReason::kBackendClosed) {
        sums.ended_early += count;
      }
    }
    for (int i = 0; i < static_cast<int>(CutReason::kCount); ++i) {
      sums.known += counters.cut[CutReason{static_cast<std::uint8_t>(i)}].get();
      sums.ended_early += counters.cut[CutReason{static_cast<std::uint8_t>(i)}].get();
    }
    for (int i = 0; i < static_cast<int>(RejectReason::kCount); ++i) {
      sums.known += counters.rejected[RejectReason{static_cast<std::uint8_t>(i)}].get();
      sums.ended_early += counters.rejected[RejectReason{static_cast<std::uint8_t>(i)}].get();
    }
  }
  return sums;
}

// Every client there ever was is here, or has been counted under a reason.
bool FaultRig::is_accounted_for() {
  return run("everybody accounted for", [&] {
    const Accounts sums = accounts(*engine_);
    return sums.came == sums.known;
  });
}

bool FaultRig::restart() {
  if (!fault_.empty() || !settle() || !is_accounted_for()) return false;
  earlier_ends_ += accounts(*engine_).ended_early;
  stop(true);
  start();
  return fault_.empty();
}

bool FaultRig::serve_another() {
  Conversation& late = open();
  if (!run("a late client", [&] { return late.introduced(); })) return false;
  late.exchange(5000);
  if (!run("its bytes", [&] { return late.delivered(); })) return false;
  late.finish();
  return run("its end", [&] { return late.over(); }) && !late.lost();
}

void FaultRig::look_for_leftovers() {
  run("nothing kept", [&] { return engine_->kept().sessions == 0; });
  run("nobody left", [&] { return engine_->workers().front()->load() == 0; });
  if (!fault_.empty()) return;
  const std::uint64_t ended = earlier_ends_ + accounts(*engine_).ended_early;
  // An AF_UNIX peer that is gone has closed, as others do in the end; so has a server that refuses.
  const std::size_t unplanned = lost() - std::min(lost(), parties_.turned_down());
  const std::uint64_t least = expected_ends_ + (fault_has_ended_connection() ? 0 : unplanned);
  if (ended < least) {
    fail(std::to_string(least) + " sessions ended early, for " + std::to_string(ended) +
         " reasons");
  }
  manager_.handle_notifications();
  // The ledger, both ends of each segment, and what one lost notification leaves there.
  const std::size_t most = 1 + 2 * engine_->kept().segments + (fault_has_struck() ? 2 : 0);
  if (manager_.stored().size() > most) {
    fail(std::to_string(manager_.stored().size()) + " descriptors stored");
  }
}

void FaultRig::look_for_spinning(std::uint64_t most_calls) {
  const std::uint64_t before = number_of_calls();
  std::this_thread::sleep_for(std::chrono::milliseconds(4));
  const std::uint64_t after = number_of_calls();
  if (after - before > kIdleCalls) {
    fail("spins: " + std::to_string(after - before) + " calls while nothing happens");
  }
  if (after > most_calls) fail("spun: " + std::to_string(after) + " calls");
}

std::string FaultRig::finish(std::uint64_t most_calls) {
  // Should it be the first that is lost, there is nobody else.
  if (fault_.empty() && !serve_another() && fault_.empty() && !serve_another()) {
    fail("a new client is not served");
  }
  if (fault_.empty() && is_accounted_for()) look_for_leftovers();
  if (fault_.empty()) look_for_spinning(most_calls);
  stop(false);
  return fault_;
}

}  // namespace pg_gateway::test
