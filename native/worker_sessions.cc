// SPDX-License-Identifier: MIT
// The life of a session on its worker: opened, connected, relayed. Its end is in
// worker_end.cc; who is turned away, in worker_rejection.cc.
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

epoll_event interest(const EventTag& tag) {
  epoll_event event{};
  event.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET;
  event.data.u64 = tag.pack();
  return event;
}

}  // namespace

bool Worker::watch(int fd, std::uint32_t slot, Side side) {
  const Session& session = sessions_[slot];
  const EventTag tag = side == Side::kClient
                           ? EventTag{EventKind::kClient, slot, session.generation}
                           : EventTag{EventKind::kBackend, slot, session.attempt};
  epoll_event event = interest(tag);
  return ::epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, fd, &event) == 0;
}

bool Worker::watch_again(std::uint32_t slot) {
  const Session& session = sessions_[slot];
  epoll_event event = interest({EventKind::kClient, slot, session.generation});
  return ::epoll_ctl(epoll_.get(), EPOLL_CTL_MOD, session.client.get(), &event) == 0;
}

void Worker::open_session(NewClient client) {
  const std::uint32_t slot = sessions_.allocate();
  Session& session = sessions_[slot];
  session.begin(std::move(client.socket), client.tcp, client.kept);
  name_session(session);
  session.address = client.address;
  session.standing = Standing::kAdmitted;
  session.has_spoken = client.has_spoken;
  session.backend = std::move(client.backend);
  session.backend_family = static_cast<std::uint16_t>(client.backend_family);
  session_log_.came(slot, session);
  if (!watch(session.client.get(), slot, Side::kClient))
    return refuse(slot, RejectReason::kResources);
  if (!must_wait()) return take_turn(slot);
  // Who has said nothing yet waits behind nobody: it comes when it speaks.
  if (route_.has_value() && is_silent(session)) return await_words(slot);
  hold(slot, RejectReason::kNoPrimary, 0);
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
  // Where it cannot be told: another attempt to connect costs less.
  if (error == 0 && connected_to_itself(session.backend.get()).value_or(true)) {
    error = ECONNREFUSED;
  }
  if (error != 0) return connect_failed(slot, error);
  clear_deadline(slot);
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
  if (is_on_route(session)) rest(session.connect_started_ns);
  hold(slot, RejectReason::kConnectFailed, error);
}

void Worker::session_event(std::uint32_t slot, Side side, std::uint32_t events) {
  Session& session = sessions_[slot];
  switch (session.state()) {
    case SessionState::kSilent:
      silent_client_event(slot, events);
      break;
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
      counters_.pipe_waits.add();
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
  Session& session = sessions_[slot];
  if (session.last_deadline_ns != 0) at_ns = std::min(at_ns, session.last_deadline_ns);
  session.deadline_ns = at_ns;
  deadlines_.push(sessions_, at_ns, {slot, session.generation});
}

// What it was for has come, or its time is over.
void Worker::clear_deadline(std::uint32_t slot) {
  Session& session = sessions_[slot];
  session.deadline_ns = 0;
  if (session.last_deadline_ns != 0) set_deadline(slot, session.last_deadline_ns);
}

void Worker::deadline_passed(std::uint32_t slot) {
  Session& session = sessions_[slot];
  if (session.deadline_ns == session.last_deadline_ns) return cancel_expired(slot);
  clear_deadline(slot);
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
    case SessionState::kSilent:
      turn_away(slot, RejectReason::kStartup);
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
  const bool relayed = session.state() == SessionState::kRelaying;
  failures_->backend_failed({session.epoch, session.server, error, relayed});
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
