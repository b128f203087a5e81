// SPDX-License-Identifier: MIT
// The life of a session on its worker: opened, connected, relayed or turned away. Its
// end is in worker_end.cc.
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <utility>
#include <vector>

#include "event_tag.h"
#include "worker.h"

namespace pg_gateway {

namespace {

constexpr std::int64_t kNsPerSecond = 1'000'000'000;
constexpr std::int64_t kNsPerMs = 1'000'000;
// What a client that has waited in silence is left of the start-up deadline, at least.
constexpr std::int64_t kLastChanceNs = kNsPerSecond;
// How long a client that was told may take to hang up.
constexpr std::int64_t kLingerTimeoutNs = 2 * kNsPerSecond;
// How soon a session that found no pipe tries again.
constexpr std::int64_t kStarvedRetryNs = kNsPerSecond / 20;

// Events of a client that will say nothing more.
constexpr std::uint32_t kGone = EPOLLRDHUP | EPOLLHUP | EPOLLERR;

ConnectFailure classify(int error) {
  switch (error) {
    case ECONNREFUSED:
    case ECONNRESET:
      return ConnectFailure::kRefused;
    case ETIMEDOUT:
      return ConnectFailure::kTimeout;
    case ENETUNREACH:
    case EHOSTUNREACH:
    case ENETDOWN:
    case EHOSTDOWN:
      return ConnectFailure::kUnreachable;
    default:
      return ConnectFailure::kOther;
  }
}

// SQLSTATEs: PostgreSQL manual, "Error Codes": cannot_connect_now, too_many_connections.
std::string answer_for(RejectReason reason, int error, std::int64_t waited_ns,
                       const Admission::Limits& limits) {
  switch (reason) {
    case RejectReason::kResources:
      return fatal_error_response("53300", "the gateway is out of resources for another connection",
                                  describe_errno(error) + ".");
    case RejectReason::kTooManyHeld:
      return fatal_error_response("53300", "too many clients wait for a PostgreSQL primary", {});
    case RejectReason::kTooManyClients:
      return fatal_error_response(
          "53300", "the gateway has too many clients already",
          "It serves " + std::to_string(limits.clients) + " at once (MAX_CONNECTIONS).");
    case RejectReason::kTooManyOfOneHost:
      return fatal_error_response("53300", "too many connections from your address",
                                  "The gateway takes " + std::to_string(limits.of_one_host) +
                                      " from each (MAX_CONNECTIONS_PER_CLIENT).");
    default:
      break;
  }
  std::string detail;
  if (waited_ns > 0) detail = "Waited " + std::to_string(waited_ns / kNsPerMs) + " ms for one.";
  if (error != 0) {
    if (!detail.empty()) detail += ' ';
    detail += "Connecting to the primary failed: " + describe_errno(error) + ".";
  }
  return fatal_error_response("57P03", "no PostgreSQL primary is available", detail);
}

}  // namespace

bool Worker::watch(int fd, std::uint32_t slot, Side side) {
  const Session& session = sessions_[slot];
  const EventTag tag = side == Side::kClient
                           ? EventTag{EventKind::kClient, slot, session.generation}
                           : EventTag{EventKind::kBackend, slot, session.attempt};
  epoll_event event{};
  event.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET;
  event.data.u64 = tag.pack();
  return ::epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, fd, &event) == 0;
}

void Worker::open_session(NewClient client) {
  const std::uint32_t slot = sessions_.allocate();
  Session& session = sessions_[slot];
  session.begin(std::move(client.socket), client.tcp, client.kept);
  name_session(session);
  session.address = client.address;
  session.standing = Standing::kAdmitted;
  session.backend = std::move(client.backend);
  session.backend_family = static_cast<std::uint16_t>(client.backend_family);
  session_log_.came(slot, session);
  if (!watch(session.client.get(), slot, Side::kClient))
    return refuse(slot, RejectReason::kResources);
  if (must_wait()) return hold(slot, RejectReason::kNoPrimary, 0);
  session.transition(SessionState::kConnecting);
  counters_.active.add();
  start_connect(slot);
}

// Accepted, and not let in.
void Worker::turn_away_at_the_door(UniqueFd socket, bool tcp, const ClientAddress& address,
                                   RejectReason reason) {
  counters_.accepted.add();
  load_.fetch_add(1, std::memory_order_relaxed);
  const std::uint32_t slot = sessions_.allocate();
  Session& session = sessions_[slot];
  session.begin(std::move(socket), tcp, {});
  name_session(session);
  session.address = address;
  session_log_.came(slot, session);
  if (!admission_->begin_telling()) return refuse(slot, reason);
  session.standing = Standing::kBeingTold;
  if (!watch(session.client.get(), slot, Side::kClient)) return refuse(slot, reason);
  start_rejection(slot, reason, 0);
}

// The client cannot even be told; the session is in kFree.
void Worker::refuse(std::uint32_t slot, RejectReason reason) {
  counters_.rejected[reason].add();
  Session& session = sessions_[slot];
  session_log_.turned_away(slot, session, reason);
  leave_store(session);
  session.shut_down(Side::kClient);
  session.shut_down(Side::kBackend);
  session.release_sockets();
  leave_company(session);
  sessions_.free(slot);
}

// Its descriptors have been closed: there is room for another.
void Worker::leave_company(Session& session) {
  switch (std::exchange(session.standing, Standing::kNone)) {
    case Standing::kAdmitted:
      admission_->leave(session.address);
      break;
    case Standing::kBeingTold:
      admission_->end_telling();
      break;
    case Standing::kNone:
      break;
  }
  load_.fetch_sub(1, std::memory_order_relaxed);
}

// Connects to the current route; the session is in kConnecting and there is a route.
void Worker::start_connect(std::uint32_t slot) {
  Session& session = sessions_[slot];
  session.epoch = route_->epoch;
  session.server = route_->server;
  ++session.attempt;
  session.connect_started_ns = monotonic_ns();
  const int family = route_->address.family();
  const bool is_new = !session.backend.valid() || session.backend_family != family;
  if (is_new) {
    session.backend = make_socket(family);
    if (!session.backend.valid()) return connect_failed(slot, errno);
    session.backend_family = static_cast<std::uint16_t>(family);
  }
  if (is_new || session.kept.epoch != session.epoch) keep_backend(session);
  const int fd = session.backend.get();
  if (::connect(fd, route_->address.get(), route_->address.length) != 0 && errno != EINPROGRESS) {
    return connect_failed(slot, errno);
  }
  // Added after connect(2): before it the socket would report a hang-up (EPOLLHUP).
  if (!watch(fd, slot, Side::kBackend)) return connect_failed(slot, errno);
  set_deadline(slot, session.connect_started_ns + settings_.connect_timeout_ns);
}

// The backend's socket has an event: connected, or failed (connect(2), EINPROGRESS).
void Worker::finish_connect(std::uint32_t slot) {
  Session& session = sessions_[slot];
  int error = 0;
  socklen_t length = sizeof error;
  if (::getsockopt(session.backend.get(), SOL_SOCKET, SO_ERROR, &error, &length) != 0) {
    error = errno;
  }
  if (error == 0 && connected_to_itself(session.backend.get())) error = ECONNREFUSED;
  if (error != 0) return connect_failed(slot, error);
  session.deadline_ns = 0;
  counters_.servers[session.server].connected(monotonic_ns() - session.connect_started_ns);
  start_session(slot);
}

// Whatever is said on it from now on: it is not this session's any more.
void Worker::give_up_backend(Session& session) {
  if (!session.backend.valid()) return;
  ::epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, session.backend.get(), nullptr);
  session.release_backend();
  ++session.attempt;
}

void Worker::connect_failed(std::uint32_t slot, int error) {
  Session& session = sessions_[slot];
  // Ours, not the server's.
  if (out_of_resources(error)) return start_rejection(slot, RejectReason::kResources, error);
  counters_.servers[session.server].connect_failures[classify(error)].add();
  report(session, error);
  rest(session.connect_started_ns);
  hold(slot, RejectReason::kConnectFailed, error);
}

// From kFree, kHeld, kConnecting or kStarting: the client is told that it cannot be served.
// `error`: the errno that prevented the connection, if there was one.
void Worker::start_rejection(std::uint32_t slot, RejectReason reason, int error) {
  Session& session = sessions_[slot];
  leave_store(session);
  give_up_backend(session);
  if (wants_server(session.state())) counters_.active.sub();
  if (session.state() == SessionState::kHeld) leave_hold(slot);
  session.transition(SessionState::kRejecting);
  session.reject_reason = reason;
  const std::int64_t now = monotonic_ns();
  const std::int64_t waited_ns = session.held_since_ns == 0 ? 0 : now - session.held_since_ns;
  session.rejection =
      std::make_unique<Rejection>(answer_for(reason, error, waited_ns, settings_.limits));
  // Who has said nothing while it waited does not get the whole time once more.
  const bool was_silent = session.held_since_ns != 0 && !has_spoken(session);
  const std::int64_t whole = settings_.startup_timeout_ns;
  set_deadline(slot, now + (was_silent ? std::max(whole - waited_ns, std::min(whole, kLastChanceNs))
                                       : whole));
  // What the client has sent so far was an edge of the past.
  advance_rejection(slot);
}

void Worker::advance_rejection(std::uint32_t slot) {
  Session& session = sessions_[slot];
  const bool had_answered = session.rejection->answered();
  switch (session.rejection->advance(session.client.get())) {
    case RejectProgress::kWaiting:
      break;
    case RejectProgress::kAnswered:
      if (had_answered) break;
      count_rejection(slot);
      set_deadline(slot, monotonic_ns() + kLingerTimeoutNs);
      break;
    case RejectProgress::kMalformed:
    case RejectProgress::kDone:
      close_session(slot);
      break;
  }
}

// Once for each client: under the reason it was turned away for, or as one that never
// got as far as asking.
void Worker::count_rejection(std::uint32_t slot) {
  Session& session = sessions_[slot];
  if (std::exchange(session.reject_counted, true)) return;
  const RejectReason reason =
      session.rejection->heard() ? session.reject_reason : RejectReason::kStartup;
  counters_.rejected[reason].add();
  session_log_.turned_away(slot, session, reason);
}

void Worker::session_event(std::uint32_t slot, Side side, std::uint32_t events) {
  Session& session = sessions_[slot];
  switch (session.state()) {
    case SessionState::kHeld:
      session.note_events(side, events);
      if ((events & kGone) != 0) held_client_left(slot, (events & EPOLLERR) != 0);
      break;
    case SessionState::kConnecting:
      if (side == Side::kClient) {
        if ((events & kGone) != 0) session.client_left = true;
        // A hang-up without an error is an AF_UNIX client's that has said all it had to say (a
        // CancelRequest): that is delivered.
        session.note_events(side, events);
        if ((events & EPOLLERR) != 0) end_session(slot, EndReason::kClientReset);
        break;
      }
      finish_connect(slot);
      backend_speaks(slot, events);
      break;
    case SessionState::kStarting:
      if (side == Side::kClient) {
        client_speaks(slot, events);
      } else {
        backend_speaks(slot, events);
      }
      break;
    case SessionState::kRelaying:
      session.note_events(side, events);
      relay(slot);
      break;
    case SessionState::kRejecting:
      if (side == Side::kClient) advance_rejection(slot);
      break;
    case SessionState::kFree:
    case SessionState::kClosing:
      break;
  }
}

void Worker::relay(std::uint32_t slot) {
  Session& session = sessions_[slot];
  switch (session.relay(pipes_, counters_)) {
    case SessionProgress::kWaiting:
      if (session.taking_farewell() && session.deadline_ns == 0) {
        session.farewell_mark = session.delivered();
        set_deadline(slot, monotonic_ns() + settings_.farewell_timeout_ns);
      }
      break;
    case SessionProgress::kMore:
      enqueue(slot);
      break;
    case SessionProgress::kStarved:
      starved_.push_back({slot, session.generation});
      if (retry_starved_ns_ == 0) retry_starved_ns_ = monotonic_ns() + kStarvedRetryNs;
      break;
    case SessionProgress::kOver:
      return end_session(slot, session.end_reason);
  }
  note_bulk(slot);
}

void Worker::enqueue(std::uint32_t slot) {
  if (std::exchange(sessions_[slot].queued, true)) return;
  queued_.push_back(slot);
}

void Worker::set_deadline(std::uint32_t slot, std::int64_t at_ns) {
  sessions_[slot].deadline_ns = at_ns;
  deadlines_.push(at_ns, {slot, sessions_[slot].generation});
}

void Worker::deadline_passed(std::uint32_t slot) {
  Session& session = sessions_[slot];
  session.deadline_ns = 0;
  switch (session.state()) {
    case SessionState::kConnecting:
      connect_failed(slot, ETIMEDOUT);
      break;
    case SessionState::kRejecting:
      close_session(slot);
      break;
    case SessionState::kRelaying:
      // Who takes the other's last words, however slowly, gets them all. A client that does not
      // read may be blocked in writing, to a backend that is gone: it must learn so.
      if (session.delivered() != session.farewell_mark) {
        session.farewell_mark = session.delivered();
        set_deadline(slot, monotonic_ns() + settings_.farewell_timeout_ns);
      } else {
        end_session(slot, session.end_reason);
      }
      break;
    case SessionState::kHeld:
      hold_expired(slot);
      break;
    case SessionState::kStarting:
    case SessionState::kFree:
    case SessionState::kClosing:
      break;
  }
}

void Worker::report(const Session& session, int error) {
  failures_->backend_failed({session.epoch, session.server, error});
}

void Worker::apply(const RouteUpdate& update) {
  route_ = update.route;
  const bool another =
      route_.has_value() && std::exchange(last_epoch_, route_->epoch) != route_->epoch;
  prepare_spare();
  std::vector<std::uint32_t> to_hold;
  for (std::uint32_t slot = 0; slot < sessions_.slots(); ++slot) {
    Session& session = sessions_[slot];
    if (session.epoch >= update.cut_below_epoch) continue;
    if (session.state() == SessionState::kRelaying) {
      cut(slot, update.cut_reason);
    } else if (wants_server(session.state())) {
      // Nothing is lost yet: it may as well go to the new primary.
      if (!route_.has_value()) {
        to_hold.push_back(slot);
        continue;
      }
      give_up_backend(session);
      if (session.state() == SessionState::kStarting) {
        session.transition(SessionState::kConnecting);
      }
      start_connect(slot);
    }
  }
  // Each goes before those that wait: the last comer first.
  std::sort(to_hold.begin(), to_hold.end(), [this](std::uint32_t one, std::uint32_t other) {
    return sessions_[one].connect_started_ns > sessions_[other].connect_started_ns;
  });
  for (const std::uint32_t slot : to_hold) hold(slot, RejectReason::kNoPrimary, 0);
  route_decided(another);
}

}  // namespace pg_gateway
