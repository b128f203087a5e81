// SPDX-License-Identifier: MIT
// The loop, the mailbox and the listening sockets. A session's life is in
// worker_sessions.cc.
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

// Connections accepted for one wake-up: more would let a storm of new clients delay
// the sessions there are.
constexpr int kAcceptBudget = 16;
constexpr std::int64_t kNsPerMs = 1'000'000;
// How long to stop accepting when descriptors or memory are out.
constexpr std::int64_t kAcceptPauseNs = 100 * kNsPerMs;

// That connection is gone, and with it what was wrong: the next one can be accepted. (accept(2),
// "Error handling": of TCP/IP the pending errors of the network.)
bool is_of_one_connection(int error) {
  switch (error) {
    case ECONNABORTED:
    case EINTR:
    case EHOSTDOWN:
    case EHOSTUNREACH:
    case ENETDOWN:
    case ENETUNREACH:
    case ENONET:
    case ENOPROTOOPT:
    case EOPNOTSUPP:
    case EPROTO:
    case ETIMEDOUT:
      return true;
    default:
      return false;
  }
}

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

void Worker::listen_to(const NewListener& listener) {
  listeners_.push_back({listener.fd, listener.tcp});
  if (resume_accepting_ns_ != 0) return;  // joins when accepting is resumed
  epoll_event event{};
  // One of the workers is woken for a new connection, not all of them.
  event.events = EPOLLIN | EPOLLEXCLUSIVE;
  event.data.u64 =
      EventTag{EventKind::kListener, static_cast<std::uint32_t>(listeners_.size() - 1)}.pack();
  if (::epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, listener.fd, &event) != 0) pause_accepting();
}

void Worker::take_up(std::unique_ptr<Survivor> survivor) {
  load_.fetch_add(1, std::memory_order_relaxed);
  post(std::move(survivor));
}

void Worker::prepare_spare() {
  if (!route_.has_value()) return;
  if (spare_.valid() && spare_family_ == route_->address.family()) return;
  spare_family_ = route_->address.family();
  spare_ = make_socket(spare_family_);
}

// For a connection to a server. Invalid, with errno set, if there is none to be had.
UniqueFd Worker::make_socket(int family) const {
  UniqueFd made = make_backend_socket(family, settings_.tcp);
  if (made.get() < settings_.bounds.all) return made;
  errno = EMFILE;
  return UniqueFd();
}

// Asked before a client is accepted: it is better off in the queue of the listening socket.
bool Worker::can_take_another(const Listening& listening) const {
  // A session has two sockets, and when both directions are stuck four ends of pipes; one that
  // is turned away has one.
  constexpr std::int64_t kMostOfOne = 6;
  const std::int64_t most = kMostOfOne * admission_->clients() + Admission::kMostTold;
  return most < settings_.bounds.clients ||
         next_descriptor(listening.fd) < settings_.bounds.clients;
}

// Accepts a few connections.
void Worker::accept_some(Listening& listening) {
  for (int i = 0; i < kAcceptBudget && listening.fd >= 0 && resume_accepting_ns_ == 0; ++i) {
    if (!can_take_another(listening)) return pause_accepting();
    // All that can be made before is: a client that is accepted and not yet parked would be
    // lost if this process were killed.
    prepare_spare();
    SocketAddress peer;
    peer.length = sizeof peer.storage;
    auto* address = reinterpret_cast<sockaddr*>(&peer.storage);
    UniqueFd socket(::accept4(listening.fd, address, &peer.length, SOCK_NONBLOCK | SOCK_CLOEXEC));
    if (socket.valid()) {
      take_client(std::move(socket), listening.tcp, client_address(peer));
    } else if (errno == EAGAIN) {
      return;
    } else {
      accept_failed(listening, errno);
    }
  }
  // At rest there is one, whether the last turn ended with an empty queue or with its budget.
  if (listening.fd >= 0 && resume_accepting_ns_ == 0) prepare_spare();
}

void Worker::accept_failed(Listening& listening, int error) {
  if (is_of_one_connection(error)) return;
  // It does not listen any more: somebody who shares it has shut it down. It would wake the loop
  // for ever. (EOPNOTSUPP is none of these: the socket is a stream, and so it is of the network.)
  if (error == EINVAL || error == EBADF || error == ENOTSOCK) {
    ::epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, std::exchange(listening.fd, -1), nullptr);
    return;
  }
  // Out of descriptors or memory, or forbidden: the connection is still in the queue, and would
  // wake the loop for ever.
  pause_accepting();
}

// Whether it is to be connected to a server now.
bool Worker::goes_on_at_once(NewClient& client) const {
  if (must_wait()) return false;
  if (!must_speak_first(client.tcp)) return true;
  client.has_spoken = first_words(client.socket.get()) == FirstWords::kWhole;
  return client.has_spoken;
}

// Gives it to the least loaded worker, if there is room for it.
void Worker::take_client(UniqueFd socket, bool tcp, const ClientAddress& address) {
  switch (admission_->enter(address, settings_.limits)) {
    case Admitted::kYes:
      break;
    case Admitted::kTooMany:
      return turn_away_at_the_door(std::move(socket), tcp, address, RejectReason::kTooManyClients);
    case Admitted::kTooManyOfOneHost:
      return turn_away_at_the_door(std::move(socket), tcp, address,
                                   RejectReason::kTooManyOfOneHost);
  }
  NewClient client{std::move(socket), tcp, address, {}, 0, {}, false};
  BackendFacts backend;
  if (goes_on_at_once(client)) {
    client.backend = std::move(spare_);
    client.backend_family = spare_family_;
    backend = {client.backend.get(), route_->epoch, route_->server};
  }
  if (store_ != nullptr) {
    store_->admit(client.kept, client.socket.get(), client.tcp, backend);
  }
  counters_.accepted.add();
  Worker* target = this;
  for (const std::unique_ptr<Worker>& peer : *peers_) {
    if (peer->load() < target->load()) target = peer.get();
  }
  target->load_.fetch_add(1, std::memory_order_relaxed);
  if (target == this) {
    open_session(std::move(client));
  } else {
    target->post(std::move(client));
  }
}

// The listening sockets are level-triggered: while accept4 cannot succeed they would
// wake the loop for ever. (EPOLLEXCLUSIVE forbids EPOLL_CTL_MOD, so out and in again.)
void Worker::pause_accepting() {
  for (const Listening& listening : listeners_) {
    if (listening.fd >= 0) ::epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, listening.fd, nullptr);
  }
  counters_.accept_pauses.add();
  resume_accepting_ns_ = monotonic_ns() + kAcceptPauseNs;
}

// Events of this turn may still name a listener: none is accepted from any more.
void Worker::stop_accepting() {
  for (Listening& listening : listeners_) {
    if (listening.fd < 0) continue;
    ::epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, std::exchange(listening.fd, -1), nullptr);
  }
}

void Worker::resume_accepting() {
  resume_accepting_ns_ = 0;
  std::vector<Listening> listeners = std::exchange(listeners_, {});
  for (const Listening& listening : listeners) {
    if (listening.fd >= 0) listen_to({listening.fd, listening.tcp});
  }
}

}  // namespace pg_gateway
