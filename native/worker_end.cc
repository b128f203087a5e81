// SPDX-License-Identifier: MIT
// The end of a session on its worker: cut, or ended by one of its sides; closed, reaped.
#include <sys/epoll.h>

#include <cerrno>

#include "worker.h"

namespace pg_gateway {

// Ends a session without waiting for an event, an idle one too.
void Worker::cut(std::uint32_t slot, CutReason reason) {
  Session& session = sessions_[slot];
  switch (session.state()) {
    case SessionState::kRelaying:
    case SessionState::kStarting:
    case SessionState::kConnecting:
      counters_.cut[reason].add();
      session_log_.cut(slot, session, reason);
      close_session(slot);
      break;
    case SessionState::kHeld:
      turn_away(slot, session.reject_reason);
      break;
    case SessionState::kRejecting:
      close_session(slot);
      break;
    case SessionState::kFree:
    case SessionState::kClosing:
      break;
  }
}

// Closes a session that one of its sides has ended.
void Worker::end_session(std::uint32_t slot, EndReason reason) {
  counters_.ended[reason].add();
  session_log_.ended(slot, sessions_[slot], reason);
  if (reason == EndReason::kBackendReset) report(sessions_[slot], ECONNRESET);
  close_session(slot);
}

void Worker::close_session(std::uint32_t slot) {
  Session& session = sessions_[slot];
  if (session.state() == SessionState::kRelaying) counters_.servers[session.server].sessions.sub();
  if (session.state() == SessionState::kRelaying || wants_server(session.state())) {
    counters_.active.sub();
  }
  if (session.state() == SessionState::kRejecting) count_rejection(slot);
  if (session.state() == SessionState::kHeld) leave_hold(slot);
  session.deadline_ns = 0;
  session.transition(SessionState::kClosing);
  closing_.push_back(slot);
}

// When thousands are cut at once their clients are told first: what else is to be done for them
// takes longer.
void Worker::reap() {
  if (store_ != nullptr) {
    for (const std::uint32_t slot : closing_) store_->end(sessions_[slot].kept);
  }
  for (const Side side : {Side::kClient, Side::kBackend}) {
    for (const std::uint32_t slot : closing_) sessions_[slot].shut_down(side);
  }
  for (const std::uint32_t slot : closing_) {
    Session& session = sessions_[slot];
    leave_store(session);
    for (const UniqueFd* socket : {&session.client, &session.backend}) {
      if (socket->valid()) ::epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, socket->get(), nullptr);
    }
    session.release_sockets();
    session.rejection.reset();
    session.transition(SessionState::kFree);
    sessions_.free(slot);
    load_.fetch_sub(1, std::memory_order_relaxed);
  }
  closing_.clear();
}

}  // namespace pg_gateway
