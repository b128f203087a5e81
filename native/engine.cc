// SPDX-License-Identifier: MIT
#include "engine.h"

#include <algorithm>
#include <utility>

namespace pg_gateway {

namespace {

constexpr std::int64_t kLongestTimeoutNs = 600'000'000'000;
// Of waiting clients: an administrator's hold that is renewed lasts longer than any timeout that is
// configured. A week; its milliseconds are still an int, as epoll_wait(2) has it.
constexpr std::int64_t kLongestHoldNs = 604'800'000'000'000;

// What the earlier process has noted may be damaged.
void do_as_before(const Ledger::SetUp& before, EngineOptions& options) {
  if (before.workers >= 1 && before.workers <= Engine::kMaxWorkers) {
    options.workers = before.workers;
  }
  if (before.connect_timeout_ns > 0 && before.connect_timeout_ns <= kLongestTimeoutNs) {
    options.settings.connect_timeout_ns = before.connect_timeout_ns;
  }
  if (before.hold_timeout_ns >= 0 && before.hold_timeout_ns <= kLongestHoldNs) {
    options.settings.hold_timeout_ns = before.hold_timeout_ns;
  }
}

}  // namespace

void EngineOptions::keep_with(const std::string& notify_socket) {
  auto store = std::make_unique<NotifyFdStore>();
  no_fd_store = store->open(notify_socket);
  if (!no_fd_store) fd_store = std::move(store);
}

SysError Engine::start(EngineOptions options) {
  accepting_ = options.accepting;
  std::vector<Survivor> survivors;
  if (SysError error = open_store(options, survivors)) return error;
  if (options.as_before && store_ != nullptr) do_as_before(store_->set_up(), options);
  settings_ = options.settings;
  if (SysError error = start_workers(options.workers)) {
    stop(0, true);  // the next process may be luckier
    return error;
  }
  // Who has waited longest is to be the first.
  note_set_up();
  std::sort(survivors.begin(), survivors.end(), [](const Survivor& a, const Survivor& b) {
    return a.kept.opened_ns < b.kept.opened_ns;
  });
  for (Survivor& survivor : survivors) {
    // Before anybody new is accepted.
    survivor.address = client_address_of(survivor.client.get());
    admission_.readmit(survivor.address);
    const auto& target =
        *std::min_element(workers_.begin(), workers_.end(),
                          [](const auto& a, const auto& b) { return a->load() < b->load(); });
    target->take_up(std::make_unique<Survivor>(std::move(survivor)));
  }
  return {};
}

// An error: there are sessions, or what an earlier process knew, which another start may be able to
// take up. The service manager would keep every connection open, and nobody would serve it.
SysError Engine::open_store(EngineOptions& options, std::vector<Survivor>& survivors) {
  if (options.fd_store == nullptr) {
    recovery_.problem = options.no_fd_store;
    return options.stored.empty() ? SysError{} : options.no_fd_store;
  }
  const bool has_sessions = !options.stored.segments.empty();
  store_ = std::make_unique<SessionStore>(std::move(options.fd_store));
  if (SysError error = store_->open(std::move(options.stored), survivors, recovery_)) {
    recovery_.problem = error;
    store_.reset();
    if (has_sessions && passes(error)) return error;
  }
  return {};
}

void Engine::note_set_up() {
  if (store_ == nullptr) return;
  store_->note_set_up({static_cast<std::uint32_t>(workers_.size()), settings_.connect_timeout_ns,
                       settings_.hold_timeout_ns});
}

SysError Engine::start_workers(unsigned count) {
  // All of them exist before the first thread runs: each looks at its peers' load.
  for (unsigned i = 0; i < count; ++i) workers_.push_back(std::make_unique<Worker>());
  for (const std::unique_ptr<Worker>& worker : workers_) {
    if (SysError error =
            worker->start({workers_, *this, holding_, admission_}, settings_, store_.get())) {
      return error;
    }
  }
  return {};
}

SysError Engine::adopt(int listening_fd) {
  Result<Listener> adopted = adopt_listener(listening_fd, settings_.tcp);
  if (!adopted.ok()) return adopted.error();
  listeners_.push_back(adopted.take());
  if (accepting_) accept_from(listeners_.back());
  return {};
}

void Engine::accept_from(const Listener& listener) {
  for (const std::unique_ptr<Worker>& worker : workers_) {
    worker->post(NewListener{listener.fd.get(), listener.tcp});
  }
}

void Engine::start_accepting() {
  if (std::exchange(accepting_, true)) return;
  for (const Listener& listener : listeners_) accept_from(listener);
}

void Engine::stop_accepting() {
  for (const std::unique_ptr<Worker>& worker : workers_) worker->post(StopAccepting{});
}

Result<std::uint16_t> Engine::bind(const std::string& address, std::uint16_t port) {
  Result<UniqueFd> bound = bind_listener(address, port);
  if (!bound.ok()) return bound.error();
  UniqueFd fd = bound.take();
  // Before it is anybody's: a port that is not known can neither be told nor let go.
  Result<std::uint16_t> actual = local_port(fd.get());
  if (!actual.ok()) return actual;
  if (SysError error = adopt(fd.get())) return error;
  (void)fd.release();  // now the adopted listener's
  listeners_.back().port = actual.value();
  return actual;
}

void Engine::unbind(std::uint16_t port) {
  if (accepting_) return;
  std::erase_if(listeners_, [port](const Listener& listener) {
    return listener.port != 0 && listener.port == port;
  });
}

bool Engine::write_note(std::string_view note, const Ledger::Cut& cut) {
  if (store_ == nullptr) return false;
  store_->note_cut(cut);
  return store_->write_note(note);
}

void Engine::confirm_recovery() {
  if (store_ == nullptr) return;
  const auto waiting_for = std::make_shared<std::atomic<std::size_t>>(workers_.size());
  for (const std::unique_ptr<Worker>& worker : workers_) worker->post(Confirm{waiting_for});
}

void Engine::excuse_recovery() {
  if (store_ != nullptr) store_->excuse_recovery();
}

// The ledger has the cut before any worker: of one that stands still until this process is killed,
// the next process ends the sessions.
void Engine::update_route(const RouteUpdate& update) {
  if (store_ != nullptr) {
    store_->note_cut({update.cut_below_epoch, update.cut_reason},
                     update.route.has_value() ? update.route->epoch : UINT32_MAX);
  }
  const auto shared = std::make_shared<const RouteUpdate>(update);
  for (const std::unique_ptr<Worker>& worker : workers_) worker->post(shared);
}

void Engine::configure(const Settings& settings) {
  settings_ = settings;
  for (const Listener& listener : listeners_) {
    if (listener.tcp) set_inherited_options(listener.fd.get(), settings.tcp);
  }
  for (const std::unique_ptr<Worker>& worker : workers_) worker->configure(settings);
  note_set_up();
}

void Engine::ping() {
  for (const std::unique_ptr<Worker>& worker : workers_) worker->ping();
}

void Engine::list_sessions(const std::shared_ptr<SessionListing>& listing) {
  listing->begin(workers_.size());
  for (const std::unique_ptr<Worker>& worker : workers_) worker->post(ListSessions{listing, 0});
}

void Engine::kill_sessions(const std::shared_ptr<KillOrder>& order) {
  order->begin(workers_.size());
  for (const std::unique_ptr<Worker>& worker : workers_) worker->post(KillSessions{order});
}

// A storm of failures is one piece of news: the one that says most. Told under the lock: when
// notify() has returned, nobody tells the one before.
void Engine::backend_failed(const BackendFailure& failure) {
  const std::lock_guard lock(failure_mutex_);
  if (!failure_pending_ || !failure.relayed) failure_ = failure;
  if (!std::exchange(failure_pending_, true)) on_failure_(context_);
}

void Engine::notify(Notify on_failure, void* context) {
  const std::lock_guard lock(failure_mutex_);
  on_failure_ = on_failure;
  context_ = context;
  if (failure_pending_) on_failure_(context_);
}

bool Engine::take_failure(BackendFailure& failure) {
  const std::lock_guard lock(failure_mutex_);
  failure = failure_;
  return std::exchange(failure_pending_, false);
}

SessionEvents Engine::take_session_events() {
  SessionEvents events = std::exchange(last_session_events_, {});
  for (const std::unique_ptr<Worker>& worker : workers_) worker->session_log().take(events);
  return events;
}

bool Engine::stop(std::int64_t timeout_ns, bool keep_sessions) {
  excuse_recovery();
  keep_sessions = keep_sessions && store_ != nullptr;
  for (const std::unique_ptr<Worker>& worker : workers_) worker->post(Stop{keep_sessions});
  const std::int64_t deadline = timeout_ns == 0 ? 0 : monotonic_ns() + timeout_ns;
  bool all_ended = true;
  for (const std::unique_ptr<Worker>& worker : workers_) {
    if (!worker->join(deadline)) all_ended = false;
  }
  if (!all_ended) return false;
  last_session_events_ = take_session_events();
  // What closes from here on closes in this process only.
  if (keep_sessions) store_->freeze();
  workers_.clear();
  listeners_.clear();
  return true;
}

}  // namespace pg_gateway
