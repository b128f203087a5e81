// SPDX-License-Identifier: MIT
// A gateway in a process of its own that is killed and started again, between clients and
// servers that notice everything. The tester is its service manager, and both ends of every
// session: single-threaded, one poll(2) loop.
//
// Owns the process, the conversations, the listening sockets. Nothing here asserts: fault()
// says what went wrong first.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "crash_points.h"
#include "mailbox.h"
#include "parties.h"
#include "service_manager.h"
#include "session_store.h"
#include "support.h"

namespace pg_gateway::test {

class CrashRig {
 public:
  // `kills`: at which of its steps the first process dies, the second, ...; 0: it does not.
  // Those that come later live. `settings`: where clients are held they introduce themselves, and
  // there is no route yet.
  explicit CrashRig(StepBoard& board, std::vector<std::uint64_t> kills = {}, unsigned workers = 1,
                    Settings settings = {});
  ~CrashRig();
  CrashRig(const CrashRig&) = delete;
  CrashRig& operator=(const CrashRig&) = delete;

  Conversation& open();
  // By way of an AF_UNIX socket: the kernel keeps no count of what its client has said.
  Conversation& open_local();
  Conversation& open(Introduction introduction);
  Conversation& open_local(Introduction introduction);
  // There is a route again, to a primary of its own epoch.
  void open_route();
  // There is none: the server is proven not to be the primary.
  void withdraw_route();
  // So many requests for encryption are answered by a reset.
  void reset_requests(unsigned count) { parties_.reset_requests(count); }
  // Lets everything happen until the condition holds. False: there was a fault, or it never
  // did, which is one.
  bool run(const char* what, const std::function<bool()>& condition);
  // Until nobody can send any more.
  bool run_until_stuck();
  // The process ends in order and leaves its sessions to the next.
  bool restart();
  // Now, wherever it is.
  void kill_gateway();

  struct Answer {
    SessionStore::Usage usage;
    std::uint32_t not_whole = 0;
    std::uint32_t missing = 0;
  };
  // What the process has kept now.
  bool ask(Answer& answer);

  const std::string& fault() const { return fault_; }
  // Steps of the processes that were, and of the present one.
  std::vector<std::uint64_t> steps() const;
  // How the processes died, for who reads of a fault.
  std::string history() const { return history_; }
  std::size_t lost() const { return parties_.lost(); }
  const ServiceManager& manager() const { return manager_; }

 private:
  void start();
  Conversation& begin(UniqueFd client);
  Conversation& begin(UniqueFd client, Introduction introduction);
  void send_route();
  [[noreturn]] void be_gateway(int control, std::uint64_t kill_at);
  void turn(int timeout_ms);
  // `shot`: by the rig itself, and not at a step that was chosen (the board may be its own yet).
  void gateway_died(bool shot = false);
  void forgive();
  void check_conversations();
  void fail(const std::string& what);

  // What the control plane has decided.
  struct Decision {
    std::uint32_t epoch = 0;
    std::uint32_t cut_below = 0;
    bool has_route = false;
  };

  StepBoard& board_;
  std::vector<std::uint64_t> kills_;
  unsigned workers_;
  const Settings settings_;
  Decision decision_;
  ServiceManager manager_;
  UniqueFd listener_;
  UniqueFd local_listener_;
  UniqueFd control_;
  pid_t gateway_ = -1;
  bool asked_to_end_ = false;
  std::size_t started_ = 0;
  std::size_t unparked_ = 0;  // clients that a kill may have cost
  std::vector<std::uint64_t> steps_;
  Parties parties_;
  std::string fault_;
  std::string history_;
};

}  // namespace pg_gateway::test
