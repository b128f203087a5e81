// SPDX-License-Identifier: MIT
// The listening sockets: who is accepted from them, when not, and which worker is given the client.
#include <sys/epoll.h>
#include <sys/socket.h>

#include <cerrno>
#include <utility>

#include "event_tag.h"
#include "socket_address.h"
#include "worker.h"

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
  // A session has two sockets, and when both directions are stuck four ends of pipes: one that is
  // turned away too, if it asks to cancel a query.
  constexpr std::int64_t kMostOfOne = 6;
  const std::int64_t clients = std::int64_t{admission_->clients()} + Admission::kMostTold;
  const std::int64_t most = kMostOfOne * clients;
  return most < settings_.bounds.clients ||
         next_descriptor(listening.fd) < settings_.bounds.clients;
}

// Accepts a few connections.
void Worker::accept_some(Listening& listening) {
  for (int i = 0; i < kAcceptBudget && listening.fd >= 0 && resume_accepting_ns_ == 0; ++i) {
    if (!can_take_another(listening)) return pause_accepting();
    if (is_ahead_of_pace()) {
      // Who is left in the queue wakes the loop again: then it is known that somebody waits.
      if (i == 0) wait_for_pace();
      break;
    }
    // All that can be made before is: a client that is accepted and not yet parked would be
    // lost if this process were killed.
    prepare_spare();
    SocketAddress peer;
    peer.length = sizeof peer.storage;
    auto* address = reinterpret_cast<sockaddr*>(&peer.storage);
    UniqueFd socket(::accept4(listening.fd, address, &peer.length, SOCK_NONBLOCK | SOCK_CLOEXEC));
    if (socket.valid()) {
      meet_client(std::move(socket), listening.tcp, client_address(peer), i == kAcceptBudget - 1);
    } else if (errno == EAGAIN) {
      return;
    } else {
      accept_failed(listening, errno);
    }
  }
  // At rest there is one, whether the last turn ended with an empty queue or with its budget.
  if (listening.fd >= 0 && resume_accepting_ns_ == 0) prepare_spare();
}

// One that has hung up in the queue without a word is not worth a session. It takes no place of the
// pace, so that the dead do not keep the living waiting, but where it is the last that one turn may
// accept: of the dead at most one in kAcceptBudget counts.
void Worker::meet_client(UniqueFd socket, bool tcp, const ClientAddress& address, bool is_last) {
  const bool looks = must_speak_first(tcp) || settings_.limits.per_second != 0;
  const FirstWords words = looks ? first_words(socket.get()) : FirstWords::kIncomplete;
  const bool has_left = words == FirstWords::kNone;
  if (!has_left || is_last) admission_->accepted(settings_.limits);
  if (has_left) {
    return turn_away_at_the_door(std::move(socket), tcp, address, RejectReason::kGaveUp);
  }
  take_client(std::move(socket), tcp, address, words == FirstWords::kWhole);
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

// Gives it to the least loaded worker, if there is room for it.
void Worker::take_client(UniqueFd socket, bool tcp, const ClientAddress& address, bool has_spoken) {
  switch (admission_->enter(address, settings_.limits)) {
    case Admitted::kYes:
      break;
    case Admitted::kTooMany:
      return turn_away_at_the_door(std::move(socket), tcp, address, RejectReason::kTooManyClients);
    case Admitted::kTooManyOfOneHost:
      return turn_away_at_the_door(std::move(socket), tcp, address,
                                   RejectReason::kTooManyOfOneHost);
  }
  NewClient client{std::move(socket), tcp, address, {}, 0, {}, has_spoken};
  BackendFacts backend;
  // Whether it is to be connected to a server now.
  if (!must_wait() && (has_spoken || !must_speak_first(tcp))) {
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

void Worker::pause_accepting() {
  counters_.accept_pauses.add();
  accept_again_at(monotonic_ns() + kAcceptPauseNs);
}

// Whether as many clients have been accepted as there may be a second.
bool Worker::is_ahead_of_pace() const {
  const std::int64_t next_ns = admission_->next_ns(settings_.limits);
  return next_ns != 0 && next_ns > monotonic_ns();
}

void Worker::wait_for_pace() {
  counters_.rate_waits.add();
  accept_again_at(admission_->next_ns(settings_.limits));
}

// The listening sockets are level-triggered: while nobody may be accepted they would wake the
// loop for ever. (EPOLLEXCLUSIVE forbids EPOLL_CTL_MOD, so out and in again.)
void Worker::accept_again_at(std::int64_t at_ns) {
  for (const Listening& listening : listeners_) {
    if (listening.fd >= 0) ::epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, listening.fd, nullptr);
  }
  resume_accepting_ns_ = at_ns;
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
