// SPDX-License-Identifier: MIT
// Clients that wait for a server: there is none, connecting to it failed, or others
// wait before them. Nothing is read from their sockets.
#include <algorithm>
#include <limits>
#include <utility>

#include "worker.h"

namespace pg_gateway {

namespace {

constexpr std::int64_t kNsPerMs = 1'000'000;
// After a failed connect the next one is tried after so long, then twice that.
constexpr std::int64_t kFirstRestNs = 25 * kNsPerMs;
constexpr std::int64_t kLongestRestNs = 800 * kNsPerMs;

}  // namespace

// Whether a client that comes now has to wait. Where holding is off nobody does that need not.
bool Worker::must_wait() const {
  if (!route_.has_value()) return true;
  if (settings_.hold_timeout_ns == 0) return false;
  // Behind others, one of whom goes for it: it always finds a place.
  if (rest_until_ns_ == 0) return !held_.empty();
  // With a route nobody is turned away for want of a place to wait: rather out of turn.
  return holding_->held() < settings_.max_held;
}

// From kFree, kSilent, kConnecting or kStarting: the client waits, its socket unread. `reason` and
// `error`: what it is told when it has waited long enough.
// One that comes while others are let go waits behind them, and the first of them goes for it at
// once, as it would have gone itself: so the queue becomes shorter at the pace, however many come.
void Worker::hold(std::uint32_t slot, RejectReason reason, int error) {
  Session& session = sessions_[slot];
  // One too many that asks to cancel a query takes no place of those that wait; and without a
  // server there is nothing to cancel.
  if (session.standing == Standing::kBeingTold) return turn_away(slot, reason);
  const std::int64_t now = monotonic_ns();
  const bool had_its_turn = wants_server(session.state());
  const bool first = session.held_since_ns == 0;
  // Before the first decision nobody knows that there is no primary.
  if (decided_ && (first ? now : session.held_since_ns) + settings_.hold_timeout_ns <= now) {
    return start_rejection(slot, reason, error);
  }
  const bool one_goes = first && !had_its_turn && route_.has_value() && rest_until_ns_ == 0;
  // One that was held already, by an earlier process too, has its place for sure.
  if (!holding_->enter(first && !one_goes ? settings_.max_held : UINT32_MAX)) {
    return start_rejection(slot, RejectReason::kTooManyHeld, 0);
  }
  give_up_backend(session);
  if (had_its_turn) {
    counters_.active.sub();
    held_.push_front(sessions_, slot);
  } else {
    held_.push_back(sessions_, slot);
  }
  if (first) {
    session.held_since_ns = now;
    counters_.held_ever.add();
  }
  counters_.held.add();
  if (session.state() == SessionState::kSilent) counters_.silent.sub();
  session.transition(SessionState::kHeld);
  session.reject_reason = reason;
  session.hold_errno = error;
  set_hold_deadline(slot);
  if (session.client_left) return turn_away(slot, RejectReason::kGaveUp);
  if (one_goes) let_go_first();
}

// The client is told nothing: it has left, it is not to wait, or the gateway stops.
void Worker::turn_away(std::uint32_t slot, RejectReason reason) {
  counters_.rejected[reason].add();
  session_log_.turned_away(slot, sessions_[slot], reason);
  close_session(slot);
}

// Who has said all it will ever say, before its session began, waits for nothing: but one that an
// earlier process had accepted may still find the server that it would have had there.
void Worker::held_client_left(std::uint32_t slot, bool reset) {
  sessions_[slot].client_left = true;
  if (decided_ || reset) turn_away(slot, RejectReason::kGaveUp);
}

// The session is about to leave kHeld.
void Worker::leave_hold(std::uint32_t slot) {
  held_.remove(sessions_, slot);
  holding_->leave();
  counters_.held.sub();
}

// Whether the client has ever said what it wants. Nothing is read from who waits.
bool Worker::has_spoken(Session& session) {
  if (!session.has_spoken) {
    session.has_spoken = first_words(session.client.get()) == FirstWords::kWhole;
  }
  return session.has_spoken;
}

// From when on its wait counts: what it has waited in an earlier process, only once this one has
// decided that there is no primary still. One that cannot decide has nobody wait for ever.
std::int64_t Worker::waits_since(const Session& session) const {
  return decided_ ? session.held_since_ns : std::max(session.held_since_ns, began_ns_);
}

// When it has waited long enough; earlier, when it has been silent for too long.
void Worker::set_hold_deadline(std::uint32_t slot) {
  Session& session = sessions_[slot];
  constexpr std::int64_t kNever = std::numeric_limits<std::int64_t>::max();
  std::int64_t at_ns = kNever;
  if (settings_.hold_timeout_ns > 0) at_ns = waits_since(session) + settings_.hold_timeout_ns;
  if (!session.has_spoken) {
    at_ns = std::min(at_ns, session.opened_ns + settings_.startup_timeout_ns);
  }
  if (at_ns == session.deadline_ns) return;
  session.deadline_ns = 0;
  if (at_ns != kNever) set_deadline(slot, at_ns);
}

void Worker::hold_expired(std::uint32_t slot) {
  Session& session = sessions_[slot];
  const std::int64_t now = monotonic_ns();
  // One that only keeps a place from others.
  if (now - session.opened_ns >= settings_.startup_timeout_ns && !has_spoken(session)) {
    return turn_away(slot, RejectReason::kStartup);
  }
  if (settings_.hold_timeout_ns == 0 || now - waits_since(session) < settings_.hold_timeout_ns) {
    return set_hold_deadline(slot);
  }
  counters_.hold_timeouts.add();
  start_rejection(slot, session.reject_reason, session.hold_errno);
}

// When a held client may go next; never, unless there is a route and somebody waits.
std::int64_t Worker::next_release_ns() const {
  if (!route_.has_value() || held_.empty()) return std::numeric_limits<std::int64_t>::max();
  return std::max(release_ns_, rest_until_ns_);
}

// Its connect may fail at once, and it is the first of the queue again.
void Worker::let_go_first() {
  const std::uint32_t slot = held_.front();
  leave_hold(slot);
  take_turn(slot);
}

// Sends held clients to the route: in their order, at the pace that all workers share, and one
// alone after a failed connect.
void Worker::release_held() {
  while (next_release_ns() != std::numeric_limits<std::int64_t>::max()) {
    const std::int64_t now = monotonic_ns();
    if (rest_until_ns_ > now) return;
    if (release_ns_ == 0) release_ns_ = holding_->claim(now, settings_.release_rate);
    if (release_ns_ > now) return;
    release_ns_ = 0;
    const std::uint32_t slot = held_.front();
    // Until this one has got through, or not; who says nothing holds nobody up.
    if (rest_until_ns_ != 0 && !is_silent(sessions_[slot])) {
      rest_until_ns_ = now + settings_.connect_timeout_ns + kFirstRestNs;
      scout_ = SessionRef{slot, sessions_[slot].generation};
    }
    let_go_first();
  }
}

// It may end before its connect has, by its own doing or an administrator's: then the next one may
// go, and nobody waits for what cannot come.
void Worker::look_after_scout() {
  if (!scout_.has_value()) return;
  const Session* scout = sessions_.find(*scout_);
  if (scout != nullptr && wants_server(scout->state())) return;
  scout_.reset();
  if (rest_until_ns_ != 0) rest_until_ns_ = monotonic_ns();
}

// What becomes of it says something about the route that there is now.
bool Worker::is_on_route(const Session& session) const {
  return route_.has_value() && session.epoch == route_->epoch;
}

// A connect to the route has failed: the next one waits, a little longer each time. Others that
// were under way by then say nothing new.
void Worker::rest(std::int64_t attempt_began_ns) {
  if (attempt_began_ns < rest_began_ns_) return;
  scout_.reset();
  rest_began_ns_ = monotonic_ns();
  rest_ns_ = std::clamp(2 * rest_ns_, kFirstRestNs, kLongestRestNs);
  rest_until_ns_ = rest_began_ns_ + rest_ns_;
}

// How long clients wait has changed, or that they have to. With a route they are on their way
// already.
void Worker::review_held() {
  if (route_.has_value()) return;
  if (decided_ && settings_.hold_timeout_ns == 0) {
    while (!held_.empty()) start_rejection(held_.front(), RejectReason::kNoPrimary, 0);
    return;
  }
  for (std::uint32_t slot = 0; slot < sessions_.slots(); ++slot) {
    if (sessions_[slot].state() == SessionState::kHeld) set_hold_deadline(slot);
  }
}

void Worker::drop_those_that_left() {
  for (std::uint32_t slot = 0; slot < sessions_.slots(); ++slot) {
    const Session& session = sessions_[slot];
    if (session.state() == SessionState::kHeld && session.client_left) {
      turn_away(slot, RejectReason::kGaveUp);
    }
  }
}

// There is a route, or none. `another`: not the one that there was last.
void Worker::route_decided(bool another) {
  const bool first = !std::exchange(decided_, true);
  if (another) rest_until_ns_ = rest_ns_ = 0;
  if (first && !route_.has_value()) drop_those_that_left();
  review_held();
  release_held();
}

}  // namespace pg_gateway
