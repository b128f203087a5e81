// SPDX-License-Identifier: MIT
#include "kept_sessions.h"

#include <fcntl.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <memory>
#include <utility>
#include <vector>

#include "engine.h"

namespace pg_gateway::test {

namespace {

constexpr std::size_t kBefore = 100;  // bytes that have arrived
constexpr std::size_t kLater = 50;    // bytes that are sent to the next engine

// Of one direction of one session; long enough for all that is ever sent.
std::string stream(std::size_t session, bool up, std::uint32_t said) {
  return pattern_bytes(kBefore + KeptSessions::kInPipe + kLater,
                       static_cast<std::uint32_t>(session * 2 + (up ? 1 : 0)) + 1000 * said);
}

// Without it each of the few bytes would wait for the last one's acknowledgement.
Pair prompt_pair() {
  Pair pair = tcp_pair();
  const int on = 1;
  for (const UniqueFd* end : {&pair.a, &pair.b}) {
    ::setsockopt(end->get(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  }
  return pair;
}

bool is_unix(KeptSessions::Kind kind) {
  return kind == KeptSessions::Kind::kUnixIdle || kind == KeptSessions::Kind::kUnixBoth;
}

}  // namespace

KeptSessions::KeptSessions(Shelf& shelf, const std::function<void()>& behind_first) {
  SessionStore store(shelf.store());
  std::vector<Survivor> none;
  RecoveryReport report;
  (void)store.open({}, none, report);
  store.write_note("note");
  PipePool pool;
  pool.set_keeper(&store);
  for (std::size_t i = 0; i < kKinds; ++i) {
    add(store, pool, static_cast<Kind>(i));
    if (i == 0) behind_first();
  }
  store.freeze();
  pipes_.clear();  // this process has them no longer
}

// Bytes that are there go from one socket into a pipe, and stay in it if there is no `to`.
void KeptSessions::stop_on_the_way(PipePool& pool, int from, int to, std::uint64_t owner,
                                   std::deque<std::unique_ptr<Pipe>>& pipes) {
  std::unique_ptr<Pipe> pipe = pool.take();
  pipe->mark(owner);
  const std::size_t bytes = to >= 0 ? kBefore : kInPipe;
  std::size_t taken = 0;
  while (taken < bytes && is_readable(from)) {
    const ssize_t count = ::splice(from, nullptr, pipe->write_end.get(), nullptr, bytes - taken, 0);
    if (count <= 0) return;
    taken += static_cast<std::size_t>(count);
  }
  if (to < 0) {
    pipes.push_back(std::move(pipe));
    return;
  }
  while (taken > 0) {
    const ssize_t count = ::splice(pipe->read_end.get(), nullptr, to, nullptr, taken, 0);
    if (count <= 0) return;
    taken -= static_cast<std::size_t>(count);
  }
  pool.give_back(std::move(pipe));
}

void KeptSessions::add(SessionStore& store, PipePool& pool, Kind kind) {
  const std::size_t number = sessions_.size();
  Pair client = is_unix(kind) ? unix_pair() : prompt_pair();
  Pair server = prompt_pair();
  const int ours = client.b.get();
  const int backend = server.a.get();
  Kept kept;
  store.admit(kept, ours, !is_unix(kind), {backend, 1, static_cast<std::uint16_t>(number)});
  Ends ends;
  ends.client = std::move(client.a);
  ends.server = std::move(server.b);
  for (const bool up : {true, false}) {
    const std::string all = stream(number, up, 0);
    const int from = up ? ours : backend;
    const int to = up ? backend : ours;
    const int source = up ? ends.client.get() : ends.server.get();
    const int sink = up ? ends.server.get() : ends.client.get();
    const std::uint64_t owner = pipe_owner(kept.id, up ? Direction::kUp : Direction::kDown);
    (void)send_all(source, all.substr(0, kBefore));
    stop_on_the_way(pool, from, to, owner, pipes_);
    (void)receive(sink, kBefore);
    const bool filled =
        kind == Kind::kBoth || kind == Kind::kUnixBoth || kind == (up ? Kind::kUp : Kind::kDown);
    if (!filled) continue;
    (void)send_all(source, all.substr(kBefore, kInPipe));
    stop_on_the_way(pool, from, -1, owner, pipes_);
    (up ? ends.up : ends.down) = all.substr(kBefore, kInPipe);
  }
  sessions_.push_back(std::move(ends));
}

bool KeptSessions::get(int socket, const std::string& expected, std::string& problem) {
  std::string got;
  std::array<char, 4096> buffer;
  while (got.size() < expected.size()) {
    if (!is_readable(socket)) {
      problem = "got " + std::to_string(got.size()) + " bytes of " +
                std::to_string(expected.size()) + " and no end";
      return false;
    }
    const ssize_t count = ::recv(socket, buffer.data(), buffer.size(), MSG_DONTWAIT);
    if (count <= 0) return false;
    got.append(buffer.data(), static_cast<std::size_t>(count));
    if (got != expected.substr(0, got.size())) {
      problem = "a wrong byte";
      return false;
    }
  }
  return true;
}

std::string KeptSessions::go_on(bool (&survived)[kKinds]) {
  for (std::size_t i = 0; i < kKinds; ++i) {
    Ends& ends = sessions_[i];
    ++ends.said;
    const std::string up = stream(i, true, ends.said).substr(0, kLater);
    const std::string down = stream(i, false, ends.said).substr(0, kLater);
    // Whoever has lost his session cannot send.
    if (ends.client.valid() && send_all(ends.client.get(), up)) ends.up += up;
    if (send_all(ends.server.get(), down)) ends.down += down;
  }
  for (std::size_t i = 0; i < kKinds; ++i) {
    Ends& ends = sessions_[i];
    std::string problem;
    if (!ends.client.valid()) ends.up += '?';  // nothing more comes
    survived[i] = get(ends.server.get(), std::exchange(ends.up, {}), problem);
    if (problem.empty() && ends.client.valid() &&
        !get(ends.client.get(), std::exchange(ends.down, {}), problem)) {
      survived[i] = false;
    }
    if (!problem.empty()) return "session " + std::to_string(i) + ": " + problem;
  }
  return "";
}

}  // namespace pg_gateway::test
