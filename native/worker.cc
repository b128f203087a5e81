// SPDX-License-Identifier: MIT
// The loop and the mailbox. A session's life is in worker_sessions.cc.
#include "worker.h"

#include <sys/epoll.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <ctime>
#include <limits>
#include <utility>

#include "event_tag.h"
#include "socket_address.h"

namespace pg_gateway {

namespace {

constexpr std::int64_t kNsPerMs = 1'000'000;

}  // namespace

SysError Worker::start(const Company& company, const Settings& settings, SessionStore* store) {
  peers_ = &company.workers;
  for (std::size_t i = 0; i < peers_->size(); ++i) {
    if ((*peers_)[i].get() == this) number_ = static_cast<std::uint16_t>(i);
  }
  holding_ = &company.holding;
  admission_ = &company.admission;
  failures_ = &company.failures;
  store_ = store;
  began_ns_ = monotonic_ns();
  pipes_.set_keeper(store);
  pipes_.set_bound(settings.bounds.all);
  settings_ = settings;
  if (settings.log_sessions) session_log_.prepare();
  session_log_.record(settings.log_sessions);
  if (SysError error = mailbox_.open()) return error;
  Result<UniqueFd> epoll = make_epoll();
  if (!epoll.ok()) return epoll.error();
  epoll_ = epoll.take();
  epoll_event event{};
  event.events = EPOLLIN;
  event.data.u64 = EventTag{EventKind::kMailbox}.pack();
  if (::epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, mailbox_.fd(), &event) != 0) {
    return SysError::last("epoll_ctl");
  }
  std::unique_ptr<Pipe> first = pipes_.take();  // so that a start without descriptors fails now
  if (first == nullptr) return SysError::last("pipe2");
  pipes_.give_back(std::move(first));

  // Signals are the control plane's: the thread inherits a mask that blocks them all.
  sigset_t all;
  sigset_t before;
  sigfillset(&all);
  ::pthread_sigmask(SIG_SETMASK, &all, &before);
  const int error = ::pthread_create(
      &thread_, nullptr,
      [](void* self) -> void* {
        static_cast<Worker*>(self)->run();
        return nullptr;
      },
      this);
  ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
  if (error != 0) return SysError{"pthread_create", error};
  ::pthread_setname_np(thread_, "pg-gw-worker");
  started_ = true;
  return {};
}

bool Worker::join(std::int64_t deadline_ns) {
  if (!started_) return true;
  int error = 0;
  if (deadline_ns == 0) {
    error = ::pthread_join(thread_, nullptr);
  } else {
    const timespec deadline{deadline_ns / 1'000'000'000, deadline_ns % 1'000'000'000};
    error = ::pthread_clockjoin_np(thread_, nullptr, CLOCK_MONOTONIC, &deadline);
  }
  if (error != 0) return false;
  started_ = false;
  return true;
}

void Worker::configure(const Settings& settings) {
  if (settings.log_sessions) session_log_.prepare();
  post(settings);
}

void Worker::ping() {
  const std::int64_t now = monotonic_ns();
  std::int64_t none = 0;
  if (ping_posted_ns_.compare_exchange_strong(none, now)) post(Heartbeat{now});
}

std::int64_t Worker::loop_lag_ns() const {
  const auto last = static_cast<std::int64_t>(counters_.loop_lag_ns.get());
  const std::int64_t posted = ping_posted_ns_.load();
  return posted == 0 ? last : std::max(last, monotonic_ns() - posted);
}

void Worker::run() {
  std::array<epoll_event, kEventsPerTurn> events{};
  while (!stopping_) {
    const int count = wait(events);
    // EINTR (a debugger, a stop signal) is an empty turn.
    for (int i = 0; i < count; ++i) dispatch(events[static_cast<std::size_t>(i)]);
    run_queued();
    expire_deadlines();
    reap();
  }
  if (!keep_sessions_) return cut_all();
  pipes_.close_unkept();
}

// Only what bulk transfers wait for is finer than a millisecond. epoll_pwait2(2) came with Linux
// 5.11, and a filter of system calls (seccomp(2)) may not know it.
int Worker::wait(std::array<epoll_event, kEventsPerTurn>& events) {
  const std::int64_t timeout_ns = next_timeout_ns();
  if (timeout_ns > 0 && timeout_ns < kNsPerMs && has_fine_wait_) {
    const timespec timeout{0, timeout_ns};
    const int count =
        ::epoll_pwait2(epoll_.get(), events.data(), kEventsPerTurn, &timeout, nullptr);
    if (count >= 0 || errno == EINTR) return count;
    has_fine_wait_ = false;
  }
  const std::int64_t timeout_ms = timeout_ns < 0 ? -1 : (timeout_ns + kNsPerMs - 1) / kNsPerMs;
  return ::epoll_wait(epoll_.get(), events.data(), kEventsPerTurn, static_cast<int>(timeout_ms));
}

// -1: none.
std::int64_t Worker::next_timeout_ns() {
  if (!queued_.empty()) return 0;
  std::int64_t earliest = std::numeric_limits<std::int64_t>::max();
  std::int64_t at = 0;
  std::uint32_t slot = 0;
  if (deadlines_.front(sessions_, at, slot) != nullptr) earliest = at;
  if (resume_accepting_ns_ != 0) earliest = std::min(earliest, resume_accepting_ns_);
  if (retry_starved_ns_ != 0) earliest = std::min(earliest, retry_starved_ns_);
  earliest = std::min({earliest, next_release_ns(), bulk_.next_ns()});
  if (earliest == std::numeric_limits<std::int64_t>::max()) return -1;
  return std::max<std::int64_t>(0, earliest - monotonic_ns());
}

void Worker::dispatch(const epoll_event& event) {
  const EventTag tag = EventTag::unpack(event.data.u64);
  switch (tag.kind) {
    case EventKind::kMailbox:
      handle_messages();
      break;
    case EventKind::kListener:
      accept_some(listeners_[tag.slot]);
      break;
    case EventKind::kClient:
      if (sessions_.find({tag.slot, tag.generation}) != nullptr) {
        session_event(tag.slot, Side::kClient, event.events);
      }
      break;
    case EventKind::kBackend:
      if (sessions_.find_attempt({tag.slot, tag.generation}) != nullptr) {
        session_event(tag.slot, Side::kBackend, event.events);
      }
      break;
  }
}

void Worker::handle_messages() {
  for (Message& message : mailbox_.take()) handle(message);
}

void Worker::handle(Message& message) {
  if (auto* client = std::get_if<NewClient>(&message)) {
    open_session(std::move(*client));
  } else if (auto* survivor = std::get_if<std::unique_ptr<Survivor>>(&message)) {
    resume_session(std::move(**survivor));
  } else if (auto* update = std::get_if<std::shared_ptr<const RouteUpdate>>(&message)) {
    apply(**update);
  } else if (auto* listener = std::get_if<NewListener>(&message)) {
    listen_to(*listener);
  } else if (auto* settings = std::get_if<Settings>(&message)) {
    settings_ = *settings;
    pipes_.set_bound(settings_.bounds.all);
    spare_.reset();  // its options are those of before
    session_log_.record(settings_.log_sessions);
    review_held();
  } else if (auto* heartbeat = std::get_if<Heartbeat>(&message)) {
    counters_.loop_lag_ns.set(static_cast<std::uint64_t>(monotonic_ns() - heartbeat->posted_ns));
    // Who sees the beat may ask again at once.
    ping_posted_ns_.store(0);
    counters_.beats.add();
  } else if (auto* question = std::get_if<ListSessions>(&message)) {
    list_sessions(*question);
  } else if (auto* kill = std::get_if<KillSessions>(&message)) {
    kill_sessions(*kill->order);
  } else if (auto* round = std::get_if<Confirm>(&message)) {
    confirm(*round);
  } else if (std::holds_alternative<StopAccepting>(message)) {
    stop_accepting();
  } else if (auto* stop = std::get_if<Stop>(&message)) {
    stopping_ = true;
    keep_sessions_ = stop->keep_sessions;
  }
}

void Worker::expire_deadlines() {
  std::int64_t at = 0;
  std::uint32_t slot = 0;
  const std::int64_t now = monotonic_ns();
  while (deadlines_.front(sessions_, at, slot) != nullptr && at <= now) {
    deadlines_.pop();
    deadline_passed(slot);
  }
  if (resume_accepting_ns_ != 0 && resume_accepting_ns_ <= now) resume_accepting();
  look_after_scout();
  if (next_release_ns() <= now) release_held();
  if (bulk_.next_ns() <= now) fetch_bulk(now);
  if (retry_starved_ns_ != 0 && retry_starved_ns_ <= now) {
    retry_starved_ns_ = 0;
    for (const SessionRef ref : std::exchange(starved_, {})) {
      if (sessions_.find(ref) != nullptr) enqueue(ref.slot);
    }
  }
}

void Worker::run_queued() {
  // One turn each: what wants more queues up again, behind the next epoll_wait.
  for (const std::uint32_t slot : std::exchange(queued_, {})) {
    sessions_[slot].queued = false;
    if (sessions_[slot].state() == SessionState::kRelaying) relay(slot);
  }
}

void Worker::cut_all() {
  for (std::uint32_t slot = 0; slot < sessions_.slots(); ++slot) cut(slot, CutReason::kShutdown);
  reap();
}

void Worker::take_up(std::unique_ptr<Survivor> survivor) {
  load_.fetch_add(1, std::memory_order_relaxed);
  post(std::move(survivor));
}

}  // namespace pg_gateway
