// SPDX-License-Identifier: MIT
// The data plane as its user sees it: workers, listening sockets, the route, numbers.
//
// Owns: the workers and the listening sockets. Every method is for one thread, the
// owner's; the workers run on their own.
// Invariant: the workers are stopped and joined before the listening sockets close.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

#include "listener.h"
#include "session_store.h"
#include "worker.h"

namespace pg_gateway {

struct EngineOptions {
  unsigned workers = 1;
  Settings settings;
  // False: clients wait in the listening sockets' queues until start_accepting().
  bool accepting = true;
  // Where sessions are kept for the next process; null: they end with this one.
  std::unique_ptr<FdStore> fd_store;
  // What an earlier process left there.
  StoredFds stored;
  // Whatever is said above, the workers are as many, and as patient, as those of that process.
  bool as_before = false;
  // Why there is no fd_store where there was to be one.
  SysError no_fd_store;

  // Keeps sessions with the service manager that listens there ($NOTIFY_SOCKET). That it cannot be
  // reached is start()'s to judge.
  void keep_with(const std::string& notify_socket);
};

class Engine final : private FailureSink {
 public:
  static constexpr unsigned kMaxWorkers = 64;

  // `on_failure` is called on a worker's thread, at most once until take_failures().
  using Notify = void (*)(void* context);
  Engine(Notify on_failure, void* context) : on_failure_(on_failure), context_(context) {}
  // Somebody else is told from now on; at once, if a failure is waiting to be taken.
  void notify(Notify on_failure, void* context);
  ~Engine() { stop(0); }
  Engine(const Engine&) = delete;
  Engine& operator=(const Engine&) = delete;

  // Starts the workers; the sessions of an earlier process go on at once. On an error the
  // workers that had started are stopped again. That nothing can be kept is no error, unless
  // something was kept, and another start may be able to take it up.
  SysError start(EngineOptions options);
  // What became of the sessions of an earlier process.
  const RecoveryReport& recovery() const { return recovery_; }
  bool keeps_sessions() const { return store_ != nullptr; }
  std::uint32_t clients() const { return admission_.clients(); }
  SessionStore::Usage kept() const { return store_ ? store_->usage() : SessionStore::Usage{}; }
  // What the next process is told, and a cut that goes with it and is still to be told to the
  // workers. False: nothing is kept, or it is too long.
  bool write_note(std::string_view note, const Ledger::Cut& cut = {});
  // The rest of the program has come up too: once every worker has gone round, this process can
  // live with what it took up. Until then a death of it counts (kMostUnfinished).
  void confirm_recovery();
  // But not the one that comes now: the program has chosen to end. stop() says so too.
  void excuse_recovery();
  // Accepts from the socket, once accepting, until stop(). On an error the descriptor is not
  // closed.
  SysError adopt(int listening_fd);
  // Binds, and accepts from that socket; its port.
  Result<std::uint16_t> bind(const std::string& address, std::uint16_t port);
  // Closes the sockets that bind() has bound to this port. Before start_accepting(): no worker
  // knows them yet.
  void unbind(std::uint16_t port);

  // Idempotent.
  void start_accepting();
  // For good: clients wait in the listening sockets' queues again.
  void stop_accepting();

  void update_route(const RouteUpdate& update);
  void configure(const Settings& settings);
  // Asks every worker for a heartbeat (counted in its `beats`).
  void ping();

  // Ask all workers; the inquiry itself tells when all have answered. A worker that stands still
  // never does.
  void list_sessions(const std::shared_ptr<SessionListing>& listing);
  void kill_sessions(const std::shared_ptr<KillOrder>& order);

  // The newest failure since the last call. False: none.
  bool take_failure(BackendFailure& failure);

  // What the workers recorded since the last call (Settings::log_sessions), each one's in its
  // order; after stop() the rest.
  SessionEvents take_session_events();

  const std::vector<std::unique_ptr<Worker>>& workers() const { return workers_; }

  // Ends all threads, and all sessions unless they are left for the next process.
  // Idempotent. False if a worker did not end within the time (0: waits for it); then its
  // memory must stay where it is.
  bool stop(std::int64_t timeout_ns, bool keep_sessions = false);
  // After a stop() that has kept the sessions: what another engine of this process goes on with.
  StoredFds release() { return store_ ? store_->release() : StoredFds{}; }

 private:
  void backend_failed(const BackendFailure& failure) override;
  void accept_from(const Listener& listener);
  SysError start_workers(unsigned count);
  SysError open_store(EngineOptions& options, std::vector<Survivor>& survivors);
  void note_set_up();

  // Outlives the workers: their pipes are kept in it.
  std::unique_ptr<SessionStore> store_;
  RecoveryReport recovery_;
  Holding holding_;
  Admission admission_;
  std::vector<std::unique_ptr<Worker>> workers_;
  std::vector<Listener> listeners_;
  SessionEvents last_session_events_;  // of the workers that were
  Settings settings_;
  bool accepting_ = true;

  std::mutex failure_mutex_;
  BackendFailure failure_;        // guarded by failure_mutex_
  bool failure_pending_ = false;  // guarded by failure_mutex_
  Notify on_failure_;             // guarded by failure_mutex_
  void* context_;                 // guarded by failure_mutex_
};

}  // namespace pg_gateway
