// SPDX-License-Identifier: MIT
// The first exchange of a session, while its client can still be given another server.
#include <sys/epoll.h>

#include <cerrno>
#include <utility>

#include "worker.h"

namespace pg_gateway {

namespace {

constexpr std::uint32_t kEnded = EPOLLRDHUP | EPOLLHUP | EPOLLERR;
// A server that closes after so long has had enough of a client that says nothing: the least that
// authentication_timeout can be is a second. It is not to be connected again.
constexpr std::int64_t kServersPatienceNs = 900'000'000;

}  // namespace

// Whether a client gets a server only when it has said what it wants: until then it costs the
// servers nothing. Where nobody waits, and of an AF_UNIX client, it is as in start_session().
bool Worker::must_speak_first(bool tcp) const {
  return tcp && settings_.hold_timeout_ns != 0;
}

// Whether it has to say first what it wants.
bool Worker::is_silent(Session& session) const {
  return must_speak_first(session.tcp_client()) && !has_spoken(session);
}

// From kFree, kHeld or kSilent: there is a route, and it is this client's turn.
void Worker::take_turn(std::uint32_t slot) {
  Session& session = sessions_[slot];
  if (is_silent(session)) {
    const bool was_held = session.state() == SessionState::kHeld;
    await_words(slot);
    // While it was held nobody looked at what it said, and no event will tell of that again.
    if (!was_held || !hear_words(slot, session.client_left ? std::uint32_t{EPOLLRDHUP} : 0)) return;
    // Just now: it is still its turn.
    counters_.silent.sub();
  }
  counters_.active.add();
  session.transition(SessionState::kConnecting);
  start_connect(slot);
}

// From kFree or kHeld: there is a route, and it has not said what it wants.
void Worker::await_words(std::uint32_t slot) {
  Session& session = sessions_[slot];
  counters_.silent.add();
  session.held_since_ns = 0;
  session.transition(SessionState::kSilent);
  set_deadline(slot, session.opened_ns + settings_.startup_timeout_ns);
}

// In kSilent. True: it has said what it wants.
bool Worker::hear_words(std::uint32_t slot, std::uint32_t events) {
  Session& session = sessions_[slot];
  session.note_events(Side::kClient, events);
  const FirstWords words =
      (events & EPOLLERR) != 0 ? FirstWords::kNone : first_words(session.client.get());
  const bool ended = (events & kEnded) != 0;
  if (words != FirstWords::kWhole) {
    if (words == FirstWords::kForeign) {
      turn_away(slot, RejectReason::kStartup);
    } else if (words == FirstWords::kNone || ended) {
      turn_away(slot, RejectReason::kGaveUp);
    }
    return false;
  }
  session.has_spoken = true;
  if (ended) session.client_left = true;
  session.deadline_ns = 0;
  return true;
}

void Worker::silent_client_event(std::uint32_t slot, std::uint32_t events) {
  if (!hear_words(slot, events)) return;
  if (must_wait()) return hold(slot, RejectReason::kNoPrimary, 0);
  counters_.silent.sub();
  take_turn(slot);
}

// From kConnecting: the backend has accepted.
void Worker::start_session(std::uint32_t slot) {
  Session& session = sessions_[slot];
  // Where nobody waits nobody is given another server. Of an AF_UNIX client the next process could
  // not tell what has been passed on.
  if (settings_.hold_timeout_ns == 0 || !session.tcp_client()) return serve(slot);
  session.transition(SessionState::kStarting);
  session.opening = {};
  session.opening.client_ended = session.client_left;
}

void Worker::client_speaks(std::uint32_t slot, std::uint32_t events) {
  Session& session = sessions_[slot];
  session.note_events(Side::kClient, events);
  if ((events & EPOLLERR) != 0) return end_session(slot, EndReason::kClientReset);
  if ((events & kEnded) != 0) session.client_left = session.opening.client_ended = true;
  advance_opening(slot);
}

void Worker::backend_speaks(std::uint32_t slot, std::uint32_t events) {
  Session& session = sessions_[slot];
  if (session.state() == SessionState::kRelaying) {
    session.note_events(Side::kBackend, events);
    relay(slot);
  } else if (session.state() == SessionState::kStarting) {
    session.opening.backend_events |= events;
    if ((events & kEnded) != 0) session.opening.backend_ended = true;
    advance_opening(slot);
  }
}

void Worker::advance_opening(std::uint32_t slot) {
  Session& session = sessions_[slot];
  for (;;) {
    const OpeningProgress progress =
        session.opening.advance(session.client.get(), session.backend.get());
    session.count_passed_on(std::exchange(session.opening.passed_on, 0), counters_);
    switch (progress) {
      case OpeningProgress::kWaiting:
        // The server listens, and a client that says nothing holds nobody up.
        if (session.opening.ahead == 0 && is_on_route(session)) rest_until_ns_ = 0;
        return;
      case OpeningProgress::kDeclined:
        if (!tell_declined(slot)) return;
        ++session.declined;
        break;
      case OpeningProgress::kOver:
        return start_relaying(slot);
      case OpeningProgress::kBroken:
        return end_session(slot, EndReason::kResources);
      case OpeningProgress::kRefused:
        return refused(slot);
    }
  }
}

// The client is told that there is no encryption. False: that ends the first exchange.
bool Worker::tell_declined(std::uint32_t slot) {
  Session& session = sessions_[slot];
  switch (session.relay_answer(pipes_, counters_)) {
    case SessionProgress::kOver:
      end_session(slot, session.end_reason);
      return false;
    case SessionProgress::kStarved:
      start_relaying(slot);
      return false;
    case SessionProgress::kWaiting:
    case SessionProgress::kMore:
      break;
  }
  return true;
}

// The server closed the connection, or said that it serves nobody now.
void Worker::refused(std::uint32_t slot) {
  const Session& session = sessions_[slot];
  const bool client_is_silent = session.opening.ahead == 0;
  if (client_is_silent && monotonic_ns() - session.connect_started_ns > kServersPatienceNs) {
    return start_relaying(slot);
  }
  connect_failed(slot, ECONNREFUSED);
}

void Worker::start_relaying(std::uint32_t slot) {
  Session& session = sessions_[slot];
  serve(slot);
  session.note_events(Side::kClient, EPOLLIN | EPOLLOUT);
  session.note_events(Side::kBackend, session.opening.backend_events | EPOLLIN | EPOLLOUT);
  relay(slot);
}

// From now on the session is with that server.
void Worker::serve(std::uint32_t slot) {
  Session& session = sessions_[slot];
  session.transition(SessionState::kRelaying);
  if (is_on_route(session)) rest_until_ns_ = rest_ns_ = 0;
  if (session.held_since_ns != 0) {
    counters_.hold_time.add(kHoldBuckets, monotonic_ns() - session.held_since_ns);
  }
  counters_.servers[session.server].sessions.add();
  session_log_.opened(slot, session);
}

}  // namespace pg_gateway
