// SPDX-License-Identifier: MIT
// One thread: one epoll loop, one mailbox, its sessions.
//
// Owns: its epoll set, pipes and sessions. Everything private runs on the worker's
// own thread; start(), post(), load() and counters() are for any thread.
// Invariants:
//  - each socket is added to epoll once, edge-triggered, for all events, and deleted
//    once, before it is closed (a copy of the descriptor elsewhere would keep the
//    registration alive);
//  - epoll data is slot + generation, never a pointer;
//  - sessions that ended in a turn of the loop are reaped at the end of that turn.
#pragma once

#include <pthread.h>

#include <array>
#include <atomic>
#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "admission.h"
#include "bulk_flows.h"
#include "counters.h"
#include "holding.h"
#include "mailbox.h"
#include "pipe_pool.h"
#include "route.h"
#include "session_log.h"
#include "session_table.h"

struct epoll_event;

namespace pg_gateway {

inline constexpr int kEventsPerTurn = 256;

// A backend that refused, reset, or did not answer: a reason to look at the cluster.
struct BackendFailure {
  std::uint32_t epoch = 0;
  std::uint16_t server = 0;
  int error = 0;  // errno
  // It had a session, and may have ended it for what the client sent.
  bool relayed = false;
};

class FailureSink {
 public:
  // Called on a worker's thread; must not block.
  virtual void backend_failed(const BackendFailure& failure) = 0;

 protected:
  ~FailureSink() = default;
};

class Worker;

// What the workers share; it outlives their threads.
struct Company {
  // All the workers.
  const std::vector<std::unique_ptr<Worker>>& workers;
  FailureSink& failures;
  Holding& holding;
  Admission& admission;
};

class Worker {
 public:
  Worker() = default;
  // Its thread has been joined.
  ~Worker() = default;
  Worker(const Worker&) = delete;
  Worker& operator=(const Worker&) = delete;

  SysError start(const Company& company, const Settings& settings, SessionStore* store = nullptr);
  // A session of an earlier process is this worker's from now on.
  void take_up(std::unique_ptr<Survivor> survivor);
  void post(Message message) { mailbox_.post(std::move(message)); }
  // For what happens from now on. The owner's thread.
  void configure(const Settings& settings);
  // Asks for a heartbeat unless one is still unanswered.
  void ping();
  // Waits for the thread after a Stop; false if it has not ended by the deadline (0:
  // none).
  bool join(std::int64_t deadline_ns);

  const WorkerCounters& counters() const { return counters_; }
  // For SessionLog::take().
  SessionLog& session_log() { return session_log_; }
  // Sessions that are or will be this worker's; what "least loaded" compares.
  std::uint32_t load() const { return load_.load(std::memory_order_relaxed); }
  // How late the worker's loop is: the unanswered heartbeat's age, or what the last
  // one had to wait.
  std::int64_t loop_lag_ns() const;

 private:
  struct Listening {
    int fd;  // -1: it broke
    bool tcp;
  };

  // worker.cc: the loop
  void run();
  int wait(std::array<epoll_event, kEventsPerTurn>& events);
  std::int64_t next_timeout_ns();
  void dispatch(const epoll_event& event);
  void handle_messages();
  void handle(Message& message);
  void expire_deadlines();
  void run_queued();
  void cut_all();
  // worker_accept.cc
  void listen_to(const NewListener& listener);
  void accept_some(Listening& listening);
  bool can_take_another(const Listening& listening) const;
  void accept_failed(Listening& listening, int error);
  void meet_client(UniqueFd socket, bool tcp, const ClientAddress& address, bool is_last);
  void take_client(UniqueFd socket, bool tcp, const ClientAddress& address, bool has_spoken);
  void stop_accepting();
  void prepare_spare();
  UniqueFd make_socket(int family) const;
  void pause_accepting();
  bool is_ahead_of_pace() const;
  void wait_for_pace();
  void accept_again_at(std::int64_t at_ns);
  void resume_accepting();

  // worker_inquiry.cc: what an administrator asks
  void name_session(Session& session);
  void list_sessions(const ListSessions& message);
  void kill_sessions(KillOrder& order);

  // worker_keep.cc: sessions beyond the life of one process
  void resume_session(Survivor survivor);
  void resume_opening(std::uint32_t slot, Survivor& survivor);
  void leave_store(Session& session);
  void keep_backend(Session& session);
  void confirm(const Confirm& message);

  // worker_hold.cc: clients that wait for a server
  bool must_wait() const;
  void hold(std::uint32_t slot, RejectReason reason, int error);
  void leave_hold(std::uint32_t slot);
  void turn_away(std::uint32_t slot, RejectReason reason);
  void held_client_left(std::uint32_t slot, bool reset);
  static bool has_spoken(Session& session);
  bool is_silent(Session& session) const;
  std::int64_t waits_since(const Session& session) const;
  void set_hold_deadline(std::uint32_t slot);
  void hold_expired(std::uint32_t slot);
  void review_held();
  std::int64_t next_release_ns() const;
  void let_go_first();
  void release_held();
  void look_after_scout();
  bool is_on_route(const Session& session) const;
  void rest(std::int64_t attempt_began_ns);
  void drop_those_that_left();
  void route_decided(bool another);

  // worker_opening.cc: the first exchange of a session
  bool must_speak_first(bool tcp) const;
  void take_turn(std::uint32_t slot);
  void await_words(std::uint32_t slot);
  bool hear_words(std::uint32_t slot, std::uint32_t events);
  void silent_client_event(std::uint32_t slot, std::uint32_t events);
  void start_session(std::uint32_t slot);
  void client_speaks(std::uint32_t slot, std::uint32_t events);
  void backend_speaks(std::uint32_t slot, std::uint32_t events);
  void advance_opening(std::uint32_t slot);
  bool tell_declined(std::uint32_t slot);
  void refused(std::uint32_t slot);
  void serve(std::uint32_t slot);
  void start_relaying(std::uint32_t slot);

  // worker_bulk.cc: bulk transfers
  void note_bulk(std::uint32_t slot);
  void fetch_bulk(std::int64_t now_ns);

  // worker_end.cc: the end of a session
  void cut(std::uint32_t slot, CutReason reason);
  void end_session(std::uint32_t slot, EndReason reason);
  void close_session(std::uint32_t slot);
  void reap();

  // worker_sessions.cc: the life of a session
  void open_session(NewClient client);
  void turn_away_at_the_door(UniqueFd socket, bool tcp, const ClientAddress& address,
                             RejectReason reason);
  void refuse(std::uint32_t slot, RejectReason reason);
  void leave_company(Session& session);
  void start_connect(std::uint32_t slot);
  void finish_connect(std::uint32_t slot);
  void give_up_backend(Session& session);
  void connect_failed(std::uint32_t slot, int error);
  void start_rejection(std::uint32_t slot, RejectReason reason, int error);
  void advance_rejection(std::uint32_t slot);
  void count_rejection(std::uint32_t slot);
  void pass_on_cancel(std::uint32_t slot);
  void cancel_expired(std::uint32_t slot);
  void relay(std::uint32_t slot);
  void session_event(std::uint32_t slot, Side side, std::uint32_t events);
  void apply(const RouteUpdate& update);
  void report(const Session& session, int error);
  bool watch(int fd, std::uint32_t slot, Side side);
  // What the client's socket has to say comes once more. False: errno tells why.
  bool watch_again(std::uint32_t slot);
  void set_deadline(std::uint32_t slot, std::int64_t at_ns);
  void clear_deadline(std::uint32_t slot);
  void deadline_passed(std::uint32_t slot);
  void enqueue(std::uint32_t slot);

  Mailbox mailbox_;
  UniqueFd epoll_;
  PipePool pipes_;
  SessionTable sessions_;
  std::uint16_t number_ = 0;  // its place among its peers
  std::vector<Listening> listeners_;
  std::optional<Route> route_;
  std::uint32_t last_epoch_ = 0;  // of the last route there was
  bool decided_ = false;          // a route, or that there is none, has been told
  std::int64_t began_ns_ = 0;     // no decision can be older
  HoldQueue held_;
  Holding* holding_ = nullptr;
  Admission* admission_ = nullptr;
  std::int64_t release_ns_ = 0;  // the place in the sequence of releases that was claimed; 0: none
  std::int64_t rest_until_ns_ =
      0;  // after a connect failed nobody is sent to the route; 0: no rest
  std::optional<SessionRef> scout_;  // the client that was sent alone to see whether it is over
  std::int64_t rest_began_ns_ = 0;
  std::int64_t rest_ns_ = 0;
  // The backend socket of the next client, so that nothing but parking comes between
  // accepting it and connecting.
  UniqueFd spare_;
  int spare_family_ = 0;
  SessionStore* store_ = nullptr;  // null: sessions end with this process
  Settings settings_;
  const std::vector<std::unique_ptr<Worker>>* peers_ = nullptr;
  FailureSink* failures_ = nullptr;

  std::vector<std::uint32_t> queued_;   // sessions that want another turn
  std::vector<SessionRef> starved_;     // sessions that wait for a pipe
  std::vector<std::uint32_t> closing_;  // to be reaped
  DeadlineQueue deadlines_;
  BulkFlows bulk_;
  std::int64_t resume_accepting_ns_ = 0;  // 0: not paused
  std::int64_t retry_starved_ns_ = 0;     // 0: none
  bool has_fine_wait_ = true;             // epoll_pwait2(2) works
  bool stopping_ = false;
  bool keep_sessions_ = false;  // at the stop

  WorkerCounters counters_;
  SessionLog session_log_;
  std::atomic<std::uint32_t> load_{0};
  std::atomic<std::int64_t> ping_posted_ns_{0};  // 0: none unanswered
  pthread_t thread_{};
  bool started_ = false;
};

}  // namespace pg_gateway
