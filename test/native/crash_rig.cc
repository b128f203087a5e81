// SPDX-License-Identifier: MIT
#include "crash_rig.h"

#include <fcntl.h>
#include <linux/close_range.h>
#include <poll.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <csignal>
#include <memory>
#include <optional>

#include "engine.h"

namespace pg_gateway::test {

namespace {

#ifdef __SANITIZE_ADDRESS__
// fork(2) copies the tables of its shadow memory too: a tenth of a second each time.
constexpr int kCrashPatienceMs = 200'000;
#else
constexpr int kCrashPatienceMs = 10'000;
#endif
// Conditions are looked at so often even if nothing happens.
constexpr int kTurnMs = 5;
// Nothing moves for so long: nobody can send any more.
constexpr std::int64_t kStuckNs = 10'000'000;
// Inherited by the clients' sockets, so that little fills them.
constexpr int kClientBytes = 64 * 1024;

enum Command : char { kTell = 'T', kEnd = 'E', kDecide = 'D' };

void close_all_but(std::vector<int> kept) {
  std::sort(kept.begin(), kept.end());
  unsigned from = 3;
  for (const int fd : kept) {
    if (fd < 3) continue;
    const auto number = static_cast<unsigned>(fd);
    if (number > from) ::syscall(SYS_close_range, from, number - 1, 0U);
    from = number + 1;
  }
  ::syscall(SYS_close_range, from, ~0U, 0U);
}

}  // namespace

CrashRig::CrashRig(StepBoard& board, std::vector<std::uint64_t> kills, unsigned workers,
                   Settings settings)
    : board_(board),
      kills_(std::move(kills)),
      workers_(workers),
      settings_(settings),
      listener_(listen_tcp()),
      parties_(settings.hold_timeout_ns != 0) {
  ::setsockopt(listener_.get(), SOL_SOCKET, SO_SNDBUF, &kClientBytes, sizeof kClientBytes);
  // Without a name the kernel finds an abstract one (unix(7), autobind).
  local_listener_.reset(::socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  const sockaddr nameless{AF_UNIX, {}};
  ::bind(local_listener_.get(), &nameless, sizeof nameless.sa_family);
  ::listen(local_listener_.get(), SOMAXCONN);
  if (settings_.hold_timeout_ns == 0) decision_ = {1, 0, true};
  start();
}

CrashRig::~CrashRig() {
  if (gateway_ < 0) return;
  ::kill(gateway_, SIGKILL);
  ::waitpid(gateway_, nullptr, 0);
}

void CrashRig::start() {
  std::array<int, 2> ends{-1, -1};
  ::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends.data());
  control_.reset(ends[0]);
  UniqueFd theirs(ends[1]);
  asked_to_end_ = false;
  const std::uint64_t kill_at = started_ < kills_.size() ? kills_[started_] : 0;
  ++started_;
  gateway_ = ::fork();
  if (gateway_ == 0) be_gateway(theirs.get(), kill_at);
  if (gateway_ < 0) fail("fork");
}

// What the daemon does with the engine, in the same order. Nothing is destroyed here: the
// descriptors are the tester's.
void CrashRig::be_gateway(int control, std::uint64_t kill_at) {
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  std::vector<int> kept = {control, listener_.get(), local_listener_.get()};
  for (const auto& [name, fd] : manager_.stored()) kept.push_back(fd.get());
  const SocketAddress primary = parties_.server();
  const auto decide = [&](Engine& engine, const Decision& decision) {
    std::optional<Route> route;
    if (decision.has_route) route = Route{decision.epoch, 0, primary};
    engine.update_route({route, decision.cut_below, CutReason::kSuperseded});
  };
  close_all_but(kept);
  arm_crash_point(board_, kill_at);
  auto store = std::make_unique<NotifyFdStore>();
  if (store->open(manager_.notify_socket())) ::_exit(3);
  StoredFds stored;
  for (const auto& [name, fd] : manager_.stored()) {
    UniqueFd given(fd.get());
    if (!stored.take(name, given)) ::_exit(4);
  }
  Engine& engine = *new Engine([](void*) {}, nullptr);
  if (engine.start({workers_, settings_, false, std::move(store), std::move(stored)})) ::_exit(5);
  if (!engine.keeps_sessions()) ::_exit(6);
  engine.write_note("route");
  if (engine.adopt(listener_.get()) || engine.adopt(local_listener_.get())) ::_exit(7);
  decide(engine, decision_);
  engine.start_accepting();
  engine.confirm_recovery();
  char command = 0;
  while (::syscall(SYS_read, control, &command, 1) == 1) {
    if (command == kEnd) {
      engine.stop(0, true);
      ::_exit(0);
    }
    if (command == kDecide) {
      Decision decision;
      ::syscall(SYS_read, control, &decision, sizeof decision);
      decide(engine, decision);
      continue;
    }
    const RecoveryReport& report = engine.recovery();
    const Answer answer{engine.kept(), report.not_whole, report.missing};
    ::syscall(SYS_write, control, &answer, sizeof answer);
  }
  ::_exit(0);
}

void CrashRig::kill_gateway() {
  ::kill(gateway_, SIGKILL);
  gateway_died(true);
}

// However often, however early it was shot: what it was about to take up is not to be given up.
void CrashRig::forgive() {
  for (const auto& [name, fd] : manager_.stored()) {
    UniqueFd copy(name == StoredFds::kLedgerName ? ::fcntl(fd.get(), F_DUPFD_CLOEXEC, 3) : -1);
    Ledger ledger;
    if (copy.valid() && !ledger.attach(copy)) ledger.note_unfinished(0);
  }
}

void CrashRig::gateway_died(bool shot) {
  int status = 0;
  ::waitpid(gateway_, &status, 0);
  gateway_ = -1;
  manager_.handle_notifications();
  if (shot) forgive();
  steps_.push_back(board_.steps);
  if (WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL && (shot || board_.killed)) {
    unparked_ += board_.unparked;
    history_ += " killed at step " + std::to_string(board_.steps) + " (" + board_.call.data() +
                (board_.unparked != 0 ? ", unparked)" : ")");
  } else if (asked_to_end_ && WIFEXITED(status) && WEXITSTATUS(status) == 0) {
    history_ += " ended";
  } else {
    return fail(WIFSIGNALED(status) ? "died of signal " + std::to_string(WTERMSIG(status))
                                    : "exited with " + std::to_string(WEXITSTATUS(status)));
  }
  start();
}

void CrashRig::fail(const std::string& what) {
  if (!fault_.empty()) return;
  constexpr std::size_t kShown = 500;
  if (history_.size() > kShown) history_ = "..." + history_.substr(history_.size() - kShown);
  fault_ = what + ";" + history_ + ";" + parties_.text();
}

Conversation& CrashRig::open() {
  return begin(connect_to(address_of(listener_.get())));
}

Conversation& CrashRig::open_local() {
  return begin(connect_to(address_of(local_listener_.get())));
}

Conversation& CrashRig::begin(UniqueFd client) {
  if (!client.valid()) fail("connect");
  return parties_.add(std::move(client));
}

Conversation& CrashRig::open(Introduction introduction) {
  return begin(connect_to(address_of(listener_.get())), std::move(introduction));
}

Conversation& CrashRig::open_local(Introduction introduction) {
  return begin(connect_to(address_of(local_listener_.get())), std::move(introduction));
}

Conversation& CrashRig::begin(UniqueFd client, Introduction introduction) {
  if (!client.valid()) fail("connect");
  return parties_.add(std::move(client), std::move(introduction));
}

void CrashRig::open_route() {
  decision_ = {decision_.epoch + 1, 0, true};
  send_route();
}

void CrashRig::withdraw_route() {
  decision_ = {decision_.epoch, decision_.epoch + 1, false};
  send_route();
}

// A process that does not get it any more is followed by one that knows.
void CrashRig::send_route() {
  std::string bytes(1, kDecide);
  bytes.append(reinterpret_cast<const char*>(&decision_), sizeof decision_);
  (void)send_all(control_.get(), bytes);
}

void CrashRig::check_conversations() {
  if (!parties_.fault().empty()) return fail(parties_.fault());
  if (lost() <= unparked_) return;
  // The sockets of a process may be closed before that which tells that it is dead.
  pollfd end{control_.get(), POLLIN, 0};
  if (::poll(&end, 1, kCrashPatienceMs / 10) > 0) gateway_died();
  if (lost() > unparked_) fail(std::to_string(lost()) + " sessions lost");
}

// One turn of the loop: whoever can do something does it.
void CrashRig::turn(int timeout_ms) {
  std::vector<pollfd> waiting = {{manager_.fd(), POLLIN, 0}, {control_.get(), POLLIN, 0}};
  parties_.turn(waiting, timeout_ms);
  if (waiting[0].revents != 0) manager_.handle_notifications();
  if ((waiting[1].revents & POLLHUP) != 0) gateway_died();
  check_conversations();
}

bool CrashRig::run(const char* what, const std::function<bool()>& condition) {
  const std::int64_t deadline = monotonic_ns() + std::int64_t{kCrashPatienceMs} * 1'000'000;
  while (fault_.empty() && !condition()) {
    if (monotonic_ns() > deadline) fail(std::string("never: ") + what);
    turn(kTurnMs);
  }
  return fault_.empty();
}

bool CrashRig::run_until_stuck() {
  std::uint64_t before = 0;
  std::int64_t since = 0;
  return run("stuck", [&] {
    const std::int64_t now = monotonic_ns();
    if (parties_.progress() != before || since == 0) {
      before = parties_.progress();
      since = now;
    }
    if (now - since > kStuckNs) return true;
    return false;
  });
}

bool CrashRig::restart() {
  const std::size_t before = steps_.size();
  asked_to_end_ = true;
  const char command = kEnd;
  (void)send_all(control_.get(), {&command, 1});
  // It may be killed while it ends.
  return run("planned stop", [&] { return steps_.size() > before; });
}

bool CrashRig::ask(Answer& answer) {
  return run("answer", [&] {
    const char command = kTell;
    if (!send_all(control_.get(), {&command, 1})) {
      return false;
    }
    const std::string bytes = receive(control_.get(), sizeof answer);
    if (bytes.size() < sizeof answer) return false;
    std::copy(bytes.begin(), bytes.end(), reinterpret_cast<char*>(&answer));
    manager_.handle_notifications();  // all that was sent before the answer
    return true;
  });
}

std::vector<std::uint64_t> CrashRig::steps() const {
  std::vector<std::uint64_t> all = steps_;
  all.push_back(board_.steps);
  return all;
}

}  // namespace pg_gateway::test
