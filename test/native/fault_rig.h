// SPDX-License-Identifier: MIT
// An engine in this process, one of whose system calls may fail (fault_points.h), its clients and
// servers, and the service manager that keeps its sessions for the next one. Judges what became of
// it: one session may be lost, and a start may be refused, by an error that names the call.
//
// Owns all of them. Single-threaded but for the engine. Nothing here asserts: fault() says what
// went wrong first.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "engine.h"
#include "gateway.h"
#include "parties.h"
#include "service_manager.h"

namespace pg_gateway::test {

class FaultRig {
 public:
  FaultRig();
  FaultRig(const FaultRig&) = delete;
  FaultRig& operator=(const FaultRig&) = delete;

  Conversation& open(Introduction introduction = {});
  Conversation& open_local();
  // A session is to be ended before its time: that is not counted against the fault.
  void will_be_lost() {
    ++expected_ends_;
    ++expected_losses_;
  }
  // Its client goes away without a word.
  void leave(Conversation& conversation);

  // New clients go to the servers of this rig, to a port where nobody listens, or to one whose
  // queue is full; `cut`: all others are cut, since their server is proven not to be the primary.
  void route_to_servers(bool cut = false) { set_route(parties_.server(), cut); }
  void route_to_nobody() { set_route(address_of(refusing_.get()), false); }
  void route_to_stalled() { set_route(address_of(stalled_.get()), false); }
  void withdraw_route();
  void limit_clients(std::uint32_t clients);
  // Of the present engine.
  std::uint64_t connect_failures() const;

  // Lets everything happen until the condition holds. False: there was a fault, or it never did,
  // which is one.
  bool run(const char* what, const std::function<bool()>& condition);
  // Until nobody can send any more.
  bool run_until_stuck();
  // The engine leaves its sessions to the next one, and that to a third: as a process does to the
  // next, where an engine is started early and gives way to one with its own settings.
  bool restart();
  // All sessions are over. A new client is served; everybody is accounted for; nothing is left;
  // nothing spins. `most_calls`: so many are too many.
  std::string finish(std::uint64_t most_calls);

  const std::string& fault() const { return fault_; }
  std::size_t lost() const;
  bool was_refused() const { return refused_; }

 private:
  struct Accounts {
    std::uint64_t came = 0;
    std::uint64_t known = 0;  // what became of them, and who is here
    std::uint64_t ended_early = 0;
  };

  void start();
  SysError try_to_start();
  SysError start_early(StoredFds& stored);
  StoredFds copies();
  void set_route(const SocketAddress& address, bool cut);
  void send_route(bool cut);
  bool settle();
  void stop(bool keep_sessions);
  static Accounts accounts(const Engine& engine);
  bool is_accounted_for();
  bool serve_another();
  void look_for_leftovers();
  void look_for_spinning(std::uint64_t most_calls);
  void turn(int timeout_ms);
  void fail(const std::string& what);

  Settings settings_;
  ServiceManager manager_;
  UniqueFd listener_;
  UniqueFd local_listener_;
  UniqueFd refusing_;
  StalledListener stalled_;
  Parties parties_;
  std::optional<Route> route_;
  std::uint32_t epoch_ = 0;
  std::unique_ptr<Engine> engine_;
  unsigned engines_ = 0;
  bool refused_ = false;
  std::uint64_t expected_ends_ = 0;
  std::size_t expected_losses_ = 0;
  std::uint64_t earlier_ends_ = 0;  // of the engines that were
  std::string fault_;
};

}  // namespace pg_gateway::test
