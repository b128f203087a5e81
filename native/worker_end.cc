// SPDX-License-Identifier: MIT
// The end of a session on its worker: cut, or ended by one of its sides; closed, reaped.
#include <pthread.h>
#include <sys/epoll.h>

#include <cerrno>
#include <vector>

#include "worker.h"

namespace pg_gateway {

namespace {

// A FIN takes some 10 us: for fewer sessions a second thread is not worth its start.
constexpr std::size_t kEnoughForTwo = 500;

// One side of all the sessions that end.
struct Ends {
  SessionTable& sessions;
  const std::vector<std::uint32_t>& slots;
  Side side;

  void shut_down() const {
    for (const std::uint32_t slot : slots) sessions[slot].shut_down(side);
  }
};

// Both sides of thousands side by side; the second thread has gone when it returns. Without one,
// clients come first: what they wait for is the worker.
void shut_down_both(SessionTable& sessions, const std::vector<std::uint32_t>& slots) {
  const Ends clients{sessions, slots, Side::kClient};
  Ends servers{sessions, slots, Side::kBackend};
  pthread_t second{};
  const bool two =
      slots.size() >= kEnoughForTwo && ::pthread_create(
                                           &second, nullptr,
                                           [](void* ends) -> void* {
                                             static_cast<const Ends*>(ends)->shut_down();
                                             return nullptr;
                                           },
                                           &servers) == 0;
  clients.shut_down();
  if (two) {
    ::pthread_join(second, nullptr);
  } else {
    servers.shut_down();
  }
}

}  // namespace

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
    case SessionState::kSilent:
      turn_away(slot, reason == CutReason::kKilled ? RejectReason::kKilled : RejectReason::kGaveUp);
      break;
    case SessionState::kHeld:
      turn_away(slot, reason == CutReason::kKilled ? RejectReason::kKilled : session.reject_reason);
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
  if (session.state() == SessionState::kSilent) counters_.silent.sub();
  session.deadline_ns = 0;
  session.transition(SessionState::kClosing);
  closing_.push_back(slot);
}

// When thousands are cut at once both of their ends are told first: what else is to be done for
// them takes longer.
void Worker::reap() {
  if (store_ != nullptr) {
    for (const std::uint32_t slot : closing_) store_->end(sessions_[slot].kept);
  }
  shut_down_both(sessions_, closing_);
  for (const std::uint32_t slot : closing_) {
    Session& session = sessions_[slot];
    leave_store(session);
    for (const UniqueFd* socket : {&session.client, &session.backend}) {
      if (socket->valid()) ::epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, socket->get(), nullptr);
    }
    session.release_sockets();
    session.rejection.reset();
    session.transition(SessionState::kFree);
    leave_company(session);
    sessions_.free(slot);
  }
  closing_.clear();
}

}  // namespace pg_gateway
